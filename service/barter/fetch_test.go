package barter

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

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
		got, err := owner.now().Fetch(t.Context(), pieces[0], make([]byte, 10), !errors.Is(c.kind, core.ErrBusy)) // else it is waited for
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
		for _, other := range w.homes[1:] {
			if other != o {
				w.net.Down(other.agent())
			}
		}
		p := mustPlace(t, owner, 100)
		if _, err := p.Segment(t.Context(), s, data, []int{0}, nil); err != nil {
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

func TestAMachineThatIsDownIsTriedLessAndLess(t *testing.T) {
	w, clock := simWorld(t, 1)
	b, agent := w.homes[0].now(), core.DID{7}
	for i, wait := range []time.Duration{5, 10, 20, 40, 80, 120, 120} {
		b.heard(agent, core.ErrUnreachable)
		b.heard(agent, context.Canceled) // which says nothing of the machine
		clock.Advance(wait*time.Second - 1)
		if err := b.isDown(agent); !errors.Is(err, core.ErrUnreachable) {
			t.Errorf("failure %d: tried again before %d s", i+1, int64(wait))
		}
		clock.Advance(1)
		if err := b.isDown(agent); err != nil {
			t.Errorf("failure %d: not tried after %d s", i+1, int64(wait))
		}
	}
	b.heard(agent, core.ErrUnreachable)
	for _, word := range []func(){func() { b.Saw(agent) }, func() { b.heard(agent, core.ErrBusy) }} {
		if word(); b.isDown(agent) != nil {
			t.Error("down, although there was word from it")
		}
		b.heard(agent, core.ErrUnreachable)
		clock.Advance(downFirst)
		if b.isDown(agent) != nil {
			t.Error("what was before still counts")
		}
	}
}
