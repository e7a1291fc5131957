package federation

import (
	"context"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
)

// Charters returns our charters.
func (f *Federation) Charters() []identity.Signed { return f.ownCharters(1 << 20) }

// OwnPages returns the pages of our newest head, the root among them.
func (f *Federation) OwnPages() []core.Score {
	add, _, _, err := f.changesSince(0)
	if err != nil {
		panic(err)
	}
	return add
}

// PagesFor returns the pages of our newest head that are read to find records with a prefix.
func (f *Federation) PagesFor(prefix string) map[core.Score]bool {
	own, head, _, err := f.ownHead()
	if err != nil {
		panic(err)
	}
	read := map[core.Score]bool{head.Root: true}
	load := func(encoded []byte) ([]byte, error) {
		ref, err := manifest.ParseRef(encoded)
		if err != nil {
			return nil, err
		}
		read[core.Score(ref.Page)] = true
		sealed, err := f.c.Blobs.Get(context.Background(), core.Score(ref.Page), nil)
		if err != nil {
			return nil, err
		}
		packed, err := seal.OpenChunk(ref.Key, ref.Packed, sealed, nil)
		if err != nil {
			return nil, err
		}
		return f.packer.Unpack(nil, packed, int(ref.Size))
	}
	for _, err := range page.Walk(own.Tree, load, []byte(prefix), nil) {
		if err != nil {
			panic(err)
		}
	}
	return read
}

// FirstPact returns the pact with a partner as it was made.
func (f *Federation) FirstPact(grid core.DID) pact.SignedPact {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.partners[grid].record.Pact
}

// Sweep drops pages as Run does now and then, and as it does at the start.
func (f *Federation) Sweep(ctx context.Context) error { return f.sweep(ctx, true) }

// SetShelf says how much a partner keeps here.
func (f *Federation) SetShelf(grid core.DID, pages, bytes int64) {
	s := f.shelfOf(grid)
	f.mu.Lock()
	defer f.mu.Unlock()
	s.live = tally{pages: pages, bytes: bytes}
}

// Shelf tells how many pages a partner's heads name here, and how many are set aside.
func (f *Federation) Shelf(grid core.DID) (live, aside int64) {
	s := f.shelfOf(grid)
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.live.pages, s.aside.pages
}

// Visit greets a partner as Run does.
func (f *Federation) Visit(ctx context.Context, grid core.DID) error { return f.visit(ctx, grid) }

// MergeBrought merges what other machines of ours have brought, as a visit does that finds nothing new.
func (f *Federation) MergeBrought(ctx context.Context) error {
	return f.catchUp(ctx, core.DID{}, nil)
}

// AddRan lets running time go by.
func (f *Federation) AddRan(seconds int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ran += seconds
}

// VisitOwn greets another machine of our household as Run does.
func (f *Federation) VisitOwn(ctx context.Context, agent core.DID) error {
	return f.visitOwn(ctx, agent)
}

// TakeRoll takes in a club's roll as a visit does.
func (f *Federation) TakeRoll(ctx context.Context, grid core.DID, signed identity.Signed) error {
	return f.takeClub(ctx, grid, clubAnswer{Roll: signed}, 0)
}

// TakeHome takes in a club's answer with one home, at a machine.
func (f *Federation) TakeHome(ctx context.Context, club core.DID, signed identity.Signed, home core.DID, name string, at AgentAddrs, chain []byte) error {
	in := clubAnswer{Roll: signed, Homes: []clubHome{{Grid: home, Name: name, Agents: []AgentAddrs{at}, Amount: 1, Chain: chain}}}
	return f.takeClub(ctx, club, in, 0)
}

// TendRoll keeps the roll to what the pacts say, as Run does.
func (f *Federation) TendRoll(ctx context.Context) error {
	return f.changeRoll(ctx, false, func(*roll.Roll) error { return nil })
}

// Vouchers returns the chains that a club has given for homes.
func (f *Federation) Vouchers(club core.DID) map[core.DID]voucher.Chain {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[core.DID]voucher.Chain{}
	for _, h := range f.clubs[club].homes {
		out[h.Grid] = h.chain
	}
	return out
}

// PassesMax is from how many grids passes are kept.
const PassesMax = passesMax

// DuePasses are the grids that are to be asked for newer vouchers.
func (f *Federation) DuePasses() []core.DID { return f.duePasses() }
