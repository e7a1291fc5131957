package grange_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange"
)

// gate is a file system whose file at "z/last" is read only when it is let.
type gate struct {
	fs.FS
	reached, let chan struct{}
	once         *sync.Once
}

func newGate(t tree) gate {
	t["z/last"] = "the last"
	return gate{t.fs(), make(chan struct{}), make(chan struct{}), &sync.Once{}}
}

func (g gate) Open(name string) (fs.File, error) {
	if name == "z/last" {
		g.once.Do(func() { close(g.reached) })
		<-g.let
	}
	return g.FS.Open(name)
}

func TestTwoPutsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		homes := w.households("anna", "bo", "cleo")
		anna := homes[0]
		same := randomTree(9, 200_000)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				one := randomTree(uint64(i), 50_000)
				one["same"] = same["b/large"]
				if _, err := anna.Put(w.t.Context(), fmt.Sprint("tree", i%2, i), one.fs(), nil); err != nil {
					w.t.Errorf("put %d: %v", i, err)
				}
			})
		}
		all.Wait()
		seqs := map[uint64]bool{}
		for v, err := range anna.Versions(w.t.Context(), "") {
			if err != nil || seqs[v.Number] {
				w.t.Errorf("version %+v twice, or %v", v, err)
			}
			seqs[v.Number] = true
			var a, i int
			if _, err := fmt.Sscanf(v.Name, "tree%d %d", &a, &i); err != nil {
				w.t.Fatal(err)
			}
			one := randomTree(uint64(i), 50_000)
			one["same"] = same["b/large"]
			anna.mustHave(v.Name, one)
		}
		if len(seqs) != 4 {
			w.t.Errorf("%d versions", len(seqs))
		}
		// What they have in common was sent once: 400 kB, twice for spare, and what fills segments up.
		if got := anna.placed(w.t); got > 1_400_000 {
			w.t.Errorf("%d bytes are placed", got)
		}
		for _, m := range homes[1:] {
			w.balanced(anna, m)
		}
	})
}

// While a put is under way, a check waits for it, and reading does not.
func TestPutWithCheckAndGet(t *testing.T) {
	bubble(t, func(w *world) {
		anna := w.households("anna", "bo", "cleo")[0]
		old := randomTree(1, 100_000)
		anna.put("old", old)
		g := newGate(randomTree(2, 100_000))
		put, check := make(chan error, 1), make(chan error, 1)
		go func() { put <- second(anna.Put(w.t.Context(), "new", g, nil)) }()
		<-g.reached
		anna.mustHave("old", old)
		if err := anna.hasTree("new", nil); !errors.Is(err, fs.ErrNotExist) {
			w.t.Errorf("a version that is not whole can be read: %v", err)
		}
		go func() { check <- second(anna.Check(w.t.Context(), "", &grange.CheckOptions{Mend: true})) }()
		synctest.Wait()
		select {
		case err := <-check:
			w.t.Errorf("a mending beside a put ended: %v", err)
		default:
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		if _, err := anna.Check(ctx, "", &grange.CheckOptions{Mend: true}); !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("a mending that waits for a put does not heed its context: %v", err)
		}
		close(g.let)
		for what, ended := range map[string]chan error{"put": put, "check": check} {
			if err := <-ended; err != nil {
				w.t.Errorf("%s: %v", what, err)
			}
		}
		want := randomTree(2, 100_000)
		want["z/last"] = "the last"
		anna.mustHave("new", want)
	})
}

// A put that is cut leaves no version. What it had placed by then is not sent again.
func TestPutCutAndAgain(t *testing.T) {
	for _, how := range []string{"its context ends", "the agent is closed", "the network fails"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(w *world) {
				homes := w.households("anna", "bo", "cleo")
				anna := homes[0]
				// It cannot be made smaller, so some segments of 2 MiB are full before the end.
				spread := &grange.PutOptions{Data: 2, Parity: 2}
				g := newGate(randomTree(3, 6<<20))
				ctx, cancel := context.WithCancel(w.t.Context())
				defer cancel()
				put := make(chan error, 1)
				go func() { put <- second(anna.Put(ctx, "tree", g, spread)) }()
				<-g.reached
				w.later(time.Minute) // what can be placed is
				switch how {
				case "its context ends":
					cancel()
				case "the agent is closed":
					anna.stop()
				case "the network fails":
					w.net.Down(homes[1].did)
					w.net.Down(homes[2].did)
				}
				close(g.let)
				err := <-put
				if err == nil || how == "its context ends" && !errors.Is(err, context.Canceled) {
					w.t.Fatalf("the put was cut, and ended with %v", err)
				}
				if strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "nil pointer") {
					w.t.Fatal(err)
				}
				for _, m := range homes[1:] {
					w.net.Up(m.did)
				}
				if how == "the agent is closed" {
					anna.open()
					anna.run()
				}
				w.later(10 * time.Minute)
				if err := anna.hasTree("tree", nil); !errors.Is(err, fs.ErrNotExist) {
					w.t.Errorf("half a version: %v", err)
				}
				before := anna.placed(w.t)
				want := randomTree(3, 6<<20)
				want["z/last"] = "the last"
				out, err := anna.Put(w.t.Context(), "tree", want.fs(), spread)
				if err != nil {
					w.t.Fatalf("and again: %v", err)
				}
				if how == "its context ends" && (before == 0 || out.Same == 0) {
					w.t.Errorf("nothing of what was placed counts: %d bytes placed, %d the same", before, out.Same)
				}
				anna.mustHave("tree", want)
				if check, err := anna.Check(w.t.Context(), "", nil); err != nil {
					w.t.Errorf("check: %+v, %v", check, err)
				}
			})
		})
	}
}

// Reading goes on while the agent is closed: it ends with an error, and soon.
func TestCloseDuringRead(t *testing.T) {
	bubble(t, func(w *world) {
		anna := w.households("anna", "bo", "cleo")[0]
		want := randomTree(4, 4<<20)
		anna.put("tree", want)
		fsys, err := anna.FS(w.t.Context(), grange.Ref{Name: "tree"})
		if err != nil {
			w.t.Fatal(err)
		}
		f, err := fsys.Open("b/large")
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		head := make([]byte, 1000)
		if _, err := io.ReadFull(f, head); err != nil || !bytes.Equal(head, []byte(want["b/large"][:1000])) {
			w.t.Fatalf("the first bytes: %v", err)
		}
		anna.stop()
		if rest, err := io.ReadAll(f); err == nil && len(rest) != 4<<20-1000 {
			w.t.Errorf("%d bytes and no error from a closed agent", len(rest))
		}
		if _, err := anna.FS(w.t.Context(), grange.Ref{Name: "tree"}); err == nil {
			w.t.Error("a closed agent opens a version")
		}
		if _, err := anna.Put(w.t.Context(), "tree", want.fs(), nil); err == nil {
			w.t.Error("a closed agent puts")
		}
	})
}
