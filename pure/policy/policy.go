// Package policy answers an ask's "why should you?": from the ask and a few
// facts it makes a grant, or a denial with its reason and what would be granted
// instead.
//
// Who is answered how is said by Rules, a small text that a person writes: the
// first line that fits an ask names the policy that decides. A policy is a pure
// function, so that each decision can be replayed from the books and explained.
// Capacity comes before policy: what there is no room for is refused in the same
// words whoever asks. A new kind of why is one more entry of a Table, a new policy
// a file with one more; nothing else changes.
//
// The package measures nothing and keeps nothing: the facts come from the
// caller, who also reserves what was granted. Two decisions made from the same
// facts can both be grants although there is room for one; to decide and to
// reserve in one step is the caller's part.
package policy

import "github.com/grange-grid/grange/core"

// The names of policies that pacts name.
const (
	NameOpen = "open"
	NameDeny = "deny"
)

// Decision is the answer to one ask.
type Decision struct {
	Grant bool
	// Reason is one line for a person, without a full stop. A denial's is meant for
	// the asker, after "bo said no: ".
	Reason string
	// Counter is what would be granted now; nil where nothing sensible can be said.
	Counter *core.Counter
	// Retry is in how many seconds to ask again; 0 says nothing.
	Retry int64
	// Policy names what decided: a policy's name, or what refused before any policy was asked: "pact", "receipt",
	// "form", "busy", "capacity" or "why".
	Policy string
}

// Denial returns the decision as the error that travels to the asker; nil for
// a grant.
func (d Decision) Denial() *core.Denial {
	if d.Grant {
		return nil
	}
	return &core.Denial{Reason: d.Reason, Counter: d.Counter, Retry: d.Retry}
}

// Equal tells whether two decisions are the same in all that they say.
func (d Decision) Equal(e Decision) bool {
	same := d.Counter == e.Counter || d.Counter != nil && e.Counter != nil && *d.Counter == *e.Counter
	return same && d.Grant == e.Grant && d.Reason == e.Reason && d.Retry == e.Retry && d.Policy == e.Policy
}

// Policy is one line's policy with its options. Its methods are pure, and may be called at once.
type Policy interface {
	// Name is what the rules call it.
	Name() string
	// Options are as the rules have them, from the second on with a space between; "" where all are the default.
	Options() string
	// Words say what it does, after "they get ": for a person.
	Words() string
	// Decide answers an ask that is well-formed and for which there is room.
	Decide(core.Ask, Facts, Unit) Decision
}

// sharer is a Policy that looks at the other partners.
type sharer interface {
	Policy
	crowd(Facts, Unit) Crowd
}

// crowdOf returns what a policy makes of the other partners: what it made of them when they were known, or makes of them now.
func crowdOf(p sharer, facts Facts, unit Unit) Crowd {
	if facts.Crowd != nil && facts.Crowd.By == textOf(p) {
		return *facts.Crowd
	}
	return p.crowd(facts, unit)
}

// textOf is a policy as the rules have it.
func textOf(p Policy) string {
	if options := p.Options(); options != "" {
		return p.Name() + " " + options
	}
	return p.Name()
}
