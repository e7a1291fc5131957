package table

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// batchMax and batchSizeMax are how many operations, and how many bytes of them, are taken at a time. More at a time are faster: those that share a leaf of a
// tree make it anew once.
const (
	batchMax     = 1 << 16
	batchSizeMax = 32 << 20
)

// batch takes operations that have come into a table's trees, in one change.
type batch struct {
	r   *replica
	old *forest
	// feeds are the new ends of those that went on.
	feeds map[core.DID]end
	// rows are the keys that were written to, erased what is to go.
	rows   map[string]*touched
	erased map[table.Target]table.Target
	count  int
	size   uint64
	// more tells that there was more than one batch takes.
	more bool

	next    table.Checkpoint
	edits   [][]tree.Edit
	changes []core.Change
}

// end is what a feed has come to.
type end struct {
	seq, size uint64
	id        core.Score
}

// touched is a key with what is new on it.
type touched struct {
	fresh []table.Op
	// again tells that something on it went: it has to be made of all that is left.
	again bool
}

func (r *replica) newBatch(old *forest) *batch {
	next := old.check
	next.Indexes = slices.Clone(next.Indexes)
	return &batch{
		r: r, old: old, next: next, edits: make([][]tree.Edit, old.trees()),
		feeds: map[core.DID]end{}, rows: map[string]*touched{}, erased: map[table.Target]table.Target{},
	}
}

// end returns how far an author's feed has been taken.
func (b *batch) end(author core.DID) (end, error) {
	if e, ok := b.feeds[author]; ok {
		return e, nil
	}
	value, err := b.old.get(feedsAt, author[:])
	if value == nil || err != nil {
		return end{}, err
	}
	seq, id, size, err := table.ParseFeedValue(value)
	return end{seq, size, id}, err
}

// take reads what an author has written since. The error that it returns as why says what keeps it from going on.
func (b *batch) take(author core.DID) (why, err error) {
	e, err := b.end(author)
	if err != nil {
		return nil, err
	}
	leave := b.old.def.LeaveOf(author)
	for l, err := range b.r.t.c.Feeds.From(b.old.check.Table, author, e.seq+1) {
		if err != nil {
			return nil, err
		}
		if b.count >= b.r.t.most || b.size >= batchSizeMax {
			b.more = true
			break
		}
		size := e.size + opSize(&l)
		if author != b.old.check.Table {
			if why = leave.Stands(l.Seq, size); why != nil {
				break
			}
		}
		if why, err = b.operation(&l, leave); why != nil || err != nil {
			break
		}
		b.count, b.size = b.count+1, b.size+opSize(&l)
		e = end{l.Seq, size, l.ID}
		b.feeds[author] = e
	}
	return why, err
}

// opSize is what an operation counts for a quota.
func opSize(l *feed.Logged) uint64 { return feed.OperationSize + uint64(l.Header.Size) }

// operation takes one.
func (b *batch) operation(l *feed.Logged, leave table.Leave) (why, err error) {
	if l.Author == b.old.check.Table {
		return nil, nil // a definition: it is in force already
	}
	if l.Kind == feed.Erase {
		return b.erase(l, leave)
	}
	at := table.Target{Author: l.Author, Seq: l.Seq}
	gone, err := b.isErased(at)
	if !gone && err == nil && l.Gone {
		if gone, err = b.erasedLater(at); !gone && err == nil {
			return withheld(l), nil
		}
	}
	if gone {
		b.drop(at) // also where it has not come: it is not asked for any more
	}
	if gone || err != nil {
		return nil, err
	}
	op, ok, err := b.r.read(l, b.old.def, leave)
	if !ok || err != nil {
		return nil, err
	}
	t := b.touch(op.Key)
	t.fresh = append(t.fresh, op)
	b.set(append(writesOf(b.old.check.Table, b.old.generation, op.Key), append(l.Author[:], u64(l.Seq)...)...), []byte{})
	return nil, nil
}

func withheld(l *feed.Logged) error {
	return fmt.Errorf("%w: operation %d of %s", ErrWithheld, l.Seq, l.Author.Short())
}

func (b *batch) set(key, value []byte) {
	b.changes = append(b.changes, core.Change{Key: key, Value: value})
}

func (b *batch) touch(key []byte) *touched {
	t := b.rows[string(key)]
	if t == nil {
		t = &touched{}
		b.rows[string(key)] = t
	}
	return t
}

// read makes an operation on a key of what was logged; false where it is void.
func (r *replica) read(l *feed.Logged, def *table.Definition, leave table.Leave) (table.Op, bool, error) {
	if l.Clock < leave.Since || l.Gone {
		return table.Op{}, false, nil
	}
	op, err := def.Operation(*l)
	if errors.Is(err, table.ErrVoid) {
		return table.Op{}, false, nil
	}
	return op, err == nil, err
}

// isErased tells whether an operation is, by one that was taken.
func (b *batch) isErased(at table.Target) (bool, error) {
	if _, ok := b.erased[at]; ok {
		return true, nil
	}
	if !b.r.erases {
		return false, nil
	}
	value, err := b.old.get(goneAt, table.ErasedKey(at))
	return value != nil, err
}

// erasedLater tells whether an operation whose payload is missing is erased by one that is yet to be taken.
func (b *batch) erasedLater(at table.Target) (bool, error) {
	if b.r.coming == nil {
		coming := map[table.Target]bool{}
		for e, err := range b.r.t.c.Feeds.Ends(b.old.check.Table) {
			if err == nil {
				err = b.lookAhead(e.Author, coming)
			}
			if err != nil {
				return false, err
			}
		}
		b.r.coming = coming
	}
	return b.r.coming[at], nil
}

// lookAhead notes what an author's erases that are yet to be taken name.
func (b *batch) lookAhead(author core.DID, coming map[table.Target]bool) error {
	e, err := b.end(author)
	if err != nil {
		return err
	}
	leave := b.old.def.LeaveOf(author)
	for l, err := range b.r.t.c.Feeds.From(b.old.check.Table, author, e.seq+1) {
		if err != nil {
			return err
		}
		if e.size += opSize(&l); leave.Stands(l.Seq, e.size) != nil {
			return nil
		}
		if l.Kind != feed.Erase || l.Gone || l.Clock < leave.Since {
			continue
		}
		targets, _ := table.ParseErase(l.Payload) // what is void names none
		for _, at := range targets {
			if b.mayErase(author, at) {
				coming[at] = true
			}
		}
	}
	return nil
}

func (b *batch) mayErase(author core.DID, at table.Target) bool {
	return at.Author == author || slices.Contains(b.old.def.Attest, author)
}

// erase takes one erase, which cannot be erased itself: else it would matter which came first.
func (b *batch) erase(l *feed.Logged, leave table.Leave) (why, err error) {
	switch {
	case l.Gone:
		return withheld(l), nil
	case l.Clock < leave.Since:
		return nil, nil
	}
	targets, _ := table.ParseErase(l.Payload)
	by := table.Target{Author: l.Author, Seq: l.Seq}
	b.r.erases = b.r.erases || len(targets) > 0
	for _, at := range targets {
		if !b.mayErase(l.Author, at) {
			continue
		}
		if err := b.eraseOne(at, by); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// eraseOne takes back what an operation was, if it was taken. Of several that erase it the lowest is named.
func (b *batch) eraseOne(at, by table.Target) error {
	before, again := b.erased[at]
	if !again {
		value, err := b.old.get(goneAt, table.ErasedKey(at))
		if err != nil {
			return err
		}
		if again = value != nil; again {
			if before, err = parseTarget(value); err != nil {
				return err
			}
		}
	}
	if again {
		if by.Less(before) {
			b.erased[at] = by
		}
		return nil
	}
	b.erased[at] = by
	e, err := b.end(at.Author)
	if err != nil || at.Seq > e.seq || at.Author == b.old.check.Table {
		return err // when it comes it is passed over; a definition stays
	}
	l, err := b.r.t.c.Feeds.Get(b.old.check.Table, at.Author, at.Seq)
	if err != nil {
		return err
	}
	if l.Kind == feed.Erase || at.Author == b.old.check.Table {
		return nil
	}
	b.drop(at)
	if l.Gone {
		return nil
	}
	op, ok, err := b.r.read(&l, b.old.def, b.old.def.LeaveOf(at.Author))
	if !ok || err != nil {
		return err
	}
	t := b.touch(op.Key)
	t.again = true
	t.fresh = slices.DeleteFunc(t.fresh, func(o table.Op) bool { return o.Author == at.Author && o.Seq == at.Seq })
	b.set(append(writesOf(b.old.check.Table, b.old.generation, op.Key), append(at.Author[:], u64(at.Seq)...)...), nil)
	return nil
}

// drop has a payload deleted once all of this is written down.
func (b *batch) drop(at table.Target) {
	b.set(recordAt(b.old.check.Table, recordDrop, at.Author[:], u64(at.Seq)), []byte{})
}

// settle makes the edits of all trees.
func (b *batch) settle() error {
	for author, e := range b.feeds {
		b.edit(feedsAt, author[:], table.FeedValue(e.seq, e.id, e.size))
	}
	for at, by := range b.erased {
		b.edit(goneAt, table.ErasedKey(at), table.ErasedValue(by))
	}
	for _, key := range slices.Sorted(maps.Keys(b.rows)) {
		if err := b.row([]byte(key), b.rows[key]); err != nil {
			return fmt.Errorf("row %.40q: %w", key, err)
		}
	}
	for i := range b.edits {
		slices.SortFunc(b.edits[i], func(x, y tree.Edit) int { return bytes.Compare(x.Key, y.Key) })
	}
	return nil
}

func (b *batch) edit(at int, key, value []byte) {
	b.edits[at] = append(b.edits[at], tree.Edit{Key: bytes.Clone(key), Value: value})
}
