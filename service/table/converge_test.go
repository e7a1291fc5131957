package table

import (
	"bytes"
	"context"
	"errors"
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
