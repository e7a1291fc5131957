package policy

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/grange-grid/grange/core"
)

const (
	reciprocalNewcomer = gigabyte
	reciprocalPatience = 30
	reciprocalSlack    = 25
)

type reciprocal struct {
	newcomer int64
	patience int64 // days
	slack    int64 // per cent
	// counted says that the line is for a resource that is not counted in bytes.
	counted bool
}

// Reciprocal makes the policy "reciprocal", which gives in proportion to what is given. A partner earns as much as it was proven to keep
// for us, and slack more, so that small debts are no debts. A newcomer has an allowance, which shrinks to nothing
// over so many days of running as the patience is. Nothing of that changes while somebody is away.
//
// Within what it earned a partner is granted whatever there is room for; where all have earned more than there is, what
// each has a claim to is cut down in proportion. Beyond that it is lent what the others leave unused, but for what those who asked lately could still
// claim: what they earned, and where there is more than all have earned, of that as well in proportion. So a free rider is served last, of what is left.
//
// Options: newcomer, an amount (1GB; of what is not counted in bytes, 0); patience (30d); slack (25%).
func Reciprocal(o *Options) Policy {
	p := reciprocal{counted: o.Counted()}
	p.newcomer = o.Amount("newcomer", p.standard())
	p.patience = o.Days("patience", reciprocalPatience)
	p.slack = o.Percent("slack", reciprocalSlack)
	return p
}

func (p reciprocal) standard() int64 {
	if p.counted {
		return 0
	}
	return reciprocalNewcomer
}

func (reciprocal) Name() string { return "reciprocal" }

func (p reciprocal) Options() string {
	var out []string
	if p.newcomer != p.standard() {
		out = append(out, optionAmount("newcomer", p.newcomer, p.counted))
	}
	if p.patience != reciprocalPatience {
		out = append(out, fmt.Sprintf("patience=%dd", p.patience))
	}
	if p.slack != reciprocalSlack {
		out = append(out, fmt.Sprintf("slack=%d%%", p.slack))
	}
	return strings.Join(out, " ")
}

func (p reciprocal) Words() string {
	words := fmt.Sprintf("as much as they give, and %d %% more", p.slack)
	if p.newcomer > 0 && p.patience > 0 {
		allowance := Bytes(p.newcomer)
		if p.counted {
			allowance = grouped(p.newcomer)
		}
		words += fmt.Sprintf("; newcomers %s, which shrinks to nothing in %d days", allowance, p.patience)
	}
	return words + "; more is lent as long as nobody asks for it"
}

// limit returns what a partner has earned, no more than it was promised and than is fit to be added up.
func (p reciprocal) limit(o Other, unit Unit, most int64) int64 {
	sum := int64(0)
	age, patience := max(o.Age, 0), p.patience*day
	if age < patience && (p.counted || unit.bytes()) {
		sum = times(p.newcomer, patience-age, patience)
	}
	sum = plus(sum, times(over(o.Gives, o.Missing), 100+p.slack, 100))
	return min(sum, max(o.Offered, 0), most)
}

// limitsReady is for how many partners limits need no memory of their own.
const limitsReady = 1024

func (p reciprocal) crowd(facts Facts, unit Unit) Crowd {
	most := math.MaxInt64 / int64(len(facts.Others)+1)
	mine := p.limit(facts.asker(), unit, most)
	all, limits := mine, make([]int64, 0, limitsReady)
	for i := range facts.Others {
		limit := p.limit(facts.Others[i], unit, most)
		limits = append(limits, limit)
		all += limit
	}
	part, whole := max(facts.Total, 0), all
	if all <= part {
		part, whole = 1, 1
	}
	c := Crowd{Share: times(mine, part, whole)}
	for i := range facts.Others {
		o := &facts.Others[i]
		if !o.Asks {
			continue
		}
		claim := limits[i]
		if all > 0 { // where there is more than all have earned it is theirs too, or a free rider would have as much of it as they
			claim = max(claim, min(times(claim, max(facts.Total, 0), all), o.Offered))
		}
		c.Claimed = plus(c.Claimed, over(claim, o.Used))
		c.Kept = plus(c.Kept, over(times(limits[i], part, whole), o.Used))
	}
	return c
}

// asker is the asker as others are.
func (f Facts) asker() Other {
	return Other{Offered: f.Offered, Used: f.Used, Gives: f.Gives, Missing: f.Missing, Age: f.Age}
}

func (p reciprocal) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	c := crowdOf(p, facts, unit)
	used, room := max(facts.Used, 0), max(facts.Room, 0)
	earned := p.limit(facts.asker(), unit, math.MaxInt64)
	within := min(over(c.Share, used), room)
	lent := max(min(over(room, c.Kept), over(earned, used)), min(over(room, c.Claimed), left(facts)))
	if ask.Quality == core.Idle { // it displaces nobody
		within, lent = 0, min(over(room, c.Claimed), left(facts))
	}
	if facts.Busy > 0 {
		lent = 0
	}
	switch most := max(within, lent); {
	case ask.Amount <= within:
		return Decision{Grant: true, Policy: "reciprocal", Reason: fmt.Sprintf("within the %s that %s has earned here%s; %s of it left after this",
			unit.Text(c.Share), facts.Partner, cut(c.Share, earned, unit), unit.atMost(c.Share-used-ask.Amount))}
	case ask.Amount <= lent:
		return Decision{Grant: true, Policy: "reciprocal", Reason: fmt.Sprintf("%s has earned %s here%s; it is lent what nobody else asks for", facts.Partner, unit.Text(c.Share), cut(c.Share, earned, unit))}
	case facts.Busy > 0:
		return busy("reciprocal", facts)
	default:
		lost := ""
		if facts.Missing > 0 {
			lost = fmt.Sprintf(", and have lost %s of it", unit.Text(facts.Missing))
		}
		return Decision{
			Policy: "reciprocal",
			Reason: fmt.Sprintf("you give %s%s, which is good for %s here%s, of which you have %s; %s free beside what is kept for others; %s needed",
				unit.Text(max(facts.Gives, 0)), lost, unit.Text(c.Share), cut(c.Share, earned, unit), unit.Text(used), unit.atMost(most), unit.atLeast(ask.Amount)),
			Counter: &core.Counter{Amount: most, Seconds: max(facts.SecondsMax, 0)},
		}
	}
}

// cut says so where a share is less than what was earned.
func cut(share, earned int64, unit Unit) string {
	if share >= earned {
		return ""
	}
	return fmt.Sprintf(" (of %s: all have earned more than there is)", unit.Text(earned))
}

// times returns n·part/whole rounded down, for n and part not negative and whole positive; what is too much is the greatest number.
func times(n, part, whole int64) int64 {
	if part == whole {
		return n
	}
	hi, lo := bits.Mul64(uint64(n), uint64(part))
	if hi == 0 { // the most there is by far, and the faster
		return int64(min(lo/uint64(whole), math.MaxInt64))
	}
	if hi >= uint64(whole) {
		return math.MaxInt64
	}
	out, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(min(out, math.MaxInt64))
}
