package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// The keys of the records. A feed has a number of its own in these books, so that the key of an operation is short.
const (
	topicPrefix  = "g/t" // + topic: topicJoined or topicLeaving
	feedPrefix   = "g/f" // + topic + author: a feedRecord
	opPrefix     = "g/o" // + u32 feed's number + u64 seq: an operation
	absentPrefix = "g/m" // + topic + author + u64 seq: its payload is not here, and was not dropped
	forkPrefix   = "g/x" // + topic + author: the lowest proof
	sweepPrefix  = "g/d" // + u32 feed's number: u64 the seq from which its operations are to be deleted
	numberKey    = "g/n" // u32, above all numbers
)

const (
	topicJoined  = 1
	topicLeaving = 2
)

// What is known of an operation's payload.
const (
	payloadHere    = 0
	payloadDropped = 1
	payloadAbsent  = 2 // a peer had it not
)

const (
	// numbersMin is how many feeds' numbers are reserved at once, at the least.
	numbersMin = 256
	// sweepMax is how many records are deleted at once.
	sweepMax = 4096
)

func didKey(prefix string, dids ...core.DID) []byte {
	b := append(make([]byte, 0, len(prefix)+32*len(dids)+8), prefix...)
	for _, d := range dids {
		b = append(b, d[:]...)
	}
	return b
}

func opKey(number uint32, seq uint64) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, 15), opPrefix...), number)
	return binary.BigEndian.AppendUint64(b, seq)
}

func absentKey(topic, author core.DID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(didKey(absentPrefix, topic, author), seq)
}

func sweepKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte(sweepPrefix), number)
}

func uint32From(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// feedRecord is where a feed ends.
type feedRecord struct {
	number uint32
	tip    feed.Tip
	// size is what the operations and their payloads have, those that are gone included, in bytes.
	size int64
	// forked is the seq from which operations do not count, or 0.
	forked uint64
}

const feedRecordSize = 1 + 4 + 8 + 32 + 8 + 8 + 8

func (r feedRecord) bytes() []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, feedRecordSize), 1), r.number)
	b = binary.BigEndian.AppendUint64(b, r.tip.Seq)
	b = append(b, r.tip.ID[:]...)
	for _, n := range [3]uint64{r.tip.Clock, uint64(r.size), r.forked} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func parseFeedRecord(b []byte) (feedRecord, error) {
	if len(b) != feedRecordSize || b[0] != 1 {
		return feedRecord{}, fmt.Errorf("a feed's record: %w", core.ErrCorrupt)
	}
	u64 := binary.BigEndian.Uint64
	return feedRecord{
		number: uint32From(b[1:]), tip: feed.Tip{Seq: u64(b[5:]), ID: core.Score(b[13:45]), Clock: u64(b[45:])},
		size: int64(u64(b[53:])), forked: u64(b[61:]),
	}, nil
}

// feed returns the record of a feed; a feed that is not there is empty, and found is false.
func (s *Service) feed(topic, author core.DID) (r feedRecord, found bool, err error) {
	raw, err := s.c.Books.Get(didKey(feedPrefix, topic, author))
	if errors.Is(err, core.ErrNotExist) {
		return feedRecord{}, false, nil
	}
	if err == nil {
		r, err = parseFeedRecord(raw)
	}
	return r, err == nil, err
}

// sizeOf is what an operation counts for in its feed's size.
func sizeOf(h *feed.Header) int64 { return feed.OperationSize + int64(h.Size) }

const opFixed = 1 + 8 + 1 + 32 + feed.SigSize

// appendOp appends an operation's record.
func appendOp(b []byte, l *feed.Logged, state byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, state), l.Clock)
	b = append(append(append(b, byte(l.Kind)), l.Prev[:]...), l.Sig[:]...)
	if state == payloadHere {
		return append(append(b, l.Salt[:]...), l.Payload...)
	}
	return append(binary.BigEndian.AppendUint32(b, l.Header.Size), l.Commitment[:]...)
}

// parseOp reads an operation's record; what hashing alone tells (commitment, id) is left out: see complete.
func parseOp(b []byte, topic, author core.DID, seq uint64) (l feed.Logged, state byte, err error) {
	if len(b) < opFixed {
		return l, 0, fmt.Errorf("operation %d of %s: record: %w", seq, author.Short(), core.ErrCorrupt)
	}
	rest := b[opFixed:]
	state = b[0]
	l.Topic, l.Author, l.Seq = topic, author, seq
	l.Clock, l.Kind = binary.BigEndian.Uint64(b[1:]), feed.Kind(b[9])
	l.Prev, l.Sig = core.Score(b[10:42]), [feed.SigSize]byte(b[42:opFixed])
	switch {
	case state == payloadHere && len(rest) >= feed.SaltSize:
		l.Salt, l.Payload = [feed.SaltSize]byte(rest), rest[feed.SaltSize:]
		l.Header.Size = uint32(len(l.Payload))
	case (state == payloadDropped || state == payloadAbsent) && len(rest) == 4+32:
		l.Gone, l.Header.Size, l.Commitment = true, uint32From(rest), core.Score(rest[4:])
	default:
		return l, 0, fmt.Errorf("operation %d of %s: record: %w", seq, author.Short(), core.ErrCorrupt)
	}
	return l, state, nil
}

func complete(l *feed.Logged) {
	if !l.Gone {
		l.Commitment = feed.Commit(l.Salt, l.Payload)
	}
	l.ID = l.Header.ID()
}

// operation reads one operation whole. Errors: core.ErrNotExist.
func (s *Service) operation(topic, author core.DID, number uint32, seq uint64) (feed.Logged, byte, error) {
	raw, err := s.c.Books.Get(opKey(number, seq))
	if err != nil {
		return feed.Logged{}, 0, fmt.Errorf("operation %d of %s: %w", seq, author.Short(), err)
	}
	l, state, err := parseOp(raw, topic, author, seq)
	complete(&l)
	return l, state, err
}

// reserve returns the first of n numbers of feeds, none of which was ever used: a crash may lose some.
func (s *Service) reserve(n int) (uint32, error) {
	s.numbers.Lock()
	defer s.numbers.Unlock()
	s.mu.Lock()
	first, reserved := s.number, s.reserved
	s.mu.Unlock()
	if most := uint64(first) + uint64(n); most > uint64(reserved) {
		most += numbersMin
		if most >= 1<<32 {
			return 0, fmt.Errorf("%w: %d feeds", core.ErrFull, first)
		}
		reserved = uint32(most)
		if err := s.c.Books.Apply(core.Change{Key: []byte(numberKey), Value: binary.BigEndian.AppendUint32(nil, reserved)}); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.reserved = first+uint32(n), reserved
	return first, nil
}

// forget deletes a topic that is being left: its feeds, of which sweep deletes the operations, and then itself.
func (s *Service) forget(id core.DID) error {
	for {
		changes, err := s.some(didKey(feedPrefix, id), nil, func(c core.Change) (core.Change, error) {
			r, err := parseFeedRecord(c.Value)
			return core.Change{Key: sweepKey(r.number), Value: make([]byte, 8)}, err
		})
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			break
		}
		if err := s.toSweep(changes...); err != nil {
			return err
		}
	}
	for _, prefix := range []string{absentPrefix, forkPrefix} {
		if err := s.clear(didKey(prefix, id), nil); err != nil {
			return err
		}
	}
	return s.c.Books.Apply(core.Change{Key: didKey(topicPrefix, id)})
}

// toSweep makes changes that say what is to be swept.
func (s *Service) toSweep(changes ...core.Change) error {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	return s.c.Books.Apply(changes...)
}

// sweep deletes the operations that do not count any more.
func (s *Service) sweep() error {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	for {
		todo, err := s.some([]byte(sweepPrefix), nil, nil)
		if err != nil || len(todo) == 0 {
			return err
		}
		for _, c := range todo {
			number := uint32From(c.Key[len(sweepPrefix):])
			from, err := s.c.Books.Get(c.Key)
			if err == nil && len(from) != 8 {
				err = core.ErrCorrupt
			}
			if err == nil {
				err = s.clear(opKey(number, 0)[:len(opPrefix)+4], opKey(number, binary.BigEndian.Uint64(from)))
			}
			if err == nil {
				err = s.c.Books.Apply(core.Change{Key: c.Key})
			}
			if err != nil {
				return fmt.Errorf("delete operations that do not count: %w", err)
			}
		}
	}
}

// clear deletes the records of a prefix that are not below from.
func (s *Service) clear(prefix, from []byte) error {
	for {
		changes, err := s.some(prefix, from, nil)
		if err != nil || len(changes) == 0 {
			return err
		}
		if err := s.c.Books.Apply(changes...); err != nil {
			return err
		}
	}
}

// some returns what deletes the first records of a prefix that are not below from, and what also makes of each.
func (s *Service) some(prefix, from []byte, also func(core.Change) (core.Change, error)) (changes []core.Change, err error) {
	for c, err := range s.c.Books.Scan(prefix, from) {
		if err != nil {
			return nil, err
		}
		changes = append(changes, core.Change{Key: c.Key})
		if also != nil {
			more, err := also(c)
			if err != nil {
				return nil, err
			}
			changes = append(changes, more)
		}
		if len(changes) >= sweepMax {
			break
		}
	}
	return changes, nil
}
