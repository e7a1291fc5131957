package policy

import (
	"fmt"
	"math"

	"github.com/grange-grid/grange/core"
)

type even struct{}

// Even makes the policy "even", which shares what there is evenly among friends who were promised more than there
// is. Each has a fair share: its pact's promise, or, where the promises exceed the total, what it has when all
// promises are cut down to one level. Within its share a friend is granted whatever there is
// room for. Beyond it, it is lent what the others leave unused, but for those of them who asked for something
// lately: their shares are kept free. Nothing is ever taken back: what is lent is leased, and when others
// want their shares it is their turn as room comes free. An ask of quality idle is lent to, always.
func Even(*Options) Policy { return even{} }

func (even) Name() string    { return "even" }
func (even) Options() string { return "" }
func (even) Words() string {
	return "an even share where all were promised more than there is; more is lent as long as nobody asks for it"
}

func (p even) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	c := crowdOf(p, facts, unit)
	mine, used, room := c.Share, max(facts.Used, 0), max(facts.Room, 0)
	within, lent := min(over(mine, used), room), min(over(room, c.Kept), left(facts))
	if ask.Quality == core.Idle {
		within = 0
	}
	if facts.Busy > 0 {
		lent = 0
	}
	switch most := max(within, lent); {
	case ask.Amount <= within:
		return Decision{
			Grant: true, Policy: "even",
			Reason: fmt.Sprintf("within %s's even share of %s; %s of it left after this", facts.Partner, unit.Text(mine), unit.atMost(mine-used-ask.Amount)),
		}
	case ask.Amount <= lent && ask.Quality == core.Idle:
		return Decision{Grant: true, Policy: "even", Reason: fmt.Sprintf("%s is lent what nobody asks for", facts.Partner)}
	case ask.Amount <= lent:
		return Decision{
			Grant: true, Policy: "even",
			Reason: fmt.Sprintf("%s has more than its even share of %s; it is lent what nobody asks for", facts.Partner, unit.Text(mine)),
		}
	case facts.Busy > 0:
		return busy("even", facts)
	default:
		return Decision{
			Policy:  "even",
			Reason:  fmt.Sprintf("your even share is %s, of which you have %s; %s free beside what is kept for others; %s needed", unit.Text(mine), unit.Text(used), unit.atMost(most), unit.atLeast(ask.Amount)),
			Counter: &core.Counter{Amount: most, Seconds: max(facts.SecondsMax, 0)},
		}
	}
}

func (even) crowd(facts Facts, _ Unit) Crowd {
	highest := level(facts)
	c := Crowd{Share: min(max(facts.Offered, 0), highest)}
	for i := range facts.Others {
		if o := &facts.Others[i]; o.Asks {
			c.Kept = plus(c.Kept, over(min(o.Offered, highest), o.Used))
		}
	}
	c.Claimed = c.Kept
	return c
}

// level returns to what promises are cut down, so that together they do not exceed the total. It fills up as
// water does: whoever was promised no more than the level leaves the rest to the others, so the level rises, until nobody does. Each round has far
// less left to give than the one before, so that a thousand partners take three or four; to sort them would be slower.
func level(facts Facts) int64 {
	total := max(facts.Total, 0)
	for highest := int64(0); ; {
		rest, more := total, int64(0)
		if promise := max(facts.Offered, 0); promise <= highest {
			rest -= promise
		} else {
			more++
		}
		for i := range facts.Others {
			if promise := max(facts.Others[i].Offered, 0); promise <= highest {
				rest -= promise
			} else {
				more++
			}
		}
		if more == 0 {
			return math.MaxInt64
		}
		if rest/more == highest {
			return highest
		}
		highest = rest / more
	}
}

// plus adds what is not negative, up to the greatest number.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
