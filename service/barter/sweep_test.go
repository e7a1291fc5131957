package barter

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
)

// loseBooks gives a home new books beside its old blobs.
func (h *home) loseBooks() {
	d := sim.NewDisk(0)
	h.books = d.Books()
	h.open()
	// check reads the disk's books.
	h.disk = joined(h.disk, d)
}

// joined copies the blobs of one disk to another, whose books it keeps.
func joined(blobs, books *sim.Disk) *sim.Disk {
	for info, err := range blobs.Blobs().All(context.Background()) {
		if err != nil {
			panic(err)
		}
		data, err := blobs.Blobs().Get(context.Background(), info.Score, nil)
		if err != nil {
			continue // rotten
		}
		if err := books.Blobs().Put(context.Background(), core.Blob{Score: info.Score, Note: info.Note, Data: data}); err != nil {
			panic(err)
		}
	}
	return books
}

func TestTheBooksAreMadeAgain(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	one, two := owner.mustAsk(t, holder, 1<<20), other.mustAsk(t, holder, 1<<20)
	shared := bytesOf(1, 1_000)
	owner.mustPut(t, holder, one, shared, bytesOf(2, 2_000), bytesOf(3, 3_000))
	other.mustPut(t, holder, two, shared, bytesOf(4, 4_000))
	owner.mustLease(t, holder, shared)
	owner.mustLease(t, holder, bytesOf(2, 2_000))
	other.mustLease(t, holder, shared, bytesOf(4, 4_000))
	clock.Advance(100 * 24 * time.Hour)
	owner.mustLease(t, holder, shared)
	before := map[string][]byte{}
	for _, prefix := range [][]byte{heldPrefix, leasePrefix, endsPrefix, usedPrefix, wholeKey} {
		for c := range holder.disk.Books().Scan(prefix, nil) {
			before[string(c.Key)] = c.Value
		}
	}
	if err := holder.now().drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder.loseBooks()
	for key, value := range before {
		got, err := holder.books.Get([]byte(key))
		if bytes.HasPrefix([]byte(key), heldPrefix) { // what only the books knew is not known again
			var was heldRecord
			if err := codec.Unmarshal(value, &was, recordSizeMax); err != nil {
				t.Fatal(err)
			}
			was.Born, was.Counts = 0, nil
			value = mustMarshal(t, was)
		}
		if err != nil || string(got) != string(value) {
			t.Errorf("record %q: %x, %v; was %x", key, got, err, value)
		}
	}
	holder.blobs = holder.disk.Blobs()
	holder.open()
	holder.wantUsed(t, owner, 3_000, 2, 8_000)
	holder.wantUsed(t, other, 5_000, 2, 8_000)
	holder.check(t)
	if holder.has(t, bytesOf(3, 3_000)) {
		t.Error("a piece without a lease was taken up")
	}
}

// While a lease cannot be read, nobody knows what it promised.
func TestNothingIsDroppedWhileALeaseCannotBeRead(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	a, b := bytesOf(1, 1_000), bytesOf(2, 2_000)
	owner.mustPut(t, holder, owner.mustAsk(t, holder, 1<<20), a, b)
	owner.mustLease(t, holder, a)
	owner.mustLease(t, holder, b)
	var rotten core.Score
	for c := range holder.disk.Books().Scan(leasePrefix, nil) {
		rotten = core.Score(c.Key[len(leasePrefix)+didSize:])
	}
	if !holder.disk.Blobs().Rot(rotten) {
		t.Fatal("no lease")
	}
	books := sim.NewBooks()
	holder.books = books
	for range 2 { // each start tries again
		holder.open()
		if !holder.has(t, a) || !holder.has(t, b) {
			t.Fatal("a piece was dropped")
		}
		if _, pieces := holder.now().Used(owner.grid); pieces != 1 {
			t.Errorf("%d pieces are held", pieces)
		}
		if _, err := books.Get(wholeKey); !errors.Is(err, core.ErrNotExist) {
			t.Error("the books call themselves whole")
		}
	}
	// One that is not ours says nothing either.
	holder.disk.Blobs().Lose(rotten)
	about, err := codec.Marshal(note{V: 1, Kind: noteLease, Owner: owner.grid})
	if err != nil {
		t.Fatal(err)
	}
	junk := []byte("no lease")
	if err := holder.disk.Blobs().Put(t.Context(), core.Blob{Score: core.ScoreOf(junk), Note: about, Data: junk}); err != nil {
		t.Fatal(err)
	}
	holder.open()
	if !holder.has(t, b) {
		t.Error("a piece was dropped")
	}
	holder.disk.Blobs().Lose(core.ScoreOf(junk))
	for name, lie := range map[string]struct {
		by   *home
		note core.DID
	}{"of another machine": {owner, owner.grid}, "of another owner": {holder, core.DID{5}}} {
		l := honest(lie.by, owner, leaseRequest{Seconds: 1000, Pieces: []core.Piece{{Score: core.ScoreOf(b), Size: 2_000}}})
		l.Grid = core.DID{6}
		s, err := pact.SignLease(lie.by.key, l)
		if err != nil {
			t.Fatal(err)
		}
		raw := mustMarshal(t, s)
		about := mustMarshal(t, note{V: 1, Kind: noteLease, Owner: lie.note})
		if err := holder.disk.Blobs().Put(t.Context(), core.Blob{Score: core.ScoreOf(raw), Note: about, Data: raw}); err != nil {
			t.Fatal(err)
		}
		holder.open()
		if _, pieces := holder.now().Used(owner.grid); !holder.has(t, b) || pieces != 1 {
			t.Errorf("a lease %s: %d pieces are held", name, pieces)
		}
		holder.disk.Blobs().Lose(core.ScoreOf(raw))
	}
	holder.open()
	if holder.has(t, b) || !holder.has(t, a) {
		t.Error("with every lease read, only what they promise stays")
	}
}

// Blobs of other services, and those that other services need, are not barter's to drop.
func TestSweepAndDropLeaveOthersAlone(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	page, empty := []byte("a page of somebody's state"), []byte("nobody says what this is")
	for data, about := range map[string][]byte{string(page): mustMarshal(t, map[string]any{"v": 1, "kind": "page"}), string(empty): nil} {
		if err := holder.disk.Blobs().Put(t.Context(), core.Blob{Score: core.ScoreOf([]byte(data)), Note: about, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	both, asked := bytesOf(1, 100), 0
	b := holder.now()
	b.c.Needed = func(s core.Score) (bool, error) {
		asked++
		return s == core.ScoreOf(both) || s == core.ScoreOf(page), nil
	}
	// The attack: bytes that another service keeps are put as a piece, and the grant is ended.
	grant := owner.mustAsk(t, holder, 1_000)
	owner.mustPut(t, holder, grant, page, both, bytesOf(2, 100))
	if _, err := owner.lease(t, holder, [][]byte{grant}); err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, page) || !holder.has(t, empty) || !holder.has(t, both) || holder.has(t, bytesOf(2, 100)) || asked < 3 {
		t.Error("what another service needs must stay, and only that")
	}
	// The same with the bytes of a lease.
	data := bytesOf(3, 100)
	grant = owner.mustAsk(t, holder, 1_000)
	owner.mustPut(t, holder, grant, data)
	out, err := owner.lease(t, holder, nil, data)
	if err != nil {
		t.Fatal(err)
	}
	lease := mustMarshal(t, *out.Lease)
	owner.mustPut(t, holder, grant, lease)
	for blob, want := range map[core.Score]bool{core.ScoreOf(lease): true, core.ScoreOf(data): true, core.ScoreOf(page): false} {
		if needs, err := b.NeedsBlob(blob); err != nil || needs != want {
			t.Errorf("needs %s: %v, %v", blob.Short(), needs, err)
		}
	}
	if _, err := owner.lease(t, holder, [][]byte{grant}); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, lease) {
		t.Error("a lease went as a piece")
	}
	// In doubt nothing is dropped.
	b.c.Needed = func(core.Score) (bool, error) { return false, errors.New("cannot tell") }
	grant = owner.mustAsk(t, holder, 1_000)
	owner.mustPut(t, holder, grant, bytesOf(4, 100))
	if _, err := owner.lease(t, holder, [][]byte{grant}); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, bytesOf(4, 100)) {
		t.Error("dropped in doubt")
	}
	b.c.Needed = func(core.Score) (bool, error) { return false, nil }
	if err := b.tidy(t.Context()); err != nil || holder.has(t, bytesOf(4, 100)) {
		t.Errorf("not dropped when there was no doubt any more: %v", err)
	}
}

// A sweep while things go on leaves alone what is in hand or held.
func TestSweepLeavesWhatIsInHand(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	slow := slowHome(holder)
	grant := owner.mustAsk(t, holder, 10_000)
	stored, held, coming, orphan := bytesOf(1, 100), bytesOf(2, 100), bytesOf(3, 100), bytesOf(4, 100)
	owner.mustPut(t, holder, grant, stored, held, orphan)
	owner.mustLease(t, holder, held)
	foreign := other.mustAsk(t, holder, 10_000)
	entered, leave := slow.hold("put")
	put := make(chan error)
	go func() { put <- other.put(t, holder, foreign, coming) }()
	<-entered
	if err := holder.now().Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(leave)
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	other.mustLease(t, holder, coming)
	owner.mustLease(t, holder, stored)
	holder.open()
	if !holder.has(t, stored) || !holder.has(t, held) || !holder.has(t, coming) || holder.has(t, orphan) {
		t.Error("what was held must outlive a start, and only that")
	}
	holder.check(t)
}
