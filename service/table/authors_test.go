package table

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// crowd is a table of anna's, kept by bo and cleo too, in which mallory writes, whose operations come as the test says.
type crowd struct {
	*testing.T
	all     []*machine
	id      core.DID
	mallory identity.Key
	feed    []feed.Logged
}

func newCrowd(t *testing.T, d table.Definition) *crowd {
	c := &crowd{T: t, all: world(t, 3), mallory: identity.KeyOf([32]byte{66})}
	if len(d.Write.Grants) == 0 {
		d.GrantWrite(table.Grant{Who: c.mallory.DID()})
	}
	d.Read.All = true
	c.id = create(t, c.all[0], d)
	c.share()
	return c
}

// share brings anna's operations to the others.
func (c *crowd) share() {
	for _, m := range c.all[1:] {
		c.all[0].copyTo(c.T, c.id, m)
	}
}

// write has mallory write something.
func (c *crowd) write(kind feed.Kind, clock uint64, payload []byte) {
	l := sign(c.mallory, c.id, c.feed, 0, Draft{kind, payload, max(clock, 1) - 1})
	c.feed = append(c.feed, l)
}

func (c *crowd) put(clock uint64, key string, v any) {
	payload, err := table.PutPayload([]byte(key), nil, doc(c, v))
	if err != nil {
		c.Fatal(err)
	}
	c.write(feed.Put, clock, payload)
}

// arrive brings what mallory has written to all machines, to each in other parts.
func (c *crowd) arrive() {
	c.Helper()
	for i, m := range c.all {
		have := m.logs.feeds[c.id][c.mallory.DID()]
		for at := len(have); at < len(c.feed); {
			at = min(at+i+1, len(c.feed))
			m.logs.feeds[c.id][c.mallory.DID()] = slices.Clone(c.feed[:at])
			m.Landed(c.id, c.mallory.DID())
			if err := m.Settle(c.Context(), c.id); err != nil {
				c.Fatal(err)
			}
		}
	}
}

// want tells what all machines are to have: keys and documents.
func (c *crowd) want(what string, rows ...string) {
	c.Helper()
	var first core.Score
	for i, m := range c.all {
		if err := m.Settle(c.Context(), c.id); err != nil {
			c.Fatal(err)
		}
		got, err := m.Query(c.Context(), c.id, question(c.T, "limit 100"), nil)
		if err != nil {
			c.Fatalf("%s: %v", what, err)
		}
		var texts []string
		for _, r := range got.Rows {
			texts = append(texts, fmt.Sprintf("%s %s", r.Key, r.Doc.JSON()))
		}
		if !slices.Equal(texts, rows) {
			c.Errorf("%s: machine %d has %q, want %q", what, i, texts, rows)
		}
	}
	for i, m := range c.all { // once all were asked
		info, err := m.Info(c.id)
		if err != nil {
			c.Fatal(err)
		}
		if score := info.Checkpoint.Score(); i == 0 {
			first = score
		} else if score != first {
			c.Errorf("%s: machine %d has another checkpoint", what, i)
		}
	}
}

func (c *crowd) change(f func(*table.Definition)) {
	c.Helper()
	if err := c.all[0].Change(c.Context(), c.id, func(d *table.Definition) error { f(d); return nil }); err != nil {
		c.Fatal(err)
	}
	c.share()
}

func (c *crowd) stuck() (out []string) {
	for _, m := range c.all {
		info, err := m.Info(c.id)
		if err != nil {
			c.Fatal(err)
		}
		out = append(out, info.Stuck[c.mallory.DID()])
	}
	return out
}

const year = 1_767_225_600_000 << 16 // 2026, as a clock

func TestAnAuthorWhoForks(t *testing.T) {
	c := newCrowd(t, table.Definition{Indexes: []table.Index{index("n")}})
	c.put(year, "a", map[string]any{"n": 1})
	c.put(year+1, "b", map[string]any{"n": 1})
	c.put(year+2, "a", map[string]any{"n": 2})
	c.arrive()
	c.want("before", `a {"n":2}`, `b {"n":1}`)
	for i, m := range c.all {
		m.logs.forks[c.mallory.DID()] = 3
		if i < 2 {
			m.Forked(c.id)
		} else {
			m.start(t, m.c.Clock, m.c.Wire.(lines).all) // it hears of it while it is away
		}
	}
	c.want("after", `a {"n":1}`, `b {"n":1}`)
	c.put(year+3, "c", map[string]any{"n": 3})
	c.arrive()
	c.want("what comes behind a fork", `a {"n":1}`, `b {"n":1}`)
}

func TestAnAuthorWhoBackDates(t *testing.T) {
	d := table.Definition{Indexes: []table.Index{{Fields: "slug", Unique: true}}}
	c := newCrowd(t, d)
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID(), Since: year}) })
	c.put(year-10, "stolen", map[string]any{"slug": "grange"})
	erase, err := table.ErasePayload([]table.Target{{Author: c.mallory.DID(), Seq: 4}})
	if err != nil {
		t.Fatal(err)
	}
	c.write(feed.Erase, year-9, erase)
	c.put(year+10, "mine", map[string]any{"slug": "grange"})
	c.put(year+11, "late", map[string]any{})
	c.arrive()
	// The erase is void too: it does not take what comes later.
	c.want("void", `late {}`, `mine {"slug":"grange"}`)
	for _, why := range c.stuck() {
		if why != "" {
			t.Errorf("the feed stands still: %s", why)
		}
	}
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID()}) })
	c.want("with leave for all time", `mine {"slug":"grange"}`, `stolen {"slug":"grange"}`)
}

func TestAnAuthorWhoIsOverItsQuota(t *testing.T) {
	c := newCrowd(t, table.Definition{})
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID(), Quota: 600}) })
	for i := range 4 {
		c.put(year+uint64(i), fmt.Sprint("k", i), map[string]any{})
	}
	c.arrive()
	c.want("two of four", `k0 {}`, `k1 {}`)
	for _, why := range c.stuck() {
		if !strings.Contains(why, table.ErrQuota.Error()) || !strings.Contains(why, "660 bytes of 600") {
			t.Errorf("stuck for %q", why)
		}
	}
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID(), Quota: 700}) })
	c.want("three of four", `k0 {}`, `k1 {}`, `k2 {}`)
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID(), Quota: 300}) })
	c.want("one of four", `k0 {}`)
	c.change(func(d *table.Definition) { d.GrantWrite(table.Grant{Who: c.mallory.DID()}) })
	c.want("all", `k0 {}`, `k1 {}`, `k2 {}`, `k3 {}`)
}

func TestAnAuthorWithoutLeave(t *testing.T) {
	c := newCrowd(t, table.Definition{Write: table.Writing{Grants: []table.Grant{{}}}}) // somebody else's
	c.put(year, "a", map[string]any{})
	c.put(year+1, "b", map[string]any{})
	c.arrive()
	c.want("none")
	if why := c.stuck()[1]; why != table.ErrLeave.Error() {
		t.Errorf("stuck for %q", why)
	}
	c.change(func(d *table.Definition) { d.Write.All = true })
	c.want("all may", `a {}`, `b {}`)
	c.change(func(d *table.Definition) {
		d.GrantWrite(table.Grant{Who: c.mallory.DID(), Stopped: true, Until: 1})
	})
	c.want("stopped", `a {}`)
	c.put(year+2, "c", map[string]any{})
	c.arrive()
	c.want("what comes behind a stop", `a {}`)
	if err := c.all[0].MayWrite(c.id, c.mallory.DID(), 2, 500); !errors.Is(err, table.ErrLeave) {
		t.Error(err)
	}
}

func TestAnAuthorWhoErasesWhatIsNotItsOwn(t *testing.T) {
	c := newCrowd(t, table.Definition{})
	anna := c.all[0]
	if err := anna.Put(t.Context(), c.id, []Put{{[]byte("hers"), doc(t, map[string]any{})}}); err != nil {
		t.Fatal(err)
	}
	c.share()
	c.put(year, "own", map[string]any{})
	targets := []table.Target{{Author: anna.key.DID(), Seq: 1}, {Author: c.id, Seq: 1}, {Author: c.mallory.DID(), Seq: 1}, {Author: c.mallory.DID(), Seq: 2}}
	slices.SortFunc(targets, func(a, b table.Target) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	payload, err := table.ErasePayload(targets)
	if err != nil {
		t.Fatal(err)
	}
	c.write(feed.Erase, year+1, payload)
	c.arrive()
	c.want("its own alone", `hers {}`)
	for i, m := range c.all {
		for _, at := range targets { // its erase has the number 2, and names itself
			l, err := m.logs.Get(c.id, at.Author, at.Seq)
			if want := at == (table.Target{Author: c.mallory.DID(), Seq: 1}); err != nil || l.Gone != want {
				t.Errorf("machine %d: operation %d of %s: gone %t, %v", i, at.Seq, at.Author.Short(), l.Gone, err)
			}
		}
	}
	// One who may erase all cannot erase what says what the table is.
	c.change(func(d *table.Definition) { d.Attest = append(d.Attest, c.mallory.DID()) })
	c.want("with leave to", []string(nil)...)
	if l, err := anna.logs.Get(c.id, c.id, 1); err != nil || l.Gone {
		t.Errorf("the definition is gone, %v", err)
	}
}

// An operation that its author has not signed, though a later one vouches for it, cannot be shown, and whoever asks for it is told of whom it
// is; all else is answered. Everywhere the table is the same, and the owner can have it erased.
func TestAnAuthorWhoDoesNotSign(t *testing.T) {
	c := newCrowd(t, table.Definition{Indexes: []table.Index{index("n")}})
	for i := range 6 {
		c.put(year+uint64(i), fmt.Sprint("k", i), map[string]any{"n": i})
	}
	c.feed[1].Sig[0] ^= 1
	c.arrive()
	for i, m := range c.all {
		if _, err := m.Query(t.Context(), c.id, question(t, "limit 9"), nil); !errors.Is(err, feed.ErrForged) || !strings.Contains(err.Error(), `"k1"`) {
			t.Errorf("machine %d shows it: %v", i, err)
		}
		if got, err := m.Query(t.Context(), c.id, question(t, "n > 1"), nil); err != nil || len(got.Rows) != 4 {
			t.Errorf("machine %d, of the others: %q, %v", i, keysOf(got.Rows), err)
		}
	}
	if n, _, err := c.all[0].Erase(t.Context(), c.id, []byte("k1")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	c.share()
	c.want("erased", `k0 {"n":0}`, `k2 {"n":2}`, `k3 {"n":3}`, `k4 {"n":4}`, `k5 {"n":5}`)
}

func TestVoidPayloads(t *testing.T) {
	c := newCrowd(t, table.Definition{Indexes: []table.Index{index("a,b"), index("a")}})
	list := func(n int) (out []any) {
		for i := range n {
			out = append(out, i)
		}
		return out
	}
	c.put(year, "good", map[string]any{"a": list(32), "b": list(32)})
	for i, kind := range []feed.Kind{feed.Put, feed.Put, feed.Delete, feed.Delete, feed.Erase, feed.Erase, feed.Define, 200} {
		c.write(kind, year+1+uint64(i), []byte("\x00\x04good!!")[:i%9])
	}
	c.put(year+100, "many", map[string]any{"a": list(33), "b": list(32)})
	c.put(year+101, "more", map[string]any{"a": list(1025)})
	seen, err := table.PutPayload([]byte("good"), []core.Score{{1}}, doc(t, map[string]any{}))
	if err != nil {
		t.Fatal(err)
	}
	c.write(feed.Put, year+102, seen)
	c.put(year+103, "last", map[string]any{})
	c.arrive()
	for i, m := range c.all {
		got, err := m.Query(t.Context(), c.id, question(t, "limit 9"), nil)
		if err != nil || !slices.Equal(keysOf(got.Rows), []string{"good", "last"}) || got.Checkpoint.Indexes[0].Count != 1024 || got.Checkpoint.Indexes[0].Rows != 1 {
			t.Errorf("machine %d: %q, %v, %v", i, keysOf(got.Rows), got.Checkpoint.Indexes, err)
		}
	}
	for _, why := range c.stuck() {
		if why != "" {
			t.Errorf("the feed stands still: %s", why)
		}
	}
	c.change(func(d *table.Definition) { d.Indexes = nil })
	for i, m := range c.all {
		got, err := m.Query(t.Context(), c.id, question(t, "limit 9"), nil)
		if err != nil || !slices.Equal(keysOf(got.Rows), []string{"good", "last", "many", "more"}) {
			t.Errorf("machine %d, without indexes: %q, %v", i, keysOf(got.Rows), err)
		}
	}
}

// What could not be written down is taken up again by the same process, once it can be.
func TestAFullDisk(t *testing.T) {
	c := newCrowd(t, table.Definition{})
	bo := c.all[1]
	books := bo.books.(interface{ SetFull(bool) })
	books.SetFull(true)
	c.put(year, "a", map[string]any{})
	bo.logs.feeds[c.id][c.mallory.DID()] = c.feed
	bo.Landed(c.id, c.mallory.DID())
	if err := bo.Settle(t.Context(), c.id); !errors.Is(err, core.ErrFull) {
		t.Fatal(err)
	}
	books.SetFull(false)
	c.arrive()
	c.want("later", `a {}`)
}
