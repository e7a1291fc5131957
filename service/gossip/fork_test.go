package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// twins are two agents that write with one key, of which neither knows of the other.
func (w *world) twins(k identity.Key, same, a, b int) (*node, *node) {
	x, y := w.add("twin a"), w.add("twin b")
	texts := func(what string, n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint(what, i)
		}
		return out
	}
	if same > 0 {
		x.putAs(k, texts("same ", same)...)
		y.syncWith(x)
	}
	if a > 0 {
		x.putAs(k, texts("a ", a)...)
	}
	if b > 0 {
		y.putAs(k, texts("b ", b)...)
	}
	return x, y
}

// TestForks: wherever an author forks, both sides end with what is before, and so does everybody else.
func TestForks(t *testing.T) {
	k := keyOf("forker")
	rnd := rand.New(rand.NewPCG(7, 7))
	cases := [][3]int{{0, 1, 1}, {1, 1, 1}, {5, 1, 1}, {5, 1, 9}, {5, 9, 1}, {0, 40, 3}, {100, 3, 70}, {1, 300, 300}, {513, 64, 65}}
	for range 20 {
		cases = append(cases, [3]int{rnd.IntN(40), 1 + rnd.IntN(40), 1 + rnd.IntN(40)})
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			w := newWorld(t)
			x, y := w.twins(k, c[0], c[1], c[2])
			z := w.add("zoe")
			y.put("not concerned")
			z.syncWith(y)
			st, err := x.Sync(t.Context(), table, y.key.DID())
			if !errors.Is(err, feed.ErrForked) || st.Forks != 1 {
				t.Errorf("%+v, %v", st, err)
			}
			for _, n := range []*node{x, y} {
				s, err := n.Standing(table, k.DID())
				if err != nil || s.Seq != uint64(c[0]) || s.Forked != uint64(c[0]+1) {
					t.Errorf("%s: %+v, %v", n.name, s, err)
				}
				if len(n.forked) != 1 || n.forked[0].Seq() != uint64(c[0]+1) || n.forked[0].Author() != k.DID() {
					t.Errorf("%s was told of %+v", n.name, n.forked)
				}
			}
			if st := z.syncWith(x); st.Forks != 1 {
				t.Errorf("the third: %+v", st)
			}
			w.equal(x, y, z)
			for range 2 {
				for _, n := range []*node{x, y, z} {
					for _, m := range []*node{x, y, z} {
						if n != m {
							if st := n.syncWith(m); st.Operations != 0 || st.Trips != 1 {
								t.Errorf("they are level: %+v", st)
							}
						}
					}
				}
			}
			if _, err := z.Append(t.Context(), table, k, Draft{Kind: feed.Put}); !errors.Is(err, feed.ErrForked) {
				t.Errorf("it writes on: %v", err)
			}
			proofs := 0
			for f, err := range z.Forks(table) {
				w.must(err)
				proofs++
				w.must(f.Verify())
			}
			if proofs != 1 {
				t.Errorf("%d proofs", proofs)
			}
		})
	}
}

// TestForkBehindAFalseSignature: the signature that the proof needs was passed on falsely, and another peer has it.
func TestForkBehindAFalseSignature(t *testing.T) {
	k := keyOf("forker")
	w := newWorld(t)
	x, y := w.twins(k, 2, 3, 3)
	b := w.add("bert")
	w.poisoned(x, b, 3)
	if _, err := b.Sync(t.Context(), table, y.key.DID()); !errors.Is(err, feed.ErrForked) || !errors.Is(err, feed.ErrForged) || len(b.forked) != 0 {
		t.Errorf("with nobody to ask: %v", err)
	}
	b.friends = []core.DID{y.key.DID(), x.key.DID()}
	if st, err := b.Sync(t.Context(), table, y.key.DID()); !errors.Is(err, feed.ErrForked) || st.Forks != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	x.syncWith(b)
	w.equal(b, x, y)
}

// TestTheLowestForkCounts: an author that has forked twice ends before the first, in whatever order that is learned.
func TestTheLowestForkCounts(t *testing.T) {
	k := keyOf("forker")
	w := newWorld(t)
	x, y := w.twins(k, 9, 1, 1)
	z := w.add("zoe")
	z.putAs(k, "an early other")
	_, err := x.Sync(t.Context(), table, y.key.DID())
	if !errors.Is(err, feed.ErrForked) {
		t.Fatal(err)
	}
	if _, err := z.Sync(t.Context(), table, x.key.DID()); err != nil && !errors.Is(err, feed.ErrForked) {
		t.Fatal(err)
	}
	for range 2 {
		for _, n := range []*node{x, y, z} {
			for _, m := range []*node{z, y, x} {
				if n != m {
					_, err := n.Sync(context.Background(), table, m.key.DID())
					if err != nil && !errors.Is(err, feed.ErrForked) {
						t.Fatal(err)
					}
				}
			}
		}
	}
	w.equal(x, y, z)
	if s, err := y.Standing(table, k.DID()); err != nil || s.Seq != 0 || s.Forked != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestReplicasOfForkersEndEqual: whatever is exchanged in whatever order, by any number of forking authors.
func TestReplicasOfForkersEndEqual(t *testing.T) {
	for seed := range uint64(25) {
		w := newWorld(t)
		rnd := rand.New(rand.NewPCG(seed, 1))
		keys := []identity.Key{keyOf("k 0"), keyOf("k 1"), keyOf("k 2")}
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, w.add(fmt.Sprint("node ", i)))
		}
		meet := func(n, m *node) {
			if _, err := n.Sync(t.Context(), table, m.key.DID()); err != nil && !errors.Is(err, feed.ErrForked) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for range 60 {
			n, m := nodes[rnd.IntN(4)], nodes[rnd.IntN(4)]
			switch {
			case rnd.IntN(2) == 0:
				drafts := make([]Draft, 1+rnd.IntN(3))
				for i := range drafts {
					drafts[i] = Draft{Kind: feed.Put, Payload: []byte{byte(rnd.IntN(3))}}
				}
				if _, err := n.Append(t.Context(), table, keys[rnd.IntN(3)], drafts...); err != nil && !errors.Is(err, feed.ErrForked) {
					t.Fatal(err)
				}
			case n != m:
				meet(n, m)
			}
		}
		for range 4 {
			for i, n := range nodes {
				for j, m := range nodes {
					if i != j {
						meet(n, m)
					}
				}
			}
		}
		w.equal(nodes...)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestProofsAgainstAnybody are not kept: there is no end of keys that could have forked.
func TestProofsAgainstAnybody(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	k := keyOf("nobody's")
	b.takes = func(author core.DID, _ uint64, _ int64) error {
		if author == k.DID() {
			return errors.New("no leave")
		}
		return nil
	}
	proof := forkOf(t, table, k)
	w.must(a.callNews(t.Context(), b.key.DID(), table, nil, [][]byte{proof.Bytes()}))
	if got := b.log(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	w.must(a.learn(a.topics[table], a.key.DID(), [][]byte{proof.Bytes()}, nil))
	if st := b.syncWith(a); st.Forks != 0 || len(st.Notes) != 1 || len(b.log()) != 0 {
		t.Errorf("%+v", st)
	}
	b.takes = nil
	if st := b.syncWith(a); st.Forks != 1 || len(b.forked) != 1 {
		t.Errorf("with leave: %+v", st)
	}
	w.equal(a, b)
}

func forkOf(t testing.TB, topic core.DID, k identity.Key) feed.Fork {
	t.Helper()
	var ops [2]feed.Operation
	for i := range ops {
		var err error
		if ops[i], err = feed.Sign(k, feed.Header{Topic: topic, Seq: 1, Clock: uint64(i + 1), Kind: feed.Put}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := feed.NewFork(ops[0], ops[1])
	if err != nil {
		t.Fatal(err)
	}
	return f
}
