package barter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// model is what a holder should have, in the plainest words.
type model struct {
	offer  int64
	held   map[core.DID]map[core.Score]*modelPiece
	grants []*modelGrant
	ran    int64
	days   map[core.DID]*modelDay
	counts map[core.DID]map[core.Score]*modelCount
	lines  map[core.DID]*modelLine
}

type modelPiece struct {
	size, until int64
	born, aside int64 // in running seconds; 0 is live
}

type modelGrant struct {
	id      []byte
	owner   core.DID
	amount  int64 // not leased
	pieces  map[core.Score]int64
	expires time.Time
}

func (g *modelGrant) left() int64 {
	left := g.amount
	for _, size := range g.pieces {
		left -= size
	}
	return left
}

func (m *model) used(owner core.DID) (size, pieces, granted int64) {
	for _, p := range m.held[owner] {
		size += p.size
		pieces++
	}
	for _, g := range m.grants {
		if g.owner == owner {
			granted += g.amount
		}
	}
	return size, pieces, granted
}

// expire forgets grants that have ended.
func (m *model) expire(now time.Time) {
	m.grants = slices.DeleteFunc(m.grants, func(g *modelGrant) bool { return g.expires.Unix() <= now.Unix() })
}

// machine is a holder beside its model.
type machine struct {
	t      *rapid.T
	clock  *sim.Clock
	disk   *sim.Disk
	h      *home
	b      *Barter
	m      model
	owners []core.DID
	pieces [][]byte
	rotten map[core.Score]bool // rotten or lost, since it was last put
}

const modelGiven = 12_000

func newMachine(t *rapid.T) *machine {
	w := &world{clock: sim.NewClock(1)}
	for i := range 3 {
		w.homes = append(w.homes, &home{w: w, grid: identity.KeyOf([32]byte{1, byte(i)}).DID(), key: identity.KeyOf([32]byte{2, byte(i)}), days: 180, given: modelGiven})
	}
	s := &machine{
		t: t, clock: w.clock.(*sim.Clock), disk: sim.NewDisk(0), h: w.homes[0], rotten: map[core.Score]bool{},
		m:      model{offer: 20_000, held: map[core.DID]map[core.Score]*modelPiece{}, ran: 1, days: map[core.DID]*modelDay{}, counts: map[core.DID]map[core.Score]*modelCount{}, lines: map[core.DID]*modelLine{}},
		owners: []core.DID{w.homes[1].grid, w.homes[2].grid},
	}
	for _, owner := range s.owners {
		s.m.held[owner], s.m.days[owner] = map[core.Score]*modelPiece{}, &modelDay{}
		s.m.counts[owner], s.m.lines[owner] = map[core.Score]*modelCount{}, &modelLine{}
	}
	for i, size := range []int{1, 400, 1_000, 1_000, 1_500, 2_000, 3_000} {
		s.pieces = append(s.pieces, bytesOf(i, size))
	}
	s.open()
	if err := s.b.SetOffer(s.m.offer); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *machine) open() {
	b, err := New(Config{
		Key: s.h.key, Grid: s.h.grid, Books: s.disk.Books(), Blobs: s.disk.Blobs(), Clock: s.clock, Partners: s.h,
		Table: table(), Rules: openRules(),
		Free: func() (int64, int64, error) { return diskSize, diskSize, nil }, ClockTrusted: func() bool { return true },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := b.Sweep(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.b = b
}

func (s *machine) owner() core.DID { return rapid.SampledFrom(s.owners).Draw(s.t, "owner") }

// agentOf is the machine of an owner.
func (s *machine) agentOf(owner core.DID) *home {
	if owner == s.h.w.homes[1].grid {
		return s.h.w.homes[1]
	}
	return s.h.w.homes[2]
}

func (s *machine) piece() []byte { return rapid.SampledFrom(s.pieces).Draw(s.t, "piece") }

// grant draws a grant that there is, or one that is not.
func (s *machine) grant() *modelGrant {
	n := rapid.IntRange(0, len(s.m.grants)).Draw(s.t, "grant")
	if n == len(s.m.grants) {
		return &modelGrant{id: make([]byte, grantIDSize), owner: s.owners[0]}
	}
	return s.m.grants[n]
}

func (s *machine) ask(*rapid.T) {
	owner, amount := s.owner(), rapid.Int64Range(1, 8_000).Draw(s.t, "amount")
	pact := pactOf(owner, s.h.grid)
	out, err := s.b.ask(owner, s.agentOf(owner).agent(), askRequest{Ask: core.Ask{
		Resource: core.Storage, Amount: amount, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]},
	}})
	if s.m.overdue(owner, s.clock.Now().Unix()) {
		if denial, ok := errors.AsType[*core.Denial](err); !ok || denial.Reason != reasonOverdue {
			s.t.Fatalf("ask without a receipt: %v", err)
		}
		return
	}
	s.m.expire(s.clock.Now())
	all := int64(0)
	for _, o := range s.owners {
		size, _, granted := s.m.used(o)
		all += size + granted
	}
	size, _, granted := s.m.used(owner)
	room := min(s.m.offer-all, modelGiven-size-granted)
	if amount > room {
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok || denial.Counter.Amount != max(0, room) {
			s.t.Fatalf("ask for %d with room for %d: %v", amount, room, err)
		}
		return
	}
	open, oldest := 0, (*modelGrant)(nil)
	for _, g := range s.m.grants {
		if g.owner == owner {
			open++
			if oldest == nil || cmp.Or(cmp.Compare(g.expires.Unix(), oldest.expires.Unix()), bytes.Compare(g.id, oldest.id)) < 0 {
				oldest = g
			}
		}
	}
	if open == grantsMax && oldest.expires.Unix() <= s.clock.Now().Add(time.Hour-grantLeft).Unix() {
		s.m.grants = slices.DeleteFunc(s.m.grants, func(g *modelGrant) bool { return g == oldest })
		open--
	}
	if open == grantsMax {
		if !errors.Is(err, core.ErrBusy) {
			s.t.Fatalf("a grant too many: %v", err)
		}
		return
	}
	if err != nil {
		s.t.Fatalf("ask for %d with room for %d: %v", amount, room, err)
	}
	s.m.grants = append(s.m.grants, &modelGrant{
		id: out.Grant, owner: owner, amount: amount, pieces: map[core.Score]int64{}, expires: s.clock.Now().Add(time.Hour),
	})
}

func (s *machine) put(*rapid.T) {
	owner, g, data := s.owner(), s.grant(), s.piece()
	full := rapid.IntRange(0, 5).Draw(s.t, "full") == 0
	piece, size := core.ScoreOf(data), int64(len(data))
	if full {
		s.disk.Blobs().SetCapacity(1)
	}
	_, statErr := s.disk.Blobs().Stat(context.Background(), piece)
	fails := full && (statErr != nil || s.rotten[piece])
	about, _ := codec.Marshal(note{V: 1, Kind: notePiece, Owner: owner})
	err := s.b.keep(context.Background(), owner, [grantIDSize]byte(g.id), core.Blob{Score: piece, Data: data, Note: about})
	s.disk.Blobs().SetCapacity(0)
	s.m.expire(s.clock.Now())
	live := slices.Contains(s.m.grants, g) && g.owner == owner
	_, known := s.m.held[owner][piece]
	_, again := g.pieces[piece]
	switch {
	case !live:
		if !errors.Is(err, core.ErrNotExist) {
			s.t.Fatalf("put without a grant: %v", err)
		}
		return
	case !known && !again && size > g.left():
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok || denial.Counter.Amount != g.left() {
			s.t.Fatalf("put of %d with %d left: %v", size, g.left(), err)
		}
		return
	case fails:
		if !errors.Is(err, core.ErrFull) {
			s.t.Fatalf("put on a full disk: %v", err)
		}
	case err != nil:
		s.t.Fatalf("put of %d with %d left: %v", size, g.left(), err)
	}
	g.expires = s.clock.Now().Add(time.Hour)
	if fails {
		return
	}
	delete(s.rotten, piece)
	if !known {
		g.pieces[piece] = size
	}
}

// lease is also what renews.
func (s *machine) lease(*rapid.T) {
	owner := s.owner()
	full := rapid.IntRange(0, 5).Draw(s.t, "full") == 0
	known := rapid.Bool().Draw(s.t, "sizes known")
	seconds := rapid.SampledFrom([]int64{1, daySeconds, 90 * daySeconds, 180 * daySeconds, 1 << 40}).Draw(s.t, "seconds")
	var pieces []core.Piece
	for _, data := range s.pieces {
		if rapid.Bool().Draw(s.t, "leased") {
			p := core.Piece{Score: core.ScoreOf(data)}
			if known {
				p.Size = int64(len(data))
			}
			pieces = append(pieces, p)
		}
	}
	if len(pieces) == 0 {
		return
	}
	slices.SortFunc(pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	s.disk.Books().SetFull(full)
	out, err := s.b.lease(context.Background(), owner, s.agentOf(owner).agent(), leaseRequest{Pieces: pieces, Seconds: seconds})
	signed, missing := out.Lease, out.Missing
	s.disk.Books().SetFull(false)
	s.m.expire(s.clock.Now())
	if full && errors.Is(err, core.ErrFull) {
		return
	}
	if err != nil {
		s.t.Fatalf("lease: %v", err)
	}
	here := 0
	var l pact.Lease
	idle := s.m.countsNow(owner, s.clock.Now().Unix()) == 0
	if signed != nil {
		if l, err = s.b.openOwn(mustMarshal(s.t, signed), owner); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, p := range pieces {
		under := s.m.under(owner, p.Score)
		old, held := s.m.held[owner][p.Score]
		_, err := s.disk.Blobs().Stat(context.Background(), p.Score)
		if slices.Contains(missing, p.Score) != (err != nil || !held && len(under) == 0) {
			s.t.Fatalf("piece %s: missing %v, held %v, under %d grants, here %v", p.Score.Short(), missing, held, len(under), err)
		}
		if slices.Contains(missing, p.Score) {
			continue
		}
		here++
		if !held {
			old = &modelPiece{size: under[0].pieces[p.Score], born: s.m.ran}
		}
		for i, g := range under {
			delete(g.pieces, p.Score)
			if i == 0 && !held {
				g.amount -= old.size
			}
		}
		if !held || old.aside > 0 {
			s.m.changes(owner)
		}
		old.until, old.aside = max(old.until, l.Until), 0
		s.m.held[owner][p.Score] = old
		s.m.count(owner, p.Score, old.size, l)
	}
	if idle && here > 0 {
		s.m.lines[owner].ran = s.m.ran
	}
	if (signed == nil) != (here == 0) {
		s.t.Fatalf("a lease over %d pieces: %v", here, signed)
	}
	if signed == nil {
		return
	}
	if len(l.Pieces) != here || l.Until < s.clock.Now().Unix()+min(seconds, 180*daySeconds)*15/16 {
		s.t.Fatalf("a lease over %d pieces, want %d, for %d seconds of %d", len(l.Pieces), here, l.Until-l.From, seconds)
	}
}

// TestAnySequenceIsCountedExactly runs what owners, time and the disk may do, in any order.
func TestAnySequenceIsCountedExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"ask": s.ask, "ask again": s.ask, "put": s.put, "put again": s.put, "put more": s.put, "lease": s.lease,
			"close": s.close, "pass": s.pass, "run": s.run, "tidy": s.tidy, "restart": s.restart, "harm": s.harm, "release": s.release, "receipt": s.receipt, "": s.check,
		})
	})
}
