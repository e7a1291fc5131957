package barter

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

// slowBlobs lets a test stand between the beginning and the end of a Put or a Delete.
type slowBlobs struct {
	core.Blobs
	mu      sync.Mutex
	entered chan struct{} // nil: nothing is held up
	leave   chan struct{}
	only    string // "begin put", "put" for its end, or "delete"
}

func (s *slowBlobs) hold(only string) (entered, leave chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.only, s.entered, s.leave = only, make(chan struct{}, 16), make(chan struct{})
	return s.entered, s.leave
}

func (s *slowBlobs) pass(what string) {
	s.mu.Lock()
	entered, leave, only := s.entered, s.leave, s.only
	s.mu.Unlock()
	if entered == nil || what != only {
		return
	}
	entered <- struct{}{}
	<-leave
}

func (s *slowBlobs) Put(ctx context.Context, b core.Blob) error {
	s.pass("begin put")
	err := s.Blobs.Put(ctx, b)
	s.pass("put")
	return err
}

func (s *slowBlobs) Delete(ctx context.Context, scores ...core.Score) error {
	s.pass("delete")
	return s.Blobs.Delete(ctx, scores...)
}

func slowHome(h *home) *slowBlobs {
	s := &slowBlobs{Blobs: h.disk.Blobs()}
	h.blobs = s
	h.open()
	return s
}

func TestAGrantThatEndsDuringAPut(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	slow := slowHome(holder)
	grant := owner.mustAsk(t, holder, 2_000)
	data := bytesOf(1, 1_000)
	entered, leave := slow.hold("put")
	put := make(chan error)
	go func() { put <- owner.put(t, holder, grant, data) }()
	<-entered
	if _, err := owner.lease(t, holder, [][]byte{grant}); err != nil {
		t.Fatal(err)
	}
	holder.wantUsed(t, owner, 0, 0, 0)
	close(leave)
	if err := <-put; !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a put whose grant has ended: %v", err)
	}
	holder.check(t)
	if holder.has(t, data) {
		t.Error("it was kept")
	}
}

// A retry of a put that is still under way must not need the room twice.
func TestAPutBesideItself(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	slow := slowHome(holder)
	grant := owner.mustAsk(t, holder, 1_000)
	data := bytesOf(1, 1_000)
	entered, leave := slow.hold("put")
	put := make(chan error, 2)
	for range 2 {
		go func() { put <- owner.put(t, holder, grant, data) }()
	}
	<-entered
	<-entered
	close(leave)
	for range 2 {
		if err := <-put; err != nil {
			t.Error(err)
		}
	}
	owner.mustLease(t, holder, data)
	holder.wantUsed(t, owner, 1_000, 1, 1_000)
	holder.check(t)
}

// What is being dropped must not be promised to be kept.
func TestAPutBesideADrop(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	slow := slowHome(holder)
	first, second := owner.mustAsk(t, holder, 1_000), owner.mustAsk(t, holder, 1_000)
	data := bytesOf(1, 1_000)
	owner.mustPut(t, holder, first, data)
	entered, leave := slow.hold("delete")
	closed := make(chan error)
	go func() {
		_, err := owner.lease(t, holder, [][]byte{first})
		closed <- err
	}()
	<-entered
	if err := owner.put(t, holder, second, data); !errors.Is(err, core.ErrBusy) {
		t.Errorf("a put of what is being dropped: %v", err)
	}
	_ = owner.mustAsk(t, holder, 10) // a slow disk keeps no ask waiting
	close(leave)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	owner.mustPut(t, holder, second, data)
	owner.mustLease(t, holder, data)
	holder.check(t)
}

// A slow lease keeps neither asks nor other households waiting.
func TestASlowDiskBlocksNobodyElse(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	slow := slowHome(holder)
	one, two := owner.mustAsk(t, holder, 1_000), other.mustAsk(t, holder, 1_000)
	owner.mustPut(t, holder, one, bytesOf(1, 1_000))
	other.mustPut(t, holder, two, bytesOf(2, 1_000))
	entered, leave := slow.hold("put") // of the lease
	leased := make(chan error)
	go func() {
		_, err := owner.lease(t, holder, [][]byte{one}, bytesOf(1, 1_000))
		leased <- err
	}()
	<-entered
	slow.hold("nothing")
	_ = owner.mustAsk(t, holder, 10)
	other.mustLease(t, holder, bytesOf(2, 1_000))
	holder.wantUsed(t, other, 1_000, 1, 2_010)
	// The grant that the lease relies on ends in the middle of it: nothing is counted twice or not at all.
	holder.now().closeGrants(owner.grid, [][]byte{one})
	holder.wantUsed(t, owner, 0, 0, 2_010)
	if err := owner.put(t, holder, one, bytesOf(3, 1)); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a grant that is ending: %v", err)
	}
	if err := holder.now().drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(leave)
	if err := <-leased; err != nil {
		t.Fatal(err)
	}
	holder.wantUsed(t, owner, 1_000, 1, 2_010)
	holder.check(t)
}
