package vault

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

// stick is a disk that is carried to the households of a market.
type stick struct {
	f     *fixture
	left  int // segments until it is full; below zero: endless
	to    map[core.DID]map[core.Score][]byte
	wrote int64 // bytes
	// waiting is what the vault said of earlier ones.
	waiting map[core.DID]int64
	short   core.DID // has no room
}

func (f *fixture) stick(segments int) *stick {
	return &stick{f: f, left: segments, to: map[core.DID]map[core.Score][]byte{}}
}

// deliver brings a household what is for it.
func (s *stick) deliver(grid core.DID) {
	for piece, data := range s.to[grid] {
		s.f.m.homes[grid].pieces[piece] = data
	}
}

func (s *stick) seed(waiting map[core.DID]int64) (Seeding, error) {
	s.waiting = waiting
	if len(s.f.m.homes) == 0 {
		return nil, core.ErrNotExist
	}
	return &fakeSeeding{s, map[string]map[core.DID][]int{}, 0}, nil
}

type fakeSeeding struct {
	s     *stick
	given map[string]map[core.DID][]int
	turn  int
}

func (p *fakeSeeding) Segment(_ context.Context, segment manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) ([]int, error) {
	p.s.f.m.mu.Lock()
	defer p.s.f.m.mu.Unlock()
	if p.s.left == 0 {
		return want, core.ErrFull
	}
	p.s.left--
	p.turn++
	var hs []place.Household
	for grid := range p.s.f.m.homes {
		room := segment.Total()
		if grid == p.s.short {
			room = 0
		}
		hs = append(hs, place.Household{DID: grid, Room: room, Held: held[grid]})
	}
	give, _ := place.Spread(segment.Total(), hs, p.turn)
	left := slices.Clone(want)
	given := map[core.DID][]int{}
	for grid, indexes := range give {
		for _, i := range indexes {
			if !slices.Contains(want, i) {
				continue
			}
			if p.s.to[grid] == nil {
				p.s.to[grid] = map[core.Score][]byte{}
			}
			p.s.to[grid][segment.Piece(i)] = bytes.Clone(pieces[i])
			p.s.wrote += int64(segment.Size)
			given[grid] = append(given[grid], i)
			left = slices.DeleteFunc(left, func(j int) bool { return j == i })
		}
	}
	p.given[string(segment.ID)] = given
	return left, nil
}

func (p *fakeSeeding) Households() []core.DID {
	return slices.DeleteFunc(p.s.f.m.grids(), func(grid core.DID) bool { return grid == p.s.short })
}

func (p *fakeSeeding) Drop(segment []byte) {
	p.s.f.m.mu.Lock()
	defer p.s.f.m.mu.Unlock()
	delete(p.given, string(segment))
}
func (p *fakeSeeding) Commit(context.Context, bool) map[core.DID]error { return nil }
func (p *fakeSeeding) Refusals() map[core.DID]error {
	out := map[core.DID]error{}
	if !p.s.short.IsZero() {
		out[p.s.short] = &core.Denial{Reason: "no room"}
	}
	return out
}

func (p *fakeSeeding) Given(segment []byte) map[core.DID][]int {
	p.s.f.m.mu.Lock()
	defer p.s.f.m.mu.Unlock()
	out := p.given[string(segment)]
	delete(p.given, string(segment))
	return out
}
func (p *fakeSeeding) Holder(grid core.DID) core.DID { return grid }

func (f *fixture) seed(src Source, s *stick) (*Put, error) {
	return f.v.Put(f.t.Context(), "docs", src, PutOptions{Seed: s.seed})
}

// mustSeed writes a tree onto a disk, all of it.
func (f *fixture) mustSeed(src Source) *stick {
	f.t.Helper()
	s := f.stick(-1)
	out, err := f.seed(src, s)
	if !errors.Is(err, ErrCarried) || !errors.Is(err, core.ErrPartly) || out == nil || out.Version.Seq != 0 {
		f.t.Fatalf("%+v, %v", out, err)
	}
	var sum int64
	for _, n := range out.Carried {
		sum += n
	}
	if sum != s.wrote || s.wrote == 0 || f.m.sent != 0 || len(out.Carried) != len(f.m.homes) {
		f.t.Fatalf("carried %v, %d bytes written, %d sent", out.Carried, s.wrote, f.m.sent)
	}
	f.open()
	return s
}

func (f *fixture) wantCarried(want bool) {
	f.t.Helper()
	got, err := f.v.Carried()
	if err != nil || (len(got) > 0) != want {
		f.t.Errorf("carried %v, %v", got, err)
	}
}

// smallTree fits into two segments.
func smallTree() tree {
	return tree{"big": noise(1, 2<<20), "dir/": nil, "dir/small": []byte("small"), "dir/link -> ../big": nil}
}

func TestWhatWasCarriedIsNotSent(t *testing.T) {
	for _, households := range []int{1, 2, 3} {
		f := newFixture(t, households)
		want := smallTree()
		s := f.mustSeed(want)
		if _, err := f.v.Find("docs", 0); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("there is a version: %v", err)
		}
		// Again nothing is written, and what is on its way is told.
		again := f.stick(-1)
		if _, err := f.seed(want, again); !errors.Is(err, ErrCarried) || again.wrote != 0 {
			t.Errorf("again %d bytes, %v", again.wrote, err)
		}
		var waiting int64
		for _, n := range again.waiting {
			waiting += n
		}
		if waiting != s.wrote {
			t.Errorf("%d bytes are on their way, of %d", waiting, s.wrote)
		}
		for grid := range f.m.homes {
			s.deliver(grid)
		}
		out := f.put(want)
		if f.m.sent != 0 || out.Placed != out.Wanted || out.Version.Seq != 1 || out.Same != int64(out.Version.Bytes) {
			t.Errorf("%d households: %d bytes sent, %d of %d pieces, %d of %d bytes the same",
				households, f.m.sent, out.Placed, out.Wanted, out.Same, out.Version.Bytes)
		}
		f.wantCarried(false)
		f.sameTree(want)
		if next, err := f.seed(want, f.stick(-1)); err != nil || len(next.Carried) > 0 {
			t.Errorf("with nothing to carry: %+v, %v", next, err)
		}
	}
}

func TestALostDiskLosesNothing(t *testing.T) {
	for delivered := range 2 {
		f := newFixture(t, 2)
		want := smallTree()
		s := f.mustSeed(want)
		if delivered > 0 {
			s.deliver(did(0))
		}
		out := f.put(want)
		if out.Placed != out.Wanted || out.Worth.Survives != 1 {
			t.Errorf("%d of %d pieces, worth %+v", out.Placed, out.Wanted, out.Worth)
		}
		if half := s.wrote / 2; delivered > 0 && (f.m.sent < half*99/100 || f.m.sent > half*101/100) {
			t.Errorf("%d bytes sent, for half of %d", f.m.sent, s.wrote)
		}
		f.wantCarried(false)
		f.sameTree(want)
		// When it comes after all, nobody asks for it.
		s.deliver(did(1))
		sent, claims := f.m.sent, f.m.claims
		f.put(want)
		if f.m.claims != claims {
			t.Error("what nothing uses is asked for")
		}
		if f.m.sent != sent {
			t.Errorf("%d bytes more", f.m.sent-sent)
		}
	}
}

func TestWhoKeepsWaitsForTheDisk(t *testing.T) {
	f := newFixture(t, 2)
	want := smallTree()
	s := f.mustSeed(want)
	keep := func(name string, src tree) (*Put, error) {
		return f.v.Put(t.Context(), name, src, PutOptions{SkipSame: true, Wait: true})
	}
	waits := func(households int) {
		t.Helper()
		_, err := keep("docs", want)
		awaited, ok := errors.AsType[*Awaited](err)
		if !ok || len(awaited.Carried) != households || f.m.sent != 0 {
			t.Fatalf("%d bytes sent, %v", f.m.sent, err)
		}
	}
	waits(2)
	s.deliver(did(0))
	f.m.homes[did(0)].away = true
	waits(2)
	f.m.homes[did(0)].away = false
	waits(1)
	// Another name is not held up.
	if _, err := keep("other", tree{"a": []byte("b")}); err != nil {
		t.Error(err)
	}
	f.m.sent = 0
	s.deliver(did(1))
	if out, err := keep("docs", want); err != nil || f.m.sent != 0 || out.Placed != out.Wanted {
		t.Errorf("%d bytes sent, %v", f.m.sent, err)
	}
	f.wantCarried(false)
	f.sameTree(want)

	// Nor does a put that was broken off too early spoil it, nor a partner that has left.
	f = newFixture(t, 3)
	s = f.mustSeed(want)
	f.m.homes[did(0)].room, f.m.homes[did(1)].room, f.m.homes[did(2)].room = 0, 0, 0
	if _, err := f.v.Put(t.Context(), "docs", want, PutOptions{}); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
	f.m.homes[did(0)].room, f.m.homes[did(1)].room = -1, -1
	waits(3)
	delete(f.m.homes, did(2))
	waits(2)
	s.deliver(did(0))
	s.deliver(did(1))
	if out, err := keep("docs", want); err != nil || out.Placed != out.Wanted || f.m.sent == 0 || f.m.sent > s.wrote*2/5 {
		t.Errorf("%d bytes sent of %d, %v", f.m.sent, s.wrote, err)
	}
	f.wantCarried(false)
	f.sameTree(want)

	// After a month it is sent.
	f = newFixture(t, 2)
	f.mustSeed(want)
	f.clock.Advance(29 * 24 * time.Hour)
	waits(2)
	f.clock.Advance(25 * time.Hour)
	if _, err := keep("docs", want); err != nil || f.m.sent == 0 {
		t.Errorf("%d bytes sent, %v", f.m.sent, err)
	}
	f.wantCarried(false)
}

func TestADiskThatIsFullIsFollowedByAnother(t *testing.T) {
	f := newFixture(t, 2)
	want := tree{"big": noise(1, 45<<20)}
	first := f.stick(2)
	out, err := f.seed(want, first)
	if !errors.Is(err, core.ErrFull) || out == nil || len(out.Carried) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	f.open()
	second := f.stick(-1)
	if _, err := f.seed(want, second); !errors.Is(err, ErrCarried) {
		t.Fatal(err)
	}
	for grid := range f.m.homes {
		for piece := range first.to[grid] {
			if _, ok := second.to[grid][piece]; ok {
				t.Fatal("a piece is on both disks")
			}
		}
		first.deliver(grid)
		second.deliver(grid)
	}
	if out := f.put(want); f.m.sent != 0 || out.Placed != out.Wanted {
		t.Errorf("%d bytes sent, %d of %d pieces", f.m.sent, out.Placed, out.Wanted)
	}
	f.sameTree(want)
}

func TestWhatIsCarriedIsKeptInMindFor90Days(t *testing.T) {
	f := newFixture(t, 2)
	want := smallTree()
	f.mustSeed(want)
	f.put(tree{"a": []byte("another tree")}) // of the same name: what is missing is not waited for
	f.wantCarried(false)
	s := f.mustSeedNamed(t, want)
	collect := func(after time.Duration) *Collected {
		t.Helper()
		f.clock.Advance(after)
		out, err := f.v.Collect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := collect(89 * 24 * time.Hour); out.Waiting == 0 {
		t.Errorf("%+v", out)
	}
	for grid := range f.m.homes {
		s.deliver(grid)
	}
	f.m.sent = 0
	if _, err := f.v.Put(t.Context(), "film", want, PutOptions{}); err != nil || f.m.sent != 0 {
		t.Errorf("%d bytes sent, %v", f.m.sent, err)
	}

	f = newFixture(t, 2)
	s = f.mustSeed(want)
	if out := collect(91 * 24 * time.Hour); out.Waiting != 0 || out.Released == 0 {
		t.Errorf("%+v", out)
	}
	f.wantCarried(false)
	for grid := range f.m.homes {
		s.deliver(grid)
	}
	f.put(want)
	if f.m.sent == 0 {
		t.Error("what was given up is relied on")
	}
	f.sameTree(want)
}

// mustSeedNamed is mustSeed for another name.
func (f *fixture) mustSeedNamed(t *testing.T, src Source) *stick {
	t.Helper()
	s := f.stick(-1)
	if _, err := f.v.Put(t.Context(), "film", src, PutOptions{Seed: s.seed}); !errors.Is(err, ErrCarried) || s.wrote == 0 {
		t.Fatalf("%d bytes, %v", s.wrote, err)
	}
	return s
}

func TestNotAllThatIsCarriedHasRoom(t *testing.T) {
	f := newFixture(t, 2)
	s := f.stick(-1)
	s.short = did(0)
	out, err := f.seed(smallTree(), s)
	if !errors.Is(err, ErrCarried) || out.Refused[did(0)] == nil || len(out.Carried) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	alone := newFixture(t, 1)
	s = alone.stick(-1)
	s.short = did(0)
	out, err = alone.seed(smallTree(), s)
	if incomplete, ok := errors.AsType[*Incomplete](err); !ok || incomplete.Refused[did(0)] == nil || len(out.Carried) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := newFixture(t, 0).seed(smallTree(), newFixture(t, 0).stick(-1)); !errors.Is(err, ErrNoPartner) {
		t.Errorf("with nobody: %v", err)
	}
}
