package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/barter"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

// DefaultAmount is what each side gives when an invitation does not say, in bytes.
const DefaultAmount = 10_000_000_000

// DefaultExpiry is how long an invitation is valid when it does not say.
const DefaultExpiry = 7 * 24 * time.Hour

// Terms returns the terms of an invitation that gives and wants so much. Each resource that is left out is as config.toml has
// it, else it is DefaultAmount of storage each way; a club gives nothing of its own. Errors: ErrInvalid.
func (a *Agent) Terms(give, want Amounts) (Terms, error) {
	units := a.units(nil)
	ours, err := a.settle(give.and(a.settings.Invite.Give), units, true, 0)
	if err != nil {
		return Terms{}, err
	}
	_, said := ours[core.Storage]
	if _, club := a.federation.Roll(); !said && !club {
		ours[core.Storage] = DefaultAmount
	}
	theirs, err := a.settle(want.and(a.settings.Invite.Want), units, false, ours[core.Storage])
	if _, said := theirs[core.Storage]; err == nil && !said {
		theirs[core.Storage] = DefaultAmount
	}
	if err != nil {
		return Terms{}, err
	}
	t := Terms{Give: ours[core.Storage], Want: theirs[core.Storage]}
	t.WantOf, t.GiveOf, t.Units = a.others(theirs, ours, nil)
	if t.Give == 0 && t.Want == 0 && len(t.GiveOf)+len(t.WantOf) == 0 {
		return Terms{}, fmt.Errorf("neither side gives anything: there would be nothing to agree on: %w", ErrInvalid)
	}
	return t, nil
}

// Invite makes a code for one friend. Where the terms have no amounts at all these are those of Terms, and zero
// Expires is DefaultExpiry. Errors: ErrNotHere if this agent does not listen, because the
// friend has to reach it; ErrNoNetwork.
func (a *Agent) Invite(ctx context.Context, t Terms) (Invitation, error) {
	if err := a.federation.Revoked(); err != nil {
		return Invitation{}, err
	}
	if t.Give == 0 && t.Want == 0 && len(t.GiveOf)+len(t.WantOf) == 0 {
		usual, err := a.Terms("", "")
		if err != nil {
			return Invitation{}, err
		}
		t.Give, t.Want, t.GiveOf, t.WantOf, t.Units = usual.Give, usual.Want, usual.GiveOf, usual.WantOf, usual.Units
	}
	if t.Uses == 1 {
		t.Uses = 0
	}
	if t.Give < 0 || t.Want < 0 || t.Expires < 0 {
		return Invitation{}, fmt.Errorf("an invitation with amounts or a time below zero: %w", ErrInvalid)
	}
	terms := pact.Terms{NoticeDays: t.NoticeDays, AsideDays: t.AsideDays, LeaseDays: t.LeaseDays, Days: t.Days}.WithDefaults()
	terms.InviterGives, terms.AcceptorGives = allOf(t.Give, t.GiveOf), allOf(t.Want, t.WantOf)
	terms.Units = unitsOf(a.units(nil), terms.InviterGives, terms.AcceptorGives)
	if a.network.listens() && len(a.network.Addrs()) == 0 {
		return Invitation{}, ErrNoNetwork
	}
	inv, err := a.federation.InviteSeveral(ctx, terms, cmp.Or(t.Expires, DefaultExpiry), max(t.Uses, 1))
	if err != nil {
		return Invitation{}, err
	}
	code, err := inv.Code()
	if err != nil {
		return Invitation{}, err
	}
	id := inv.ID()
	return Invitation{Code: code, ID: id[:], Expires: time.Unix(inv.Expires, 0), Terms: t}, nil
}

// WaitJoined waits until somebody has accepted an invitation.
func (a *Agent) WaitJoined(ctx context.Context, id []byte) (Pact, error) {
	if len(id) != 16 {
		return Pact{}, fmt.Errorf("an invitation's id of %d bytes: %w", len(id), ErrInvalid)
	}
	p, err := a.federation.WaitJoined(ctx, [16]byte(id))
	if err != nil {
		return Pact{}, err
	}
	return a.pactOf(p), nil
}

// Accept agrees to an invitation, if agree says yes to its terms (nil: always);
// then the two households are partners. It may be called again with the same code after a
// crash or a lost connection, with the same outcome.
func (a *Agent) Accept(ctx context.Context, code string, agree func(Terms) bool) (Pact, error) {
	if err := a.federation.Revoked(); err != nil {
		return Pact{}, err
	}
	p, err := a.federation.Accept(ctx, code, func(inv pact.Invitation) bool {
		return agree == nil || agree(a.termsOf(inv))
	})
	if err != nil {
		return Pact{}, err
	}
	// The head has the new partner in it, or a recovery would not find it. A partner
	// that cannot be told now is told later.
	if _, err := a.federation.SaveHead(ctx); err != nil {
		a.c.Log.Warn("save the head", "err", err)
	}
	return a.pactOf(p), nil
}

// allOf returns what a side gives of all resources.
func allOf(storage int64, of map[string]int64) map[core.Resource]int64 {
	out := map[core.Resource]int64{core.Storage: storage}
	for r, n := range of {
		out[core.Resource(r)] = n
	}
	return out
}

// ReadInvitation returns what a code offers, without accepting it.
func (a *Agent) ReadInvitation(code string) (Terms, error) {
	inv, err := pact.ParseInvitation(code)
	if err != nil {
		return Terms{}, err
	}
	return a.termsOf(inv), nil
}

// termsOf returns an invitation's terms as the acceptor sees them.
func (a *Agent) termsOf(inv pact.Invitation) Terms {
	t := inv.Terms
	out := Terms{
		Give: t.AcceptorGives[core.Storage], Want: t.InviterGives[core.Storage], From: inv.Name,
		NoticeDays: t.NoticeDays, AsideDays: t.AsideDays, LeaseDays: t.LeaseDays, Days: t.Days,
	}
	out.WantOf, out.GiveOf, out.Units = a.others(t.InviterGives, t.AcceptorGives, t.Units)
	for r, unit := range out.Units {
		if own, known := a.policy.table.Resources[core.Resource(r)]; known && own != unit {
			if out.OwnUnits == nil {
				out.OwnUnits = map[string]string{}
			}
			out.OwnUnits[r] = own
		}
	}
	return out
}

// Pacts yields what we have with each partner, by name.
func (a *Agent) Pacts(context.Context) iter.Seq2[Pact, error] {
	return func(yield func(Pact, error) bool) {
		for _, p := range a.federation.Partners() {
			if !yield(a.pactOf(p), nil) {
				return
			}
		}
	}
}

// hereFor is how long a partner counts as within reach after its last answer.
const hereFor = 10 * time.Minute

func (a *Agent) pactOf(p federation.Partner) Pact {
	out := Pact{
		Partner: p.Grid, Name: p.Name, ID: p.Pact.String(), Since: time.Unix(p.From, 0),
		Gives: p.Gives[core.Storage], Given: p.Given[core.Storage], Seen: p.Seen,
		Mine: a.changeOf(p.Mine), Theirs: a.changeOf(p.Theirs), Until: dateOf(p.Until), Ends: dateOf(p.Ends), Ending: p.Ending, Leaving: p.Leaving(),
	}
	out.GivesOf, out.GivenOf, out.Units = a.others(p.Gives, p.Given, p.Terms.Units)
	words := pact.CheckWords(p.Pact)
	out.Words = words[:]
	out.Keeps, _ = a.barter.Used(p.Grid)
	out.Has = a.barter.Placed(p.Grid)
	recent := !p.Seen.IsZero() && a.c.Clock.Now().Sub(p.Seen) < hereFor
	if out.Away = a.lost(agentsOf(p)); out.Away {
		out.PatienceSeconds = int64(max(0, vault.ReplaceAfter-p.Quiet) / time.Second)
	}
	for _, agent := range p.Agents {
		out.Here = out.Here || recent && !a.network.lost(agent.DID)
		out.Machines = append(out.Machines, agent.DID)
		out.Addrs = append(out.Addrs, agent.Addrs...)
	}
	return out
}

// Offer returns what this machine gives in total and what of it is used, in bytes.
func (a *Agent) Offer(context.Context) (total, used int64) { return a.barter.Offer() }

// OfferOf returns what this machine gives of each other resource in 30 days that it runs, in its unit, as config.toml has it.
func (a *Agent) OfferOf(context.Context) map[string]int64 {
	out := map[string]int64{}
	for name, n := range a.settings.Offer {
		out[name] = int64(n)
	}
	return out
}

// Promised returns what pacts, and invitations that can still be accepted, promise of each resource, in the units named: "" is bytes.
func (a *Agent) Promised(context.Context) (of map[string]int64, units map[string]string, err error) {
	all, err := a.federation.Promised()
	if err != nil {
		return nil, nil, fmt.Errorf("what is promised: %w", err)
	}
	known := a.units(nil)
	of, units = map[string]int64{}, map[string]string{}
	for r, n := range all {
		unit, ok := known[r]
		if !ok {
			unit = "units"
		}
		of[string(r)], units[string(r)] = n, unit
	}
	return of, units, nil
}

// SetOffer sets what this machine gives in total, in bytes. Nothing that is kept
// is dropped for it.
func (a *Agent) SetOffer(_ context.Context, total int64) error { return a.barter.SetOffer(total) }

// Space returns the bytes free, and in all, on the disk that has partners' pieces.
func (a *Agent) Space() (free, total int64, err error) { return a.store.Space() }

// Reserve returns the bytes of that disk that partners never get.
func (a *Agent) Reserve() (int64, error) {
	_, total, err := a.store.Space()
	return a.settings.Limits.reserve(total), err
}

// room returns the room of the disk as barter, which has a reserve of its own, is to see it.
func (a *Agent) room() (free, total int64, err error) {
	free, total, err = a.store.Space()
	return max(0, free-a.settings.Limits.reserve(total)+barter.Reserve(total)), total, err
}

// Status returns what this machine knows without asking anybody: the newest
// version of each name, or of one.
func (a *Agent) Status(ctx context.Context, name string) (Status, error) {
	self := a.federation.Self()
	out := Status{
		Household: self.Name, Grid: self.Grid, Machine: self.Agent, Dir: Path(a.c.Dir), Addrs: a.network.Addrs(),
		Epoch: self.Epoch, Recoveries: self.Recoveries, Pacts: []Pact{}, Versions: []Version{},
	}
	_, out.Club = a.federation.Roll()
	out.Running = a.network.listens()
	out.Work, out.Kept = a.works.list(), a.Kept(ctx)
	out.Offer, out.Used = a.barter.Offer()
	out.Free, _, _ = a.store.Space() // a disk that is away is told by what needs it
	if err := a.federation.Revoked(); err != nil {
		out.Revoked = err.Error()
	}
	if p := a.policyNow(); p.Fault != nil {
		out.Policy = p.Fault.in(string(p.File))
	}
	for p := range a.Pacts(ctx) {
		out.Pacts = append(out.Pacts, p)
	}
	out.Errands, out.Guests = a.Errands(), a.Guests()
	versions, err := a.vault.Versions(name)
	if err != nil {
		return out, err
	}
	if out.Carried, err = a.beingCarried(name); err != nil {
		return out, err
	}
	if name != "" && len(versions)+len(out.Carried) == 0 {
		return out, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	}
	last := ""
	for _, v := range versions {
		if v.Name == last {
			continue
		}
		last = v.Name
		shown := versionOf(v)
		if w, err := a.vault.Worth(ctx, v, a.isAway); err == nil {
			shown.Worth = a.worthOf(w)
		} else if ctx.Err() != nil {
			return out, ctx.Err()
		} else { // after a recovery, as long as too few holders are within reach to read what it consists of
			shown.Worth = Worth{Survives: -1, Text: "not known now: " + err.Error()}
		}
		out.Versions = append(out.Versions, shown)
	}
	return out, nil
}

// homeName is what a person calls the own household, as one that holds pieces.
const homeName = "your other machines"

// nameOf returns what a person calls a household.
func (a *Agent) nameOf(grid core.DID) string {
	if grid == a.federation.Self().Grid {
		return homeName
	}
	p := a.partners()
	if known, ok := p.Of(grid); ok {
		return known.Name
	}
	if guest, ok := p.Guest(grid); ok {
		return guest.Name
	}
	return grid.String()
}

// byName turns errors by household into words by name: what a person can make of them.
// The errors themselves go to the log.
func (a *Agent) byName(errs map[core.DID]error) map[string]string {
	if len(errs) == 0 {
		return nil
	}
	out := map[string]string{}
	for grid, err := range errs {
		if err != nil {
			out[a.nameOf(grid)] = a.plain(a.nameOf(grid), err)
		}
	}
	return out
}

// full returns, by name, those who refused because what their pact gives us is used up, with how much
// that is. We and they count a little differently while a put is under way: a tenth is near enough.
func (a *Agent) full(errs map[core.DID]error) map[string]int64 {
	var out map[string]int64
	for grid, err := range errs {
		p, ok := a.federation.Partner(grid)
		d, denied := errors.AsType[*Denial](err)
		gives := p.Gives[core.Storage]
		if !ok || !denied || d.Counter == nil || gives <= 0 || gives-a.barter.Placed(grid)-d.Counter.Amount > gives/10 {
			continue
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[p.Name] = gives
	}
	return out
}

// plain returns words about an error of a partner that follow the partner's name, and
// logs the error.
func (a *Agent) plain(name string, err error) string {
	a.c.Log.Info("a partner was of no help", "partner", name, "err", err)
	return wire.Plain(err)
}

// sortedKeys returns the households of a map by their names.
func sortedKeys[V any](m map[core.DID]V, name func(core.DID) string) []core.DID {
	return slices.SortedFunc(maps.Keys(m), func(a, b core.DID) int {
		return cmp.Or(cmp.Compare(name(a), name(b)), a.Compare(b))
	})
}
