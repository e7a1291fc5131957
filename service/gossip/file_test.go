package gossip

import (
	"errors"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// batchOf puts all that a node has of some authors, authors rising, into a batch.
func (n *node) batchOf(authors ...core.DID) []byte {
	out := feed.AppendBatch(nil, table)
	for _, a := range authors {
		var ops []feed.Logged
		for l, err := range n.Operations(table, a, 1) {
			n.w.must(err)
			ops = append(ops, l)
		}
		out = feed.AppendRun(out, ops)
	}
	return out
}

// What is in a file is taken as if a peer had sent it, and verified as that is.
func TestTake(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.add("anna"), w.add("bo")
	anna.put("one", "two", "three")
	author := anna.key.DID()
	whole := anna.batchOf(author)
	forged := w.rewrite(whole, func(ops []feed.Logged) []feed.Logged { ops[2].Sig[3] ^= 1; return ops })
	gap := w.rewrite(whole, func(ops []feed.Logged) []feed.Logged { return ops[1:] })
	for what, c := range map[string]struct {
		batch []byte
		want  error
	}{
		"forged": {forged, feed.ErrForged}, "a gap": {gap, feed.ErrBroken}, "half": {whole[:len(whole)-9], core.ErrInvalid},
		"another topic": {feed.AppendBatch(nil, author), core.ErrInvalid},
	} {
		if st, err := bo.Take(t.Context(), table, c.batch); !errors.Is(err, c.want) || st.Operations != 0 {
			t.Errorf("%s: %+v, %v", what, st, err)
		}
	}
	bo.takes = func(_ core.DID, seq uint64, _ int64) error {
		if seq > 2 {
			return errors.New("too much")
		}
		return nil
	}
	if st, err := bo.Take(t.Context(), table, whole); err != nil || st.Operations != 2 || len(st.Notes) != 1 || !errors.Is(st.Notes[0], ErrLeave) {
		t.Errorf("with leave for two: %+v, %v", st, err)
	}
	bo.takes = nil
	for _, want := range []int{1, 0} {
		if st, err := bo.Take(t.Context(), table, whole); err != nil || st.Operations != want {
			t.Errorf("%d were to come: %+v, %v", want, st, err)
		}
	}
	w.equal(anna, bo)
	if _, err := bo.Take(t.Context(), author, whole); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a topic that was not joined: %v", err)
	}
}

// A file that has other operations of an author than are here proves a fork; so does a proof alone.
func TestTakeForks(t *testing.T) {
	k := keyOf("forker")
	for _, c := range [][3]int{{0, 1, 1}, {3, 1, 4}, {3, 4, 1}, {7, 5, 5}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			w := newWorld(t)
			x, y := w.twins(k, c[0], c[1], c[2])
			st, err := x.Take(t.Context(), table, y.batchOf(k.DID()))
			if !errors.Is(err, feed.ErrForked) || st.Forks != 1 || len(x.forked) != 1 {
				t.Fatalf("%+v, %v", st, err)
			}
			if st, err := y.Take(t.Context(), table, nil, x.forked[0].Bytes()); err != nil || st.Forks != 1 {
				t.Errorf("the proof: %+v, %v", st, err)
			}
			for _, n := range []*node{x, y} {
				if s, err := n.Standing(table, k.DID()); err != nil || s.Seq != uint64(c[0]) || s.Forked != uint64(c[0])+1 {
					t.Errorf("%+v, %v", s, err)
				}
			}
			bad := x.forked[0].Bytes()
			bad[100] ^= 1
			if _, err := y.Take(t.Context(), table, nil, bad); err == nil {
				t.Error("a proof that is none was taken")
			}
		})
	}
}
