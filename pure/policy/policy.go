// Package policy answers an ask's "why should you?": from the ask and a few
// facts it makes a grant, or a denial with its reason and what would be granted
// instead.
//
// A policy is a pure function, so that each decision can be replayed from the
// books and explained. Capacity comes before policy: what there is no room for
// is refused in the same words whoever asks. A new kind of why is one more entry
// of a Table, a new policy one more function; nothing else changes.
//
// The package measures nothing and keeps nothing: the facts come from the
// caller, who also reserves what was granted. Two decisions made from the same
// facts can both be grants although there is room for one; to decide and to
// reserve in one step is the caller's part.
package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
)

// Facts are what a decision may depend on besides the ask itself.
// A negative amount counts as 0.
type Facts struct {
	// Now is the time in seconds since 1970.
	Now int64 `json:"now"`
	// Room is how many bytes could be kept now: the least of what the disk, the
	// reserve and the offer to all partners together allow.
	Room int64 `json:"room"`
	// Offered is what the pact promises the asker, in bytes.
	Offered int64 `json:"offered"`
	// Used is how much of Offered is taken, what is set aside included, in bytes.
	Used int64 `json:"used"`
	// SecondsMax is the longest duration that the pact allows now; 0 sets no bound.
	SecondsMax int64 `json:"seconds_max,omitempty"`
	// Partner is what the asker is called here. It stands only in the reasons of
	// grants, which stay in the books; a denial's reason travels to the asker.
	Partner string `json:"partner"`
	// Total is the bytes given to all partners together, Others are the other partners. Only policies that
	// share look at them.
	Total  int64   `json:"total"`
	Others []Other `json:"others,omitempty"`
	// Gives is how much the partner keeps for us, as it was proven when that was last looked at: while it
	// is away nothing changes. Missing is what it should have kept, and has lost.
	Gives   int64 `json:"gives,omitempty"`
	Missing int64 `json:"missing,omitempty"`
	// Age is for how many seconds of running we have had a pact with the partner.
	Age int64 `json:"age,omitempty"`
	// Busy is in how many seconds to ask again, where there is more to do than can be done; else 0.
	Busy int64 `json:"busy,omitempty"`
	// Via is the grid on whose pact a voucher draws, nil for an ask without one.
	Via *Via `json:"via,omitempty"`
	// Account is what is known of the account that an ask names, nil for an ask without one.
	Account *Account `json:"account,omitempty"`
}

// Via is a grid that has a pact, whose member asks.
type Via struct {
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	// Offered is what the pact promises the grid, Used what all of its members have together.
	Offered int64 `json:"offered"`
	Used    int64 `json:"used"`
	// Share is the most that the voucher gives this member.
	Share int64 `json:"share"`
	// Until is when the voucher ends, in Unix seconds.
	Until int64 `json:"until"`
}

// The states of an account.
const (
	AccountGood    = "good"
	AccountRevoked = "revoked"
	AccountExpired = "expired"
	// AccountDown says that its server cannot be reached, and that what it said last is too old.
	AccountDown = "down"
)

// Account is what an account server says of an account.
type Account struct {
	Server core.DID `json:"server"`
	ID     string   `json:"id"`
	Plan   string   `json:"plan"`
	// Quota is what the plan gives, Used what the account has at all storage servers.
	Quota int64 `json:"quota"`
	Used  int64 `json:"used"`
	// State is one of those above; any other is no good.
	State string `json:"state"`
	// Checked is when the server said so, Until for how long that may be relied on, in Unix seconds.
	Checked int64 `json:"checked"`
	Until   int64 `json:"until"`
}

// Decision is the answer to one ask.
type Decision struct {
	Grant bool
	// Reason is one line for a person, without a full stop. A denial's is meant for
	// the asker, after "bo said no: ".
	Reason string
	// Counter is what would be granted now; nil where nothing sensible can be said.
	Counter *core.Counter
	// Policy names what decided: "open", "deny", "even", or "form", "capacity" or "why" for
	// what a Table refused before any policy was asked.
	Policy string
}

// Denial returns the decision as the error that travels to the asker; nil for
// a grant.
func (d Decision) Denial() *core.Denial {
	if d.Grant {
		return nil
	}
	return &core.Denial{Reason: d.Reason, Counter: d.Counter}
}

// Policy decides an ask for which there is room. It must be a pure function and
// safe to call at once.
type Policy func(core.Ask, Facts) Decision

// The names of policies, as pacts have them.
const (
	NameOpen = "open"
	NameDeny = "deny"
	NameEven = "even"
)

// Named returns the policy of that name, and whether there is one.
func Named(name string) (Policy, bool) {
	switch name {
	case NameOpen:
		return Open, true
	case NameDeny:
		return Deny, true
	case NameEven:
		return Even, true
	}
	return nil, false
}

// Open grants always: the policy for a friend.
func Open(ask core.Ask, facts Facts) Decision {
	after := left(facts) - ask.Amount
	return Decision{
		Grant:  true,
		Reason: fmt.Sprintf("%s is a friend; %s left of %s after this", facts.Partner, bytesDown(after), Bytes(facts.Offered)),
		Policy: NameOpen,
	}
}

// Deny refuses always.
func Deny(core.Ask, Facts) Decision {
	return Decision{Reason: "nothing is given here at present", Policy: NameDeny}
}

// Table chooses the policy by the ask's kind of why. The zero Table refuses all.
type Table struct {
	ByWhy map[core.WhyKind]Policy
}

// Decide answers an ask: first whether it is well-formed, then whether there is
// room, then what the policy of its why says. A kind of why that is not in the
// table is refused.
func (t Table) Decide(ask core.Ask, facts Facts) Decision {
	if reason := malformed(ask); reason != "" {
		return Decision{Reason: reason, Policy: "form"}
	}
	decide := t.ByWhy[ask.Why.Kind]
	if d, short := capacity(ask, facts); short {
		less := ask
		less.Amount, less.Seconds = d.Counter.Amount, cmp.Or(min(ask.Seconds, d.Counter.Seconds), ask.Seconds)
		if decide != nil && less.Amount > 0 { // what is offered in its place, the policy must grant
			if p := decide(less, facts); !p.Grant {
				d.Counter = p.Counter
			}
		}
		return d
	}
	if decide == nil {
		return Decision{Reason: t.whyUnknown(ask.Why.Kind), Policy: "why"}
	}
	return decide(ask, facts)
}

// malformed returns why an ask makes no sense, or "".
func malformed(ask core.Ask) string {
	switch {
	case ask.Resource != core.Storage:
		return fmt.Sprintf("%.40q is not given here; only %s is", ask.Resource, core.Storage)
	case ask.Amount <= 0:
		return fmt.Sprintf("an ask for %d bytes; it must be for 1 at least", ask.Amount)
	case ask.Seconds <= 0:
		return fmt.Sprintf("an ask for %d seconds; it must be for 1 at least", ask.Seconds)
	}
	switch ask.Quality {
	case core.Idle, core.Normal, core.Prompt:
		return ""
	}
	return fmt.Sprintf("quality %.40q is not understood here; %s, %s and %s are", ask.Quality, core.Idle, core.Normal, core.Prompt)
}

// capacity refuses what there is no room for, by whichever bound is nearer.
func capacity(ask core.Ask, facts Facts) (Decision, bool) {
	promised, room := left(facts), max(facts.Room, 0)
	most := min(promised, room)
	d := Decision{Policy: "capacity", Counter: &core.Counter{Amount: most, Seconds: max(facts.SecondsMax, 0)}}
	switch {
	case ask.Amount > promised && facts.Offered <= 0:
		d.Reason = fmt.Sprintf("the pact gives you nothing; %s needed", bytesUp(ask.Amount))
	case ask.Amount > promised && promised <= room:
		d.Reason = fmt.Sprintf("%s left of your %s; %s needed", bytesDown(promised), Bytes(facts.Offered), bytesUp(ask.Amount))
	case ask.Amount > room && room == 0:
		d.Reason = fmt.Sprintf("no room here now; %s needed", bytesUp(ask.Amount))
	case ask.Amount > room:
		d.Reason = fmt.Sprintf("%s free; ask for at most %s", bytesDown(room), bytesDown(room))
	case facts.SecondsMax > 0 && ask.Seconds > facts.SecondsMax:
		d.Counter.Amount = ask.Amount
		d.Reason = fmt.Sprintf("%s is the longest now; %s asked for", span(facts.SecondsMax, down), span(ask.Seconds, up))
	default:
		return Decision{}, false
	}
	return d, true
}

// left is how much of the pact's promise is not taken.
func left(facts Facts) int64 {
	return max(max(facts.Offered, 0)-max(facts.Used, 0), 0)
}

func (t Table) whyUnknown(kind core.WhyKind) string {
	var known []string
	for _, k := range slices.Sorted(maps.Keys(t.ByWhy)) {
		if t.ByWhy[k] != nil {
			known = append(known, string(k))
		}
	}
	switch {
	case len(known) == 0:
		return "no reason is good enough here at present"
	case kind == core.WhyNone || kind == "":
		return "no reason was given; one is needed: " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("reason %.40q is not accepted here; accepted: %s", kind, strings.Join(known, ", "))
}
