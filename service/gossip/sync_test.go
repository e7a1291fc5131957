package gossip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

func TestSync(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	a.put("one", "two")
	a.putAs(keyOf("table"), "by the table itself")
	b.put("three")
	st := b.syncWith(a)
	if st.Operations != 3 || st.Feeds != 2 || st.Trips != 1 {
		t.Errorf("%+v", st)
	}
	a.syncWith(b)
	w.equal(a, b)
	if st := a.syncWith(b); st.Operations != 0 || st.Trips != 1 || len(a.log()) != 7 {
		t.Errorf("again: %+v, %q", st, a.log())
	}
	a.put("four")
	b.syncWith(a)
	w.equal(a, b)
	l, err := b.Get(table, a.key.DID(), 3)
	if err != nil || string(l.Payload) != "four" || l.Verify() != nil {
		t.Errorf("%+v, %v", l, err)
	}
	for _, seq := range []uint64{0, 4} {
		if _, err := b.Get(table, a.key.DID(), seq); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("operation %d: %v", seq, err)
		}
	}
}

func TestAppend(t *testing.T) {
	w := newWorld(t)
	a := w.add("anna")
	ops := a.put("one", "", strings.Repeat("x", feed.PayloadSizeMax))
	for i, l := range ops {
		if l.Seq != uint64(i+1) || l.Verify() != nil || feed.Check(l.Header, l.Sealed) != nil {
			t.Errorf("operation %d is %+v", i, l.Header)
		}
	}
	if ops[0].Salt == ops[1].Salt {
		t.Error("one salt twice")
	}
	after := ops[2].Clock + 1<<30
	late, err := a.Append(t.Context(), table, identity.Key{}, Draft{Kind: feed.Delete, After: after})
	if err != nil || late[0].Clock != after+1 || late[0].Kind != feed.Delete {
		t.Errorf("%+v, %v", late, err)
	}
	for name, c := range map[string]struct {
		drafts []Draft
		want   error
	}{
		"a payload too long": {[]Draft{{feed.Put, make([]byte, feed.PayloadSizeMax+1), 0}}, core.ErrTooLarge},
		"too many":           {make([]Draft, DraftsMax+1), core.ErrTooLarge},
		"together too long":  {slices.Repeat([]Draft{{feed.Put, make([]byte, feed.PayloadSizeMax), 0}}, 17), core.ErrTooLarge},
		"no kind":            {[]Draft{{Kind: feed.Put}, {}}, core.ErrInvalid},
	} {
		if _, err := a.Append(t.Context(), table, identity.Key{}, c.drafts...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := a.Append(t.Context(), a.key.DID(), identity.Key{}, Draft{Kind: feed.Put}); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a topic that was not joined: %v", err)
	}
	a.takes = func(author core.DID, seq uint64, size int64) error {
		if author != a.key.DID() || seq != 5 || size != int64(5*feed.OperationSize+3+feed.PayloadSizeMax) {
			t.Errorf("asked for %d, %d bytes", seq, size)
		}
		return errors.New("quota")
	}
	if _, err := a.Append(t.Context(), table, identity.Key{}, Draft{Kind: feed.Put}); err == nil || !strings.Contains(err.Error(), "quota") {
		t.Errorf("without leave: %v", err)
	}
	if len(a.log()) != 5 {
		t.Errorf("%q", a.log())
	}
}

// TestManyAuthors goes by a sketch where few differ, and page by page where many do.
func TestManyAuthors(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	for i := range 300 {
		a.putAs(keyOf(fmt.Sprint("author ", i)), "one")
	}
	if st := b.syncWith(a); st.Operations != 300 || st.Trips != 1 {
		t.Errorf("all: %+v", st)
	}
	w.equal(a, b)
	for i := range 100 {
		a.putAs(keyOf(fmt.Sprint("author ", i)), "two")
	}
	b.putAs(keyOf("author 250"), "two")
	b.putAs(keyOf("author 350"), "one")
	st := b.syncWith(a)
	if st.Operations != 100 || st.Trips != 1 || st.Compared > 20<<10 {
		t.Errorf("100 that changed: %+v", st)
	}
	if st := a.syncWith(b); st.Operations != 2 || st.Trips != 1 {
		t.Errorf("2 that changed: %+v", st)
	}
	w.equal(a, b)
	for range 2 { // then it is known that they were level
		if st := a.syncWith(b); st.Operations != 0 || st.Trips != 1 {
			t.Errorf("none that changed: %+v", st)
		}
	}
	if st := a.syncWith(b); st.Compared > 1<<10 {
		t.Errorf("a hash is to do: %+v", st)
	}
	for i := range 5000 {
		a.putAs(keyOf(fmt.Sprint("another ", i%2500)), "x")
	}
	if st := b.syncWith(a); st.Operations != 5000 {
		t.Errorf("many that changed: %+v", st)
	}
	w.equal(a, b)
}

// TestPagesOfAFrontier: more authors than a page has, on both sides.
func TestPagesOfAFrontier(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	// Items without operations are made straight: signing so many would take long.
	const many = itemsMax + 500
	fill := func(n *node, from int) {
		var changes []core.Change
		for i := from; i < from+many; i++ {
			r := feedRecord{number: uint32(i)}
			author := core.DID(core.ScoreOf([]byte(fmt.Sprint(i))))
			changes = append(changes, core.Change{Key: didKey(feedPrefix, table, author), Value: r.bytes()})
		}
		w.must(n.disk.Books().Apply(changes...))
	}
	fill(a, 0)
	fill(b, many/2)
	x := &session{s: b.Service, t: b.topics[table], peer: a.key.DID()}
	got, want := map[core.DID]bool{}, 0
	w.must(x.pages(t.Context(), func(items []feed.Item) error {
		for _, i := range items {
			if got[i.Author] {
				t.Fatal("told twice")
			}
			got[i.Author] = true
		}
		return nil
	}))
	for i := range many / 2 {
		want++
		if !got[core.DID(core.ScoreOf([]byte(fmt.Sprint(i))))] {
			t.Fatalf("author %d was not told of", i)
		}
	}
	if len(got) != want || x.stats.Trips != 2 || !x.behind {
		t.Errorf("%d of %d, in %d trips, behind %v", len(got), want, x.stats.Trips, x.behind)
	}
}

// TestALongFeed is fetched in several batches.
func TestALongFeed(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	big := strings.Repeat("x", 1<<20)
	for range 3 {
		a.put(big, "small", big, big)
	}
	st := b.syncWith(a)
	if st.Operations != 12 || st.Feeds != 3 || st.Bytes < 9<<20 {
		t.Errorf("%+v", st)
	}
	w.equal(a, b)
}

func TestDroppedPayloads(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.add("anna"), w.add("bert"), w.add("cleo")
	a.put("one", "two", "three")
	c.syncWith(a)
	second := Place{a.key.DID(), 2}
	w.must(a.DropPayloads(table, second, Place{a.key.DID(), 4}, Place{b.key.DID(), 1}, second))
	w.must(a.DropPayloads(table, second))
	l, err := a.Get(table, a.key.DID(), 2)
	if err != nil || !l.Gone || l.Payload != nil || l.Salt != [16]byte{} || l.Verify() != nil {
		t.Fatalf("%+v, %v", l, err)
	}
	if st := b.syncWith(a); st.Operations != 3 || st.Withheld != 1 {
		t.Errorf("%+v", st)
	}
	absent := func(n *node) (out []Place) {
		for m, err := range n.Absent(table) {
			w.must(err)
			out = append(out, m)
		}
		return out
	}
	if got := absent(b); len(got) != 1 || got[0] != second {
		t.Errorf("absent: %v", got)
	}
	// Another peer has it still, and nobody has said to bert that it was dropped.
	if st := b.syncWith(c); st.Filled != 1 || len(absent(b)) != 0 {
		t.Errorf("%+v", st)
	}
	w.equal(b, c)
	w.must(b.DropPayloads(table, second))
	if st := b.syncWith(c); st.Filled != 0 || len(absent(b)) != 0 {
		t.Errorf("it came back: %+v", st)
	}
	w.equal(a, b)
}

func TestLeave(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	a.put("one", "two")
	b.syncWith(a)
	other := keyOf("other").DID()
	w.must(b.Join(other))
	w.must(b.Join(other))
	_, err := b.Append(t.Context(), other, identity.Key{}, Draft{Kind: feed.Put})
	w.must(err)
	w.must(b.Leave(table))
	w.must(b.Leave(table))
	if got := b.Topics(); !slices.Equal(got, []core.DID{other}) {
		t.Errorf("topics: %v", got)
	}
	if _, err := a.Sync(t.Context(), table, b.key.DID()); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("asked who has left: %v", err)
	}
	left := 0
	for range b.disk.Books().Scan(nil, nil) {
		left++
	}
	if left != 4 { // the other topic, its feed, the operation; the feeds' number
		t.Errorf("%d records are left", left)
	}
	b.landed = map[core.DID]uint64{}
	w.must(b.Join(table))
	b.syncWith(a)
	w.equal(a, b)
}

// TestAnyOrder: operations that reach replicas by any ways make equal logs.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(t)
		rnd := rand.New(rand.NewPCG(seed, 0))
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, w.add(fmt.Sprint("node ", i)))
		}
		for range 60 {
			n, m := nodes[rnd.IntN(4)], nodes[rnd.IntN(4)]
			switch {
			case rnd.IntN(3) == 0:
				n.put(make([]string, 1+rnd.IntN(4))...)
			case n != m:
				n.syncWith(m)
			}
		}
		for range 2 {
			for i, n := range nodes {
				for _, m := range append(slices.Clone(nodes[i+1:]), nodes[:i]...) {
					n.syncWith(m)
				}
			}
		}
		w.equal(nodes...)
	}
}
