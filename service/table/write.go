package table

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
)

// Put is a document that is to be put.
type Put struct {
	Key []byte
	Doc document.Doc
}

// PutsMax is how many documents one Put takes.
const PutsMax = 4096

// Put writes documents, as this machine. What is written stands here when it returns. Errors: core.ErrNotExist, table.ErrLeave, table.ErrQuota,
// core.ErrInvalid, core.ErrFull.
func (t *Tables) Put(ctx context.Context, id core.DID, puts []Put) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	s := r.current()
	if s == nil {
		return noDefinition(id)
	}
	f := t.forest(s)
	drafts := make([]Draft, len(puts))
	for i, p := range puts {
		seen, after, err := r.seenBy(f, p.Key)
		if err != nil {
			return err
		}
		payload, err := table.PutPayload(p.Key, seen, p.Doc)
		if err == nil {
			_, err = s.def.Operation(feed.Logged{Operation: feed.Operation{Header: feed.Header{Kind: feed.Put}}, Sealed: feed.Sealed{Payload: payload}})
		}
		if err != nil {
			return fmt.Errorf("key %.40q: %w", p.Key, err)
		}
		drafts[i] = Draft{feed.Put, payload, after}
	}
	return r.append(ctx, s, drafts)
}

func noDefinition(id core.DID) error {
	return fmt.Errorf("the definition of table %s has not come yet: %w", id.Short(), core.ErrNotExist)
}

// append writes operations of this machine, and takes them.
func (r *replica) append(ctx context.Context, s *state, drafts []Draft) error {
	if err := r.allows(s, drafts); err != nil {
		return err
	}
	if _, err := r.t.c.Feeds.Append(ctx, r.id, r.t.c.Key, drafts); err != nil {
		return err
	}
	r.landed(r.t.c.Key.DID())
	return r.settle(ctx)
}

// allows tells whether what this machine is about to write would stand.
func (r *replica) allows(s *state, drafts []Draft) error {
	me := r.t.c.Key.DID()
	f := r.t.forest(s)
	value, err := f.get(feedsAt, me[:])
	if err != nil {
		return err
	}
	var seq, size uint64
	if value != nil {
		if seq, _, size, err = table.ParseFeedValue(value); err != nil {
			return err
		}
	}
	for _, d := range drafts {
		size += feed.OperationSize + uint64(len(d.Payload))
	}
	return s.def.LeaveOf(me).Stands(seq+uint64(len(drafts)), size)
}

// seenBy are the ids of what others have written to a key, as a put in a table with folds names them, and the clock of the newest write.
func (r *replica) seenBy(f *forest, key []byte) (ids []core.Score, newest uint64, err error) {
	if newest, err = f.clock(key); err != nil || len(f.def.Folds) == 0 {
		return nil, newest, err
	}
	ops, err := r.writes(f, key)
	if err != nil {
		return nil, 0, err
	}
	sources, _ := f.def.Sources(ops)
	for i := range sources {
		if sources[i].Author != r.t.c.Key.DID() && len(ids) < table.SeenMax {
			ids = append(ids, sources[i].ID)
		}
	}
	slices.SortFunc(ids, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
	return ids, newest, nil
}

// clock is that of the newest write to a key; 0 where there is none.
func (f *forest) clock(key []byte) (uint64, error) {
	value, err := f.get(rowsAt, key)
	if err != nil {
		return 0, err
	}
	if value != nil {
		p, err := table.ParseRowValue(value)
		return p.Clock, err
	}
	if value, err = f.get(goneAt, table.DeletedKey(key)); value == nil || err != nil {
		return 0, err
	}
	p, err := table.ParsePlace(value)
	return p.Clock, err
}

// Delete deletes rows. Errors: core.ErrNotExist also where there is no such row, and then none is deleted; else those of Put.
func (t *Tables) Delete(ctx context.Context, id core.DID, keys ...[]byte) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	s := r.current()
	if s == nil {
		return noDefinition(id)
	}
	f := t.forest(s)
	drafts := make([]Draft, len(keys))
	for i, key := range keys {
		value, err := f.get(rowsAt, key)
		if err == nil && value == nil {
			err = fmt.Errorf("no row %.40q: %w", key, core.ErrNotExist)
		}
		if err != nil {
			return err
		}
		newest, err := f.clock(key)
		if err != nil {
			return err
		}
		payload, err := table.DeletePayload(key)
		if err != nil {
			return err
		}
		drafts[i] = Draft{feed.Delete, payload, newest}
	}
	return r.append(ctx, s, drafts)
}

// Erase deletes for good what this machine, or where it may everybody, has written to a key: at every replica that hears of it. It returns how many
// operations that were, and how many by others it may not erase. Errors: core.ErrNotExist where there are none; else those of Put.
func (t *Tables) Erase(ctx context.Context, id core.DID, key []byte) (erased, left int, err error) {
	r, err := t.replica(id)
	if err != nil {
		return 0, 0, err
	}
	s := r.current()
	if s == nil {
		return 0, 0, noDefinition(id)
	}
	ops, err := r.writes(t.forest(s), key)
	if err != nil {
		return 0, 0, err
	}
	me := t.c.Key.DID()
	var targets []table.Target
	for i := range ops {
		if ops[i].Author == me || slices.Contains(s.def.Attest, me) {
			targets = append(targets, table.Target{Author: ops[i].Author, Seq: ops[i].Seq})
		} else {
			left++
		}
	}
	if len(targets) == 0 {
		return 0, left, fmt.Errorf("nothing of this machine's is under %.40q: %w", key, core.ErrNotExist)
	}
	slices.SortFunc(targets, func(a, b table.Target) int { return cmp.Or(a.Author.Compare(b.Author), cmp.Compare(a.Seq, b.Seq)) })
	var drafts []Draft
	for part := range slices.Chunk(targets, table.ErasedMax) {
		payload, err := table.ErasePayload(part)
		if err != nil {
			return 0, left, err
		}
		drafts = append(drafts, Draft{Kind: feed.Erase, Payload: payload})
	}
	return len(targets), left, r.append(ctx, s, drafts)
}

// History yields all operations on a key, the newest first.
func (t *Tables) History(id core.DID, key []byte) iter.Seq2[table.Op, error] {
	return func(yield func(table.Op, error) bool) {
		r, err := t.replica(id)
		if err != nil {
			yield(table.Op{}, err)
			return
		}
		s := r.current()
		if s == nil {
			yield(table.Op{}, noDefinition(id))
			return
		}
		ops, err := r.writes(t.forest(s), key)
		if err != nil {
			yield(table.Op{}, err)
			return
		}
		slices.SortFunc(ops, func(a, b table.Op) int {
			if table.Newer(a.Clock, a.ID, b.Clock, b.ID) {
				return -1
			}
			return 1
		})
		for _, o := range ops {
			if !yield(o, nil) {
				return
			}
		}
	}
}
