package barter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/policy"
)

// rulesKept is how many texts of rules are kept. Where there is one more, the one that came into force first goes.
const rulesKept = 1_000

// rulesRecord is what was in force since a date, under the rules' score.
type rulesRecord struct {
	V     uint  `json:"v"`
	Since int64 `json:"since"`
	// Text is in the one form that there is, Units are of the resources that there were.
	Text  string                   `json:"text"`
	Units map[core.Resource]string `json:"units"`
}

// force is which rules are in force. Guarded by Barter.mu.
type force struct {
	rules policy.Rules
	id    core.Score
	since int64
	// kept has since when each that is in the books was last in force; guarded by Barter.settling.
	kept map[core.Score]int64
}

func rulesKey(id core.Score) []byte { return join(rulesPrefix, id[:]) }

// loadRules puts those in force that were last, or, where there were none, those that the Config has.
func (b *Barter) loadRules() error {
	b.force.kept = map[core.Score]int64{}
	for c, err := range b.c.Books.Scan(rulesPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read rules: %w", err)
		}
		var r rulesRecord
		if err := parse(c.Key, c.Value, &r); err != nil {
			return err
		}
		var id core.Score
		if copy(id[:], c.Key[len(rulesPrefix):]) != len(id) {
			return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		b.force.kept[id] = r.Since
		if r.Since < b.force.since {
			continue
		}
		rules, err := b.parseRules(r)
		if err != nil {
			b.c.Log.Warn("the rules that were in force are not understood", "err", err)
			continue
		}
		b.force.rules, b.force.id, b.force.since = rules, id, r.Since
	}
	if b.force.id.IsZero() {
		return b.SetRules(b.c.Rules)
	}
	return nil
}

func (b *Barter) parseRules(r rulesRecord) (policy.Rules, error) {
	table := b.c.Table
	table.Resources = r.Units
	return table.Parse(r.Text)
}

// Rules returns the rules in force, and since when they are, in Unix seconds.
func (b *Barter) Rules() (rules policy.Rules, since int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.force.rules, b.force.since
}

// SetRules puts rules in force, from the next ask on. They are written down first, so that each decision can be replayed. Those that
// are in force already stay so. Errors: core.ErrFull.
func (b *Barter) SetRules(rules policy.Rules) error {
	id, err := rules.Score()
	if err != nil {
		return err
	}
	r := rulesRecord{V: codec.Version, Text: rules.String(), Units: rules.Units()}
	b.settling.Lock()
	defer b.settling.Unlock()
	b.mu.Lock()
	stand, last := b.force.id == id, b.force.since
	b.mu.Unlock()
	if stand {
		return nil
	}
	r.Since = max(b.c.Clock.Now().Unix(), last+1)
	c, err := change(rulesKey(id), r)
	if err != nil {
		return err
	}
	changes := []core.Change{c}
	kept := b.force.kept
	var oldest core.Score
	if _, again := kept[id]; !again && len(kept) >= rulesKept {
		oldest = slices.MinFunc(slices.SortedFunc(maps.Keys(kept), func(x, y core.Score) int { return slices.Compare(x[:], y[:]) }),
			func(x, y core.Score) int { return cmp.Compare(kept[x], kept[y]) })
		changes = append(changes, core.Change{Key: rulesKey(oldest)})
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	delete(kept, oldest)
	kept[id] = r.Since
	b.mu.Lock()
	b.force.rules, b.force.id, b.force.since = rules, id, r.Since
	b.mu.Unlock()
	return nil
}

// Replay answers the ask of a decision again, from the facts that were written down and by the rules that stood
// then, which it returns too. Errors: core.ErrNotExist if they are not kept.
func (b *Barter) Replay(d Decision) (policy.Decision, policy.Rules, error) {
	var r rulesRecord
	ok, err := b.read(rulesKey(d.Rules), &r)
	if err == nil && !ok {
		err = fmt.Errorf("the rules of decision %d: %w", d.ID, core.ErrNotExist)
	}
	if err != nil {
		return policy.Decision{}, policy.Rules{}, err
	}
	rules, err := b.parseRules(r)
	if err != nil {
		return policy.Decision{}, policy.Rules{}, fmt.Errorf("the rules of decision %d: %w", d.ID, errors.Join(core.ErrNotExist, err))
	}
	return rules.Decide(d.Ask, d.Facts), rules, nil
}

// Newest returns the newest decisions, whoever asked, at most so many, the newest first.
func (b *Barter) Newest(most int) ([]Decision, error) {
	type found struct {
		id uint64
		c  core.Change
	}
	b.writeDecisions()
	var all []found
	for c, err := range b.c.Books.Scan(whyPrefix, nil) {
		if err != nil {
			return nil, fmt.Errorf("read decisions: %w", err)
		}
		_, id, err := parseDecisionKey(c.Key)
		if err != nil {
			return nil, err
		}
		all = append(all, found{id, c})
	}
	slices.SortFunc(all, func(x, y found) int { return cmp.Compare(y.id, x.id) })
	var out []Decision
	for _, f := range all[:min(len(all), max(most, 0))] {
		d, err := parseDecision(f.c)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
