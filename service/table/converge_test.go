package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// history is what has been written to a table, by whoever.
type history struct {
	*rand.Rand
	id    core.DID
	names []core.DID // who writes, the table's key first
	// feeds are whole; others are what those who have forked have written besides, from forks on.
	feeds, others map[core.DID][]feed.Logged
	forks         map[core.DID]uint64
	clocks        map[core.DID]uint64
	dropped       map[core.Score]bool // whose payloads a peer has dropped: another may get them without
}

var simNames = func() (out []core.DID) {
	for i := range 4 {
		out = append(out, identity.KeyOf([32]byte{100 + byte(i)}).DID())
	}
	return out
}()

// newHistory draws one.
func newHistory(seed uint64) *history {
	h := &history{
		Rand: rand.New(rand.NewPCG(seed, 7)), names: simNames, id: simNames[0], feeds: map[core.DID][]feed.Logged{}, others: map[core.DID][]feed.Logged{},
		forks: map[core.DID]uint64{}, clocks: map[core.DID]uint64{}, dropped: map[core.Score]bool{},
	}
	h.write(h.id, feed.Define, h.definition())
	for range 3 + h.IntN(40) {
		switch author := h.names[h.IntN(len(h.names))]; {
		case author != h.id:
			h.anything(author)
		case h.IntN(3) == 0:
			h.write(h.id, feed.Define, h.definition())
		case h.IntN(6) == 0:
			h.anything(h.id)
		}
	}
	for _, author := range h.names {
		if n := len(h.feeds[author]); h.IntN(6) == 0 && n > 0 && (author != h.id || n > 1) {
			at := uint64(1 + h.IntN(n))
			if author == h.id {
				at = max(at, 2) // else there is no table
			}
			h.fork(author, at)
		}
	}
	return h
}

// fork has an author write something else from a seq on.
func (h *history) fork(author core.DID, at uint64) {
	whole, clock := h.feeds[author], h.clocks[author]
	h.feeds[author] = slices.Clone(whole[:at-1])
	for range 1 + h.IntN(3) {
		h.anything(author)
	}
	h.others[author], h.feeds[author], h.forks[author] = h.feeds[author], whole, at
	h.clocks[author] = max(clock, h.clocks[author])
}

// write appends an operation, which nobody signs.
func (h *history) write(author core.DID, kind feed.Kind, payload []byte) {
	all := h.feeds[author]
	h.clocks[author] += 1 + h.Uint64N(4)
	l := feed.Logged{Sealed: feed.Sealed{Payload: payload}}
	l.Header = feed.Header{Topic: h.id, Author: author, Seq: uint64(len(all)) + 1, Clock: h.clocks[author], Kind: kind, Size: uint32(len(payload))}
	if n := len(all); n > 0 {
		l.Prev = all[n-1].ID
	}
	l.Commitment = feed.Commit(l.Salt, payload)
	l.ID = l.Header.ID()
	h.feeds[author] = append(all, l)
}

func some[T any](h *history, all ...T) (out []T) {
	for _, one := range all {
		if h.IntN(2) == 0 {
			out = append(out, one)
		}
	}
	return out
}

// definition draws one; some are none.
func (h *history) definition() []byte {
	if len(h.feeds[h.id]) > 0 && h.IntN(10) == 0 {
		return []byte("none")
	}
	d := table.Definition{Name: "t", Indexes: some(h, index("a"), index("b"), index("a,b"), table.Index{Fields: "a", Unique: true}, table.Index{Fields: "b,a", Unique: true})}
	if h.IntN(2) == 0 {
		d.Folds = map[string]table.Fold{}
		for field, fold := range map[string]table.Fold{"a": table.Set, "n": table.Counter, "m": table.Multi} {
			if field == "n" || len(d.Folds) < 3 {
				d.Folds[field] = fold
			}
		}
	}
	d.Write.All = h.IntN(3) == 0
	d.Write.Quota = []uint64{0, 0, 900, 2500}[h.IntN(4)]
	for _, who := range h.names[1:] {
		if h.IntN(4) == 0 {
			continue
		}
		g := table.Grant{Who: who}
		switch h.IntN(6) {
		case 0:
			g.Quota = 300 + h.Uint64N(3000)
		case 1:
			g.Stopped, g.Until = true, h.Uint64N(12)
		case 2:
			g.Since = h.Uint64N(30)
		}
		d.GrantWrite(g)
	}
	d.Attest = some(h, h.names[1:]...)
	b, err := d.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func (h *history) value() any {
	return []any{nil, true, 1, -2.5, "x", "y", []any{}, []any{1, "x"}, []any{"x", "y", "x", 3}}[h.IntN(9)]
}

// anything writes something.
func (h *history) anything(author core.DID) {
	key := []byte{'k', byte('0' + h.IntN(4))}
	switch n := h.IntN(20); {
	case n < 11:
		fields := map[string]any{}
		for _, f := range some(h, "a", "b", "m", "n") {
			fields[f] = h.value()
		}
		var seen []core.Score
		if h.IntN(4) == 0 {
			if all := h.feeds[h.names[1+h.IntN(3)]]; len(all) > 0 {
				seen = append(seen, all[h.IntN(len(all))].ID)
			}
		}
		payload, err := table.PutPayload(key, seen, doc(panics{}, fields))
		if err != nil {
			panic(err)
		}
		h.write(author, feed.Put, payload)
	case n < 14:
		payload, _ := table.DeletePayload(key)
		h.write(author, feed.Delete, payload)
	case n < 18:
		of := author
		if h.IntN(2) == 0 {
			of = h.names[h.IntN(len(h.names))]
		}
		var targets []table.Target
		for seq := range len(h.feeds[of]) + 2 {
			if h.IntN(3) == 0 {
				targets = append(targets, table.Target{Author: of, Seq: uint64(seq) + 1})
			}
		}
		payload, _ := table.ErasePayload(targets) // of none it is void
		h.write(author, feed.Erase, payload)
	default:
		h.write(author, feed.Kind(1+h.IntN(7)), []byte{0, 2, 'k', '1', 0xff}[:h.IntN(6)])
	}
}

// panics is what doc needs of a test.
type panics struct{ testing.TB }

func (panics) Helper()           {}
func (panics) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// counting are the feeds as far as they count.
func (h *history) counting() map[core.DID][]feed.Logged {
	out := maps.Clone(h.feeds)
	for a, at := range h.forks {
		out[a] = out[a][:at-1]
	}
	return out
}

// peer is a machine to which a history comes bit by bit.
type peer struct {
	*machine
	h     *history
	disk  *sim.Disk
	rnd   *rand.Rand
	other map[core.DID]bool // of whom it has the others
}

func newPeer(t *testing.T, h *history, rnd *rand.Rand) *peer {
	p := &peer{machine: &machine{key: identity.KeyOf([32]byte{9})}, h: h, disk: sim.NewDisk(0), rnd: rnd, other: map[core.DID]bool{}}
	p.books = p.disk.Books()
	p.logs = &logs{clock: simClock, feeds: map[core.DID]map[core.DID][]feed.Logged{h.id: {}}, forks: map[core.DID]uint64{}}
	for a := range h.forks {
		p.other[a] = rnd.IntN(2) == 0
	}
	p.restart(t)
	if err := p.Add(h.id, "t"); err != nil {
		t.Fatal(err)
	}
	return p
}

var simClock = sim.NewClock(1)

func (p *peer) restart(t *testing.T) {
	p.disk.Restart()
	var err error
	if p.Tables, err = New(Config{Key: p.key, Books: p.books, Feeds: p.logs, Wire: lines{}, Clock: simClock}); err != nil {
		t.Fatal(err)
	}
	if p.rnd.IntN(3) > 0 {
		p.most = 1 + p.rnd.IntN(6)
	}
}

// branch is what an author has written, as this peer gets it.
func (p *peer) branch(a core.DID) []feed.Logged {
	if p.other[a] {
		return p.h.others[a]
	}
	return p.h.feeds[a]
}

// deliver brings some operations of an author.
func (p *peer) deliver(a core.DID, n int) {
	all, have := p.branch(a), len(p.logs.feeds[p.h.id][a])
	if p.logs.forks[a] > 0 {
		all = all[:p.logs.forks[a]-1]
	}
	if have < len(all) {
		some := slices.Clone(all[have:min(have+n, len(all))])
		for i := range some {
			if p.h.dropped[some[i].ID] && p.rnd.IntN(2) == 0 {
				some[i].Gone, some[i].Sealed = true, feed.Sealed{}
			}
		}
		p.logs.feeds[p.h.id][a] = append(slices.Clip(p.logs.feeds[p.h.id][a]), some...)
		p.Landed(p.h.id, a)
	}
}

// convict brings the proof that an author has forked.
func (p *peer) convict(a core.DID) {
	at := p.h.forks[a]
	if at == 0 {
		return
	}
	all := p.logs.feeds[p.h.id][a]
	p.logs.forks[a], p.logs.feeds[p.h.id][a] = at, all[:min(int(at-1), len(all))]
	p.Forked(p.h.id)
}

// fill brings payloads that are missing, but are not erased for all that is known here.
func (p *peer) fill(t *testing.T) (filled bool) {
	info, err := p.Info(p.h.id)
	if err != nil {
		t.Fatal(err)
	}
	for a, ops := range p.logs.feeds[p.h.id] {
		for i := range ops {
			if ops[i].Gone && info.Stuck[a] != "" {
				ops[i] = p.branch(a)[i]
				p.Landed(p.h.id, a)
				filled = true
			}
		}
	}
	return filled
}

// settle takes what has come, or crashes meanwhile, and starts again.
func (p *peer) settle(t *testing.T) {
	crash := p.rnd.IntN(3) == 0
	if crash {
		p.disk.CrashAfter(p.rnd.IntN(12), p.rnd.IntN(2) == 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if p.rnd.IntN(8) == 0 {
		cancel()
	}
	defer cancel()
	err := p.Settle(ctx, p.h.id)
	switch {
	case p.disk.Crashed():
		p.restart(t)
	case err != nil && !errors.Is(err, context.Canceled):
		t.Fatal(err)
	case p.rnd.IntN(10) == 0:
		p.restart(t)
	}
	p.disk.Restart()
	for _, ops := range p.logs.feeds[p.h.id] {
		for i := range ops {
			if ops[i].Gone {
				p.h.dropped[ops[i].ID] = true
			}
		}
	}
}

// live brings all of a history, in some order.
func (p *peer) live(t *testing.T) {
	for range p.rnd.IntN(60) {
		a := p.h.names[p.rnd.IntN(len(p.h.names))]
		switch p.rnd.IntN(8) {
		case 0:
			p.convict(a)
		case 1, 2, 3:
			p.settle(t)
		case 4:
			p.fill(t)
		default:
			p.deliver(a, 1+p.rnd.IntN(8))
		}
	}
	p.finish(t)
}

// finish brings what is left.
func (p *peer) finish(t *testing.T) {
	for _, a := range p.h.names {
		p.convict(a)
		p.deliver(a, 1000)
	}
	for range 1000 {
		if err := p.Settle(t.Context(), p.h.id); err != nil {
			t.Fatal(err)
		}
		if !p.fill(t) {
			return
		}
	}
	t.Fatal("payloads that are dropped again and again")
}

// compare tells where a peer's table is not the model's.
func (p *peer) compare(t *testing.T, m *model) table.Checkpoint {
	r, err := p.replica(p.h.id)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.closer()
	for at := range v.trees() {
		name := v.treeName(at)
		got := map[string]string{}
		for record, err := range v.view(at).Ascend(nil, nil) {
			if err != nil {
				t.Fatalf("tree %s: %v", name, err)
			}
			got[string(record.Key)] = string(record.Value)
		}
		if !maps.Equal(got, m.trees[name]) {
			t.Errorf("tree %s has %d records, want %d", name, len(got), len(m.trees[name]))
			for _, k := range slices.Sorted(maps.Keys(got)) {
				if want, ok := m.trees[name][k]; !ok || want != got[k] {
					t.Logf("%q: %x, want %x", k, got[k], want)
				}
			}
			for k, want := range m.trees[name] {
				if _, ok := got[k]; !ok {
					t.Logf("%q is missing: %x", k, want)
				}
			}
		}
	}
	for i, x := range v.def.Indexes {
		rows := map[string]bool{}
		for k := range m.trees["index "+x.String()] {
			rows[k[len(k)-2:]] = true
		}
		if n := v.check.Indexes[i].Rows; n != uint64(len(rows)) {
			t.Errorf("%d rows in index %s, want %d", n, x, len(rows))
		}
	}
	left := 0
	for c, err := range p.books.Scan([]byte("t/"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if kind := c.Key[34]; (kind == recordTree || kind == recordWrite) && !bytes.Equal(c.Key[35:39], u32(v.generation)) || kind == recordDrop {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d records are left of other generations", left)
	}
	return v.check
}

// converge tells whether all replicas of a history come to the same, and that to the model's.
func converge(t *testing.T, seed uint64) {
	h := newHistory(seed)
	m, ok := newModel(h.id, h.counting())
	if !ok {
		return
	}
	once := newPeer(t, h, rand.New(rand.NewPCG(seed, 0)))
	once.finish(t)
	want := once.compare(t, m)
	for i := range 2 {
		p := newPeer(t, h, rand.New(rand.NewPCG(seed, uint64(i)+1)))
		p.live(t)
		if got := p.compare(t, m); got.Score() != want.Score() {
			t.Errorf("replica %d has come to another checkpoint:\n%+v\n%+v", i, got, want)
		}
	}
}

// Whatever the order in which operations come, and whatever breaks meanwhile, the same ones are the same table.
func TestSimTablesConverge(t *testing.T) {
	seeds := 300
	if text := os.Getenv("GRANGE_SIM_SEEDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		seeds = 5 * n
	}
	for seed := range uint64(seeds) {
		if converge(t, seed); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
