package grange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/service/accounts"
	"github.com/grange-grid/grange/service/barter"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

// The types below turn one room's word into another's; they decide nothing.

// partners is federation as barter sees it, with what is known of accounts.
type partners struct {
	f *federation.Federation
	h *accounts.Holder
}

func (a *Agent) partners() partners { return partners{a.federation, a.accounts.holder} }

func (p partners) All() []barter.Partner {
	var out []barter.Partner
	for _, partner := range p.f.Partners() {
		out = append(out, partnerOf(partner))
	}
	for _, e := range p.f.Errands() {
		out = append(out, errandOf(e))
	}
	return append(out, p.home())
}

// home is our own household: its machines keep pieces for each other.
func (p partners) home() barter.Partner {
	out := partnerOf(p.f.Home())
	out.Name = homeName
	return out
}

func (p partners) Of(grid core.DID) (barter.Partner, bool) {
	if grid == p.f.Self().Grid {
		return p.home(), true
	}
	if partner, ok := p.f.Partner(grid); ok {
		return partnerOf(partner), true
	}
	e, ok := p.f.Errand(grid)
	return errandOf(e), ok
}

func (p partners) Guests() []barter.Partner {
	var out []barter.Partner
	for _, g := range p.f.Guests() {
		out = append(out, p.guestOf(g))
	}
	return out
}

func (p partners) Guest(grid core.DID) (barter.Partner, bool) {
	g, ok := p.f.Guest(grid)
	return p.guestOf(g), ok
}

func partnerOf(p federation.Partner) barter.Partner {
	out := barter.Partner{
		Grid: p.Grid, Name: p.Name, Pact: p.Pact, LeaseDays: int64(p.Terms.LeaseDays), AsideDays: int64(p.Terms.AsideDays),
		Gives: p.Gives[core.Storage], Given: p.Given[core.Storage], GivesOf: p.Gives, GivenOf: p.Given, Ends: p.Ends, Leaving: p.Leaving(),
	}
	out.Agents = agentsOf(p)
	return out
}

// guestOf is a guest as barter sees it: the terms are those of the pact on which it draws, or those of accounts.
func (p partners) guestOf(g federation.Guest) barter.Partner {
	terms := g.Terms()
	out := barter.Partner{Grid: g.Grid, Agents: g.Agents, LeaseDays: int64(terms.LeaseDays), AsideDays: int64(terms.AsideDays)}
	if name := g.Account; name != (federation.AccountName{}) {
		stand := p.h.Facts(accounts.Name{Server: name.Server, Account: name.ID}, g.Grid)
		if stand == nil { // whatever was known was lost: it shows its token again
			stand = &policy.Account{Server: name.Server, ID: name.ID}
		}
		stand.Refs = g.Refs
		out.Name, out.Pact, out.Given = fmt.Sprintf("%s (account %s)", g.Name, name.ID), pact.Home(name.Server), stand.Quota
		out.Via = &barter.Via{Kind: core.WhyAccount, Account: stand, Name: name.ID, Until: stand.Until}
		return out
	}
	out.Name, out.Pact, out.Given = g.Name+" of "+g.Via.Name, pact.Home(g.Via.Grid), g.Share
	out.Ends, out.Leaving = g.Via.Ends, g.Via.Leaving()
	out.Via = &barter.Via{
		Kind: core.WhyVoucher, Grid: g.Via.Grid, Pact: g.Via.Pact, Name: g.Via.Name, Offered: g.Via.Given[core.Storage], Share: g.Share, Until: g.Until, Chain: g.Chain, Refs: g.Refs,
	}
	return out
}

// errandOf is a household where a voucher or an account lets us in.
func errandOf(e federation.Errand) barter.Partner {
	kind := core.WhyVoucher
	if e.Account != (federation.AccountName{}) {
		kind = core.WhyAccount
	}
	return barter.Partner{
		Grid: e.Grid, Name: e.Name, Pact: pact.Home(e.Subject), Gives: e.Amount, Agents: e.Agents, LeaseDays: e.LeaseDays, AsideDays: e.AsideDays,
		Ends: e.Ends, Leaving: e.Leaving, Why: core.Why{Kind: kind, Ref: e.Ref[:]},
	}
}

// heedful is the network as barter sees it: what a partner says of our own
// household's newer charter is looked at by federation, and believed only with the evidence.
type heedful struct {
	*network
	f *federation.Federation
}

// at makes a call. Where we are let in by a voucher, that has been shown before; and once more if it seems to be forgotten.
func (h heedful) at(ctx context.Context, to core.DID, call func() error) error {
	h.f.Enter(ctx, to, false)
	err := call()
	if errors.Is(err, core.ErrForbidden) && h.f.Enter(ctx, to, true) {
		err = call()
	}
	if err == nil {
		return nil
	}
	return h.f.Heed(ctx, err)
}

func (h heedful) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	return h.at(ctx, to, func() error { return h.network.Call(ctx, to, method, path, in, out) })
}

func (h heedful) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	return h.at(ctx, to, func() error { return h.network.CallLimit(ctx, to, method, path, in, out, limit) })
}

func (h heedful) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	return h.at(ctx, to, func() error { return h.network.Send(ctx, to, path, body) })
}

func (h heedful) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) (data []byte, err error) {
	err = h.at(ctx, to, func() error {
		data, err = h.network.Fetch(ctx, to, path, buf, limit)
		return err
	})
	return data, err
}

// placer is barter as the vault sees it.
type placer struct{ *barter.Barter }

func (p placer) Place(ctx context.Context, quality core.Quality, expect int64) (vault.Placement, error) {
	return p.Barter.Place(ctx, quality, expect)
}

// household is federation as the vault sees it.
type household struct {
	f           *federation.Federation
	agent, grid core.DID
}

func householdOf(f *federation.Federation) household {
	self := f.Self()
	return household{f, self.Agent, self.Grid}
}

func (h household) Agent() core.DID           { return h.agent }
func (h household) Lists(agent core.DID) bool { return h.f.ListsAgent(h.grid, agent) }
func (h household) Alone() bool               { return h.f.Alone() }
func (h household) Heir() bool                { return h.f.Heir() }
func (h household) Several(grid core.DID) bool {
	return grid == h.grid && len(h.f.Home().Agents) > 2
}
func (h household) Secret() [32]byte  { return h.f.Secrets().Newest().Key }
func (h household) Chunker() [32]byte { return h.f.Secrets().Chunker }

func (h household) SaveHead(ctx context.Context) ([]core.DID, map[core.DID]error, error) {
	saved, err := h.f.SaveHead(ctx)
	return saved.Done, saved.Failed, err
}

// source is a tree on the disk as the vault sees it.
type source struct{ *files.Source }

func (s source) Items(ctx context.Context) iter.Seq2[vault.Item, error] {
	return func(yield func(vault.Item, error) bool) {
		for item, err := range s.Source.Items(ctx) {
			out := vault.Item{Path: item.Path, Entry: item.Entry, Stamp: vault.Stamp(item.Stamp)}
			if open := item.Open; open != nil {
				out.Open = func() (vault.File, error) {
					f, err := open()
					if err != nil {
						return nil, err
					}
					return sourceFile{f}, nil
				}
			}
			if !yield(out, err) {
				return
			}
		}
	}
}

type sourceFile struct{ files.File }

func (f sourceFile) Stamp() vault.Stamp { return vault.Stamp(f.File.Stamp()) }

// sink is a restored tree as the vault sees it.
type sink struct{ *files.Sink }

func (s sink) File(path []byte, e manifest.Entry) (vault.SinkFile, error) {
	f, err := s.Sink.File(path, e)
	if err != nil {
		return nil, err
	}
	return sinkFile{f}, nil
}

type sinkFile struct{ *files.Part }

// Abort forgets the file. What could not be removed is removed with the sink.
func (f sinkFile) Abort() { _ = f.Part.Abort() }

// date returns a date of the books; 0 is none.
func date(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}
