package barter

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seed"
)

const seedPiece = 4_000

// seeds writes segments onto a disk, and returns how many pieces each household is given of them.
func (h *home) seeds(t *testing.T, s *stick, segments ...int) map[core.DID]int {
	t.Helper()
	out, err := h.now().Seed(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[core.DID]int{}
	for _, n := range segments {
		segment, pieces := segmentOf(n, 10, 10, seedPiece)
		want := upTo(20)
		if len(out.Households()) == 1 {
			want = upTo(10)
		}
		unplaced, err := out.Segment(t.Context(), segment, pieces, want, nil)
		if err != nil || len(unplaced) > 0 {
			t.Fatal(unplaced, err)
		}
		if failed := out.Commit(t.Context(), n == segments[len(segments)-1]); len(failed) > 0 {
			t.Fatal(failed)
		}
		for grid, indexes := range out.Given(segment.ID) {
			got[grid] += len(indexes)
		}
		if again := out.Given(segment.ID); len(again) > 0 {
			t.Errorf("given twice: %v", again)
		}
	}
	return got
}

func (h *home) takesIn(t *testing.T, s *stick) TakenIn {
	t.Helper()
	var last int64
	out, err := h.now().TakeIn(t.Context(), s, func(done, of int64) {
		if done < last || done > of {
			t.Errorf("%d of %d bytes, after %d", done, of, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// piecesOfSegments returns the pieces of segments, which rise.
func piecesOfSegments(segments ...int) (out []core.Piece, data [][]byte) {
	for _, n := range segments {
		segment, pieces := segmentOf(n, 10, 10, seedPiece)
		for i := range pieces {
			out = append(out, core.Piece{Score: segment.Piece(i), Size: seedPiece})
		}
		data = append(data, pieces...)
	}
	slices.SortFunc(out, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	return out, data
}

func TestWhatIsCarriedIsTakenInAndClaimed(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, one, two := w.homes[0], w.homes[1], w.homes[2]
	for _, h := range w.homes[1:] {
		for _, route := range []string{"POST /ask", "PUT /pieces/{score}"} {
			h.instead(route, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s over the network", route) }))
		}
	}
	s := newStick()
	if got := owner.seeds(t, s, 1, 2); got[one.grid] != 20 || got[two.grid] != 20 {
		t.Fatalf("given %v", got)
	}
	all, _ := piecesOfSegments(1, 2)
	for _, h := range w.homes[1:] {
		seen, err := h.now().Look(t.Context(), s)
		if err != nil || len(seen.Parcels) != 1 || len(seen.Others) != 1 || len(seen.Faults) > 0 {
			t.Fatalf("%+v, %v", seen, err)
		}
		if p := seen.Parcels[0]; p.Agent != owner.agent() || p.Partner.Grid != owner.grid || p.Bytes != int64(len(s.files[s.fileOf(t, h)])) {
			t.Errorf("%+v", p)
		}
		out := h.takesIn(t, s)
		until := w.clock.Now().Unix() + 30*daySeconds
		if f := out.From[0]; len(out.From) != 1 || f.Pieces != 20 || f.Bytes != 20*seedPiece || f.Known != 0 || f.Refused != nil || f.Left != 0 || f.Until != until {
			t.Errorf("%+v", out)
		}
		h.wantUsed(t, owner, 20*seedPiece, 20, 20*seedPiece)
		h.check(t)
		// Once more changes nothing, nor does a start in between.
		h.open()
		if f := h.takesIn(t, s).From[0]; f.Pieces != 0 || f.Known != 20 || f.Bytes != 0 {
			t.Errorf("again: %+v", f)
		}
		h.wantUsed(t, owner, 20*seedPiece, 20, 20*seedPiece)
		if d := h.decisions(t, owner); len(d) != 1 || !d[0].Grant || d[0].Ask.Seconds != 30*daySeconds {
			t.Errorf("decisions %+v", d)
		}
		// It counts on no line before its owner asks.
		if l, err := h.now().lineOf(asHolder, owner.grid, owner.agent()); err != nil || l.meter.Live(w.clock.Now().Unix()) != 0 {
			t.Errorf("%+v, %v", l.rec, err)
		}
		missing, err := owner.now().Claim(t.Context(), h.agent(), all)
		if err != nil || len(missing) != 20 {
			t.Errorf("%d are missing, %v", len(missing), err)
		}
		h.check(t)
		owner.checkLine(t, h)
	}
	for _, p := range all {
		held, err := owner.now().Held(p.Score)
		if err != nil || len(held) != 1 || held[0].Until < w.clock.Now().Unix()+179*daySeconds {
			t.Fatalf("held %+v, %v", held, err)
		}
		if _, err := owner.now().Fetch(t.Context(), p, nil, false); err != nil {
			t.Error(err)
		}
	}
	owner.checkPlaced(t)
	// A machine that is no partner's has nothing.
	if missing, err := owner.now().Claim(t.Context(), owner.agent(), all); !errors.Is(err, core.ErrNotExist) || len(missing) > 0 {
		t.Errorf("%d are missing, %v", len(missing), err)
	}
}

func TestWhatIsNotClaimedIsReclaimed(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	s := newStick()
	owner.seeds(t, s, 1, 2)
	holder.takesIn(t, s)
	half, _ := piecesOfSegments(1)
	if missing, err := owner.now().Claim(t.Context(), holder.agent(), half); err != nil || len(missing) != 10 {
		t.Fatal(missing, err)
	}
	holder.runs(t, 29*days)
	holder.wantUsed(t, owner, 20*seedPiece, 20, 20*seedPiece)
	holder.open() // what it knows outlives a start
	holder.runs(t, 16*days)
	holder.wantUsed(t, owner, 10*seedPiece, 10, 10*seedPiece)
	holder.check(t)
	// The disk may come again.
	if f := holder.takesIn(t, s).From[0]; f.Pieces != 10 || f.Known != 10 {
		t.Errorf("%+v", f)
	}
	holder.check(t)
}

func TestADiskIsHostile(t *testing.T) {
	w, _ := simWorld(t, 4)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	holder.without[other.grid] = true
	folder := carriedName(holder.agent())
	// file makes a file by hand, signed by anybody.
	file := func(k identity.Key, h seed.Header, pieces ...[]byte) []byte {
		h.V = 1
		h.Time = cmp.Or(h.Time, 1)
		signed, err := identity.Sign(k, identity.KindSeed, h)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := seed.AppendHeader(nil, signed)
		if err != nil {
			t.Fatal(err)
		}
		for i, data := range pieces {
			raw = append(seed.AppendRecord(raw, seed.Record{
				Score: core.ScoreOf(data), Segment: [manifest.SegmentIDSize]byte{1}, Index: uint32(i), Size: uint32(len(data)),
			}), data...)
		}
		return raw
	}
	good := seed.Header{Owner: owner.grid, Agent: owner.agent(), Holder: holder.agent()}
	of := func(change func(*seed.Header)) seed.Header { h := good; change(&h); return h }
	a, b, c := bytesOf(1, 1_000), bytesOf(2, 1_000), bytesOf(3, 1_000)
	for name, x := range map[string]struct {
		raw  []byte
		want error
	}{
		"signed by another": {file(other.key, good, a), core.ErrInvalid},
		"for another":       {file(owner.key, of(func(h *seed.Header) { h.Holder = other.agent() }), a), errOtherHolder},
		"of no partner":     {file(other.key, of(func(h *seed.Header) { h.Owner, h.Agent = other.grid, other.agent() }), a), core.ErrForbidden},
		"of a machine that is not listed": {
			file(other.key, of(func(h *seed.Header) { h.Agent = other.agent() }), a), core.ErrForbidden,
		},
		"of nobody":   {[]byte("grange seed 1"), core.ErrInvalid},
		"no file":     {nil, core.ErrInvalid},
		"a bad begin": {append([]byte("x"), file(owner.key, good, a)...), core.ErrInvalid},
	} {
		s := newStick()
		s.files[folder+"/x.seed"] = x.raw
		seen, err := holder.now().Look(t.Context(), s)
		if err != nil || len(seen.Parcels) > 0 || len(seen.Faults) != 1 || !errors.Is(seen.Faults[0].Err, x.want) || seen.Faults[0].File != folder+"/x.seed" {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
		if out := holder.takesIn(t, s); len(out.From) > 0 || out.FaultCount != 1 {
			t.Errorf("%s: %+v", name, out)
		}
	}
	holder.wantUsed(t, owner, 0, 0, 0)
	holder.agents = []core.DID{holder.agent(), other.agent()}
	own := newStick()
	own.files[folder+"/x.seed"] = file(other.key, of(func(h *seed.Header) { h.Owner, h.Agent = holder.grid, other.agent() }), a)
	if out := holder.takesIn(t, own); len(out.From) > 0 || out.FaultCount != 1 || !strings.Contains(out.Faults[0].Err.Error(), "no partner") {
		t.Errorf("of our own household: %+v", out)
	}
	holder.agents = nil

	// What is rotten, cut off or there twice costs no more than itself.
	rotten := file(owner.key, good, a, b, c, b)
	rotten[bytes.Index(rotten, a)]++
	s := newStick()
	s.files[folder+"/1.seed"] = rotten[:len(rotten)-1]
	s.files[folder+"/2.seed"] = file(owner.key, good, b)
	s.files[folder+"/3.text"] = []byte("nothing of ours")
	out := holder.takesIn(t, s)
	if f := out.From[0]; f.Pieces != 2 || f.Known != 0 || f.Bytes != 2_000 || out.FaultCount != 2 {
		t.Errorf("%+v", out)
	}
	for i, at := range []int{bytes.Index(rotten, c) - 2*(1_000+seed.RecordSize) - seed.RecordSize, len(rotten) - 1_000 - seed.RecordSize} {
		d, ok := errors.AsType[*seed.Damage](out.Faults[i].Err)
		if !ok || d.Offset != int64(at) || out.Faults[i].File != folder+"/1.seed" {
			t.Errorf("fault %+v, want one at %d", out.Faults[i], at)
		}
	}
	holder.wantUsed(t, owner, 2_000, 2, 2_000)
	holder.wantHere(t, owner, 2, b, c)
	holder.check(t)
}

func TestADiskIsTakenInAsFarAsThereIsRoom(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	s := newStick()
	owner.seeds(t, s, 1, 2) // 80,000 bytes
	holder.given = 50_500
	out := holder.takesIn(t, s)
	f := out.From[0]
	if d, ok := errors.AsType[*core.Denial](f.Refused); !ok || d.Reason == "" || f.Pieces != 12 || f.Left < 32_000 || f.Left > 36_000 || out.FaultCount != 0 {
		t.Errorf("%+v", out)
	}
	holder.wantUsed(t, owner, 48_000, 12, 48_000)
	holder.check(t)
	// What there is room for later is taken later.
	holder.given = 100_000
	if f := holder.takesIn(t, s).From[0]; f.Pieces != 8 || f.Known != 12 || f.Refused != nil || f.Left != 0 {
		t.Errorf("%+v", f)
	}
	// No pact, no policy, no room: nothing is taken.
	owner.seeds(t, s, 3)
	holder.ends = clock.Now().Add(time.Hour).Unix()
	if f := holder.takesIn(t, s).From[0]; f.Pieces != 0 || f.Refused == nil || !strings.Contains(f.Refused.Error(), "the pact ends") || f.Until != holder.ends {
		t.Errorf("%+v, want until %d", f, holder.ends)
	}
	holder.wantUsed(t, owner, 80_000, 20, 80_000)
}

func TestACarriedDiskIsFull(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	s := newStick()
	s.left = 15 * (seedPiece + seed.RecordSize)
	out, err := owner.now().Seed(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, pieces := segmentOf(1, 10, 10, seedPiece)
	if _, err := out.Segment(t.Context(), one, pieces, upTo(10), nil); err != nil {
		t.Fatal(err)
	}
	two, more := segmentOf(2, 10, 10, seedPiece)
	if _, err := out.Segment(t.Context(), two, more, upTo(10), nil); !errors.Is(err, core.ErrFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	out.Drop(two.ID)
	if failed := out.Commit(t.Context(), true); len(failed) > 0 {
		t.Fatal(failed)
	}
	if got := out.Given(one.ID)[holder.grid]; len(got) != 10 {
		t.Errorf("given %v", got)
	}
	if got := out.Given(two.ID); len(got) > 0 {
		t.Errorf("given %v of what was broken off", got)
	}
	// What is on it is whole, and another file goes on.
	s.left = 1 << 20
	owner.seeds(t, s, 2)
	if names := slices.Sorted(maps.Keys(s.files)); len(names) != 2 || !strings.HasSuffix(names[1], "-0002.seed") {
		t.Errorf("files %v", names)
	}
	if got := holder.takesIn(t, s); got.FaultCount != 0 || got.From[0].Pieces != 20 {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNotSyncedIsNotGiven(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	s := newStick()
	s.sync = errors.New("pulled out")
	out, err := owner.now().Seed(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	segment, pieces := segmentOf(1, 10, 10, seedPiece)
	for _, done := range []bool{false, true} {
		if _, err := out.Segment(t.Context(), segment, pieces, upTo(10), nil); err != nil {
			t.Fatal(err)
		}
		if failed := out.Commit(t.Context(), done); !errors.Is(failed[holder.grid], s.sync) {
			t.Errorf("failed %v", failed)
		}
		if got := out.Given(segment.ID); len(got) > 0 {
			t.Errorf("given %v", got)
		}
	}
}

func TestNoMoreIsWrittenThanThePactGives(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, one, two := w.homes[0], w.homes[1], w.homes[2]
	one.given, two.given = 100_000, 25_000
	out, err := owner.now().Seed(newStick(), map[core.DID]int64{one.grid: 40_000})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Households(); len(got) != 2 || out.Holder(one.grid) != one.agent() || !out.Holder(owner.grid).IsZero() {
		t.Errorf("%v", got)
	}
	var unplaced []int
	for n := range 3 {
		segment, pieces := segmentOf(n+1, 10, 10, seedPiece)
		left, err := out.Segment(t.Context(), segment, pieces, upTo(20), nil)
		if err != nil {
			t.Fatal(err)
		}
		unplaced = append(unplaced, len(left))
	}
	// 15 pieces of room at the one, 6 at the other.
	if !slices.Equal(unplaced, []int{4, 15, 20}) {
		t.Errorf("unplaced %v", unplaced)
	}
	if r := out.Refusals(); len(r) != 2 || !strings.Contains(r[two.grid].Error(), "1 kB left of your 25 kB") {
		t.Errorf("refusals %v", r)
	}
	one.ends, two.ends = 1, 1
	if _, err := owner.now().Seed(newStick(), nil); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("with nobody who stays: %v", err)
	}
}
