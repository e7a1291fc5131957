package grange

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/steward"
	"github.com/grange-grid/grange/service/federation"
)

// Machine is one of this household's.
type Machine struct {
	ID DID `json:"id"`
	// Short tells it from the others in few letters.
	Short string `json:"short"`
	// Name is what it is called within the household; it may be empty.
	Name string `json:"name"`
	// Self says that it is this one.
	Self bool `json:"self"`
	// Seen is when it last answered; zero for never, and of this one. Here says that it is
	// within reach now, Away that it was found not to be.
	Seen  time.Time `json:"seen,omitzero"`
	Here  bool      `json:"here"`
	Away  bool      `json:"away,omitempty"`
	Addrs []string  `json:"addrs,omitempty"`
	// Head is the number of its newest state that is known here, or, of one that was
	// removed, of the last that counts; 0 for none.
	Head uint64 `json:"head"`
}

// Removal is how far the removal of a machine has come.
type Removal struct {
	Machine DID    `json:"machine"`
	Epoch   uint64 `json:"epoch"`
	// Already says that it had been removed before.
	Already bool `json:"already,omitempty"`
	// Told partners and machines know of it; Failed says of the others why not, by name.
	// They hear of it from Run.
	Told   []string          `json:"told"`
	Failed map[string]string `json:"failed,omitempty"`
}

// AddOptions say how a machine is added.
type AddOptions struct {
	// From is a machine of this household or of one partner: an address with its /p2p
	// part, or a partner's invitation.
	From     string
	Progress func(Progress)
}

// AddMachine makes this machine, on a new directory, one more of a household, from its
// recovery phrase. All that the household has stored is there at once. Called again
// after it was cut short, it goes on. Errors are Recover's.
func AddMachine(ctx context.Context, c Config, phrase string, o AddOptions) (RecoverResult, error) {
	return Recover(ctx, c, phrase, RecoverOptions{From: o.From, KeepMachines: true, Progress: o.Progress, add: true})
}

// Machines returns this household's machines, this one first, and those that were removed.
func (a *Agent) Machines(context.Context) (list, removed []Machine, err error) {
	known, gone, err := a.federation.Machines()
	if err != nil {
		return nil, nil, err
	}
	machineOf := func(m federation.Machine) Machine {
		return Machine{ID: m.Agent, Short: m.Agent.Short(), Name: m.Name, Self: m.Self, Seen: m.Seen, Addrs: m.Addrs, Head: m.Head}
	}
	for _, m := range gone {
		removed = append(removed, machineOf(m))
	}
	for _, m := range known {
		out := machineOf(m)
		if m.Self {
			out.Here, out.Addrs = true, a.network.Addrs()
		} else {
			out.Away = a.network.lost(m.Agent)
			out.Here = !out.Away && !m.Seen.IsZero() && a.c.Clock.Now().Sub(m.Seen) < hereFor
		}
		list = append(list, out)
	}
	return list, removed, nil
}

// RemoveMachine takes another machine out of this household, by the recovery phrase. which is
// its name, its DID, or what is short for that. It can read nothing that is stored from then
// on, and no partner that has heard of it lets it in. What it stored stays.
// Errors: ErrInvalid for a phrase that is none, for this very machine, and for a name that
// several have; fs.ErrNotExist for none; core.ErrForbidden for another household's phrase;
// ErrUnreachable where nobody can be asked: then nothing was done.
func (a *Agent) RemoveMachine(ctx context.Context, phrase, which string) (Removal, error) {
	entropy, err := steward.Secret(phrase)
	if err != nil {
		return Removal{}, err
	}
	machine, err := a.machine(ctx, which)
	if err != nil {
		return Removal{}, err
	}
	r, err := a.federation.RemoveMachine(ctx, entropy, machine)
	out := Removal{Machine: machine, Epoch: r.Self.Epoch, Already: r.Already, Told: []string{}, Failed: map[string]string{}}
	for _, who := range r.Told {
		out.Told = append(out.Told, a.whoIs(ctx, who))
	}
	for who, err := range r.Failed {
		out.Failed[a.whoIs(ctx, who)] = wire.Plain(err)
	}
	slices.Sort(out.Told)
	if lost := a.barter.GiveUpRemoved(ctx); lost != nil {
		a.c.Log.Warn("give up what is lost", "err", lost)
	}
	leave(a.came) // what lay there is made again
	return out, err
}

// machine finds a machine of this household, listed or removed.
func (a *Agent) machine(ctx context.Context, which string) (DID, error) {
	if did, err := core.ParseDID(which); err == nil {
		return did, nil
	}
	list, removed, err := a.Machines(ctx)
	if err != nil {
		return DID{}, err
	}
	var found []DID
	for _, group := range [][]Machine{list, removed} {
		for _, m := range group {
			if m.Short == which {
				return m.ID, nil
			}
			if m.Name == which {
				found = append(found, m.ID)
			}
		}
		if len(found) > 0 {
			break // a name that a machine has now is that one's
		}
	}
	switch len(found) {
	case 0:
		return DID{}, fmt.Errorf("no machine %q: %w", which, fs.ErrNotExist)
	case 1:
		return found[0], nil
	}
	return DID{}, fmt.Errorf("%d machines are called %q: %w", len(found), which, ErrInvalid)
}

// whoIs returns what a person calls a partner or a machine of this household.
func (a *Agent) whoIs(ctx context.Context, who DID) string {
	list, _, _ := a.Machines(ctx) // without it the DID is shown
	for _, m := range list {
		if m.ID == who && m.Name != "" {
			return m.Name + " (" + m.Short + ")"
		}
	}
	return a.nameOf(who)
}

// together finds out, whenever another machine of ours has stored something, where its
// pieces lie and what its versions consist of.
func (a *Agent) together(ctx context.Context) error {
	for {
		select {
		case <-a.federation.Merged():
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, p := range a.places() {
			if err := a.learnFrom(ctx, p.Grid); err != nil && ctx.Err() == nil {
				a.c.Log.Info("what a partner holds of our other machines' is not known yet", "partner", p.Name, "err", err)
			}
		}
		if err := a.vault.TakeOver(ctx, nil); err != nil && ctx.Err() == nil {
			a.c.Log.Info("read manifests", "err", err) // it is done again when it is needed
		}
	}
}
