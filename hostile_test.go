package grange_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// hostileWorld is anna with partners, of whom bo misbehaves.
type hostileWorld struct {
	*world
	t              tester
	anna, bo, cleo *machine
	spoiler        *spoiler
	goroutines     int
}

// with runs do once for each way to misbehave at each route, in one world for each
// route; bo is honest before, between two of them, and after. It takes every stride-th way,
// at each route others, unless a long run is asked for.
func with(t *testing.T, stride int, routes []string, before func(h *hostileWorld), do func(h *hostileWorld, what string, n uint64), after func(h *hostileWorld)) {
	t.Helper()
	switch {
	case simSeeds(t) > simSeedsFew:
		stride = 1
	case testing.Short():
		stride *= 2
	}
	for i, route := range routes {
		t.Run(route, func(t *testing.T) {
			bubble(t, func(w *world) {
				h := newHostileWorld(w)
				before(h)
				for n, name := range slices.Sorted(maps.Keys(spoils)) {
					if n%stride == i%stride {
						h.misbehave(route, name, func() { do(h, "bo "+name, uint64(n)) })
					}
				}
				after(h)
			})
		})
	}
}

func newHostileWorld(w *world) *hostileWorld {
	h := &hostileWorld{world: w, t: w.t, anna: w.found("anna"), bo: w.found("bo"), cleo: w.found("cleo")}
	h.spoiler = h.bo.spoiled()
	dan := w.found("dan")
	for _, m := range []*machine{h.anna, h.bo, h.cleo, dan} {
		m.run()
	}
	for _, m := range []*machine{h.bo, h.cleo, dan} {
		w.befriend(m, h.anna)
	}
	w.later(time.Second)
	return h
}

// misbehave runs do while bo does, and lets everything settle afterwards.
func (h *hostileWorld) misbehave(route, name string, do func()) {
	h.t.Helper()
	h.spoiler.set(route, spoils[name])
	do()
	if hits := h.spoiler.set("", nil); hits == 0 {
		h.t.Errorf("bo %s: never, so this tests nothing", name)
	}
	settle := 7 * time.Minute // backoffs end, partners greet
	if route == "POST /leases" {
		settle = 61 * time.Minute // so do grants that could not be given back
	}
	h.later(settle)
	// Connections that wait come and go, but each misdeed must not leave something behind.
	n := runtime.NumGoroutine()
	if h.goroutines == 0 {
		h.goroutines = n
	}
	if n > h.goroutines+60 {
		h.t.Fatalf("bo %s: %d goroutines, %d at first", name, n, h.goroutines)
	}
}

// without runs f while a machine is out of everybody's reach.
func (w *world) without(m *machine, f func()) {
	w.net.Down(m.did)
	f()
	w.net.Up(m.did)
}

// namesBo fails the test unless a result that is not whole says that it is for bo.
func (h *hostileWorld) namesBo(what string, err error, said map[string]string) {
	h.t.Helper()
	if err != nil && said["bo"] == "" {
		h.t.Errorf("%s: %v, and nothing says that it is for bo (%v)", what, err, said)
	}
	if err != nil && !errors.Is(err, grange.ErrPartly) {
		h.t.Errorf("%s: %v, which is not partly", what, err)
	}
	for _, name := range []string{"cleo", "dan", "anna"} {
		if said[name] != "" {
			h.t.Errorf("%s: blamed on %s: %s", what, name, said[name])
		}
	}
	if strings.ContainsRune(said["bo"], 0x1b) {
		h.t.Errorf("%s: a peer's control characters come through: %q", what, said["bo"])
	}
}

func TestSimHostilePut(t *testing.T) {
	routes := []string{"POST /prove", "POST /ask", "PUT /pieces", "POST /leases", "PUT /state", "POST /head"}
	trees := func(n uint64) (string, tree) { return fmt.Sprint("tree", n), randomTree(n, 20_000) }
	with(t, 11, routes, func(*hostileWorld) {}, func(h *hostileWorld, what string, n uint64) {
		name, tree := trees(n)
		out, err := h.anna.Put(h.t.Context(), name, tree.fs(), nil)
		h.namesBo(what, err, out.Refused)
		if out.Number == 0 || out.Worth.Households < 2 {
			h.t.Fatalf("%s: no version that is worth anything: %+v, %v", what, out, err)
		}
		if out.Worth.Pieces < out.Worth.Wanted && err == nil {
			h.t.Errorf("%s: %d of %d pieces, and no error", what, out.Worth.Pieces, out.Worth.Wanted)
		}
		h.without(h.bo, func() { // whatever bo did, the others have enough
			if err := h.anna.hasTree(name, tree); err != nil {
				h.t.Errorf("%s: without bo: %v", what, err)
			}
		})
	}, func(h *hostileWorld) {
		check, err := h.anna.Check(h.t.Context(), "", &grange.CheckOptions{Mend: true})
		if err != nil || check.Worth.Survives != 1 || check.Worth.Pieces != check.Worth.Wanted {
			h.t.Errorf("when bo is honest again: %+v, %v", check, err)
		}
		for v, err := range h.anna.Versions(h.t.Context(), "") {
			var n uint64
			if _, bad := fmt.Sscanf(v.Name, "tree%d", &n); bad != nil || err != nil {
				h.t.Fatal(v.Name, bad, err)
			}
			name, tree := trees(n)
			h.anna.mustHave(name, tree)
		}
	})
}

func TestSimHostileGet(t *testing.T) {
	want := randomTree(1, 200_000)
	putIt := func(h *hostileWorld) { h.anna.put("tree", want) }
	with(t, 2, []string{"GET /pieces"}, putIt, func(h *hostileWorld, what string, _ uint64) {
		dest := filepath.Join(h.t.TempDir(), "back")
		runtime.GC() // what was read before is at hand for as long as anybody reads
		out, err := h.anna.Restore(h.t.Context(), grange.Ref{Name: "tree"}, dest, nil)
		if err != nil || len(out.Problems) > 0 {
			h.t.Errorf("%s: %v, %+v", what, err, out.Problems)
		}
		text, err := os.ReadFile(filepath.Join(dest, "b", "large"))
		if err != nil || string(text) != want["b/large"] {
			h.t.Errorf("%s: %d bytes came back, %v", what, len(text), err)
		}
		// With another away he is needed, and it is said why that does not go.
		runtime.GC()
		h.without(h.cleo, func() {
			err := h.anna.hasTree("tree", want)
			if err == nil || !slices.Contains(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == ' ' || r == ',' }), "bo") {
				h.t.Errorf("%s, and cleo is away: %v, which does not name bo", what, err)
			}
		})
	}, func(h *hostileWorld) {
		h.without(h.cleo, func() { h.anna.mustHave("tree", want) })
	})
}

func TestSimHostileCheck(t *testing.T) {
	putIt := func(h *hostileWorld) { h.anna.put("tree", randomTree(1, 20_000)) }
	with(t, 2, []string{"POST /prove"}, putIt, func(h *hostileWorld, what string, _ uint64) {
		check, err := h.anna.Check(h.t.Context(), "", nil)
		if !errors.Is(err, grange.ErrPartly) {
			h.t.Errorf("%s: %v, want partly", what, err)
		}
		for _, f := range check.Findings {
			bad := f.Missing + f.Corrupt + f.Away + f.Gone
			if (f.Partner == "bo") != (bad > 0) || (bad > 0) != (f.Err != "") ||
				bad > 0 && f.OK > 0 && what != "bo lies in one bit" { // the rest of what he says then is true
				h.t.Errorf("%s: found %+v", what, f)
			}
			if f.Missing > 0 || f.Gone > 0 {
				h.t.Errorf("%s: nobody said that anything is missing: %+v", what, f)
			}
		}
		if check.Worth.Pieces >= check.Worth.Wanted+check.Unheld || check.Worth.Text == "" || !check.Worth.Readable {
			h.t.Errorf("%s: worth %+v", what, check.Worth)
		}
	}, func(h *hostileWorld) {
		if check, err := h.anna.Check(h.t.Context(), "", nil); err != nil || check.Worth.Survives != 1 {
			h.t.Errorf("bo is honest: %+v, %v", check, err)
		}
	})
}

// A partner that cannot prove anything is replaced when the person says so, and what it
// has is not lost by that.
func TestSimHostileMend(t *testing.T) {
	with(t, 4, []string{"POST /prove"}, func(*hostileWorld) {}, func(h *hostileWorld, what string, n uint64) {
		name, want := fmt.Sprint("tree", n), randomTree(n, 20_000)
		h.honestly(func() { h.anna.put(name, want) })
		check, err := h.anna.Check(h.t.Context(), name, &grange.CheckOptions{Mend: true, Now: true})
		// Only who seems to answer is given pieces again, and then it is said that not all is whole.
		fooled := what == "bo answers an empty map" && errors.Is(err, grange.ErrPartly)
		if !fooled && (err != nil || check.Mended.Pieces == 0 || check.Mended.Whole != check.Mended.Segments || check.Worth.Pieces != check.Worth.Wanted) {
			h.t.Errorf("%s: mend: %+v, %+v, %v", what, check, check.Mended, err)
		}
		h.without(h.bo, func() { h.anna.mustHave(name, want) })
		h.without(h.cleo, func() { h.anna.mustHave(name, want) })
	}, func(*hostileWorld) {})
}

// honestly runs f while bo does not misbehave.
func (h *hostileWorld) honestly(f func()) {
	h.spoiler.mu.Lock()
	how := h.spoiler.how
	h.spoiler.how = nil
	h.spoiler.mu.Unlock()
	f()
	h.spoiler.mu.Lock()
	defer h.spoiler.mu.Unlock()
	h.spoiler.how = how
}

func TestSimHostileRecover(t *testing.T) {
	want := randomTree(1, 20_000)
	routes := []string{"POST /recover", "GET /heads", "GET /leases", "POST /charter", "POST /greet", "POST /head"}
	putIt := func(h *hostileWorld) { h.anna.put("tree", want) }
	with(t, 11, routes, putIt, func(h *hostileWorld, what string, n uint64) {
		h.anna.stop()
		next, rec := h.recover(h.anna, h.cleo, fmt.Sprint("anna", n+1))
		if len(rec.Versions) != 1 || rec.Household != "anna" || rec.Asked != 3 {
			h.t.Errorf("%s: recovered %+v", what, rec)
		}
		for name := range rec.Failed {
			if name != "bo" {
				h.t.Errorf("%s: blamed on %s: %s", what, name, rec.Failed[name])
			}
		}
		next.run()
		h.anna = next
		h.without(h.bo, func() { next.mustHave("tree", want) })
	}, func(h *hostileWorld) {
		h.anna.stop()
		last, rec := h.recover(h.anna, h.bo, "last")
		if rec.Agree != 3 || len(rec.Failed) > 0 {
			h.t.Errorf("from bo, who is honest again: %+v", rec)
		}
		last.mustHave("tree", want)
	})
}

// Who begins with the hostile one gets an error that names it, and can begin with another.
func TestSimHostileRecoverFrom(t *testing.T) {
	want := randomTree(1, 20_000)
	loseIt := func(h *hostileWorld) {
		h.anna.put("tree", want)
		h.anna.stop()
	}
	with(t, 11, []string{"POST /recover", "GET /heads", "GET /state"}, loseIt, func(h *hostileWorld, what string, n uint64) {
		m := h.machine(fmt.Sprint("anna", n+1))
		m.phrase = h.anna.phrase
		_, err := m.recover(h.bo)
		if err == nil {
			return // a lie that could be put right, or that told nothing false
		}
		unknown := errors.Is(err, core.ErrForbidden) && strings.Contains(err.Error(), "with this phrase")
		if !unknown && !strings.Contains(err.Error(), h.bo.did.Short()) && !strings.Contains(err.Error(), h.bo.did.String()) && !strings.Contains(err.Error(), "bo") {
			h.t.Errorf("%s: %v, which does not name bo", what, err)
		}
		if _, err := grange.Open(h.t.Context(), m.config()); !errors.Is(err, grange.ErrNoHousehold) {
			h.t.Errorf("%s: a recovery that failed can be opened: %v", what, err)
		}
		if rec, err := m.recover(h.cleo); err != nil || len(rec.Versions) != 1 {
			h.t.Errorf("%s: then from cleo: %+v, %v", what, rec, err)
		}
	}, func(*hostileWorld) {})
}

func TestSimHostileAccept(t *testing.T) {
	with(t, 4, []string{"POST /accept"}, func(*hostileWorld) {}, func(h *hostileWorld, what string, n uint64) {
		zoe := h.found(fmt.Sprint("zoe", n))
		defer zoe.stop()
		inv, err := h.bo.Invite(h.t.Context(), grange.Terms{})
		if err != nil {
			h.t.Fatal(err)
		}
		asked := 0
		agree := func(grange.Terms) bool { asked++; return true }
		if _, err := zoe.Accept(h.t.Context(), inv.Code, agree); err == nil || !strings.Contains(err.Error(), "accept the invitation of bo") {
			h.t.Errorf("%s: %v, which does not name bo", what, err)
		} else if strings.ContainsRune(err.Error(), 0x1b) {
			h.t.Errorf("%s: control characters: %q", what, err)
		}
		if p := pacts(zoe); len(p) > 0 {
			h.t.Errorf("%s: a partner all the same: %v", what, p)
		}
		h.honestly(func() {
			pact, err := zoe.Accept(h.t.Context(), inv.Code, agree)
			if err != nil || pact.Name != "bo" {
				h.t.Errorf("%s: when bo is honest: %+v, %v", what, pact, err)
			}
		})
		if asked != 1 && what != "bo refuses" { // a refusal is final, the rest is one proposal
			h.t.Errorf("%s: the person was asked %d times", what, asked)
		}
	}, func(*hostileWorld) {})
}

func pacts(m *machine) []string {
	var out []string
	for p := range m.Pacts(m.w.t.Context()) {
		out = append(out, p.Name)
	}
	return out
}

// A partner that lets bytes drip is always about to answer; what is done with others goes on all the same.
func TestSimHostileDrip(t *testing.T) {
	for _, c := range []struct{ op, route string }{
		{"put", "POST /head"}, {"get", "GET /pieces"},
	} {
		t.Run(c.op+" "+c.route, func(t *testing.T) {
			bubble(t, func(w *world) {
				h := newHostileWorld(w)
				want := randomTree(1, 20_000)
				h.anna.put("tree", want)
				h.spoiler.set(c.route, drips)
				ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Hour)
				defer cancel()
				switch c.op {
				case "put":
					_, _ = h.anna.Put(ctx, "more", randomTree(2, 20_000).fs(), nil)
				case "get":
					_, _ = h.anna.Restore(ctx, grange.Ref{Name: "tree"}, filepath.Join(w.t.TempDir(), "back"), nil)
				}
				if ctx.Err() != nil {
					w.t.Errorf("a partner that lets bytes drip holds up a %s for hours", c.op)
				}
				if h.spoiler.set("", nil) == 0 {
					w.t.Error("nothing dripped")
				}
			})
		})
	}
}
