package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits of what is kept of one partner's heads and pages.
const (
	// pagesMax and pageBytesMin bound the pages that its heads name or that wait for
	// one; it may have one byte more for each pageShare that we give it.
	pagesMax     = 65_536
	pageBytesMin = 64 << 20
	pageShare    = 64
	// guestPageBytes takes the place of pageBytesMin for guests, of whom there may be many.
	guestPageBytes = 4 << 20
	// asideFactor is how many times as many may be set aside.
	asideFactor = 4
	// sentTime is how long pages wait for the head that names them, after the last came.
	sentTime = time.Hour
	// rivalsMax bounds the second heads with one seq that are kept of a machine as evidence.
	rivalsMax = 8
	didSize   = len(core.DID{})
)

// tally counts pages and their bytes.
type tally struct{ pages, bytes int64 }

func (t *tally) add(size, sign int64) {
	t.pages += sign
	t.bytes += sign * size
}

// shelf is what one partner keeps here. Its turn is for whoever changes the records.
type shelf struct {
	turn turn
	// live are pages sent or named by a head. The tallies and sent are guarded by Federation.mu.
	live, aside tally
	// sent is when the last page came.
	sent int64
}

func (s *shelf) count(r pageRecord, sign int64) {
	if r.Aside != 0 {
		s.aside.add(r.Size, sign)
		return
	}
	s.live.add(r.Size, sign)
}

func (f *Federation) shelfOf(grid core.DID) *shelf {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.shelves[grid]
	if s == nil {
		s = &shelf{turn: newTurn()}
		f.shelves[grid] = s
	}
	return s
}

// loadShelves counts what partners keep here. Nothing else runs yet.
func (f *Federation) loadShelves() error {
	for e, err := range scan[pageRecord](f.c.Books, []byte(keyPage), 2*didSize+core.ScoreSize, recordSizeMax) {
		if err != nil {
			return err
		}
		f.shelfOf(core.DID(e.rest[:didSize])).count(e.value, 1)
	}
	return nil
}

// pageBytesOf returns how many bytes of pages a partner may have here.
func (f *Federation) pageBytesOf(grid core.DID) int64 {
	if grid == f.self.Grid {
		return stateSizeMax
	}
	if p, ok := f.Partner(grid); ok {
		return pageBytesMin + p.Given[core.Storage]/pageShare
	}
	g, _ := f.Guest(grid)
	return guestPageBytes + g.Share/pageShare
}

// full says why a partner may not have another size bytes of pages, or aside pages, if so.
func (f *Federation) full(grid core.DID, live, aside tally) error {
	most := f.pageBytesOf(grid)
	switch {
	case live.pages > pagesMax:
		return &core.Denial{Reason: fmt.Sprintf("a household's state may have %d pages here", pagesMax)}
	case live.bytes > most:
		return &core.Denial{Reason: fmt.Sprintf("a household's state may have %d bytes here", most)}
	case aside.pages > asideFactor*pagesMax || aside.bytes > asideFactor*most:
		return &core.Denial{Reason: "too much of this household's earlier state is still set aside here"}
	}
	return nil
}

// keepPage keeps a sealed page of the caller's state until a head names it.
func (f *Federation) keepPage(ctx context.Context, who wire.Caller, score core.Score, data []byte) error {
	if len(data) == 0 || core.ScoreOf(data) != score {
		return &wire.Error{Code: wire.CodeInvalid, Message: fmt.Sprintf("the body of %d bytes does not hash to %s", len(data), score)}
	}
	about, err := pageNote(who.Grid, who.Agent)
	if err != nil {
		return err
	}
	if !f.pages.begin(score) {
		return fmt.Errorf("page %s is being dropped: %w", score.Short(), core.ErrBusy)
	}
	defer f.pages.end(score)
	if err := f.shelve(ctx, who, score, int64(len(data))); err != nil {
		return err
	}
	if err := f.c.Blobs.Put(ctx, core.Blob{Score: score, Note: about, Data: data}); err != nil {
		return fmt.Errorf("keep page %s: %w", score.Short(), err)
	}
	return nil
}

// shelve makes the record of a page that is about to be kept, and so reserves its
// room. The record goes first: a page without one would never be found again.
func (f *Federation) shelve(ctx context.Context, who wire.Caller, score core.Score, size int64) error {
	s := f.shelfOf(who.Grid)
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.give()
	now := f.now()
	k := key(keyPage, who.Grid[:], score[:], who.Agent[:])
	var r pageRecord
	known, err := get(f.c.Books, k, &r, recordSizeMax)
	if err != nil {
		return err
	}
	f.mu.Lock()
	s.sent = now
	live, aside := s.live, s.aside
	f.mu.Unlock()
	if known {
		return nil
	}
	r = pageRecord{V: codec.Version, Size: size, Sent: now}
	live.add(size, 1)
	if err := f.full(who.Grid, live, aside); err != nil {
		return err
	}
	var c changes
	c.set(k, r)
	if err := c.apply(f.c.Books); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.count(r, 1)
	return nil
}

// page returns a page of a household's state that is kept here.
func (f *Federation) page(ctx context.Context, grid core.DID, score core.Score) ([]byte, error) {
	prefixes := [][]byte{key(keyPage, grid[:], score[:])}
	if grid == f.self.Grid {
		prefixes = append(prefixes, key(keyOwnPage, score[:]))
	}
	for _, prefix := range prefixes {
		for _, err := range f.c.Books.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			return f.c.Blobs.Get(ctx, score, nil)
		}
	}
	return nil, fmt.Errorf("page %s: %w", score.Short(), core.ErrNotExist)
}

// held returns the head that is kept of a machine.
func (f *Federation) held(grid, agent core.DID) (r heldRecord, ok bool, err error) {
	ok, err = get(f.c.Books, key(keyHeld, grid[:], agent[:]), &r, headSizeMax)
	return r, ok, err
}

// keepHead takes in a head of the caller's with the change of its page list.
func (f *Federation) keepHead(ctx context.Context, who wire.Caller, in headRequest) (uint64, error) {
	h, err := f.checkHead(who, in)
	if err != nil {
		return 0, err
	}
	s := f.shelfOf(who.Grid)
	if err := s.turn.take(ctx); err != nil {
		return 0, err
	}
	defer s.turn.give()
	old, known, err := f.held(who.Grid, who.Agent)
	if err != nil {
		return 0, err
	}
	counter := &core.Counter{Amount: int64(old.Seq)}
	switch {
	case known && h.Seq < old.Seq:
		return 0, &wire.Error{Code: wire.CodeHeadStale, Message: fmt.Sprintf("head %d is kept here", old.Seq), Counter: counter}
	case known && h.Seq == old.Seq && bytes.Equal(old.Head.Body, in.Head.Body):
		return h.Seq, nil // sent again, because the answer was lost
	case known && h.Seq == old.Seq:
		f.keepRival(who, in.Head)
		return 0, &wire.Error{Code: wire.CodeHeadStale, Message: fmt.Sprintf("another head %d is kept here", old.Seq), Counter: counter}
	case in.Base != 0 && in.Base != old.Seq:
		return 0, &wire.Error{Code: wire.CodeHeadBase, Message: fmt.Sprintf("head %d is kept here, not %d", old.Seq, in.Base), Counter: counter}
	}
	c, live, aside, err := f.turnPages(ctx, s, who, h, in)
	if err != nil {
		return 0, err
	}
	c.set(key(keyHeld, who.Grid[:], who.Agent[:]), heldRecord{V: codec.Version, Seq: h.Seq, Head: in.Head})
	if err := c.apply(f.c.Books); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.live, s.aside = live, aside
	f.endBearers(who.Grid, h.Stopped)
	return h.Seq, nil
}

// checkHead verifies a head and that it is the caller's own.
func (f *Federation) checkHead(who wire.Caller, in headRequest) (charter.Head, error) {
	h, err := charter.OpenHead(in.Head)
	switch {
	case err != nil:
		return h, invalid(err)
	case h.Agent != who.Agent || h.Grid != who.Grid:
		return h, invalid(errors.New("the head is another machine's or another household's"))
	case len(in.Add) > pagesMax || len(in.Drop) > pagesMax:
		return h, &core.Denial{Reason: fmt.Sprintf("a household's state may have %d pages here", pagesMax)}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.householdOf(who.Grid)
	if of == nil {
		return h, core.ErrForbidden
	}
	if _, known := of.kept[h.Charter]; !known {
		return h, invalid(errors.New("the head cites a charter that was not handed over"))
	}
	return h, nil
}

// turnPages works out what a head changes of the records of its pages: those that it adds
// become part of it, those that it drops are set aside. It returns the tallies after.
func (f *Federation) turnPages(ctx context.Context, s *shelf, who wire.Caller, h charter.Head, in headRequest) (*changes, tally, tally, error) {
	f.mu.Lock()
	after, ran := shelf{live: s.live, aside: s.aside}, f.ran
	f.mu.Unlock()
	c := &changes{}
	fail := func(err error) (*changes, tally, tally, error) { return nil, tally{}, tally{}, err }
	add := make(map[core.Score]bool, len(in.Add))
	for _, score := range in.Add {
		if add[score] {
			continue
		}
		add[score] = true
		if err := f.addPage(ctx, c, &after, who, score); err != nil {
			return fail(err)
		}
	}
	aside := func(k []byte, r pageRecord) {
		after.count(r, -1)
		r.Sent, r.Aside = 0, ran
		after.count(r, 1)
		c.set(k, r)
	}
	root := add[h.Root]
	switch in.Base {
	case 0:
		for e, err := range scan[pageRecord](f.c.Books, key(keyPage, who.Grid[:]), didSize+core.ScoreSize, recordSizeMax) {
			if err != nil {
				return fail(err)
			}
			mine := bytes.Equal(e.rest[core.ScoreSize:], who.Agent[:])
			if mine && e.value.Aside == 0 && !add[core.Score(e.rest[:core.ScoreSize])] {
				aside(e.key, e.value)
			}
		}
	default:
		for _, score := range in.Drop {
			k := key(keyPage, who.Grid[:], score[:], who.Agent[:])
			var r pageRecord
			ok, err := get(f.c.Books, k, &r, recordSizeMax)
			if err != nil {
				return fail(err)
			}
			if ok && r.Aside == 0 && !add[score] {
				add[score] = true // not twice
				aside(k, r)
			}
		}
	}
	if !root {
		return fail(invalid(errors.New("the head's root is not among the pages that it adds")))
	}
	return c, after.live, after.aside, f.full(who.Grid, after.live, after.aside)
}

// addPage makes a page part of the caller's head. It must have been sent before, by
// whichever machine of the household.
func (f *Federation) addPage(ctx context.Context, c *changes, after *shelf, who wire.Caller, score core.Score) error {
	missing := &wire.Error{Code: wire.CodeNotFound, Message: fmt.Sprintf("page %s was not sent", score)}
	k := key(keyPage, who.Grid[:], score[:], who.Agent[:])
	var r pageRecord
	mine := false
	for e, err := range scan[pageRecord](f.c.Books, key(keyPage, who.Grid[:], score[:]), didSize, recordSizeMax) {
		if err != nil {
			return err
		}
		if mine = bytes.Equal(e.key, k); mine || r.Size == 0 {
			r = e.value
		}
		if mine {
			break
		}
	}
	if r.Size == 0 {
		return missing
	}
	if mine && r.Sent == 0 && r.Aside == 0 {
		return nil // part of the head before
	}
	if _, err := f.c.Blobs.Stat(ctx, score); errors.Is(err, core.ErrNotExist) {
		return missing
	} else if err != nil {
		return fmt.Errorf("page %s: %w", score.Short(), err)
	}
	if mine {
		after.count(r, -1)
	}
	r.Sent, r.Aside = 0, 0
	after.count(r, 1)
	c.set(k, r)
	return nil
}
