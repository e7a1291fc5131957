package gossip

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// TestCrashAtEachWrite stops an agent at each write in turn, with that write done or not, and starts it again: what was answered
// holds, its logs are whole, and doing the rest comes to the same.
func TestCrashAtEachWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		n, ended := 0, false
		for ; !ended && n < 100; n++ {
			t.Run(fmt.Sprintf("%d %v", n, kept), func(t *testing.T) { ended = crashAt(t, n, kept) })
			if t.Failed() {
				return
			}
		}
		if n != 15 {
			t.Errorf("the story has %d writes", n)
		}
	}
}

// crashAt returns true if the story ended before the crash.
func crashAt(t *testing.T, n int, kept bool) (ended bool) {
	w := newWorld(t)
	k, other := keyOf("forker"), keyOf("other").DID()
	x, b := w.twins(k, 3, 2, 4)
	x.putAs(keyOf("someone"), "one", "two", "three")
	dropped := x.putAs(keyOf("dropped"), "one", "two", "three")
	w.must(x.DropPayloads(table, Place{dropped[1].Author, 2}))
	z := w.add("zoe")
	z.putAs(keyOf("dropped"), "never seen")
	steps := []func() error{
		func() error {
			_, err := b.Append(t.Context(), table, identity.Key{}, Draft{Kind: feed.Put}, Draft{Kind: feed.Put})
			return err
		},
		func() error { return b.Join(other) },
		func() error {
			_, err := b.Append(t.Context(), other, identity.Key{}, Draft{Kind: feed.Put})
			return err
		},
		func() error { // a fork, and operations of which one is without its payload
			_, err := b.Sync(t.Context(), table, x.key.DID())
			if errors.Is(err, feed.ErrForked) && !errors.Is(err, sim.ErrCrashed) {
				return nil
			}
			return err
		},
		func() error { return b.DropPayloads(table, Place{dropped[0].Author, 2}) },
		func() error { return b.DropPayloads(table, Place{dropped[0].Author, 3}) },
		func() error { return b.Leave(other) },
	}
	b.disk.CrashAfter(n, kept)
	done := 0
	for ; done < len(steps); done++ {
		if err := steps[done](); err != nil {
			break
		}
	}
	if ended = done == len(steps); !ended && !b.disk.Crashed() {
		t.Fatalf("step %d failed without a crash", done)
	}
	b.disk.Restart()
	b.open()
	for st, err := range b.Frontier(table) { // who uses the logs finds out by the frontier what it was not told of
		w.must(err)
		b.landed[st.Author] = st.Seq
	}
	b.log()
	if done >= 1 {
		if _, err := b.Get(table, b.key.DID(), 2); err != nil {
			t.Errorf("appended, and gone: %v", err)
		}
	}
	for ; done < len(steps); done++ {
		if done == 0 && b.landed[b.key.DID()] == 2 || done == 2 && b.has(other) || done == 6 && len(b.Topics()) == 1 {
			continue // it had reached the disk
		}
		if err := steps[done](); err != nil {
			t.Errorf("step %d again: %v", done, err)
		}
	}
	x.syncWith(b)
	w.must(x.DropPayloads(table, Place{dropped[0].Author, 3}))
	w.equal(x, b)
	b.tidy()
	return ended
}

func (n *node) has(topic core.DID) bool {
	st, err := n.Standing(topic, n.key.DID())
	n.w.must(err)
	return st.Seq > 0
}

// tidy checks that nothing is left over in the books: each operation belongs to a feed, each feed to a topic.
func (n *node) tidy() {
	n.w.t.Helper()
	ends := map[uint32]uint64{}
	for c, err := range n.disk.Books().Scan([]byte(feedPrefix), nil) {
		n.w.must(err)
		r, err := parseFeedRecord(c.Value)
		n.w.must(err)
		if _, twice := ends[r.number]; twice {
			n.w.t.Errorf("two feeds have the number %d", r.number)
		}
		ends[r.number] = r.tip.Seq
		if topic := core.DID(c.Key[len(feedPrefix):]); !slices.Contains(n.Topics(), topic) {
			n.w.t.Errorf("a feed of %s, which was left", topic.Short())
		}
	}
	for c, err := range n.disk.Books().Scan([]byte(opPrefix), nil) {
		n.w.must(err)
		number := uint32From(c.Key[len(opPrefix):])
		if seq := c.Key[len(c.Key)-1]; uint64(seq) > ends[number] {
			n.w.t.Errorf("operation %d of feed %d, which has %d", seq, number, ends[number])
		}
	}
	for c, err := range n.disk.Books().Scan([]byte(sweepPrefix), nil) {
		n.w.t.Errorf("%q is to be swept still, %v", c.Key, err)
	}
}

// TestSyncGoesOnWhereItBroke: each batch that was taken stays.
func TestSyncGoesOnWhereItBroke(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	big := string(make([]byte, 1<<20))
	for range 4 {
		a.put(big, big, big)
	}
	w.net.StopAfter(a.key.DID(), b.key.DID(), 7<<20)
	st, err := b.Sync(t.Context(), table, a.key.DID())
	if !errors.Is(err, core.ErrUnreachable) || st.Operations != 6 {
		t.Fatalf("%+v, %v", st, err)
	}
	b.log()
	w.net.Heal(a.key.DID(), b.key.DID())
	if st := b.syncWith(a); st.Operations != 6 {
		t.Errorf("%+v", st)
	}
	w.equal(a, b)
}
