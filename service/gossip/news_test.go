package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// run runs agents until the test ends.
func (w *world) run(nodes ...*node) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			if err := n.Run(ctx); !errors.Is(err, context.Canceled) {
				w.t.Errorf("%s: %v", n.name, err)
			}
		})
	}
	w.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
}

// await waits until an agent has so many operations of an author.
func (n *node) await(author core.DID, seq uint64) {
	n.w.t.Helper()
	n.until(func() bool { return n.landed[author] >= seq })
}

// until waits for something that is told of.
func (n *node) until(holds func() bool) {
	n.w.t.Helper()
	for !locked(n, holds) {
		select {
		case <-n.arrived:
		case <-n.w.t.Context().Done():
			n.w.t.Fatal("it did not come")
		}
	}
}

// TestNewsTravel along a chain of agents, each of whom tells the next alone, and asks nobody.
func TestNewsTravel(t *testing.T) {
	w := newWorld(t)
	var chain []*node
	for i := range 4 {
		n := w.add(fmt.Sprint("node ", i))
		if i > 0 {
			chain[i-1].friends = []core.DID{n.key.DID(), chain[i-1].key.DID()}
		}
		chain = append(chain, n)
	}
	first, last, other := chain[0], chain[3], w.add("other")
	w.run(chain...)
	for i := range uint64(20) {
		first.put("x")
		last.await(first.key.DID(), i+1)
	}
	first.put(make([]string, 50)...)
	last.await(first.key.DID(), 70)
	// A proof goes the same way, with no operations.
	k := keyOf("forker")
	first.putAs(k, "a", "b")
	last.await(k.DID(), 2)
	other.putAs(k, "c")
	if _, err := first.Sync(t.Context(), table, other.key.DID()); !errors.Is(err, feed.ErrForked) {
		t.Fatal(err)
	}
	last.until(func() bool { return len(last.forked) == 1 })
	w.equal(chain...)
}

// TestRunSyncs: what there was before is fetched when an agent runs, and told to a peer that asks nobody.
func TestRunSyncs(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	for i := range 300 { // more than news have room for
		a.putAs(keyOf(fmt.Sprint("author ", i)), "one")
	}
	b.put("two")
	b.friends = []core.DID{a.key.DID()}
	w.run(a, b)
	for i := range 300 {
		b.await(keyOf(fmt.Sprint("author ", i)).DID(), 1)
	}
	a.await(b.key.DID(), 1)
	w.equal(a, b)
}

// TestAPeerThatStalls does not keep others' news from coming.
func TestAPeerThatStalls(t *testing.T) {
	w := newWorld(t)
	a, b, dead := w.add("anna"), w.add("bert"), w.add("dead")
	a.friends, b.friends = []core.DID{b.key.DID()}, []core.DID{dead.key.DID()}
	asked, end := make(chan struct{}), make(chan struct{})
	dead.hostile.frontier = func(frontierRequest, *frontierAnswer) {
		close(asked)
		<-end
	}
	w.run(a, b)
	<-asked
	a.put("one")
	b.await(a.key.DID(), 1)
	close(end)
}

// TestLeaveIsLookedAtAgain: when the topic's own key has written, authors that were refused are asked for.
func TestLeaveIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	b.takes = func(author core.DID, _ uint64, _ int64) error {
		if author != table && locked(b, func() uint64 { return b.landed[table] }) < 2 {
			return errors.New("nobody but the table")
		}
		return nil
	}
	a.putAs(keyOf("table"), "nobody")
	a.put("one")
	b.friends = []core.DID{a.key.DID()}
	w.run(b)
	b.await(table, 1)
	a.putAs(keyOf("table"), "anna")
	w.must(a.callNews(t.Context(), b.key.DID(), table, nil, nil))
	b.await(table, 2)
	w.clock.Advance(leaveDelay)
	b.await(a.key.DID(), 1)
	w.equal(a, b)
}

func FuzzRequests(f *testing.F) {
	item := feed.Item{Author: keyOf("anna").DID(), Seq: 1, ID: core.Score{1}}.Bytes()
	f.Add(item[:])
	f.Add(appendWants(nil, []want{{keyOf("anna").DID(), 1, 2}, {core.DID{0xff}, 0, 0}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if items, err := parseItems(b, 100); err == nil {
			var again []byte
			for _, i := range items {
				again = appendItem(again, i)
			}
			if !bytes.Equal(again, b) {
				t.Fatalf("%x was read as %x", b, again)
			}
		}
		if wants, err := parseWants(b); err == nil && !bytes.Equal(appendWants(nil, wants), b) {
			t.Fatalf("%x was read as %v", b, wants)
		}
		if r, err := parseFeedRecord(b); err == nil && !bytes.Equal(r.bytes(), b) {
			t.Fatalf("%x was read as %v", b, r)
		}
		if l, state, err := parseOp(b, core.DID{}, core.DID{}, 1); err == nil && !bytes.Equal(appendOp(nil, &l, state), b) {
			t.Fatalf("%x was read as %v", b, l)
		}
	})
}
