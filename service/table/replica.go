package table

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
)

// replica is one table that is kept here, whole.
type replica struct {
	t  *Tables
	id core.DID

	// writing is held by the one that takes operations.
	writing sync.Mutex
	erases  bool                  // something is erased, or may be
	coming  map[table.Target]bool // what erases name that are yet to be taken; nil if nobody has looked

	mu    sync.Mutex
	now   *state // nil before there is a definition
	dirty map[core.DID]bool
	all   bool // every feed is to be looked at
	// generation is that of the state that was written down last, 0 before there is one.
	generation uint32
	stuck      map[core.DID]string // why feeds do not go on
}

// openReplica reads what was written down of a table.
func (t *Tables) openReplica(id core.DID) (*replica, error) {
	r := &replica{t: t, id: id, dirty: map[core.DID]bool{}, all: true, stuck: map[core.DID]string{}}
	s, err := r.readState(t.c.Books)
	if err != nil && !errors.Is(err, core.ErrNotExist) { // where the definition does not count any more, there is a generation without a state
		return nil, fmt.Errorf("table %s: %w", id.Short(), err)
	}
	if r.now = s; s == nil {
		r.generation, err = r.readGeneration()
	} else {
		r.generation = s.generation
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", id.Short(), err)
	}
	if s == nil {
		return r, nil
	}
	f := t.forest(s)
	for _, err := range f.view(goneAt).Ascend([]byte{1}, nil) {
		if err != nil {
			return nil, err
		}
		r.erases = true
		break
	}
	return r, nil
}

func (r *replica) stateRecord(from core.Records) (s stateRecord, err error) {
	b, err := from.Get(recordAt(r.id, recordState))
	if err != nil {
		return s, err
	}
	if err := codec.Unmarshal(b, &s, stateSizeMax); err != nil {
		return s, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
	}
	return s, nil
}

// readGeneration reads the generation of the state that was written down last, 0 if there is none.
func (r *replica) readGeneration() (uint32, error) {
	s, err := r.stateRecord(r.t.c.Books)
	if errors.Is(err, core.ErrNotExist) {
		return 0, nil
	}
	return uint32(s.Generation), err
}

// readState reads the state that was written down last. Errors: core.ErrNotExist, core.ErrCorrupt.
func (r *replica) readState(from core.Records) (*state, error) {
	s, err := r.stateRecord(from)
	if err != nil {
		return nil, err
	}
	out := &state{generation: uint32(s.Generation), seq: s.Seq, check: s.Checkpoint, score: s.Checkpoint.Score()}
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	if now != nil && now.seq == s.Seq {
		out.def = now.def
		return out, nil
	}
	if out.def, _, err = r.definition(s.Seq); err != nil {
		return nil, err
	}
	return out, nil
}

// definition reads one of the table's. Errors: core.ErrInvalid where it is none.
func (r *replica) definition(seq uint64) (*table.Definition, core.Score, error) {
	l, err := r.t.c.Feeds.Get(r.id, r.id, seq)
	if err != nil {
		return nil, core.Score{}, err
	}
	if l.Kind != feed.Define {
		return nil, core.Score{}, fmt.Errorf("operation %d of the table's key is no definition: %w", seq, core.ErrInvalid)
	}
	if l.Gone {
		return nil, core.Score{}, fmt.Errorf("definition %d: %w", seq, ErrWithheld)
	}
	def, err := table.ParseDefinition(l.Payload)
	return &def, l.ID, err
}

// current returns the newest state; nil before there is one.
func (r *replica) current() *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// landed notes that something has come of an author.
func (r *replica) landed(author core.DID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty[author] = true
}

// settle takes all that has come. When it returns, what had come before is in the trees.
func (r *replica) settle(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	err := r.takeAll(ctx)
	if err != nil {
		r.lookAtAll() // whatever was taken, and is not written down
	}
	return err
}

func (r *replica) takeAll(ctx context.Context) error {
	r.coming = nil
	base, live, err := r.adopt()
	if base == nil || err != nil {
		return err
	}
	authors, err := r.behind(base)
	if err != nil {
		return err
	}
	for len(authors) > 0 || !live {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := r.newBatch(r.t.forest(base))
		for len(authors) > 0 && !b.more {
			why, err := b.take(authors[0])
			if err != nil {
				return fmt.Errorf("feed of %s: %w", authors[0].Short(), err)
			}
			r.blocked(authors[0], why)
			if !b.more {
				authors = authors[1:]
			}
		}
		live = live || len(authors) == 0
		if base, err = b.commit(live); err != nil {
			return err
		}
		if live {
			r.put(base, b)
		}
	}
	return r.clean(base)
}

func (r *replica) blocked(author core.DID, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == nil {
		delete(r.stuck, author)
		return
	}
	r.stuck[author] = why.Error()
	if errors.Is(why, ErrWithheld) {
		r.dirty[author] = true // the payload may come, or an erase that says why there is none
	}
}

// put makes a state the one that is asked, and tells what has changed.
func (r *replica) put(s *state, b *batch) {
	r.mu.Lock()
	changed := r.now == nil || r.now.score != s.score
	r.now, r.generation = s, s.generation
	r.mu.Unlock()
	if !changed || r.t.c.Changed == nil {
		return
	}
	keys := make([][]byte, 0, len(b.rows))
	for key := range b.rows {
		keys = append(keys, []byte(key))
	}
	r.t.c.Changed(r.id, keys)
}

// behind returns the authors whose feeds have to be looked at.
func (r *replica) behind(s *state) ([]core.DID, error) {
	r.mu.Lock()
	all, dirty := r.all, r.dirty
	r.all, r.dirty = false, map[core.DID]bool{}
	r.mu.Unlock()
	var out []core.DID
	if !all && s.check.Feeds.Count > 0 {
		for a := range dirty {
			out = append(out, a)
		}
		return sorted(out), nil
	}
	f := r.t.forest(s)
	for e, err := range r.t.c.Feeds.Ends(r.id) {
		if err != nil {
			r.lookAtAll()
			return nil, err
		}
		value, err := f.get(feedsAt, e.Author[:])
		if err != nil {
			r.lookAtAll()
			return nil, err
		}
		seq := uint64(0)
		if value != nil {
			if seq, _, _, err = table.ParseFeedValue(value); err != nil {
				return nil, err
			}
		}
		if e.Seq > seq {
			out = append(out, e.Author)
		}
	}
	return sorted(out), nil
}

func (r *replica) lookAtAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = true
}

// commit writes a batch down. Only if it is live it is the state that counts from then on.
func (b *batch) commit(live bool) (*state, error) {
	if err := b.settle(); err != nil {
		return nil, err
	}
	made := make([][]core.Change, len(b.edits))
	for at := range b.edits {
		b.old.shelf(at) // before many ask for them at once
	}
	err := byAll(len(b.edits), func(at int) error {
		if len(b.edits[at]) == 0 {
			return nil
		}
		shelf := b.old.shelf(at)
		result, changes, err := shelf.apply(b.edits[at])
		if err != nil {
			return fmt.Errorf("tree %s: %w", b.old.treeName(at), err)
		}
		*root(&b.next, at), made[at] = table.RootOf(result.Map), changes
		shelf.done(result) // nodes are known by their hashes, whether this is written or not
		return nil
	})
	if err != nil {
		return nil, err
	}
	next := *b.old.state
	next.check, next.score = b.next, b.next.Score()
	for _, changes := range made {
		b.changes = append(b.changes, changes...)
	}
	if live {
		record, err := next.marshal()
		if err != nil {
			return nil, err
		}
		b.set(recordAt(b.old.check.Table, recordState), record)
	}
	return &next, b.r.t.c.Books.Apply(b.changes...)
}
