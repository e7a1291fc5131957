package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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
	sent   int64 // bytes ever placed
	// fetched counts fetches of pieces.
	fetched int
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
	m := &market{homes: map[core.DID]*fakeHome{}, leased: map[core.Score]map[core.DID]bool{}}
	for i := range n {
		m.homes[did(i)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
	}
	return m
}

func (m *market) Place(context.Context, int64) (Placement, error) {
	if len(m.homes) == 0 {
		return nil, core.ErrNotExist
	}
	return &fakePlacement{m: m, refused: map[core.DID]error{}, pending: map[string][]core.Holding{}}, nil
}

func (m *market) Fetch(_ context.Context, p core.Piece, buf []byte, _ bool) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fetched++
	for grid := range m.leased[p.Score] {
		h := m.homes[grid]
		if data, ok := h.pieces[p.Score]; ok && !h.away {
			if core.ScoreOf(data) != p.Score {
				return nil, core.ErrCorrupt
			}
			return append(buf[:0], data...), nil
		}
	}
	return nil, core.ErrUnreachable
}

func (m *market) Held(piece core.Score) ([]core.Holding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
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

// each calls f with every piece that a household has.
func (m *market) each(f func(h *fakeHome, piece core.Score, data []byte)) {
	for _, grid := range slices.SortedFunc(maps.Keys(m.homes), core.DID.Compare) {
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

// home is a Household whose heads reach every household that is not away.
type ourHome struct {
	m      *market
	secret [32]byte
	saves  int
}

func (h *ourHome) Agent() core.DID   { return did(99) }
func (h *ourHome) Secret() [32]byte  { return h.secret }
func (h *ourHome) Chunker() [32]byte { return [32]byte{7} }

func (h *ourHome) SaveHead(context.Context) (done []core.DID, failed map[core.DID]error, err error) {
	h.saves++
	failed = map[core.DID]error{}
	for grid, home := range h.m.homes {
		if home.away {
			failed[grid] = core.ErrUnreachable
		} else {
			done = append(done, grid)
		}
	}
	return done, failed, nil
}

// tree is a Source in memory: paths that end in '/' are directories, those with
// " -> " symlinks.
type tree map[string][]byte

func (tr tree) Single() bool { return false }

func (tr tree) Count(context.Context) (files, size int64, err error) {
	for _, b := range tr {
		files++
		size += int64(len(b))
	}
	return files, size, nil
}

func (tr tree) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if !yield(Item{Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}, nil) {
			return
		}
		names := slices.SortedFunc(maps.Keys(tr), func(a, b string) int {
			return strings.Compare(strings.ReplaceAll(strings.TrimSuffix(a, "/"), "/", "\x00"), strings.ReplaceAll(strings.TrimSuffix(b, "/"), "/", "\x00"))
		})
		for _, name := range names {
			e := manifest.Entry{Kind: manifest.KindFile, Mode: 0o644, Mtime: 1_700_000_000, Nsec: 5}
			item := Item{Path: []byte(name)}
			if path, target, ok := strings.Cut(name, " -> "); ok {
				e.Kind, e.Target, item.Path = manifest.KindLink, []byte(target), []byte(path)
			} else if dir, ok := strings.CutSuffix(name, "/"); ok {
				e.Kind, item.Path = manifest.KindDir, []byte(dir)
			} else {
				e.Size = uint64(len(tr[name]))
				item.Open = func() (File, error) {
					if tr[name] == nil {
						return nil, errors.New("permission denied")
					}
					return &memFile{bytes.NewReader(tr[name]), e, nil}, nil
				}
			}
			item.Entry = e
			if !yield(item, nil) {
				return
			}
		}
	}
}

type memFile struct {
	io.Reader
	e       manifest.Entry
	changed func() bool
}

func (f *memFile) Close() error          { return nil }
func (f *memFile) Entry() manifest.Entry { return f.e }
func (f *memFile) Changed() (bool, error) {
	return f.changed != nil && f.changed(), nil
}

// shelf is a Sink in memory, of the same form as a tree.
type shelf struct {
	got   tree
	fails string // a path that cannot be written
}

func (s *shelf) Dir(path []byte, _ manifest.Entry) error {
	if len(path) > 0 {
		s.got[string(path)+"/"] = nil
	}
	return nil
}

func (s *shelf) Link(path []byte, e manifest.Entry) error {
	s.got[string(path)+" -> "+string(e.Target)] = nil
	return nil
}

func (s *shelf) File(path []byte, _ manifest.Entry) (SinkFile, error) {
	if string(path) == s.fails {
		return nil, errors.New("cannot write")
	}
	return &shelfFile{s: s, path: string(path), b: []byte{}}, nil
}

type shelfFile struct {
	s    *shelf
	path string
	b    []byte
}

func (f *shelfFile) Write(b []byte) (int, error) { f.b = append(f.b, b...); return len(b), nil }
func (f *shelfFile) Commit() error               { f.s.got[f.path] = f.b; return nil }
func (f *shelfFile) Abort()                      {}

// fixture is a vault over a market of n households.
type fixture struct {
	t     *testing.T
	m     *market
	home  *ourHome
	books core.Books
	v     *Vault
}

func newFixture(t *testing.T, n int) *fixture {
	t.Helper()
	m := newMarket(n)
	f := &fixture{t: t, m: m, home: &ourHome{m: m, secret: [32]byte{1}}, books: sim.NewBooks()}
	f.open()
	return f
}

// open makes a vault over the same books, as after a restart.
func (f *fixture) open() {
	f.v = New(Config{Books: f.books, Clock: sim.NewClock(1), Barter: f.m, Household: f.home})
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
	version, err := f.v.Find("docs", 0)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &shelf{got: tree{}}
	out, err := f.v.Restore(f.t.Context(), version, RestoreOptions{Path: path}, func(bool) (Sink, error) { return s, nil })
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

// noise returns n bytes that do not compress, the same for one seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// someTree has small and large files, of every kind that matters.
func someTree() tree {
	tr := tree{
		"empty": {}, "dir/": nil, "dir/empty/": nil, "dir/link -> ../elsewhere": nil, "dir/one": []byte("one"),
		"dir.txt": []byte("sorts behind dir/"), "big": noise(1, 45<<20), "text": bytes.Repeat([]byte("all the same "), 1<<18),
		"\xff\xfe not utf-8": []byte("x"), "twin": noise(2, 3<<20), "twin2": noise(2, 3<<20),
	}
	for i := range 300 {
		tr[fmt.Sprintf("many/%03d/file %d", i%20, i)] = noise(uint64(i), 100+i*37)
	}
	tr["many/"] = nil
	for i := range 20 {
		tr[fmt.Sprintf("many/%03d/", i)] = nil
	}
	return tr
}

// changing is a tree of one file that is another each time that it is read.
type changing struct {
	name string
	read func() (text string, changed bool)
}

func (c changing) Single() bool                                         { return false }
func (c changing) Count(context.Context) (files, size int64, err error) { return 1, 1, nil }

func (c changing) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		root := Item{Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}
		file := Item{Path: []byte(c.name), Entry: manifest.Entry{Kind: manifest.KindFile, Mode: 0o644}}
		file.Open = func() (File, error) {
			text, changed := c.read()
			e := file.Entry
			e.Size = uint64(len(text))
			return &memFile{strings.NewReader(text), e, func() bool { return changed }}, nil
		}
		_ = yield(root, nil) && yield(file, nil)
	}
}
