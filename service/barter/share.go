package barter

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// withinShare refuses a renewal that would put dates off beyond what the rules give the household: what they would grant, had
// it nothing here and asked for all that it has. Of that the latest dates come first: so whatever is beyond it keeps
// its date, and nothing is dropped before. The denial's counter-offer is how many bytes of the request can be renewed. The caller
// holds a.commit.
func (b *Barter) withinShare(p Partner, a *account, l *leasing) error {
	if b.isHome(p) {
		return nil
	}
	has, share, err := b.shareOf(p, a, l)
	if err != nil || has <= share {
		return err
	}
	asked := make(map[core.Score]bool, len(l.here))
	for _, piece := range l.here {
		asked[piece] = true
	}
	later, prefix := int64(0), join(heldPrefix, l.owner[:])
	for c, err := range b.c.Books.Scan(prefix, nil) {
		if err != nil {
			return fmt.Errorf("read what is kept for %s: %w", p.Name, err)
		}
		var r heldRecord
		if err := parse(c.Key, c.Value, &r); err != nil {
			return err
		}
		if r.Aside == 0 && r.Until > l.least && !asked[core.Score(c.Key[len(prefix):])] {
			later += r.Size
		}
	}
	most := max(0, share-later)
	if l.total <= most {
		return nil
	}
	b.c.Log.Info("a renewal is refused", "owner", p.Name, "amount", l.total, "most", most, "has", has, "share", share)
	return &core.Denial{
		Reason:  fmt.Sprintf("your share is %s now, and you have %s: what is beyond stays until its date", policy.Bytes(share), policy.Bytes(has)),
		Counter: &core.Counter{Amount: most, Seconds: l.until - l.from},
	}
}

// shareOf returns what a household has here under leases that run, and how much of that the rules would grant it.
func (b *Barter) shareOf(p Partner, a *account, l *leasing) (has, share int64, err error) {
	b.mu.Lock()
	landed := b.landed
	b.mu.Unlock()
	free, total, err := b.c.Free()
	if err != nil {
		return 0, 0, fmt.Errorf("ask the disk for its free room: %w", err)
	}
	b.enroll(l.from)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endIdle(b.c.Clock.Now())
	b.attribute(p)
	facts := b.facts(p, free, total, landed)
	facts.Others = b.others(p, l.from)
	has = a.used.Bytes - a.used.Aside - l.added.Aside
	facts.Used -= has
	facts.Room += has
	facts.Ends = 0 // no date is put off beyond it, and until then what there is is renewed
	ask := core.Ask{Resource: core.Storage, Amount: has, Seconds: l.until - l.from, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: p.Pact[:]}}
	if facts.Via != nil {
		facts.Via.Used -= has
		ask.Why = core.Why{Kind: core.WhyVoucher}
		if len(p.Via.Refs) > 0 {
			ask.Why.Ref = p.Via.Refs[0][:]
		}
	}
	switch d := b.force.rules.Decide(ask, facts); {
	case d.Grant:
		return has, has, nil
	case d.Counter != nil:
		return has, d.Counter.Amount, nil
	}
	return has, 0, nil
}
