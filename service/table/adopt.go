package table

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/table"
)

func sorted(list []core.DID) []core.DID {
	slices.SortFunc(list, core.DID.Compare)
	return list
}

// adopt brings the newest definition into force. What it returns is the state to go on from, which is live unless all has to be made anew;
// nil where there is no definition yet.
func (r *replica) adopt() (base *state, live bool, err error) {
	now := r.current()
	ends, err := r.shortened(now)
	if err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	generation := r.generation
	anew := ends.shorter
	r.mu.Unlock()
	if now != nil && now.seq == ends.definition && !anew {
		return now, true, nil
	}
	def, id, seq, err := r.newest(ends.definition)
	switch {
	case err != nil:
		return nil, false, err
	case def == nil && now != nil:
		return nil, true, r.undo()
	case def == nil:
		return nil, true, nil
	case now == nil:
		r.lookAtAll()
		r.erases = false
		return newState(r.id, generation+1, seq, def, id), true, r.begin(generation)
	case now.seq == seq && !anew:
		return now, true, nil
	}
	if !anew {
		if anew, err = r.changes(now, def); err != nil {
			return nil, false, err
		}
	}
	r.lookAtAll()
	if anew {
		r.erases = false
		return newState(r.id, generation+1, seq, def, id), false, r.begin(generation)
	}
	next := *now
	next.seq, next.def, next.check.Definition = seq, def, id
	next.score = next.check.Score()
	record, err := next.marshal()
	if err != nil {
		return nil, false, err
	}
	if err := r.t.c.Books.Apply(core.Change{Key: recordAt(r.id, recordState), Value: record}); err != nil {
		return nil, false, err
	}
	r.put(&next, &batch{})
	return &next, true, nil
}

// newest reads the newest definition up to a seq; what is none is passed over. It is nil where there is none.
func (r *replica) newest(seq uint64) (*table.Definition, core.Score, uint64, error) {
	for ; seq > 0; seq-- {
		def, id, err := r.definition(seq)
		if !errors.Is(err, core.ErrInvalid) {
			return def, id, seq, err
		}
	}
	return nil, core.Score{}, 0, nil
}

// undo makes a table of what was one, but has no definition any more that counts. Its generation is not used again.
func (r *replica) undo() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = nil
	return nil
}

// endsNow is what the feeds say before they are read.
type endsNow struct {
	definition uint64
	// shorter tells that a feed that was taken has forked before its end.
	shorter bool
}

func (r *replica) shortened(now *state) (out endsNow, err error) {
	forked, err := r.t.c.Feeds.Forked(r.id)
	if err != nil {
		return out, err
	}
	if out.definition, err = r.t.c.Feeds.End(r.id, r.id); err != nil || now == nil {
		return out, err
	}
	f := r.t.forest(now)
	for _, e := range forked {
		value, err := f.get(feedsAt, e.Author[:])
		if err != nil {
			return out, err
		}
		if value != nil && binary.BigEndian.Uint64(value) > e.Seq {
			out.shorter = true
		}
	}
	return out, nil
}

// changes tells whether another definition makes something else of what was taken.
func (r *replica) changes(now *state, def *table.Definition) (bool, error) {
	if !now.def.SameRows(*def) {
		return true, nil
	}
	f := r.t.forest(now)
	for record, err := range f.view(feedsAt).Ascend(nil, nil) {
		if err != nil {
			return false, err
		}
		author := core.DID(record.Key)
		if author == r.id {
			continue
		}
		seq, _, size, err := table.ParseFeedValue(record.Value)
		if err != nil {
			return false, err
		}
		leave := def.LeaveOf(author)
		if leave.Stands(seq, size) != nil || leave.Since != now.def.LeaveOf(author).Since {
			return true, nil
		}
	}
	return false, nil
}

// cleanMax is how many records are deleted in one change.
const cleanMax = 4096

// clean does what is left to do once a state is written down: it deletes payloads that were erased, and the trees of other generations.
func (r *replica) clean(s *state) error {
	prefix := recordAt(r.id, recordDrop)
	var targets []table.Target
	var done []core.Change
	for c, err := range r.t.c.Books.Scan(prefix, nil) {
		if err != nil {
			return err
		}
		at, err := parseTarget(c.Key[len(prefix):])
		if err != nil {
			return err
		}
		targets, done = append(targets, at), append(done, core.Change{Key: c.Key})
	}
	if len(targets) > 0 {
		if err := r.t.c.Feeds.Drop(r.id, targets); err != nil {
			return err
		}
		if err := r.t.c.Books.Apply(done...); err != nil {
			return err
		}
	}
	return r.cleanOthers(s.generation)
}

// begin makes room for a generation after one: what was to be dropped is found again, if it still is to be.
func (r *replica) begin(after uint32) error {
	if err := r.cleanOthers(after); err != nil {
		return err
	}
	var done []core.Change
	for c, err := range r.t.c.Books.Scan(recordAt(r.id, recordDrop), nil) {
		if err != nil {
			return err
		}
		done = append(done, core.Change{Key: c.Key})
	}
	return r.t.c.Books.Apply(done...)
}

// cleanOthers deletes what is of other generations than one: an attempt at the next may have been broken off.
func (r *replica) cleanOthers(keep uint32) error {
	for _, kind := range []byte{recordTree, recordWrite} {
		if err := r.cleanGenerations(kind, keep); err != nil {
			return err
		}
	}
	return nil
}

// cleanGenerations deletes the records of a kind of all generations but one.
func (r *replica) cleanGenerations(kind byte, keep uint32) error {
	prefix := recordAt(r.id, kind)
	for from := []byte(nil); ; {
		var done []core.Change
		end := true
		err := r.t.c.Books.Visit(prefix, from, func(key, _ []byte) bool {
			if binary.BigEndian.Uint32(key[len(prefix):]) == keep {
				from, end = append(slices.Clone(prefix), u32(keep+1)...), false
				return false
			}
			done = append(done, core.Change{Key: slices.Clone(key)})
			end = len(done) < cleanMax
			return end
		})
		if err != nil {
			return err
		}
		if err := r.t.c.Books.Apply(done...); err != nil {
			return err
		}
		if end {
			return nil
		}
	}
}
