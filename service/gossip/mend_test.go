package gossip

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// poisoned has b take a's operations with a false signature at a seq, as a peer passed them on.
func (w *world) poisoned(a, b *node, seq uint64) {
	w.t.Helper()
	a.hostile.operations = func(_ operationsRequest, out *operationsAnswer) {
		out.Batch = w.rewrite(out.Batch, func(ops []feed.Logged) []feed.Logged {
			for i := range ops[:len(ops)-1] {
				if ops[i].Seq == seq {
					ops[i].Sig[0] ^= 1
				}
			}
			return ops
		})
	}
	for range 1000 { // it may be seen, by chance
		if _, err := b.Sync(w.t.Context(), table, a.key.DID()); err == nil {
			a.hostile.operations = nil
			return
		}
	}
	w.t.Fatal("it was always seen")
}

// TestProven: a false signature that was passed on is mended by a peer that has the good one.
func TestProven(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	a.put("one", "two", "three")
	w.poisoned(a, b, 2)
	if l, err := b.Get(table, a.key.DID(), 2); err != nil || !errors.Is(l.Verify(), feed.ErrForged) {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := b.Proven(t.Context(), table, a.key.DID(), 2); !errors.Is(err, feed.ErrForged) {
		t.Errorf("with nobody to ask: %v", err)
	}
	b.friends = []core.DID{keyOf("nobody").DID(), a.key.DID()}
	w.net.Join(keyOf("nobody").DID()).Close()
	for _, get := range []func() (feed.Logged, error){
		func() (feed.Logged, error) { return b.Proven(t.Context(), table, a.key.DID(), 2) },
		func() (feed.Logged, error) { return b.Get(table, a.key.DID(), 2) },
	} {
		if l, err := get(); err != nil || l.Verify() != nil || string(l.Payload) != "two" {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if _, err := b.Proven(t.Context(), table, a.key.DID(), 4); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
