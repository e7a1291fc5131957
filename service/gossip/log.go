package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of one Append.
const (
	DraftsMax     = 8192
	DraftsSizeMax = 16 << 20 // bytes of payloads
)

// Draft is what is to become an operation.
type Draft struct {
	Kind    feed.Kind
	Payload []byte
	// After is a clock that the operation's is to be above: that of what it takes the place of.
	After uint64
}

// Append signs drafts as this machine's next operations in a topic, or with another key as those of that one, and
// returns them when they are durable, all or none. Errors: core.ErrNotExist of a topic that was not joined, core.ErrTooLarge,
// feed.ErrForked of an author that has, and what Config.Takes says.
func (s *Service) Append(ctx context.Context, id core.DID, key identity.Key, drafts ...Draft) ([]feed.Logged, error) {
	if key.IsZero() {
		key = s.c.Key
	}
	t, err := s.topic(id)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if err := checkDrafts(drafts); err != nil || len(drafts) == 0 {
		return nil, err
	}
	salts := make([]byte, feed.SaltSize*len(drafts))
	if _, err := io.ReadFull(s.c.Rand, salts); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	var ops []feed.Logged
	err = t.write(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		ops, err = s.append(id, key, drafts, salts)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", id.Short(), err)
	}
	last := &ops[len(ops)-1]
	s.landed(id, core.DID{}, landed{feed.Item{Author: last.Author, Seq: last.Seq, ID: last.ID}, ops[0].Seq, len(ops)})
	return ops, nil
}

func checkDrafts(drafts []Draft) error {
	size := 0
	for _, d := range drafts {
		if len(d.Payload) > feed.PayloadSizeMax {
			return fmt.Errorf("append: %w: a payload of %d bytes, at most %d", core.ErrTooLarge, len(d.Payload), feed.PayloadSizeMax)
		}
		size += len(d.Payload)
	}
	if len(drafts) > DraftsMax || size > DraftsSizeMax {
		return fmt.Errorf("append: %w: %d operations of %d bytes, at most %d of %d", core.ErrTooLarge, len(drafts), size, DraftsMax, DraftsSizeMax)
	}
	return nil
}

// append writes the operations. The caller has the topic's turn to write.
func (s *Service) append(id core.DID, key identity.Key, drafts []Draft, salts []byte) ([]feed.Logged, error) {
	r, found, err := s.feed(id, key.DID())
	if err != nil {
		return nil, err
	}
	if r.forked != 0 {
		return nil, fmt.Errorf("%w: at operation %d", feed.ErrForked, r.forked)
	}
	if !found {
		if r.number, err = s.reserve(1); err != nil {
			return nil, err
		}
	}
	now, ops := s.now(), make([]feed.Logged, len(drafts))
	for i, d := range drafts {
		l := &ops[i]
		l.Sealed = feed.Sealed{Salt: [feed.SaltSize]byte(salts[i*feed.SaltSize:]), Payload: d.Payload}
		l.Header = feed.Header{
			Topic: id, Author: key.DID(), Seq: r.tip.Seq + 1, Prev: r.tip.ID, Clock: feed.Next(now, max(r.tip.Clock, d.After)),
			Kind: d.Kind, Size: uint32(len(d.Payload)), Commitment: feed.Commit(l.Salt, d.Payload),
		}
		l.ID = l.Header.ID()
		r.tip = feed.Tip{Seq: l.Seq, ID: l.ID, Clock: l.Clock}
		r.size += sizeOf(&l.Header)
	}
	if err := s.c.Takes(id, key.DID(), r.tip.Seq, r.size); err != nil {
		return nil, err
	}
	err = parallel(len(ops), func(i int) (err error) {
		ops[i].Operation, err = feed.Sign(key, ops[i].Header)
		return err
	})
	if err != nil {
		return nil, err
	}
	changes := make([]core.Change, 0, len(ops)+1)
	for i := range ops {
		changes = append(changes, core.Change{Key: opKey(r.number, ops[i].Seq), Value: appendOp(nil, &ops[i], payloadHere)})
	}
	changes = append(changes, core.Change{Key: didKey(feedPrefix, id, key.DID()), Value: r.bytes()})
	return ops, s.c.Books.Apply(changes...)
}

// parallel calls f for 0 to n - 1, on all cores, and returns an error of one of them.
func parallel(n int, f func(i int) error) error {
	workers := min(n, runtime.GOMAXPROCS(0))
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Get returns one operation, with its payload unless that is gone. Its signature is not verified, as one behind it
// vouched for it; who shows it to others by itself has to. Errors: core.ErrNotExist.
func (s *Service) Get(id, author core.DID, seq uint64) (feed.Logged, error) {
	r, found, err := s.feed(id, author)
	if err == nil && (!found || seq == 0 || seq > r.tip.Seq) {
		err = fmt.Errorf("operation %d of %s: %w", seq, author.Short(), core.ErrNotExist)
	}
	if err != nil {
		return feed.Logged{}, err
	}
	l, _, err := s.operation(id, author, r.number, seq)
	return l, err
}

// Operations yields the operations of an author that count, from a seq on, as Get returns them.
func (s *Service) Operations(id, author core.DID, from uint64) iter.Seq2[feed.Logged, error] {
	return func(yield func(feed.Logged, error) bool) {
		r, _, err := s.feed(id, author)
		if err != nil {
			yield(feed.Logged{}, err)
			return
		}
		for l, err := range s.scan(id, author, r.number, from, r.tip.Seq) {
			if err == nil {
				complete(&l)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// scan yields the operations of a feed from one seq to another, incomplete. They are there without a gap, or it
// ends with core.ErrStale: a proof of a fork has come between.
func (s *Service) scan(id, author core.DID, number uint32, from, to uint64) iter.Seq2[feed.Logged, error] {
	return func(yield func(feed.Logged, error) bool) {
		from = max(from, 1)
		if from > to {
			return
		}
		for c, err := range s.c.Books.Scan(opKey(number, 0)[:len(opPrefix)+4], opKey(number, from)) {
			var l feed.Logged
			if err == nil && binary.BigEndian.Uint64(c.Key[len(c.Key)-8:]) != from {
				break
			}
			if err == nil {
				l, _, err = parseOp(c.Value, id, author, from)
			}
			if !yield(l, err) || err != nil || from == to {
				return
			}
			from++
		}
		yield(feed.Logged{}, fmt.Errorf("operation %d of %s: %w", from, author.Short(), core.ErrStale))
	}
}

// Standing is where an author's feed stands here.
type Standing struct {
	feed.Item
	// Clock is that of the last operation that counts.
	Clock uint64
	// Size is what the operations have, headers, signatures and payloads that are gone included, in bytes.
	Size int64
}

// Frontier yields how each author's feed stands, authors rising.
func (s *Service) Frontier(id core.DID) iter.Seq2[Standing, error] {
	return s.frontier(id, core.DID{})
}

func (s *Service) frontier(id, from core.DID) iter.Seq2[Standing, error] {
	return func(yield func(Standing, error) bool) {
		for c, err := range s.c.Books.Scan(didKey(feedPrefix, id), didKey(feedPrefix, id, from)) {
			var r feedRecord
			if err == nil {
				r, err = parseFeedRecord(c.Value)
			}
			if err != nil {
				yield(Standing{}, err)
				return
			}
			if !yield(r.standing(core.DID(c.Key[len(c.Key)-32:])), nil) {
				return
			}
		}
	}
}

func (r feedRecord) standing(author core.DID) Standing {
	return Standing{feed.Item{Author: author, Seq: r.tip.Seq, ID: r.tip.ID, Forked: r.forked}, r.tip.Clock, r.size}
}

// Standing returns how one author's feed stands; of one that is not there, empty.
func (s *Service) Standing(id, author core.DID) (Standing, error) {
	r, _, err := s.feed(id, author)
	return r.standing(author), err
}

// Place is one operation of a topic.
type Place struct {
	Author core.DID
	Seq    uint64
}

// DropPayloads drops payloads for good, all or none. Operations that are not here are passed over.
func (s *Service) DropPayloads(id core.DID, places ...Place) error {
	t, err := s.topic(id)
	if err != nil {
		return err
	}
	return t.write(func() error {
		var changes []core.Change
		for _, p := range places {
			r, _, err := s.feed(id, p.Author)
			if err != nil {
				return err
			}
			l, state, err := s.operation(id, p.Author, r.number, p.Seq)
			if errors.Is(err, core.ErrNotExist) || err == nil && state == payloadDropped {
				continue
			}
			if err != nil {
				return err
			}
			changes = append(changes,
				core.Change{Key: opKey(r.number, p.Seq), Value: appendOp(nil, &l, payloadDropped)},
				core.Change{Key: absentKey(id, p.Author, p.Seq)})
		}
		if len(changes) == 0 {
			return nil
		}
		return s.c.Books.Apply(changes...)
	})
}

// Absent yields what is withheld: operations whose payload no peer has sent, and which was not dropped here. It is asked for
// at each sync.
func (s *Service) Absent(id core.DID) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		for c, err := range s.c.Books.Scan(didKey(absentPrefix, id), nil) {
			if err != nil {
				yield(Place{}, err)
				return
			}
			rest := c.Key[len(absentPrefix)+32:]
			if !yield(Place{core.DID(rest), binary.BigEndian.Uint64(rest[32:])}, nil) {
				return
			}
		}
	}
}

// Forks yields the proofs that authors of a topic have forked, the lowest of each.
func (s *Service) Forks(id core.DID) iter.Seq2[feed.Fork, error] {
	return func(yield func(feed.Fork, error) bool) {
		for c, err := range s.c.Books.Scan(didKey(forkPrefix, id), nil) {
			var f feed.Fork
			if err == nil {
				f, err = feed.ParseFork(c.Value)
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}
