package barter

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
)

// Storage is a stock: what is kept is used until it is given up. All else is a flow: what a pact gives of it is for
// flowDays. An ask that is granted is an allowance, which counts whole while it is open; from its end on that counts which was
// drawn of it, by receipts, until it began so many days ago. SPEC.md §7 and §11.

// Limits of flows.
const (
	// flowDays is for how many days of running what was had counts.
	flowDays    = 30
	flowSeconds = flowDays * daySeconds
	// allowancesMax is how many a household has open at once.
	allowancesMax = 64
	// flowTotalMax bounds the total of a receipt, so that it is exact in every language.
	flowTotalMax = pact.AmountMax
)

// flowRecord is what one household has had of another of one flow lately. One that others see is never changed.
type flowRecord struct {
	V uint `json:"v"`
	// Open are the allowances that have not ended, as far as anybody has looked, the one first that ends first.
	Open []allowance `json:"open"`
	// Days is what was drawn of those that have ended, by the running day on which they began, or beyond any.
	Days []flowDay `json:"days"`
}

type allowance struct {
	ID []byte `json:"id"`
	// Agent is the machine on the other side.
	Agent  core.DID `json:"agent"`
	Amount int64    `json:"amount"`
	Drawn  int64    `json:"drawn"`
	From   int64    `json:"from"`
	Until  int64    `json:"until"`
	// Born is what this machine had run at From.
	Born int64 `json:"born"`
}

type flowDay struct {
	Day    int64 `json:"day"`
	Amount int64 `json:"amount"`
}

// flowName is which flow of an account; ours is what we had of them.
type flowName struct {
	resource core.Resource
	ours     bool
}

// moment is when a flow is looked at: what this machine has run, and the date, 0 where it cannot be trusted.
type moment struct{ ran, date int64 }

func (m moment) day() int64 { return m.ran / daySeconds }

func (b *Barter) moment() moment {
	m := moment{ran: b.ran()}
	if b.trusted() {
		m.date = b.c.Clock.Now().Unix()
	}
	return m
}

func (a allowance) open(at moment) bool { return at.ran-a.Born < a.Until-a.From && at.date < a.Until }

// lately tells whether what was had on a running day still counts.
func (m moment) lately(day int64) bool { return m.day()-day < flowDays }

// sums returns what open allowances come to, and what was drawn besides and counts. There may be no record.
func (f *flowRecord) sums(at moment) (open, drawn int64) {
	if f == nil {
		return 0, 0
	}
	for _, a := range f.Open {
		switch {
		case a.open(at):
			open = flowSum(open, a.Amount)
		case at.lately(a.Born / daySeconds):
			drawn = flowSum(drawn, a.Drawn)
		}
	}
	for _, d := range f.Days {
		if at.lately(d.Day) {
			drawn = flowSum(drawn, d.Amount)
		}
	}
	return open, drawn
}

// used is what counts in all.
func (f *flowRecord) used(at moment) int64 { return flowSum(f.sums(at)) }

// had is what was drawn, of open allowances too.
func (f *flowRecord) had(at moment) int64 {
	_, sum := f.sums(at)
	if f != nil {
		for _, a := range f.Open {
			if a.open(at) {
				sum = flowSum(sum, a.Drawn)
			}
		}
	}
	return sum
}

// flowSum adds what is not negative, up to the greatest number.
func flowSum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// at returns a copy, as it is at a moment: without what counts no more.
func (f *flowRecord) at(m moment) *flowRecord {
	out := &flowRecord{V: codec.Version}
	if f == nil {
		return out
	}
	for _, d := range f.Days {
		out.count(d.Day, d.Amount, m)
	}
	for _, a := range f.Open {
		if a.open(m) {
			out.Open = append(out.Open, a)
		} else {
			out.count(a.Born/daySeconds, a.Drawn, m)
		}
	}
	return out
}

// count adds to a day, if that still counts.
func (f *flowRecord) count(day, amount int64, at moment) {
	if amount == 0 || !at.lately(day) {
		return
	}
	i := slices.IndexFunc(f.Days, func(d flowDay) bool { return d.Day == day })
	if i < 0 {
		i = len(f.Days)
		f.Days = append(f.Days, flowDay{Day: day})
	}
	f.Days[i].Amount = flowSum(f.Days[i].Amount, amount)
}

// add opens an allowance.
func (f *flowRecord) add(a allowance) {
	f.Open = append(f.Open, a)
	slices.SortFunc(f.Open, func(x, y allowance) int { return cmp.Or(cmp.Compare(x.Until, y.Until), bytes.Compare(x.ID, y.ID)) })
}

// draw takes an amount of the open allowances, the one first that ends first; what is beyond them counts as well.
func (f *flowRecord) draw(amount int64, at moment) {
	for i := range f.Open {
		part := min(amount, f.Open[i].Amount-f.Open[i].Drawn)
		f.Open[i].Drawn += part
		amount -= part
	}
	f.count(at.day(), amount, at)
}

func flowKey(s side, grid core.DID, r core.Resource) []byte { return join(s.flow, grid[:], []byte(r)) }

// flow returns what is known of a flow; nil: nothing is. The caller holds b.mu.
func (a *account) flow(s side) *flowRecord { return a.flows[flowName{s.resource, s.ours}] }

// setFlow makes known what was, or is about to be, written; nil: nothing. The caller holds b.mu.
func (a *account) setFlow(s side, f *flowRecord) {
	name := flowName{s.resource, s.ours}
	switch {
	case f == nil:
		delete(a.flows, name)
		return
	case a.flows == nil:
		a.flows = map[flowName]*flowRecord{}
	}
	a.flows[name] = f
}

// loadFlows reads all flows.
func (b *Barter) loadFlows() error {
	for _, s := range []side{asHolder, asOwner} {
		for c, err := range b.c.Books.Scan(s.flow, nil) {
			if err != nil {
				return fmt.Errorf("read flows: %w", err)
			}
			var f flowRecord
			rest := c.Key[len(s.flow):]
			if len(rest) <= didSize {
				return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
			}
			if err := parse(c.Key, c.Value, &f); err != nil {
				return err
			}
			b.account(core.DID(rest[:didSize])).setFlow(s.of(core.Resource(rest[didSize:])), &f)
		}
	}
	return nil
}

// resources returns those that are known here, or from what partners give.
func (b *Barter) resources() []core.Resource {
	known := map[core.Resource]bool{}
	for r := range b.c.Table.Resources {
		known[r] = true
	}
	for _, p := range b.c.Partners.All() {
		for r := range p.GivesOf {
			known[r] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// drawing has what was had written with its line. It returns the flow as it will be, nil of storage, for drawn. The caller has the line.
func (b *Barter) drawing(l *line, amount uint64) (*flowRecord, error) {
	if l.resource == core.Storage {
		return nil, nil
	}
	at := b.moment()
	b.mu.Lock()
	f := b.account(l.grid).flow(l.side).at(at)
	b.mu.Unlock()
	f.draw(int64(amount), at)
	c, err := change(flowKey(l.side, l.grid, l.resource), f)
	l.drop = append(l.drop, c)
	return f, err
}

// drawn makes known what drawing returned and was written.
func (b *Barter) drawn(l *line, f *flowRecord) {
	if f == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(l.grid)
	a.setFlow(l.side, f)
	b.touch(a)
}
