package barter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

const (
	// decisionsMax is how many decisions are kept. When there is one more, the oldest of the household with
	// the most goes: so nobody can have another's forgotten by asking much.
	decisionsMax = 10_000
	// askedLately is for how many seconds a partner that asked for something counts as one that asks.
	askedLately = 7 * daySeconds
	// sameDenial is for how many seconds a denial stands for others that are just like it.
	sameDenial = hourSeconds
	// logTextMax is how many bytes of each text of an ask are kept.
	logTextMax = 64
)

// Decision is one answer to an ask, with what it was made from.
type Decision struct {
	// ID rises from one decision to the next, whoever asked.
	ID uint64
	// Time is in seconds since 1970.
	Time int64
	// Grid is the household that asked, Agent its machine.
	Grid, Agent core.DID
	Ask         core.Ask
	policy.Decision
	// Rules names the rules by which it was made; zero where they were not written down yet.
	Rules core.Score
	Facts policy.Facts
}

type decisionRecord struct {
	V       uint          `json:"v"`
	Time    int64         `json:"time"`
	Agent   core.DID      `json:"agent"`
	Ask     core.Ask      `json:"ask"`
	Grant   bool          `json:"grant"`
	Reason  string        `json:"reason"`
	Counter *core.Counter `json:"counter,omitempty"`
	Retry   int64         `json:"retry,omitempty"`
	Policy  string        `json:"policy"`
	Rules   core.Score    `json:"rules,omitzero"`
	Facts   policy.Facts  `json:"facts"`
}

// decisions is what is known of those that are kept.
type decisions struct {
	// Guarded by Barter.deciding.
	next    uint64
	last    map[core.DID]Decision
	waiting []waiting     // not counted yet
	wake    chan struct{} // of who writes them; nil: they are written when they are made
	// Guarded by Barter.writing: of those that are written.
	total  int
	counts map[core.DID]int
}

// waiting is a decision that is to be written down, unless it is, and counted.
type waiting struct {
	Decision
	written bool
}

func decisionKey(grid core.DID, id uint64) []byte {
	return join(whyPrefix, grid[:], binary.BigEndian.AppendUint64(nil, id))
}

func parseDecisionKey(key []byte) (grid core.DID, id uint64, err error) {
	rest := key[len(whyPrefix):]
	if len(rest) != didSize+8 {
		return grid, 0, fmt.Errorf("record %q is broken: a key of %d bytes", key, len(key))
	}
	return core.DID(rest[:didSize]), binary.BigEndian.Uint64(rest[didSize:]), nil
}

func parseDecision(c core.Change) (Decision, error) {
	grid, id, err := parseDecisionKey(c.Key)
	if err != nil {
		return Decision{}, err
	}
	var r decisionRecord
	if err := parse(c.Key, c.Value, &r); err != nil {
		return Decision{}, err
	}
	return Decision{
		ID: id, Time: r.Time, Grid: grid, Agent: r.Agent, Ask: r.Ask,
		Decision: policy.Decision{Grant: r.Grant, Reason: r.Reason, Counter: r.Counter, Retry: r.Retry, Policy: r.Policy},
		Rules:    r.Rules, Facts: r.Facts,
	}, nil
}

// loadDecisions counts the decisions, and reads the last of each household only: a start must be quick.
func (b *Barter) loadDecisions() error {
	b.decided = decisions{next: 1, counts: map[core.DID]int{}, last: map[core.DID]Decision{}}
	last := map[core.DID]core.Change{}
	for c, err := range b.c.Books.Scan(whyPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read decisions: %w", err)
		}
		grid, id, err := parseDecisionKey(c.Key)
		if err != nil {
			return err
		}
		b.decided.total++
		b.decided.counts[grid]++
		b.decided.next = max(b.decided.next, id+1)
		last[grid] = c
	}
	for grid, c := range last {
		d, err := parseDecision(c)
		if err != nil {
			return err
		}
		b.decided.last[grid] = d
	}
	return nil
}

// clipped is an ask as it is kept. It is decided on as it is kept, so that the decision can be replayed.
func clipped(ask core.Ask) core.Ask {
	ask.Resource = core.Resource(clip(string(ask.Resource)))
	ask.Quality, ask.Why.Kind = core.Quality(clip(string(ask.Quality))), core.WhyKind(clip(string(ask.Why.Kind)))
	ask.Why.Ref = ask.Why.Ref[:min(len(ask.Why.Ref), logTextMax)]
	return ask
}

// clip bounds a text of an ask, which is whatever the asker sent.
func clip(s string) string {
	if len(s) <= logTextMax {
		return s
	}
	return strings.ToValidUTF8(s[:logTextMax], "")
}

// Decisions returns the newest decisions on what a household asked for, at most so many, the newest first.
func (b *Barter) Decisions(grid core.DID, most int) ([]Decision, error) {
	b.writeDecisions()
	var kept []core.Change
	for c, err := range b.c.Books.Scan(join(whyPrefix, grid[:]), nil) {
		if err != nil {
			return nil, fmt.Errorf("read decisions: %w", err)
		}
		kept = append(kept, c)
	}
	slices.Reverse(kept)
	var out []Decision
	for _, c := range kept[:min(len(kept), max(most, 0))] {
		d, err := parseDecision(c)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// Decision returns one by its ID. Errors: core.ErrNotExist.
func (b *Barter) Decision(id uint64) (Decision, error) {
	b.writeDecisions()
	b.writing.Lock()
	grids := slices.Collect(maps.Keys(b.decided.counts))
	b.writing.Unlock()
	for _, grid := range grids {
		key := decisionKey(grid, id)
		value, err := b.c.Books.Get(key)
		if err == nil {
			return parseDecision(core.Change{Key: key, Value: value})
		}
		if !errors.Is(err, core.ErrNotExist) {
			return Decision{}, fmt.Errorf("read decision %d: %w", id, err)
		}
	}
	return Decision{}, fmt.Errorf("decision %d: %w", id, core.ErrNotExist)
}
