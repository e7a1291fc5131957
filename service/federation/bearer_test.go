package federation_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// shelves serves pieces to whom the gate lets in as a bearer.
func (m *machine) shelves(pieces ...string) {
	m.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			name, ok := strings.CutPrefix(r.URL.Path, wire.Prefix+"/pieces/")
			if !ok {
				next.ServeHTTP(rw, r)
				return
			}
			c, err := m.f.Classify(r.Context(), wire.PeerOf(r.Context()))
			if err == nil && c.Class != wire.Bearer {
				err = &wire.Error{Code: wire.CodeUnknown}
			}
			for _, p := range pieces {
				plain := strings.TrimPrefix(p, "rotten ")
				if err == nil && core.ScoreOf([]byte(plain)).String() == name {
					wire.WriteBytes(rw, []byte(p))
					return
				}
			}
			if err == nil {
				err = core.ErrNotExist
			}
			wire.WriteError(rw, r, err)
		})
	}
	m.restart()
}

func TestBearerFetches(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo, dan := w.household("anna"), w.household("bo"), w.household("cleo"), w.household("dan")
	for _, m := range []*machine{bo, cleo, dan} {
		w.befriend(anna, m)
	}
	bo.shelves("one", "rotten two")
	cleo.shelves("two")
	dan.shelves("three")
	x, r := ticketOf(anna, "ticket", bo, cleo, dan)
	anna.off()
	b := w.bearer("reader", x, r)
	fetch := func(plain string, again bool) (string, error) {
		data, err := b.Fetch(t.Context(), core.Piece{Score: core.ScoreOf([]byte(plain)), Size: int64(len(plain))}, nil, again)
		return string(data), err
	}
	for range 2 {
		for _, plain := range []string{"one", "two", "three"} {
			if got, err := fetch(plain, false); err != nil || got != plain {
				t.Errorf("%s: %q, %v", plain, got, err)
			}
		}
		if _, err := fetch("four", false); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("what nobody has: %v", err)
		}
		if held, err := b.Held(core.Score{}); len(held) != 0 || err != nil {
			t.Errorf("with all at home: %v, %v", held, err)
		}
		w.clock.Advance(2 * time.Hour) // they have forgotten it by then, and are asked again
	}
	bo.off()
	if _, err := fetch("one", false); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("its holder is away: %v", err)
	}
	if held, _ := b.Held(core.Score{}); len(held) != 1 || held[0].Agent != bo.did() {
		t.Errorf("who is away: %v", held)
	}
	if got, err := fetch("three", false); err != nil || got != "three" {
		t.Errorf("the others: %v", err)
	}
	bo.on()
	if _, err := fetch("one", false); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("a moment later: %v", err)
	}
	if got, err := fetch("one", true); err != nil || got != "one" {
		t.Errorf("asked again: %v", err)
	}
	// Who is let in nowhere hears why.
	if err := w.bearer("another", x, r).Enter(t.Context()); err != nil {
		t.Error(err)
	}
	for _, m := range []*machine{bo, cleo} {
		m.off()
	}
	w.clock.Advance(30 * 24 * time.Hour)
	if err := w.bearer("late", x, r).Enter(t.Context()); !errors.Is(err, core.ErrRefused) {
		t.Errorf("lapsed: %v", err)
	}
	dan.off()
	if err := w.bearer("alone", x, r).Enter(t.Context()); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("nobody is there: %v", err)
	}
}
