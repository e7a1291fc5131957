package economy

import (
	"math/rand/v2"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// Mix is how many there are of each kind.
type Mix [kinds]int

// MixOf draws one of so many households, at least 16: at most an eighth each goes away, is generous, is selfish or lies.
func MixOf(n int, random *rand.Rand) (m Mix) {
	m[Fair] = n
	for k := Away; k < kinds; k++ {
		m[k] = 1 + random.IntN(n/8)
		m[Fair] -= m[k]
	}
	return m
}

// books are what one household has written of another. Each side has its own.
type books struct {
	leased int64            // bytes that the other keeps for it, lapsed leases included as long as it does
	aside  [asideDays]int64 // bytes given back, which the other keeps until the day with that remainder
	lost   int64            // bytes that it found lost; SPEC.md §11
	found  int              // the day when it last did
	had    int64            // byte-days under leases, as the owner counts
	held   int64            // bytes of the other's that it has under leases now
	given  int64            // byte-days under leases, as the holder counts
	asked  int              // the day when the other last asked; 0 never
}

// used is what of the other's room is taken.
func (b *books) used() int64 {
	sum := b.leased
	for _, n := range b.aside {
		sum += n
	}
	return sum
}

// missing is what counts as lost on a day: a thirtieth less on each day after the last finding.
func (b *books) missing(day int) int64 {
	return b.lost * int64(max(0, forgiven-(day-b.found))) / forgiven
}

// World is some households and their pacts.
type World struct {
	// Recalls says that what is beyond a share is not renewed; else all is.
	Recalls bool
	// Days has what was on each day.
	Days []Day
	// Lost is how often a segment of an honest household that was kept could not be had back on an evening, GivenUp how many an
	// honest household gave up because it found no room.
	Lost, GivenUp int

	random     *rand.Rand
	day        int
	mix        Mix
	households []household
	books      [][]books
	refused    []bool // who refused something to one that cooperates today
}

// New makes a world in which each household has pacts with ten others, drawn at random.
func New(seed uint64, mix Mix) (*World, error) {
	w := &World{mix: mix, random: rand.New(rand.NewPCG(seed, 1))}
	for k, n := range mix {
		for i := range n {
			h, err := newHousehold(Kind(k), i, w.random)
			if err != nil {
				return nil, err
			}
			w.households = append(w.households, h)
		}
	}
	n := len(w.households)
	w.books = make([][]books, n)
	for i := range w.books {
		w.books[i] = make([]books, n)
	}
	ring := w.random.Perm(n)
	steps := w.random.Perm((n - 1) / 2)[:min(partners/2, (n-1)/2)]
	for i, a := range ring {
		for _, step := range steps {
			b := ring[(i+step+1)%n]
			w.households[a].partners = append(w.households[a].partners, b)
			w.households[b].partners = append(w.households[b].partners, a)
		}
	}
	return w, nil
}

// Step lives a day, in which the households act one after another, each day in another order.
func (w *World) Step() {
	w.day++
	w.refused = make([]bool, len(w.households))
	for i := range w.households {
		for j := range w.books[i] {
			w.books[i][j].aside[w.day%asideDays] = 0
		}
		w.lapse(i)
	}
	for _, i := range w.random.Perm(len(w.households)) {
		if w.households[i].awake(w.day) {
			w.audit(i)
			w.replace(i)
			w.renew(i)
			w.place(i)
			w.giveUp(i)
		}
	}
	w.count()
}

// ask asks a partner for room, and takes less if that is what it would give.
func (w *World) ask(owner, holder int, amount int64) int64 {
	if amount > 0 && w.households[holder].awake(w.day) {
		w.books[holder][owner].asked = w.day
	}
	return w.grants(owner, holder, amount, 0)
}

// grants returns how much of an amount a partner would give, in whole pieces, if so much that the owner has were given back before.
func (w *World) grants(owner, holder int, amount, had int64) int64 {
	h := &w.households[holder]
	if !h.awake(w.day) || amount < pieceSize {
		return 0
	}
	ask := core.Ask{Resource: core.Storage, Amount: amount, Seconds: leaseDays * daySeconds, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact}}
	facts := w.facts(owner, holder)
	facts.Used -= had
	facts.Room += had
	d := h.rules.Decide(ask, facts)
	if d.Grant {
		return amount
	}
	w.refused[holder] = w.refused[holder] || had == 0 && w.households[owner].kind.cooperates()
	if d.Counter == nil {
		return 0
	}
	ask.Amount = min(d.Counter.Amount, amount) / pieceSize * pieceSize
	if ask.Amount == 0 || !h.rules.Decide(ask, facts).Grant {
		return 0
	}
	return ask.Amount
}

// facts are as the holder has them of the owner that asks; SPEC.md §11.
func (w *World) facts(owner, holder int) policy.Facts {
	h := &w.households[holder]
	mine := w.other(owner, holder)
	f := policy.Facts{
		Now: int64(w.day) * daySeconds, Partner: "a partner", Total: h.offer, Offered: mine.Offered, Used: mine.Used,
		Gives: mine.Gives, Missing: mine.Missing, Age: mine.Age, SecondsMax: leaseDays * daySeconds,
	}
	used := mine.Used
	for _, p := range h.partners {
		if p != owner {
			o := w.other(p, holder)
			used += o.Used
			f.Others = append(f.Others, o)
		}
	}
	f.Room = max(0, h.offer-used)
	return f
}

// other is a partner in the eyes of a holder.
func (w *World) other(owner, holder int) policy.Other {
	b := &w.books[holder][owner]
	return policy.Other{
		Offered: promise, Used: w.books[owner][holder].used(), Asks: b.asked > 0 && w.day-b.asked < lately,
		Gives: b.leased, Missing: b.missing(w.day), Age: int64(w.households[holder].ran(w.day)) * daySeconds,
	}
}
