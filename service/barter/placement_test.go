package barter

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

func mustSegment(t *testing.T, p *Placement, seed, size int, want []int) {
	t.Helper()
	s, pieces := segmentOf(seed, 10, 10, size)
	unplaced, err := p.Segment(t.Context(), s, pieces, want, nil)
	if err != nil || len(unplaced) > 0 {
		t.Fatalf("unplaced %v, %v", unplaced, err)
	}
}

func TestPiecesAreSpreadLeasedAndFetched(t *testing.T) {
	for n, want := range map[int][]int{2: {20}, 3: {10, 10}, 4: {6, 7, 7}, 6: {4, 4, 4, 4, 4}} {
		t.Run(fmt.Sprintf("%d households", n), func(t *testing.T) {
			w, _ := simWorld(t, n)
			owner := w.homes[0]
			p := mustPlace(t, owner, 20*4_000)
			if got := p.Households(); len(got) != n-1 || !slices.IsSortedFunc(got, core.DID.Compare) {
				t.Errorf("households %v", got)
			}
			s, pieces := segmentOf(1, 10, 10, 4_000)
			unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
			if err != nil || len(unplaced) > 0 {
				t.Fatal(unplaced, err)
			}
			if held := owner.holders(t, s.Piece(0)); len(held) > 0 {
				t.Error("a piece counts as held before its lease")
			}
			commit(t, p, true)
			var got []int
			for o, pieces := range owner.spread(t, s) {
				got = append(got, pieces)
				o.wantUsed(t, owner, int64(pieces)*4_000, int64(pieces), int64(pieces)*4_000) // nothing is left reserved
				if placed := owner.now().Placed(o.grid); placed != int64(pieces)*4_000 {
					t.Errorf("%d bytes placed, want %d", placed, pieces*4_000)
				}
				o.check(t)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("spread %v, want %v", got, want)
			}
			for i, data := range pieces {
				got, err := owner.now().Fetch(t.Context(), core.Piece{Score: s.Piece(i), Size: 4_000}, nil, false)
				if err != nil || !slices.Equal(got, data) {
					t.Fatalf("piece %d: %v", i, err)
				}
			}
			if r := p.Refusals(); len(r) > 0 {
				t.Errorf("refusals %v", r)
			}
			owner.checkPlaced(t)
		})
	}
}

// With one household the caller decides, and gets what it wants.
func TestOneHouseholdGetsWhatIsWanted(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 10*500)
	mustSegment(t, p, 1, 500, upTo(10))
	commit(t, p, true)
	holder.wantUsed(t, owner, 5_000, 10, 5_000)
	s, _ := segmentOf(1, 10, 10, 500)
	for i := range 20 {
		if held := len(owner.holders(t, s.Piece(i))) > 0; held != (i < 10) {
			t.Errorf("piece %d is held: %v", i, held)
		}
	}
}

// TestTinyPutsAskForLittle: what is reserved is what is needed, and a sixteenth of it.
func TestTinyPutsAskForLittle(t *testing.T) {
	for _, n := range []int{2, 3, 8} {
		w, _ := simWorld(t, n)
		owner := w.homes[0]
		for _, expect := range []int64{0, 1, 22_048, -5} {
			p := mustPlace(t, owner, expect)
			for seed := range 3 {
				mustSegment(t, p, 10*int(expect)+seed, 500, upTo(20))
			}
			share := int64((20+n-2)/(n-1)) * 500
			for _, o := range w.homes[1:] {
				_, used := o.now().Offer()
				size, _ := o.now().Used(owner.grid)
				if most := max(3*share+share, expect/int64(n-1)*17/16); used-size > most || used-size < 3*500 {
					t.Errorf("%d households, %d expected: %d bytes are reserved, at most %d", n-1, expect, used-size, most)
				}
			}
			commit(t, p, true)
			for _, o := range w.homes[1:] {
				if _, used := o.now().Offer(); used%500 != 0 {
					t.Errorf("%d bytes stay reserved", used)
				}
			}
		}
	}
}

// A put that is larger than was expected asks for more and more, not once a segment; and
// grants that are used up are given back at each commit.
func TestLongPutsNeedFewGrants(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	var mu sync.Mutex
	asks := 0
	real := holder.real("POST /ask")
	holder.instead("POST /ask", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asks++
		mu.Unlock()
		real.ServeHTTP(w, r)
	}))
	p := mustPlace(t, owner, 1)
	for seed := range 100 {
		mustSegment(t, p, seed, 50, upTo(10))
		if seed%10 == 9 {
			commit(t, p, false)
			holder.mu.Lock()
			b := holder.barter
			holder.mu.Unlock()
			b.mu.Lock()
			if open := len(b.account(owner.grid).grants); open > 11 {
				t.Errorf("after %d segments %d grants are open", seed+1, open)
			}
			b.mu.Unlock()
		}
	}
	commit(t, p, true)
	if asks > 30 {
		t.Errorf("%d asks for 100 segments", asks)
	}
	holder.wantUsed(t, owner, 50_000, 1_000, 50_000)
	holder.check(t)
}

// A grant that was replaced is not given back while pieces are on their way under it.
func TestACommitBesideASegment(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 1)
	entered, leave := make(chan struct{}, 16), make(chan struct{})
	real := holder.real("PUT /pieces/{score}")
	holder.instead("PUT /pieces/{score}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
		real.ServeHTTP(w, r)
	}))
	first := make(chan error)
	go func() {
		s, pieces := segmentOf(1, 10, 10, 50)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(10), nil)
		if len(unplaced) > 0 {
			t.Errorf("unplaced %v", unplaced)
		}
		first <- err
	}()
	for range laneStreams {
		<-entered
	}
	l := p.lanes[holder.grid][0]
	if err := l.ask(t.Context(), 1_000); err != nil { // as another segment would
		t.Fatal(err)
	}
	commit(t, p, false)
	close(leave)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	commit(t, p, false)
	commit(t, p, false)
	holder.wantUsed(t, owner, 500, 10, 1_500) // the used-up grant is gone, the newest is not
	if len(l.rooms) != 1 || l.gone != 0 {
		t.Errorf("%d rooms, %d were lost", len(l.rooms), l.gone)
	}
	commit(t, p, true)
	holder.wantUsed(t, owner, 500, 10, 500)
}

func TestDenialsAreActedOn(t *testing.T) {
	w, _ := simWorld(t, 4)
	owner := w.homes[0]
	tight, none, wide := w.homes[1], w.homes[2], w.homes[3]
	set := func(h *home, offer int64) {
		if err := h.now().SetOffer(offer); err != nil {
			t.Fatal(err)
		}
	}
	set(tight, 3*4_000+3_999) // three pieces, and nearly one more
	set(none, 3_999)          // a counter smaller than one piece
	p := mustPlace(t, owner, 3*20*4_000)
	s, pieces := segmentOf(1, 10, 10, 4_000)
	unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Two households take part: each may have ten, and one has room for three.
	if len(unplaced) != 7 {
		t.Errorf("unplaced %v", unplaced)
	}
	if got := p.Households(); !slices.Equal(got, []core.DID{wide.grid}) {
		t.Errorf("households that take more: %v", got)
	}
	s2, pieces2 := segmentOf(2, 10, 10, 4_000)
	if unplaced, err := p.Segment(t.Context(), s2, pieces2, upTo(20), nil); err != nil || len(unplaced) != 0 {
		t.Errorf("with one household left: %v, %v", unplaced, err)
	}
	commit(t, p, true)
	if got := owner.spread(t, s); got[tight] != 3 || got[none] != 0 || got[wide] != 10 {
		t.Errorf("spread %v", got)
	}
	if got := owner.spread(t, s2); got[wide] != 20 {
		t.Errorf("spread %v", got)
	}
	refusals := p.Refusals()
	for _, h := range []*home{tight, none} {
		if denial, ok := errors.AsType[*core.Denial](refusals[h.grid]); !ok || !strings.Contains(denial.Reason, "free; ask for at most") {
			t.Errorf("refusal %v", refusals[h.grid])
		}
	}
	if len(refusals) != 2 {
		t.Errorf("refusals %v", refusals)
	}
	tight.wantUsed(t, owner, 12_000, 3, 12_000)
	none.wantUsed(t, owner, 0, 0, 0)
}

// One who would not give as much as was expected, but gave all that was needed, has not refused.
func TestAskingForTooMuchIsNoRefusal(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	if err := holder.now().SetOffer(50_000); err != nil {
		t.Fatal(err)
	}
	p := mustPlace(t, owner, 1<<30)
	mustSegment(t, p, 1, 1_000, upTo(20))
	if r := p.Refusals(); len(r) > 0 {
		t.Errorf("refusals %v", r)
	}
	// Two at once get what there is, and no more.
	var g sync.WaitGroup
	var mu sync.Mutex
	left := 0
	for seed := range 4 {
		g.Go(func() {
			s, pieces := segmentOf(2+seed, 10, 10, 1_000)
			unplaced, err := p.Segment(t.Context(), s, pieces, upTo(10), nil)
			mu.Lock()
			defer mu.Unlock()
			if left += len(unplaced); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if left != 10 { // 30 fit; a segment of which there is too little is given up
		t.Logf("%d pieces are left over", left)
	}
	if left < 10 || len(p.Refusals()) != 1 {
		t.Errorf("%d pieces are left over, refusals %v", left, p.Refusals())
	}
	commit(t, p, true)
	if size, _ := holder.now().Used(owner.grid); size > 50_000 || size < 20_000 {
		t.Errorf("%d bytes are used", size)
	}
	holder.check(t)
}

func TestSegmentsAtOnce(t *testing.T) {
	w, _ := simWorld(t, 5)
	owner := w.homes[0]
	p := mustPlace(t, owner, 16*20*2_000)
	var g sync.WaitGroup
	for worker := range 4 {
		g.Go(func() {
			for i := range 4 {
				s, pieces := segmentOf(100*worker+i, 10, 10, 2_000)
				if unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil); err != nil || len(unplaced) > 0 {
					t.Errorf("unplaced %v, %v", unplaced, err)
				}
				if failed := p.Commit(t.Context(), false); len(failed) > 0 {
					t.Error(failed)
				}
				p.Households()
				p.Refusals()
			}
		})
	}
	g.Wait()
	commit(t, p, true)
	total := int64(0)
	for _, o := range w.homes[1:] {
		size, pieces := o.now().Used(owner.grid)
		if pieces != 80 {
			t.Errorf("%d pieces at one of four, want 80", pieces)
		}
		o.wantUsed(t, owner, size, pieces, size)
		o.check(t)
		total += size
	}
	if total != 16*20*2_000 {
		t.Errorf("%d bytes are placed", total)
	}
	owner.checkPlaced(t)
}

func TestASegmentWithTooFewPlacesIsGivenUp(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	if err := holder.now().SetOffer(9 * 1_000); err != nil {
		t.Fatal(err)
	}
	p := mustPlace(t, owner, 20_000)
	s, pieces := segmentOf(1, 10, 10, 1_000)
	unplaced, err := p.Segment(t.Context(), s, pieces, upTo(10), nil)
	if err != nil || len(unplaced) != 10 {
		t.Errorf("unplaced %v, %v", unplaced, err)
	}
	wantNothingOpen(t, p)
	commit(t, p, true)
	holder.wantUsed(t, owner, 0, 0, 0)
	holder.check(t)
	// With nine held already, the tenth is worth a lease.
	if err := holder.now().SetOffer(1_000); err != nil {
		t.Fatal(err)
	}
	p = mustPlace(t, owner, 1_000)
	unplaced, err = p.Segment(t.Context(), s, pieces, []int{9}, map[core.DID][]int{{1}: upTo(9)})
	if err != nil || len(unplaced) != 0 {
		t.Errorf("unplaced %v, %v", unplaced, err)
	}
	commit(t, p, true)
	holder.wantUsed(t, owner, 1_000, 1, 1_000)
}

// wantNothingOpen checks that no room waits for a piece, or it would never be given back.
func wantNothingOpen(t *testing.T, p *Placement) {
	t.Helper()
	for l := range p.all() {
		for _, r := range l.rooms {
			if r.open != 0 {
				t.Errorf("a room waits for %d pieces", r.open)
			}
		}
	}
}

func TestDropKeepsPiecesFromTheirLease(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 20_000)
	mustSegment(t, p, 1, 1_000, upTo(10))
	mustSegment(t, p, 2, 1_000, upTo(10))
	s, _ := segmentOf(1, 10, 10, 1_000)
	p.Drop(s.ID)
	commit(t, p, false)
	wantNothingOpen(t, p)
	commit(t, p, true)
	holder.wantUsed(t, owner, 10_000, 10, 10_000)
	if held := owner.holders(t, s.Piece(0)); len(held) > 0 {
		t.Error("a dropped piece was leased")
	}
	holder.check(t)
}
