package vault

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

// market is a Barter over a few households in memory. Placed pieces count when they
// have been committed, as with real leases.
type market struct {
	mu     sync.Mutex
	homes  map[core.DID]*fakeHome
	leased map[core.Score]map[core.DID]bool
	aside  map[core.Score]map[core.DID]bool // released, and kept still
	sent   int64                            // bytes ever placed
	// fetched counts fetches of pieces, asked looks at who holds one.
	fetched, asked int
	claims         int // calls of Claim
	// still says that tests have changed nothing by hand; else each count of changes is a new one.
	still   bool
	changes uint64
}

type fakeHome struct {
	pieces map[core.Score][]byte
	room   int64 // bytes left; below zero is endless
	away   bool
	dieAt  int // away after so many more pieces; 0 never
}

func did(n int) core.DID {
	var d core.DID
	copy(d[:], fmt.Sprintf("household %02d", n))
	return d
}

func newMarket(n int) *market {
	m := &market{homes: map[core.DID]*fakeHome{}, leased: map[core.Score]map[core.DID]bool{}, aside: map[core.Score]map[core.DID]bool{}}
	for i := range n {
		m.homes[did(i)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
	}
	return m
}

func (m *market) Place(context.Context, core.Quality, int64) (Placement, error) {
	if len(m.homes) == 0 {
		return nil, core.ErrNotExist
	}
	return &fakePlacement{m: m, refused: map[core.DID]error{}, pending: map[string][]core.Holding{}}, nil
}

func (m *market) Fetch(_ context.Context, p core.Piece, buf []byte, _ bool) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fetched++
	err := core.ErrUnreachable
	for grid := range m.leased[p.Score] {
		h := m.homes[grid]
		if data, ok := h.pieces[p.Score]; ok && !h.away {
			if core.ScoreOf(data) == p.Score {
				return append(buf[:0], data...), nil
			}
			err = core.ErrCorrupt // another may have it whole
		}
	}
	return nil, err
}

func (m *market) Changes() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.still {
		m.changes++
	}
	return m.changes
}

func (m *market) Held(piece core.Score) ([]core.Holding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	var out []core.Holding
	for grid := range m.leased[piece] {
		out = append(out, core.Holding{Score: piece, Grid: grid, Agent: grid, Until: 1 << 40})
	}
	slices.SortFunc(out, func(a, b core.Holding) int { return a.Grid.Compare(b.Grid) })
	return out, nil
}

func (m *market) Audit(_ context.Context, pieces []core.Piece, found func(core.Finding)) error {
	for _, p := range pieces {
		held, _ := m.Held(p.Score)
		for _, h := range held {
			home := m.homes[h.Grid]
			f := core.Finding{Holding: h, State: core.PieceOK}
			data, ok := home.pieces[p.Score]
			switch {
			case home.away:
				f.State, f.Err = core.PieceAway, core.ErrUnreachable
			case !ok:
				f.State = core.PieceMissing
			case core.ScoreOf(data) != p.Score:
				f.State = core.PieceCorrupt
			}
			found(f)
		}
	}
	return nil
}

func (m *market) Forget(hs ...core.Holding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hs {
		delete(m.leased[h.Score], h.Grid)
	}
	return nil
}

func (m *market) Release(_ context.Context, hs []core.Holding) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range hs {
		if m.leased[h.Score][h.Grid] {
			m.move(h.Score, h.Grid, m.leased, m.aside)
		}
	}
	return nil
}

func (m *market) Renew(_ context.Context, pieces []core.Score) (missing []core.Score, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, piece := range pieces {
		for grid := range m.aside[piece] {
			if m.homes[grid].away {
				err = core.ErrUnreachable
			} else {
				m.move(piece, grid, m.aside, m.leased)
			}
		}
		if len(m.leased[piece]) == 0 && len(m.aside[piece]) == 0 {
			missing = append(missing, piece)
		}
	}
	return missing, err
}

func (m *market) Claim(_ context.Context, agent core.DID, pieces []core.Piece) (missing []core.Score, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims++
	if m.homes[agent] == nil {
		return nil, core.ErrNotExist
	}
	if m.homes[agent].away {
		return nil, core.ErrUnreachable
	}
	for i, piece := range pieces {
		if i > 0 && bytes.Compare(pieces[i-1].Score[:], piece.Score[:]) >= 0 {
			return nil, fmt.Errorf("piece %d does not rise", i)
		}
		if _, ok := m.homes[agent].pieces[piece.Score]; !ok {
			missing = append(missing, piece.Score)
			continue
		}
		if m.leased[piece.Score] == nil {
			m.leased[piece.Score] = map[core.DID]bool{}
		}
		m.leased[piece.Score][agent] = true
	}
	return missing, nil
}

// move takes a piece from one list to another. The caller holds m.mu.
func (m *market) move(piece core.Score, grid core.DID, from, to map[core.Score]map[core.DID]bool) {
	delete(from[piece], grid)
	if to[piece] == nil {
		to[piece] = map[core.DID]bool{}
	}
	to[piece][grid] = true
}

// reclaim drops what is set aside.
func (m *market) reclaim() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for piece, grids := range m.aside {
		for grid := range grids {
			delete(m.homes[grid].pieces, piece)
		}
	}
	clear(m.aside)
}

// grids returns the households, in order.
func (m *market) grids() []core.DID { return slices.SortedFunc(maps.Keys(m.homes), core.DID.Compare) }

// each calls f with every piece that a household has.
func (m *market) each(f func(h *fakeHome, piece core.Score, data []byte)) {
	for _, grid := range m.grids() {
		h := m.homes[grid]
		for _, piece := range slices.SortedFunc(maps.Keys(h.pieces), func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) }) {
			f(h, piece, h.pieces[piece])
		}
	}
}

type fakePlacement struct {
	m       *market
	mu      sync.Mutex
	turn    int
	refused map[core.DID]error
	pending map[string][]core.Holding
}

func (p *fakePlacement) Segment(ctx context.Context, s manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.turn++
	var hs []place.Household
	for grid, h := range p.m.homes {
		room := s.Total()
		if h.away {
			room = 0
		}
		if h.room >= 0 {
			room = int(h.room / int64(s.Size))
		}
		hs = append(hs, place.Household{DID: grid, Room: room, Held: held[grid]})
	}
	give, _ := place.Spread(s.Total(), hs, p.turn)
	left := slices.Clone(want)
	for grid, indexes := range give {
		h := p.m.homes[grid]
		for _, i := range indexes {
			if !slices.Contains(want, i) || h.away {
				continue
			}
			if core.ScoreOf(pieces[i]) != s.Piece(i) {
				return nil, fmt.Errorf("piece %d does not hash to its score", i)
			}
			h.pieces[s.Piece(i)] = bytes.Clone(pieces[i])
			p.m.sent += int64(s.Size)
			if h.room >= 0 {
				h.room -= int64(s.Size)
			}
			if h.dieAt > 0 {
				if h.dieAt--; h.dieAt == 0 {
					h.away = true
				}
			}
			p.pending[string(s.ID)] = append(p.pending[string(s.ID)], core.Holding{Score: s.Piece(i), Grid: grid, Agent: grid})
			left = slices.DeleteFunc(left, func(j int) bool { return j == i })
		}
	}
	for grid, h := range p.m.homes {
		if h.room >= 0 && h.room < int64(s.Size) {
			p.refused[grid] = &core.Denial{Reason: "no room"}
		}
	}
	return left, ctx.Err()
}

func (p *fakePlacement) Households() []core.DID {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	var out []core.DID
	for grid, h := range p.m.homes {
		if !h.away && h.room != 0 {
			out = append(out, grid)
		}
	}
	slices.SortFunc(out, core.DID.Compare)
	return out
}

func (p *fakePlacement) Drop(segment []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, string(segment))
}

func (p *fakePlacement) Commit(context.Context, bool) map[core.DID]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	failed := map[core.DID]error{}
	for _, hs := range p.pending {
		for _, h := range hs {
			if p.m.homes[h.Grid].away {
				failed[h.Grid] = core.ErrUnreachable
				continue
			}
			if p.m.leased[h.Score] == nil {
				p.m.leased[h.Score] = map[core.DID]bool{}
			}
			p.m.leased[h.Score][h.Grid] = true
		}
	}
	clear(p.pending)
	return failed
}

func (p *fakePlacement) Refusals() map[core.DID]error { return maps.Clone(p.refused) }

// fixture is a vault over a market of n households.
type fixture struct {
	t     *testing.T
	m     *market
	home  *ourHome
	books core.Books
	v     *Vault
	clock *sim.Clock
}

func newFixture(t *testing.T, n int) *fixture {
	t.Helper()
	m := newMarket(n)
	f := &fixture{t: t, m: m, home: &ourHome{m: m, secret: [32]byte{1}}, books: sim.NewBooks(), clock: sim.NewClock(1)}
	f.open()
	return f
}

// open makes a vault over the same books, as after a restart.
func (f *fixture) open() {
	f.v = New(Config{Books: f.books, Clock: f.clock, Barter: f.m, Household: f.home})
}

func (f *fixture) put(src Source) *Put {
	f.t.Helper()
	out, err := f.v.Put(f.t.Context(), "docs", src, PutOptions{})
	if err != nil {
		f.t.Fatalf("put: %v", err)
	}
	return out
}

func (f *fixture) get(path string) (tree, *Restored, error) {
	f.t.Helper()
	f.open() // with an empty cache
	version, err := f.v.Find("docs", 0)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &shelf{got: tree{}}
	out, err := f.v.Restore(f.t.Context(), version, RestoreOptions{Path: path}, func(bool, core.Score) (Sink, error) { return s, nil })
	return s.got, out, err
}

// sameTree fails the test unless what came back is what was stored.
func (f *fixture) sameTree(want tree) {
	f.t.Helper()
	got, _, err := f.get("")
	if err != nil {
		f.t.Fatalf("restore: %v", err)
	}
	if diff := diffTrees(want, got); diff != "" {
		f.t.Fatalf("what came back differs: %s", diff)
	}
}

func diffTrees(want, got tree) string {
	for name, b := range want {
		other, ok := got[name]
		if !ok {
			return fmt.Sprintf("%q is missing", name)
		}
		if !bytes.Equal(b, other) {
			return fmt.Sprintf("%q has %d other bytes, not %d", name, len(other), len(b))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("%q was not stored", name)
		}
	}
	return ""
}
