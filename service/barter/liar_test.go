package barter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/proof"
)

// honest is the lease that a holder would give.
func honest(holder, owner *home, in leaseRequest) pact.Lease {
	now := holder.w.clock.Now().Unix()
	l := pact.Lease{
		V: 1, Holder: holder.agent(), Grid: holder.grid, Owner: owner.grid, Pact: pactOf(owner.grid, holder.grid),
		From: now, Until: now + in.Seconds,
	}
	for _, p := range in.Pieces {
		l.Pieces = append(l.Pieces, p.Score)
		l.Bytes += uint64(p.Size)
	}
	return l
}

func TestALeaseThatIsNotAsItShouldBe(t *testing.T) {
	stranger := identity.KeyOf([32]byte{66})
	sign := func(t *testing.T, k identity.Key, l pact.Lease) leaseAnswer {
		s, err := pact.SignLease(k, l)
		if err != nil {
			t.Fatal(err)
		}
		return leaseAnswer{Lease: &s}
	}
	for name, c := range map[string]struct {
		lie    func(t *testing.T, holder *home, l pact.Lease) leaseAnswer
		leased int
		kind   error
	}{
		"good":           {func(t *testing.T, h *home, l pact.Lease) leaseAnswer { return sign(t, h.key, l) }, 10, nil},
		"none":           {func(*testing.T, *home, pact.Lease) leaseAnswer { return leaseAnswer{} }, 0, core.ErrPartly},
		"none, not said": {func(*testing.T, *home, pact.Lease) leaseAnswer { return leaseAnswer{Missing: []core.Score{{1}}} }, 0, core.ErrPartly},
		"for ever": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Until = 253402300799
			return sign(t, h.key, l)
		}, 10, nil},
		"a little short": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Until -= 10 * daySeconds
			return sign(t, h.key, l)
		}, 10, nil},
		"far too short": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Until -= 91 * daySeconds
			return sign(t, h.key, l)
		}, 0, core.ErrInvalid},
		"a second": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer { l.Until = l.From + 1; return sign(t, h.key, l) }, 0, core.ErrInvalid},
		"ended": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.From, l.Until = 1, 2
			return sign(t, h.key, l)
		}, 0, core.ErrInvalid},
		"another owner": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer { l.Owner = core.DID{5}; return sign(t, h.key, l) }, 0, core.ErrInvalid},
		"another grid":  {func(t *testing.T, h *home, l pact.Lease) leaseAnswer { l.Grid = core.DID{5}; return sign(t, h.key, l) }, 0, core.ErrInvalid},
		"another pact": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Pact = core.Score{5}
			return sign(t, h.key, l)
		}, 0, core.ErrInvalid},
		"another machine": {func(t *testing.T, _ *home, l pact.Lease) leaseAnswer {
			l.Holder = stranger.DID()
			return sign(t, stranger, l)
		}, 0, core.ErrInvalid},
		"fewer": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Pieces, l.Bytes = l.Pieces[:7], 7_000
			return sign(t, h.key, l)
		}, 7, core.ErrPartly},
		"more": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			l.Pieces = append(l.Pieces, core.Score(slices.Repeat([]byte{255}, 32)))
			return sign(t, h.key, l)
		}, 0, core.ErrInvalid},
		"others": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			for i := range l.Pieces {
				l.Pieces[i] = core.Score{byte(i), 1}
			}
			return sign(t, h.key, l)
		}, 0, core.ErrInvalid},
		"other bytes": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer { l.Bytes--; return sign(t, h.key, l) }, 0, core.ErrInvalid},
		"bad signature": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			a := sign(t, h.key, l)
			a.Lease.Sig[0] ^= 1
			return a
		}, 0, core.ErrCorrupt},
		"another's signature": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			a := sign(t, h.key, l)
			a.Lease.By = stranger.DID()
			return a
		}, 0, core.ErrCorrupt},
		"another kind": {func(t *testing.T, h *home, l pact.Lease) leaseAnswer {
			s, err := identity.Sign(h.key, identity.KindRelease, l)
			if err != nil {
				t.Fatal(err)
			}
			return leaseAnswer{Lease: &s}
		}, 0, core.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := simWorld(t, 2)
			owner, holder := w.homes[0], w.homes[1]
			holder.instead("POST /leases", wire.Handle(func(_ context.Context, in leaseRequest) (leaseAnswer, error) {
				return c.lie(t, holder, honest(holder, owner, in)), nil
			}))
			p := mustPlace(t, owner, 10_000)
			mustSegment(t, p, 1, 1_000, upTo(10))
			err := p.Commit(t.Context(), false)[holder.grid]
			if !errors.Is(err, c.kind) {
				t.Errorf("commit: %v, want %v", err, c.kind)
			}
			s, _ := segmentOf(1, 10, 10, 1_000)
			if got := owner.spread(t, s)[holder]; got != c.leased {
				t.Errorf("%d pieces are held, want %d", got, c.leased)
			}
			if got := owner.now().Placed(holder.grid); got != int64(c.leased)*1_000 {
				t.Errorf("%d bytes are placed", got)
			}
			owner.checkPlaced(t)
		})
	}
}

// Answers that are not of the protocol end the lane, with their reason, and nothing else.
func TestAnswersThatAreNone(t *testing.T) {
	raw := func(status int, kind, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	grant := func(id []byte, change func(int64) int64) http.Handler {
		return wire.Handle(func(_ context.Context, in core.Ask) (grantAnswer, error) {
			return grantAnswer{Grant: id, Amount: change(in.Amount), Expires: 1}, nil
		})
	}
	same := func(n int64) int64 { return n }
	for name, c := range map[string]struct {
		route   string
		handler http.Handler
		kind    error
	}{
		"ask: short id":     {"POST /ask", grant(make([]byte, 15), same), core.ErrInvalid},
		"ask: no id":        {"POST /ask", grant(nil, same), core.ErrInvalid},
		"ask: more":         {"POST /ask", grant(make([]byte, 16), func(n int64) int64 { return n + 1 }), core.ErrInvalid},
		"ask: less":         {"POST /ask", grant(make([]byte, 16), func(n int64) int64 { return n - 1 }), core.ErrInvalid},
		"ask: negative":     {"POST /ask", grant(make([]byte, 16), func(n int64) int64 { return -n }), core.ErrInvalid},
		"ask: garbage":      {"POST /ask", raw(200, wire.TypeCBOR, "\xff\xff"), core.ErrInvalid},
		"ask: HTML":         {"POST /ask", raw(200, "text/html", "<p>"), core.ErrInvalid},
		"ask: too large":    {"POST /ask", raw(200, wire.TypeCBOR, strings.Repeat("x", 1<<20+1)), core.ErrTooLarge},
		"ask: fault":        {"POST /ask", raw(500, "text/html", "oops"), core.ErrInvalid},
		"put: fault":        {"PUT /pieces/{score}", raw(500, "text/html", "oops"), core.ErrInvalid},
		"put: forbidden":    {"PUT /pieces/{score}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wire.WriteError(w, r, core.ErrForbidden) }), core.ErrForbidden},
		"reach: fault":      {"POST /prove", raw(500, wire.TypeCBOR, ""), core.ErrInvalid},
		"reach: forbidden":  {"POST /prove", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wire.WriteError(w, r, core.ErrForbidden) }), core.ErrForbidden},
		"lease: garbage":    {"POST /leases", raw(200, wire.TypeCBOR, "\xa1\x61\x78"), core.ErrInvalid},
		"lease: too large":  {"POST /leases", raw(200, wire.TypeCBOR, strings.Repeat("x", 1<<20+1)), core.ErrTooLarge},
		"lease: other form": {"POST /leases", raw(200, wire.TypeCBOR, "\xa1\x65lease\x01"), core.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := simWorld(t, 3)
			owner, holder := w.homes[0], w.homes[1]
			holder.instead(c.route, c.handler)
			p := mustPlace(t, owner, 10_000)
			mustSegment(t, p, 1, 1_000, upTo(20))
			err := p.Commit(t.Context(), true)[holder.grid]
			if c.route != "POST /leases" {
				if err != nil {
					t.Errorf("commit of nothing: %v", err)
				}
				err = p.Refusals()[holder.grid]
			}
			if !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
			if got := owner.now().Placed(holder.grid); got != 0 {
				t.Errorf("%d bytes are placed with it", got)
			}
			if c.route != "POST /leases" { // it was known before the pieces were dealt
				w.homes[2].wantUsed(t, owner, 20_000, 20, 20_000)
			}
		})
	}
}

// A counter that helps nobody is not followed for ever.
func TestSillyCounters(t *testing.T) {
	for name, counter := range map[string]*core.Counter{
		"none": nil, "zero": {}, "negative": {Amount: -5}, "as much": {Amount: 21_250}, "more": {Amount: 1 << 62}, "smaller than a piece": {Amount: 999}, "enough": {Amount: 20_000},
	} {
		w, _ := simWorld(t, 2)
		owner, holder := w.homes[0], w.homes[1]
		var asks atomic.Int64
		holder.instead("POST /ask", wire.Handle(func(context.Context, core.Ask) (grantAnswer, error) {
			asks.Add(1)
			return grantAnswer{}, &core.Denial{Reason: "no", Counter: counter}
		}))
		p := mustPlace(t, owner, 20_000)
		s, pieces := segmentOf(1, 10, 10, 1_000)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
		if err != nil || len(unplaced) != 20 || asks.Load() > counterTries {
			t.Errorf("%s: unplaced %v, %v after %d asks", name, unplaced, err, asks.Load())
		}
		if denial, ok := errors.AsType[*core.Denial](p.Refusals()[holder.grid]); !ok || denial.Reason != "no" {
			t.Errorf("%s: refusals %v", name, p.Refusals())
		}
	}
}

// placedWorld has a segment of 10+10 pieces placed with n-1 households.
func placedWorld(t *testing.T, n, size int) (w *world, pieces []core.Piece, data [][]byte) {
	t.Helper()
	w, _ = simWorld(t, n)
	p := mustPlace(t, w.homes[0], int64(20*size))
	mustSegment(t, p, 1, size, upTo(20))
	commit(t, p, true)
	s, data := segmentOf(1, 10, 10, size)
	for i := range 20 {
		pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: int64(size)})
	}
	return w, pieces, data
}

func TestFetchBelievesNobody(t *testing.T) {
	w, pieces, data := placedWorld(t, 2, 3_000)
	owner, holder := w.homes[0], w.homes[1]
	answer := func(body []byte) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { wire.WriteBytes(w, body) })
	}
	for name, c := range map[string]struct {
		handler http.Handler
		kind    error
	}{
		"other bytes": {answer(data[1]), core.ErrCorrupt},
		"short":       {answer(data[0][:2_999]), core.ErrCorrupt},
		"none":        {answer(nil), core.ErrCorrupt},
		"long":        {answer(append(slices.Clone(data[0]), 0)), core.ErrTooLarge},
		"not here":    {http.NotFoundHandler(), core.ErrInvalid},
		"busy": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wire.WriteError(w, r, core.ErrBusy)
		}), core.ErrBusy},
		"cut off": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3000")
			_, _ = w.Write(data[0][:100])
			panic(http.ErrAbortHandler)
		}), core.ErrUnreachable},
	} {
		holder.instead("GET /pieces/{score}", c.handler)
		got, err := owner.now().Fetch(t.Context(), pieces[0], make([]byte, 10), true)
		if got != nil || !errors.Is(err, c.kind) {
			t.Errorf("%s: %d bytes, %v; want %v", name, len(got), err, c.kind)
		}
	}
	holder.instead("GET /pieces/{score}", nil)
	buf := make([]byte, 0, 4_096)
	got, err := owner.now().Fetch(t.Context(), pieces[0], buf, true)
	if err != nil || !slices.Equal(got, data[0]) || &got[0] != &buf[:1][0] {
		t.Errorf("the piece, into the buffer: %v", err)
	}
	if _, err := owner.now().Fetch(t.Context(), core.Piece{Score: core.Score{1}, Size: 5}, nil, true); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a piece that nobody holds: %v", err)
	}
}

// Another holder is asked where one fails, and one that is down is not asked again at once.
func TestFetchGoesToAnother(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner := w.homes[0]
	s, data := segmentOf(1, 1, 0, 100)
	for _, o := range w.homes[1:] { // both hold it
		p := mustPlace(t, owner, 100)
		held := map[core.DID][]int{}
		for _, other := range w.homes[1:] {
			if other != o {
				w.net.Down(other.agent())
			}
		}
		p = mustPlace(t, owner, 100)
		if _, err := p.Segment(t.Context(), s, data, []int{0}, held); err != nil {
			t.Fatal(err)
		}
		commit(t, p, true)
		for _, other := range w.homes[1:] {
			w.net.Up(other.agent())
			owner.now().Saw(other.agent())
		}
	}
	held := owner.holders(t, s.Piece(0))
	if len(held) != 2 {
		t.Fatalf("%d holders", len(held))
	}
	piece := core.Piece{Score: s.Piece(0), Size: 100}
	order, err := owner.now().Held(piece.Score)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(held, func(a, b *home) int { // in the order in which they are asked
		return slices.IndexFunc(order, func(h core.Holding) bool { return h.Agent == a.agent() }) -
			slices.IndexFunc(order, func(h core.Holding) bool { return h.Agent == b.agent() })
	})
	first, second := held[0], held[1]
	first.instead("GET /pieces/{score}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wire.WriteBytes(w, []byte("lies")) }))
	fetch := func(now bool) error {
		got, err := owner.now().Fetch(t.Context(), piece, nil, now)
		if err == nil && !slices.Equal(got, data[0]) {
			t.Error("other bytes")
		}
		return err
	}
	if err := fetch(false); err != nil {
		t.Errorf("one lies: %v", err)
	}
	w.net.Down(second.agent())
	if err := fetch(false); !errors.Is(err, core.ErrUnreachable) || !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("one lies, one is down: %v", err)
	}
	w.net.Up(second.agent())
	if err := fetch(false); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("one was down a moment ago: %v", err)
	}
	if err := fetch(true); err != nil {
		t.Errorf("now: %v", err)
	}
	w.net.Down(second.agent())
	_ = fetch(true)
	w.net.Up(second.agent())
	clock.Advance(downFirst)
	if err := fetch(false); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

func TestAuditBelievesNobody(t *testing.T) {
	real := func(h *home, in proveRequest) []proofAnswer {
		out, err := h.now().proveAll(context.Background(), h.w.homes[0].grid, in.Challenges)
		if err != nil {
			panic(err)
		}
		return out
	}
	each := func(lie func(h *home, in challenge, a *proofAnswer)) func(*home, proveRequest, int) ([]proofAnswer, error) {
		return func(h *home, in proveRequest, _ int) ([]proofAnswer, error) {
			out := real(h, in)
			for i := range out {
				lie(h, in.Challenges[i], &out[i])
			}
			return out, nil
		}
	}
	const size = 5_000 // five blocks, the last short
	for name, c := range map[string]struct {
		lie   func(h *home, in proveRequest, call int) ([]proofAnswer, error)
		state core.PieceState
		kind  error
		fails bool
	}{
		"honest":     {each(func(*home, challenge, *proofAnswer) {}), core.PieceOK, nil, false},
		"no slice":   {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice = nil }), core.PieceCorrupt, core.ErrCorrupt, true},
		"bit":        {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice[len(a.Slice)-1] ^= 1 }), core.PieceCorrupt, core.ErrCorrupt, true},
		"longer":     {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice = append(a.Slice, 0) }), core.PieceCorrupt, core.ErrCorrupt, true},
		"state":      {each(func(_ *home, _ challenge, a *proofAnswer) { a.State = "fine" }), core.PieceCorrupt, core.ErrInvalid, true},
		"gone state": {each(func(_ *home, _ challenge, a *proofAnswer) { a.State = core.PieceGone }), core.PieceCorrupt, core.ErrInvalid, true},
		"missing":    {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceMissing} }), core.PieceMissing, nil, true},
		"corrupt":    {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceCorrupt} }), core.PieceCorrupt, nil, true},
		"away":       {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceAway} }), core.PieceAway, nil, true},
		"another block": {each(func(h *home, in challenge, a *proofAnswer) {
			data, err := h.disk.Blobs().Get(context.Background(), in.Score, nil)
			if err != nil {
				panic(err)
			}
			a.Slice, _ = proof.Prove(data, (in.Block+1)%5)
		}), core.PieceCorrupt, core.ErrCorrupt, true},
		"another piece": {each(func(h *home, in challenge, a *proofAnswer) {
			a.Slice, _ = proof.Prove(bytesOf(99, size), in.Block)
		}), core.PieceCorrupt, core.ErrCorrupt, true},
		"too few": {func(h *home, in proveRequest, _ int) ([]proofAnswer, error) { return real(h, in)[1:], nil }, core.PieceAway, core.ErrInvalid, true},
		"too many": {func(h *home, in proveRequest, _ int) ([]proofAnswer, error) {
			return append(real(h, in), proofAnswer{}), nil
		}, core.PieceAway, core.ErrInvalid, true},
		"none":  {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, nil }, core.PieceAway, core.ErrInvalid, true},
		"busy":  {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, core.ErrBusy }, core.PieceAway, core.ErrBusy, true},
		"fault": {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, io.ErrNoProgress }, core.PieceAway, nil, true},
		"once missing": {func(h *home, in proveRequest, call int) ([]proofAnswer, error) {
			if call == 1 {
				return make([]proofAnswer, len(in.Challenges)), nil
			}
			return real(h, in), nil
		}, core.PieceOK, nil, false},
		"once away, then missing": {func(_ *home, in proveRequest, call int) ([]proofAnswer, error) {
			if call == 1 {
				return nil, core.ErrBusy
			}
			out := make([]proofAnswer, len(in.Challenges))
			for i := range out {
				out[i].State = core.PieceMissing
			}
			return out, nil
		}, core.PieceAway, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, pieces, _ := placedWorld(t, 3, size)
			owner, holder := w.homes[0], w.homes[1]
			calls := 0
			holder.instead("POST /prove", wire.Handle(func(_ context.Context, in proveRequest) (proveAnswer, error) {
				calls++
				proofs, err := c.lie(holder, in, calls)
				return proveAnswer{Proofs: proofs}, err
			}))
			found := map[*home]int{}
			err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
				want, kind := core.PieceOK, error(nil)
				for _, h := range w.homes[1:] {
					if f.Agent == h.agent() && f.Grid == h.grid {
						found[h]++
						if h == holder {
							want, kind = c.state, c.kind
						}
					}
				}
				if f.State != want || kind != nil && !errors.Is(f.Err, kind) {
					t.Errorf("found %s, %v; want %s, %v", f.State, f.Err, want, kind)
				}
			})
			if err != nil || found[holder] != 10 || found[w.homes[2]] != 10 {
				t.Errorf("found %v, %v", found, err)
			}
			if calls > 2 {
				t.Errorf("asked %d times", calls)
			}
			for _, p := range pieces {
				held, err := owner.now().Held(p.Score)
				if err != nil || len(held) != 1 {
					t.Fatal(held, err)
				}
				var r placedRecord
				if _, err := owner.now().read(placedKey(p.Score, held[0].Agent), &r); err != nil {
					t.Fatal(err)
				}
				if want := held[0].Agent == holder.agent() && c.fails; want != (r.Fails == 1) || want != (r.Failed > 0) {
					t.Errorf("the record says %+v", r)
				}
			}
			// A good audit wipes the slate.
			holder.instead("POST /prove", nil)
			if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
				var r placedRecord
				if _, err := owner.now().read(placedKey(f.Score, f.Agent), &r); err != nil || r.Fails != 0 || f.State != core.PieceOK {
					t.Errorf("found %s, the record says %+v: %v", f.State, r, err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAuditTellsWhatHappened(t *testing.T) {
	w, pieces, _ := placedWorld(t, 5, 3_000)
	owner := w.homes[0]
	rotting, losing, away, gone := w.homes[1], w.homes[2], w.homes[3], w.homes[4]
	for _, p := range pieces {
		rotting.disk.Blobs().Rot(p.Score)
		losing.disk.Blobs().Lose(p.Score)
	}
	away.disk.Blobs().SetAway(true)
	gone.mu.Lock()
	gone.agents = []core.DID{{77}} // its household has another machine now
	gone.mu.Unlock()
	want := map[core.DID]core.PieceState{
		rotting.agent(): core.PieceCorrupt, losing.agent(): core.PieceMissing, away.agent(): core.PieceAway, gone.agent(): core.PieceGone,
	}
	n := 0
	audit := func(pieces []core.Piece) {
		if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
			n++
			if f.State != want[f.Agent] {
				t.Errorf("found %s, want %s: %v", f.State, want[f.Agent], f.Err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	audit(pieces)
	// Of a piece whose size is not known nothing can be proven, or said.
	unsized := slices.Clone(pieces)
	for i := range unsized {
		unsized[i].Size = 0
	}
	away.disk.Blobs().SetAway(false)
	gone.mu.Lock()
	gone.agents = nil
	gone.mu.Unlock()
	want[gone.agent()] = core.PieceAway
	audit(unsized)
	if n != 40 {
		t.Errorf("%d findings", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := owner.now().Audit(ctx, pieces, func(f core.Finding) { t.Errorf("found %s", f.State) }); !errors.Is(err, context.Canceled) {
		t.Errorf("an audit that was ended: %v", err)
	}
}

// A machine that is out of reach is asked twice, however many pieces it has.
func TestAuditOfAMachineThatIsAway(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	var pieces []core.Piece
	p := mustPlace(t, owner, 1)
	for seed := range 30 {
		mustSegment(t, p, seed, 10, upTo(20))
		s, _ := segmentOf(seed, 10, 10, 10)
		for i := range 20 {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 10})
		}
	}
	commit(t, p, true)
	w.net.Down(holder.agent())
	owner.freshes = 0
	n := 0
	if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
		n++
		if f.State != core.PieceAway || !errors.Is(f.Err, core.ErrUnreachable) {
			t.Errorf("found %s, %v", f.State, f.Err)
		}
	}); err != nil || n != 600 || owner.freshes != 1 {
		t.Errorf("%d findings, %d connections, %v", n, owner.freshes, err)
	}
}

func TestForget(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	owner := w.homes[0]
	var all []core.Holding
	for _, p := range pieces {
		held, err := owner.now().Held(p.Score)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, held...)
	}
	if err := owner.now().Forget(append(all[:5:5], all[0], core.Holding{})...); err != nil {
		t.Fatal(err)
	}
	owner.checkPlaced(t)
	if sum := owner.now().Placed(w.homes[1].grid) + owner.now().Placed(w.homes[2].grid); sum != 15_000 {
		t.Errorf("%d bytes are placed", sum)
	}
	if held, err := owner.now().Held(pieces[0].Score); err != nil || len(held) != 0 {
		t.Errorf("held %v, %v", held, err)
	}
}
