package barter

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Ledger is what there is between us and one partner, as this machine has it in its books.
type Ledger struct {
	Grid core.DID
	Name string
	Pact core.Score
	// Via is on whose behalf they are a guest here, and by which chain; nil where there is a pact.
	Via *Via
	// Gives is what they promised us, Given what we promised them, in bytes.
	Gives, Given int64
	// Used is what their pieces here come to, of which Aside is set aside, Pieces how many they are.
	Used, Aside, Pieces int64
	// Room is how much more they could be granted now; the policy may grant less.
	Room int64
	// Placed is what our pieces there come to, PlacedPieces how many they are.
	Placed, PlacedPieces int64
	// Returns is what of ours there was given up and is to be told there, over days, so that nobody takes it for a theft.
	Returns int64
	// Gave has a line for each of their machines that had something here, Had one for each of theirs
	// that had something of ours.
	Gave, Had []LedgerLine
	// Missing is what counts as lost of what they keep for us, by proofs that they failed and receipts that contradict each other.
	Missing int64
	// Contradictions are receipts of theirs that prove against them. Uncounted are leases by which pieces of ours lie there that do not count
	// here, looked up only where the two sides count differently.
	Contradictions []Contradiction
	Uncounted      []UncountedLease
	// Flows are all else than storage, by name.
	Flows []LedgerFlow
	// Decisions are the newest on what they asked for, the newest first.
	Decisions []Decision
}

// LedgerLine is what one machine has had of another under the pact.
type LedgerLine struct {
	// Agent is the machine on their side.
	Agent core.DID
	// Live is the bytes under leases now; Hours the byte-hours up to now, as we count them.
	Live  int64
	Hours uint64
	// Receipts is how many are kept. Of the last: Seq, its Total in byte-hours and its date; Other is what
	// the side that did not sign it counts up to that date.
	Receipts int64
	Seq      uint64
	Total    uint64
	Until    int64
	Other    uint64
	// Answered tells whether the other side has the last; if not, Other is about one before it.
	Answered bool
	// Overdue says that nothing new is granted on the line until there is a receipt.
	Overdue bool
	// Parted and PartedAt are number and date of the first receipt since which the two sides count differently; 0: they agree.
	Parted   uint64
	PartedAt int64
	// Proven is when the side that gives proved last that it has something, in Unix seconds; 0: it never did.
	Proven int64
	// Forged says that they answered our last receipt with one that this machine never signed.
	Forged bool
}

// UncountedLease is a lease of ours, Pieces of which, in Bytes, lie at Agent and do not count on our line: be it that our books were lost, or that the clocks were
// too far apart.
type UncountedLease struct {
	Agent         core.DID
	Lease         core.Score
	From, Until   int64
	Pieces, Bytes int64
}

// uncountedMax is how many such leases a Ledger has at most.
const uncountedMax = 8

// Differs tells whether the two sides count differently.
func (l LedgerLine) Differs() bool { return l.Answered && l.Total != l.Other }

// ledgerDecisions is how many decisions a Ledger has at most.
const ledgerDecisions = 100

// Ledger returns the books on one partner. Used and Placed are kept as they change: asking costs
// nothing by the number of pieces, but for those that are to be given back. Errors: core.ErrNotExist if there is no such partner.
func (b *Barter) Ledger(grid core.DID) (Ledger, error) {
	there, placing := b.c.Partners.Of(grid)
	p, keeping := b.owner(grid)
	switch {
	case !keeping && !placing:
		return Ledger{}, fmt.Errorf("ledger of %s: %w", grid, core.ErrNotExist)
	case !placing:
		there = Partner{Grid: grid, Pact: p.Pact}
	case !keeping:
		p = Partner{Grid: grid, Name: there.Name, Pact: there.Pact}
	}
	owners := b.owners()
	b.mu.Lock()
	landed := b.landed
	b.mu.Unlock()
	free, total, err := b.c.Free()
	if err != nil {
		return Ledger{}, fmt.Errorf("ask the disk for its free room: %w", err)
	}
	b.mu.Lock()
	b.endIdle(b.c.Clock.Now())
	b.attribute(owners...)
	facts := b.facts(p, free, total, landed)
	used, placed, missing := b.account(grid).used, b.out[grid], b.standing(b.account(grid)).Missing
	b.mu.Unlock()
	out := Ledger{
		Grid: grid, Name: p.Name, Pact: p.Pact, Gives: there.Gives, Given: p.Given, Via: p.Via,
		Used: used.Bytes, Aside: used.Aside, Pieces: used.Pieces, Room: max(0, min(facts.Room, facts.Offered-facts.Used)),
		Placed: placed.Bytes, PlacedPieces: placed.Pieces, Missing: missing,
	}
	if err := b.addLines(&out, p, there); err != nil {
		return Ledger{}, err
	}
	if out.Flows, err = b.ledgerFlows(p, there); err != nil {
		return Ledger{}, err
	}
	out.Decisions, err = b.Decisions(grid, ledgerDecisions)
	return out, err
}

// addLines adds what the two have signed, and what speaks against either.
func (b *Barter) addLines(l *Ledger, p, there Partner) (err error) {
	if l.Gave, err = b.ledgerLines(asHolder, p, true); err != nil {
		return err
	}
	if l.Had, err = b.ledgerLines(asOwner, there, false); err != nil {
		return err
	}
	if l.Returns, err = b.returns(there); err != nil {
		return err
	}
	if l.Contradictions, err = b.Contradictions(p.Grid); err != nil {
		return err
	}
	if slices.ContainsFunc(l.Had, LedgerLine.Differs) {
		if l.Uncounted, err = b.uncounted(p.Grid); err != nil {
			return err
		}
	}
	return nil
}

func (b *Barter) ledgerLines(s side, p Partner, gave bool) ([]LedgerLine, error) {
	lines, err := b.linesOf(s, &p.Grid)
	if err != nil {
		return nil, err
	}
	now, ran := b.c.Clock.Now().Unix(), b.ran()
	var out []LedgerLine
	for _, l := range lines {
		if l.rec.Pact != p.Pact {
			continue
		}
		at := max(now, l.rec.Latest)
		overdue := gave && slices.Contains(p.Agents, l.agent) && l.overdue(now, ran)
		var proven int64 // there are no proofs of a flow
		if s.resource == core.Storage {
			if proven, err = b.proven(s, l.agent); err != nil {
				return nil, err
			}
		}
		forged := false
		if s.ours {
			if forged, err = b.has(join(forgedPrefix, l.agent[:])); err != nil {
				return nil, err
			}
		}
		out = append(out, LedgerLine{
			Agent: l.agent, Live: l.meter.Live(at), Hours: l.meter.Hours(at), Receipts: l.rec.Kept,
			Seq: l.rec.Seq, Total: l.rec.Total, Until: l.rec.Until, Other: l.rec.Other, Answered: l.answered(), Overdue: overdue,
			Parted: l.rec.Parted, PartedAt: l.rec.PartedAt, Proven: proven, Forged: forged,
		})
	}
	return out, nil
}

// uncounted returns leases by which pieces of ours lie at a household without counting here.
func (b *Barter) uncounted(grid core.DID) (out []UncountedLease, err error) {
	now := b.c.Clock.Now().Unix()
	for c, err := range b.c.Books.Scan(takenPrefix, join(takenPrefix, dateKey(now))) {
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		if len(out) == uncountedMax {
			break
		}
		var s identity.Signed
		if err := codec.Unmarshal(c.Value, &s, leaseLimit); err != nil {
			return nil, fmt.Errorf("record %q is broken: %v", c.Key, err)
		}
		lease, err := pact.OpenLease(s)
		if err != nil {
			return nil, fmt.Errorf("record %q is broken: %v", c.Key, err)
		}
		if lease.Grid != grid {
			continue
		}
		u := UncountedLease{Agent: lease.Holder, Lease: s.Score(), From: lease.From, Until: lease.Until}
		for _, piece := range lease.Pieces {
			var r placedRecord
			if _, err := b.read(placedKey(piece, lease.Holder), &r); err != nil {
				return nil, err
			}
			if r.Grid == grid && r.Released == 0 && r.Counted < lease.Until {
				u.Pieces, u.Bytes = u.Pieces+1, u.Bytes+r.Size
			}
		}
		if u.Pieces > 0 {
			out = append(out, u)
		}
	}
	return out, nil
}
