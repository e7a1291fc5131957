package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

var qualities = []core.Quality{core.Idle, core.Normal, core.Prompt}

// Table is what rules may name. It is made once, where package grange is composed.
type Table struct {
	// Whys has each kind of why, and who gives it, in words that a person understands.
	Whys map[core.WhyKind]string
	// Policies make each policy from the options of its line.
	Policies map[string]func(*Options) Policy
	// Resources has the unit of each resource; "" is bytes.
	Resources map[core.Resource]string
}

func (t Table) unit(r core.Resource) (Unit, bool) {
	name, ok := t.Resources[r]
	return Unit{r, name}, ok
}

func (t Table) whys() []core.WhyKind       { return slices.Sorted(maps.Keys(t.Whys)) }
func (t Table) resources() []core.Resource { return slices.Sorted(maps.Keys(t.Resources)) }

// Rules say who is answered how: the first that fits an ask decides. The zero Rules refuse all.
// They are a value, and may be used at once.
type Rules struct {
	table Table
	rules []Rule
}

// Rule is one line.
type Rule struct {
	// Line is where it stands in the text that it was read from.
	Line int
	// Why, Quality and Resource are of the asks that it is for; "" is any.
	Why      core.WhyKind
	Quality  core.Quality
	Resource core.Resource
	// From is the household or grid that it is for, by its name here or its DID; "" is any.
	From string
	// Policy decides.
	Policy Policy

	grid core.DID // of a From that is one
}

// All returns the rules in their order.
func (r Rules) All() []Rule { return slices.Clone(r.rules) }

// Units returns the unit of each resource; "" is bytes.
func (r Rules) Units() map[core.Resource]string { return maps.Clone(r.table.Resources) }

// Rule returns the first that fits.
func (r Rules) Rule(ask core.Ask, facts Facts) (Rule, bool) {
	if _, known := r.table.Whys[ask.Why.Kind]; !known {
		return Rule{}, false
	}
	for _, rule := range r.rules {
		if rule.fits(ask, facts) {
			return rule, true
		}
	}
	return Rule{}, false
}

func (r Rule) fits(ask core.Ask, facts Facts) bool {
	return (r.Why == "" || r.Why == ask.Why.Kind) && (r.Quality == "" || r.Quality == ask.Quality) &&
		(r.Resource == "" || r.Resource == ask.Resource) && (r.From == "" || r.isFrom(facts))
}

// isFrom tells whether the asker is the one that the rule is for, or the grid on whose pact it draws. Whoever has no pact
// of its own has a name that it has chosen itself, so that is not looked at.
func (r Rule) isFrom(facts Facts) bool {
	switch {
	case !r.grid.IsZero():
		return facts.Grid == r.grid || facts.Via != nil && facts.Via.Grid == r.grid
	case facts.Via != nil:
		return facts.Via.Name == r.From
	}
	return facts.Account == nil && facts.Partner == r.From
}

// covers tells whether no ask that s is for comes as far as s.
func (r Rule) covers(s Rule) bool {
	return (r.Why == "" || r.Why == s.Why) && (r.Quality == "" || r.Quality == s.Quality) &&
		(r.Resource == "" || r.Resource == s.Resource) && (r.From == "" || r.From == s.From)
}

// String returns the rule as its line has it, in the one way that there is.
func (r Rule) String() string { return strings.Join(append(r.fields(), textOf(r.Policy)), " ") }

func (r Rule) fields() []string {
	out := []string{string(r.Why)}
	if r.Why == "" {
		out[0] = wordAny
	}
	if r.Quality != "" {
		out = append(out, string(r.Quality))
	}
	if r.Resource != "" {
		out = append(out, string(r.Resource))
	}
	if r.From != "" {
		out = append(out, wordFrom, quoted(r.From))
	}
	return out
}

// Words says what the rule means, to a person.
func (r Rules) Words(rule Rule) string {
	who := "All"
	if rule.Why != "" {
		who = r.table.Whys[rule.Why]
	}
	if rule.From != "" {
		who += ", only " + rule.From + ","
	}
	what := ""
	if rule.Quality != "" || rule.Resource != "" {
		what = " that ask for " + strings.TrimSpace(string(rule.Resource)+" "+ofQuality(rule))
	}
	return who + what + " get " + rule.Policy.Words() + "."
}

func ofQuality(rule Rule) string {
	switch {
	case rule.Quality == "":
		return ""
	case rule.Resource == "":
		return "anything of quality " + string(rule.Quality)
	}
	return "of quality " + string(rule.Quality)
}

// Score names the rules: what they say, and the units of the resources that there are.
func (r Rules) Score() (core.Score, error) {
	raw, err := codec.Marshal(struct {
		V     uint                     `json:"v"`
		Text  string                   `json:"text"`
		Units map[core.Resource]string `json:"units"`
	}{codec.Version, r.String(), r.table.Resources})
	if err != nil {
		return core.Score{}, fmt.Errorf("write rules: %w", err)
	}
	return core.ScoreOf(raw), nil
}

// String returns the rules in the one way that there is, a line each: read again it is the same rules.
func (r Rules) String() string {
	var out strings.Builder
	for _, rule := range r.rules {
		out.WriteString(rule.String())
		out.WriteByte('\n')
	}
	return out.String()
}
