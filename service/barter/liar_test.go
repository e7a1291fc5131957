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
	for name, c := range map[string]struct {
		counter *core.Counter
		asks    int64
	}{
		"none": {nil, 1}, "zero": {&core.Counter{}, 1}, "negative": {&core.Counter{Amount: -5}, 1}, "as much": {&core.Counter{Amount: 21_250}, 1},
		"more": {&core.Counter{Amount: 1 << 62}, 1}, "smaller than a piece": {&core.Counter{Amount: 999}, 1}, "enough": {&core.Counter{Amount: 20_000}, 2},
	} {
		w, _ := simWorld(t, 2)
		owner, holder := w.homes[0], w.homes[1]
		var asks atomic.Int64
		holder.instead("POST /ask", wire.Handle(func(context.Context, core.Ask) (grantAnswer, error) {
			asks.Add(1)
			return grantAnswer{}, &core.Denial{Reason: "no", Counter: c.counter}
		}))
		p := mustPlace(t, owner, 20_000)
		s, pieces := segmentOf(1, 10, 10, 1_000)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
		if err != nil || len(unplaced) != 20 || asks.Load() != c.asks {
			t.Errorf("%s: unplaced %v, %v after %d asks", name, unplaced, err, asks.Load())
		}
		if denial, ok := errors.AsType[*core.Denial](p.Refusals()[holder.grid]); !ok || denial.Reason != "no" {
			t.Errorf("%s: refusals %v", name, p.Refusals())
		}
	}
}
