package grange

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/barter"
)

// Resource names what is asked for, Quality says how urgently, WhyKind for what kind of reason.
type (
	Resource = core.Resource
	Quality  = core.Quality
	WhyKind  = core.WhyKind
)

// AskOptions are what is asked for.
type AskOptions struct {
	Resource Resource
	// Amount is in the resource's unit: bytes of storage.
	Amount int64
	// For is how long; zero is DefaultAsk.
	For time.Duration
	// Quality is Normal if it is "", Why what there is with them: a pact, a voucher or an account.
	Quality Quality
	Why     WhyKind
}

// DefaultAsk is for how long something is asked for that does not say.
const DefaultAsk = 30 * 24 * time.Hour

// askTextMax bounds each text of an ask in bytes.
const askTextMax = 64

// Allowance is what a partner has granted, or we a partner.
type Allowance struct {
	ID []byte `json:"id,omitempty"`
	// Partner is who granted it, or to whom it was; Machine is theirs.
	Partner DID    `json:"partner"`
	Name    string `json:"name"`
	Machine DID    `json:"machine"`
	// Amount is what was granted, of Resource, in its Unit: "" is bytes. Drawn is what of it was had, by receipts.
	Resource Resource `json:"resource"`
	Unit     string   `json:"unit,omitempty"`
	Amount   int64    `json:"amount"`
	Drawn    int64    `json:"drawn"`
	// From and Until are when it is open; zero of storage, which was given back at once.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Had is what has been signed for.
type Had struct {
	Partner  DID      `json:"partner"`
	Name     string   `json:"name"`
	Resource Resource `json:"resource"`
	Unit     string   `json:"unit,omitempty"`
	// Total is what was had since the pact began, of one machine of theirs.
	Total uint64 `json:"total"`
	// Waits says that they do not have the receipt yet: a running agent sends it.
	Waits bool `json:"waits,omitempty"`
}

// Ask asks a partner, or somebody who has let this household in as a guest, by name or DID, for something. Of storage it says
// only that it would be granted now: what is stored asks for itself. Of anything else the answer is an
// allowance, which Had draws on; asked again because the answer was lost, it is granted once.
// Errors: a Denial; fs.ErrNotExist for nobody of that name; ErrUnreachable; ErrInvalid.
func (a *Agent) Ask(ctx context.Context, who string, o AskOptions) (Allowance, error) {
	p, err := a.provider(who)
	if err != nil {
		return Allowance{}, err
	}
	o.For, o.Quality = cmp.Or(o.For, DefaultAsk), cmp.Or(o.Quality, core.Normal)
	if err := a.checkAsk(p.Grid, o); err != nil {
		return Allowance{}, err
	}
	got, err := a.barter.Ask(ctx, p.Grid, core.Ask{
		Resource: o.Resource, Amount: o.Amount, Seconds: int64(o.For / time.Second), Quality: o.Quality, Why: core.Why{Kind: o.Why},
	})
	if err != nil {
		return Allowance{}, err
	}
	return a.allowanceOf(p.Grid, p.Name, got), nil
}

// Had signs for so much more of a resource other than storage that this household has had of a partner. With an error the
// receipt may Wait: then it is signed all the same. Errors: fs.ErrNotExist, ErrInvalid, ErrFull, ErrUnreachable.
func (a *Agent) Had(ctx context.Context, who string, r Resource, amount int64) (Had, error) {
	p, err := a.partner(who)
	if err != nil {
		return Had{}, err
	}
	if err := a.checkResource(p.Grid, r); err != nil {
		return Had{}, err
	}
	if r == core.Storage {
		return Had{}, fmt.Errorf("machines sign for storage by themselves: %w", ErrInvalid)
	}
	total, waits, err := a.barter.Had(ctx, p.Grid, r, amount)
	out := Had{Partner: p.Grid, Name: p.Name, Resource: r, Unit: a.unit(p.Grid, r), Total: total, Waits: waits}
	return out, err
}

// provider finds who may give something.
func (a *Agent) provider(who string) (barter.Partner, error) {
	home := a.federation.Self().Grid
	for _, p := range a.partners().All() {
		if p.Grid != home && (p.Name == who || p.Grid.String() == who) {
			return p, nil
		}
	}
	return barter.Partner{}, fmt.Errorf("no partner %q: %w", who, fs.ErrNotExist)
}

func (a *Agent) checkAsk(with DID, o AskOptions) error {
	switch {
	case o.Amount <= 0:
		return fmt.Errorf("an ask for %d; it must be for 1 at least: %w", o.Amount, ErrInvalid)
	case o.For < time.Second:
		return fmt.Errorf("an ask for less than a second: %w", ErrInvalid)
	case len(o.Quality) > askTextMax || len(o.Why) > askTextMax:
		return fmt.Errorf("a quality or a why of over %d bytes: %w", askTextMax, ErrInvalid)
	}
	return a.checkResource(with, o.Resource)
}

func (a *Agent) checkResource(with DID, r Resource) error {
	if _, ok := a.unitsWith(with)[r]; ok {
		return nil
	}
	return fmt.Errorf("%.40q is not known here, and so its unit is not: config.toml can name it, [resources] %[1]s = \"kg\": %w", r, ErrInvalid)
}

// unitsWith returns what resources are counted in with another household.
func (a *Agent) unitsWith(grid DID) map[Resource]string {
	p, _ := a.federation.Partner(grid) // or no pact says anything
	return a.units(p.Terms.Units)
}

func (a *Agent) unit(with DID, r Resource) string { return a.unitsWith(with)[r] }

func (a *Agent) allowanceOf(grid DID, name string, g barter.Allowance) Allowance {
	out := Allowance{
		ID: g.ID, Partner: grid, Name: name, Machine: g.Agent, Resource: g.Resource, Unit: a.unit(grid, g.Resource), Amount: g.Amount, Drawn: g.Drawn,
	}
	if g.Until > 0 {
		out.From, out.Until = time.Unix(g.From, 0), time.Unix(g.Until, 0)
	}
	return out
}

// Flow is what a ledger has of a resource other than storage. Amounts are in its Unit: "" is bytes.
type Flow struct {
	Resource Resource `json:"resource"`
	Unit     string   `json:"unit,omitempty"`
	// Gives is what they promised us for 30 days that they run, Has what we had of it in such a time; Given what we promised
	// them, Used what counts of it: what they are allowed, whole, and what they had besides.
	Gives int64 `json:"gives"`
	Has   int64 `json:"has"`
	Given int64 `json:"given"`
	Used  int64 `json:"used"`
	// Allowed is what we may have there, Granted what they may have here.
	Allowed []Allowance `json:"allowed"`
	Granted []Allowance `json:"granted"`
	// Had and Gave have a line for each machine of theirs, with the last receipt.
	Had  []FlowLine `json:"had"`
	Gave []FlowLine `json:"gave"`
}

// FlowLine is what one machine has had of another since the pact began.
type FlowLine struct {
	// Machine is the one on their side.
	Machine  DID       `json:"machine"`
	Receipts int64     `json:"receipts"`
	Signed   uint64    `json:"signed"`
	Until    time.Time `json:"until,omitzero"`
	// Waits says that the last receipt has not been taken yet, and Waiting by how much it is more than what they count.
	Waits   bool   `json:"waits,omitempty"`
	Waiting uint64 `json:"waiting,omitempty"`
}

func (a *Agent) flowsOf(l barter.Ledger) []Flow {
	out := []Flow{}
	for _, f := range l.Flows {
		flow := Flow{
			Resource: f.Resource, Unit: a.unit(l.Grid, f.Resource), Gives: f.Gives, Has: f.Has, Given: f.Given, Used: f.Used,
			Allowed: []Allowance{}, Granted: []Allowance{}, Had: flowLinesOf(f.Had), Gave: flowLinesOf(f.Gave),
		}
		for _, g := range f.Allowed {
			flow.Allowed = append(flow.Allowed, a.allowanceOf(l.Grid, l.Name, g))
		}
		for _, g := range f.Granted {
			flow.Granted = append(flow.Granted, a.allowanceOf(l.Grid, l.Name, g))
		}
		out = append(out, flow)
	}
	return out
}

func flowLinesOf(lines []barter.LedgerLine) []FlowLine {
	out := []FlowLine{}
	for _, l := range lines {
		line := FlowLine{Machine: l.Agent, Receipts: l.Receipts, Signed: l.Total, Waits: !l.Answered}
		if line.Waits {
			line.Waiting = l.Total - min(l.Other, l.Total)
		}
		if l.Until > 0 {
			line.Until = time.Unix(l.Until, 0)
		}
		out = append(out, line)
	}
	return out
}
