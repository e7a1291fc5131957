package barter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// contradictionsMax is how many pairs of receipts that contradict each other are kept of a household: those that differ most, so
// that small ones cannot push a large one out.
const contradictionsMax = 16

// Contradiction is two receipts that a partner's machine has signed with one number: proof, to anybody, that it did. Both
// were verified.
type Contradiction struct {
	Agent    core.DID
	Resource core.Resource
	Seq      uint64
	// Kept is the one that was taken first, Other the one that came later.
	Kept, Other   pact.Receipt
	Proof         [2]identity.Signed
	Time          int64 // when the other came, in Unix seconds
	Differs, Lost int64 // by how much the totals differ, and for how much it stands as lost at first
	// Counts says that it still counts against the household.
	Counts bool
	day    int64
}

// twiceRecord is a contradiction as it is kept.
type twiceRecord struct {
	V     uint            `json:"v"`
	Kept  identity.Signed `json:"kept"`
	Other identity.Signed `json:"other"`
	Time  int64           `json:"time"`
	// Day is the day of running when the other came.
	Day int64 `json:"day"`
}

func twiceKey(grid core.DID, r pact.Receipt) []byte {
	return join(twicePrefix, grid[:], r.Receiver[:], dateKey(int64(r.Seq)), []byte(r.Resource))
}

// contradiction verifies two receipts of one line with one number. Errors: core.ErrInvalid where they do not contradict each other, and as pact.OpenReceipt.
func contradiction(r twiceRecord) (Contradiction, error) {
	kept, err := pact.OpenReceipt(r.Kept)
	if err != nil {
		return Contradiction{}, err
	}
	other, err := pact.OpenReceipt(r.Other)
	if err != nil {
		return Contradiction{}, err
	}
	if kept.Line() != other.Line() || kept.Seq != other.Seq || kept == other {
		return Contradiction{}, fmt.Errorf("receipts %d and %d do not contradict each other: %w", kept.Seq, other.Seq, core.ErrInvalid)
	}
	differs := max(kept.Total, other.Total) - min(kept.Total, other.Total)
	c := Contradiction{
		Agent: kept.Receiver, Resource: kept.Resource, Seq: kept.Seq, Kept: kept, Other: other, Proof: [2]identity.Signed{r.Kept, r.Other},
		Time: r.Time, Differs: int64(min(differs, pact.AmountMax)), day: r.Day,
	}
	if c.Lost = c.Differs; c.Resource == core.Storage {
		const hours = 24 * lossDays
		c.Lost = int64(min(differs/hours+min(differs%hours, 1), pact.AmountMax))
	}
	return c, nil
}

// contradicts looks whether a receipt that was not taken contradicts one that is kept, and if so writes both down. Nobody gains by sending
// it: what was taken first stands.
func (b *Barter) contradicts(owner, agent core.DID, s identity.Signed) error {
	r, err := pact.OpenReceipt(s)
	if err != nil {
		return err
	}
	l, err := b.lineOf(asHolder.of(r.Resource), owner, agent)
	if err != nil {
		return err
	}
	twice := twiceRecord{V: codec.Version, Other: s, Time: b.c.Clock.Now().Unix(), Day: b.ran() / daySeconds}
	known, err := b.read(l.receiptKey(r.Seq), &twice.Kept)
	if err != nil || !known {
		return err
	}
	if bytes.Equal(twice.Kept.Body, s.Body) { // it has only come late
		return nil
	}
	fresh, err := contradiction(twice)
	if err != nil {
		return err
	}
	return b.keepContradiction(owner, fresh, twice)
}

func (b *Barter) keepContradiction(owner core.DID, fresh Contradiction, r twiceRecord) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	kept, err := b.Contradictions(owner)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(kept, func(c Contradiction) bool { return c.Counts })
	key := twiceKey(owner, fresh.Kept)
	if i := slices.IndexFunc(kept, func(c Contradiction) bool { return string(twiceKey(owner, c.Kept)) == string(key) }); i >= 0 {
		if fresh.Differs <= kept[i].Differs {
			return nil
		}
		kept = slices.Delete(kept, i, i+1)
	}
	c, err := change(key, r)
	if err != nil {
		return err
	}
	changes := []core.Change{c}
	if len(kept) >= contradictionsMax {
		least := slices.MinFunc(kept, func(x, y Contradiction) int { return cmp.Compare(x.Differs, y.Differs) })
		if fresh.Differs <= least.Differs {
			return nil
		}
		changes = append(changes, core.Change{Key: twiceKey(owner, least.Kept)})
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record receipts that contradict each other: %w", err)
	}
	if !known { // or it could alarm without end
		b.c.Alarm(owner, fmt.Sprintf("%s has signed two different receipts with the number %d: both are kept", b.nameOf(owner), fresh.Seq))
	}
	all, err := b.Contradictions(owner)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blame(owner, all)
	return nil
}

// blame has contradictions count against a household. The caller holds b.mu.
func (b *Barter) blame(grid core.DID, all []Contradiction) {
	a := b.account(grid)
	a.twice = map[core.Resource][]lossDay{}
	for _, c := range all {
		a.twice[c.Resource] = append(a.twice[c.Resource], lossDay{Day: c.day, Bytes: c.Lost})
	}
	b.touch(a)
}

// Contradictions returns the receipts of a household's machines that contradict each other, by machine and number.
func (b *Barter) Contradictions(grid core.DID) ([]Contradiction, error) {
	var out []Contradiction
	today := b.ran() / daySeconds
	for c, err := range b.c.Books.Scan(join(twicePrefix, grid[:]), nil) {
		if err != nil {
			return nil, fmt.Errorf("read receipts that contradict each other: %w", err)
		}
		var r twiceRecord
		if err := parse(c.Key, c.Value, &r); err != nil {
			return nil, err
		}
		pair, err := contradiction(r)
		if err != nil {
			return nil, fmt.Errorf("record %q is broken: %v", c.Key, err)
		}
		pair.Counts = today-pair.day < lossDays
		out = append(out, pair)
	}
	return out, nil
}

// loadContradictions has those in the books count.
func (b *Barter) loadContradictions() error {
	seen := map[core.DID]bool{}
	for c, err := range b.c.Books.Scan(twicePrefix, nil) {
		if err != nil {
			return fmt.Errorf("read receipts that contradict each other: %w", err)
		}
		rest := c.Key[len(twicePrefix):]
		if len(rest) < 2*didSize+dateSize {
			return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		grid := core.DID(rest[:didSize])
		if seen[grid] {
			continue
		}
		seen[grid] = true
		all, err := b.Contradictions(grid)
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.blame(grid, all)
		b.mu.Unlock()
	}
	return nil
}

// errForged says that a provider answers with a receipt that this machine never signed for it.
var errForged = errors.New("none that this machine has signed for it")

// noteForged tells the person, once until a receipt is taken again, of a provider that answers with such a receipt.
func (b *Barter) noteForged(p Partner, agent core.DID, why error) error {
	if !errors.Is(why, errForged) {
		return nil
	}
	key := join(forgedPrefix, agent[:])
	told, err := b.has(key)
	if err != nil || told {
		return err
	}
	if err := b.c.Books.Apply(core.Change{Key: key, Value: []byte{1}}); err != nil {
		return fmt.Errorf("note a receipt that was forged: %w", err)
	}
	b.c.Alarm(p.Grid, fmt.Sprintf("%s takes no receipt, and shows as our last one that this machine has never signed", p.Name))
	return nil
}
