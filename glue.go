package grange

import (
	"context"
	"iter"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/service/barter"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

// The types below turn one room's word into another's; they decide nothing.

// partners is federation as barter sees it.
type partners struct{ f *federation.Federation }

func (p partners) All() []barter.Partner {
	var out []barter.Partner
	for _, partner := range p.f.Partners() {
		out = append(out, partnerOf(partner))
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
	partner, ok := p.f.Partner(grid)
	return partnerOf(partner), ok
}

// Guests is empty as long as federation lets nobody in by a voucher.
func (partners) Guests() []barter.Partner { return nil }

// Guest knows nobody.
func (partners) Guest(core.DID) (barter.Partner, bool) { return barter.Partner{}, false }

func partnerOf(p federation.Partner) barter.Partner {
	out := barter.Partner{
		Grid: p.Grid, Name: p.Name, Pact: p.Pact, LeaseDays: int64(p.Terms.LeaseDays), AsideDays: int64(p.Terms.AsideDays),
		Gives: p.Gives[core.Storage], Given: p.Given[core.Storage], Ends: p.Ends, Leaving: p.Leaving(),
	}
	for _, agent := range p.Agents {
		out.Agents = append(out.Agents, agent.DID)
	}
	return out
}

// heedful is the network as barter sees it: what a partner says of our own
// household's newer charter is looked at by federation, and believed only with the evidence.
type heedful struct {
	*network
	f *federation.Federation
}

func (h heedful) heed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return h.f.Heed(ctx, err)
}

func (h heedful) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	return h.heed(ctx, h.network.Call(ctx, to, method, path, in, out))
}

func (h heedful) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	return h.heed(ctx, h.network.CallLimit(ctx, to, method, path, in, out, limit))
}

func (h heedful) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	return h.heed(ctx, h.network.Send(ctx, to, path, body))
}

func (h heedful) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error) {
	data, err := h.network.Fetch(ctx, to, path, buf, limit)
	return data, h.heed(ctx, err)
}

// placer is barter as the vault sees it.
type placer struct{ *barter.Barter }

func (p placer) Place(ctx context.Context, expect int64) (vault.Placement, error) {
	return p.Barter.Place(ctx, expect)
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
