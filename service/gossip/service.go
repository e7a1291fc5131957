package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// What can be wrong with a peer or an author, besides what pure/feed names.
var (
	// ErrUnasked says that a peer sent what nobody had asked for.
	ErrUnasked = fmt.Errorf("not what was asked for: %w", core.ErrInvalid)
	// ErrStuck says that a peer's answers lead nowhere.
	ErrStuck = fmt.Errorf("no progress: %w", core.ErrInvalid)
	// ErrLeave says that the author has no leave to write that, or that much.
	ErrLeave = fmt.Errorf("without leave: %w", core.ErrForbidden)
)

// Wire calls other agents; *wire.Client is one.
type Wire interface {
	CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error
}

// Config is what a Service is made of. All of it is required, unless said otherwise. The functions may be called
// at once, return soon, and call no method of the Service that writes.
type Config struct {
	// Key is this machine's, in whose feeds it writes.
	Key identity.Key
	// Books hold the logs, under the prefix "g/".
	Books core.Books
	Clock core.Clock
	Wire  Wire
	// Rand gives salts and the keys of sketches; nothing is as random as crypto/rand.Reader.
	Rand io.Reader
	// Peers are those to sync a topic with.
	Peers func(topic core.DID) []core.DID
	// May says why a peer is not given a topic's operations; nil lets it.
	May func(topic, peer core.DID) error
	// Takes says why a feed may not grow to an operation's seq and that many bytes, headers with signatures included, or nil.
	// Whom it refuses at one seq it refuses at those above.
	Takes func(topic, author core.DID, seq uint64, size int64) error
	// Landed is told of operations that have become durable, of an author and from one seq to another. It is not told of those that were
	// when a crash came: the frontier has all.
	Landed func(topic, author core.DID, from, to uint64)
	// Forked is told of a proof, once it is durable: operations from its seq on count no more.
	Forked func(topic core.DID, proof feed.Fork)
	// Log may be nil.
	Log *slog.Logger
}

// Service keeps the logs. All methods may be called at once.
type Service struct {
	c    Config
	self core.DID
	// scans bounds how many sketches and pages are made for peers at once, as each reads all of a frontier.
	scans chan struct{}
	news  news

	numbers sync.Mutex // one at a time reserves the feeds' numbers
	sweeps  sync.Mutex // one at a time writes, or does, what is to be swept
	mu      sync.Mutex
	topics  map[core.DID]*topic
	// number is the next feed's, reserved what is reserved of them on disk.
	number, reserved uint32
}

// topic is one that was joined.
type topic struct {
	id core.DID
	// turn is held by the one sync that fetches; waiting is how many others want it.
	turn    chan struct{}
	waiting atomic.Int32
	// writing is held by the one that changes the logs, over that change.
	writing sync.Mutex

	mu sync.Mutex
	// changes counts the changes of the frontier; digest is that of when there were digestAt.
	changes, digestAt uint64
	digest            core.Score
	// level is how many changes there were when a peer had the same frontier.
	level map[core.DID]uint64
	left  bool
}

// scansMax is how many frontiers are read at once for peers.
const scansMax = 2

// New opens the logs. It finishes what was left undone by a crash.
func New(c Config) (*Service, error) {
	if c.Key.IsZero() || c.Books == nil || c.Clock == nil || c.Wire == nil || c.Rand == nil || c.Peers == nil || c.May == nil || c.Takes == nil || c.Landed == nil || c.Forked == nil {
		return nil, errors.New("gossip: a part of the config is missing")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{c: c, self: c.Key.DID(), scans: make(chan struct{}, scansMax), topics: map[core.DID]*topic{}}
	s.news.init()
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open the feeds: %w", err)
	}
	return s, nil
}

func newTopic(id core.DID) *topic {
	return &topic{id: id, turn: make(chan struct{}, 1), changes: 1, level: map[core.DID]uint64{}}
}

func (s *Service) open() error {
	s.number, s.reserved = 1, 1 // 0 is none's: what is not there has it
	raw, err := s.c.Books.Get([]byte(numberKey))
	switch {
	case err == nil && len(raw) == 4:
		s.number = uint32From(raw)
		s.reserved = s.number
	case err == nil:
		return fmt.Errorf("record %s: %w", numberKey, core.ErrCorrupt)
	case !errors.Is(err, core.ErrNotExist):
		return err
	}
	var leaving []core.DID
	for c, err := range s.c.Books.Scan([]byte(topicPrefix), nil) {
		if err != nil {
			return err
		}
		if len(c.Key) != len(topicPrefix)+32 || len(c.Value) != 1 {
			return fmt.Errorf("record %q: %w", c.Key, core.ErrCorrupt)
		}
		id := core.DID(c.Key[len(topicPrefix):])
		if c.Value[0] == topicLeaving {
			leaving = append(leaving, id)
		} else {
			s.topics[id] = newTopic(id)
		}
	}
	for _, id := range leaving {
		if err := s.forget(id); err != nil {
			return err
		}
	}
	return s.sweep()
}

// Join begins to keep a topic. Nothing is fetched before Sync or Run.
func (s *Service) Join(id core.DID) error {
	if err := identity.CheckDID(id); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if _, err := s.topic(id); err == nil {
		return nil
	}
	if err := s.c.Books.Apply(core.Change{Key: didKey(topicPrefix, id), Value: []byte{topicJoined}}); err != nil {
		return fmt.Errorf("join %s: %w", id.Short(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[id] == nil {
		s.topics[id] = newTopic(id)
	}
	return nil
}

// Leave forgets a topic with its logs. To leave what was not joined is no error.
func (s *Service) Leave(id core.DID) error {
	t, err := s.topic(id)
	if err != nil {
		return nil
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := s.c.Books.Apply(core.Change{Key: didKey(topicPrefix, id), Value: []byte{topicLeaving}}); err != nil {
		return fmt.Errorf("leave %s: %w", id.Short(), err)
	}
	t.mu.Lock()
	t.left = true // whoever has waited for its turn to write finds out
	t.mu.Unlock()
	if err := s.forget(id); err != nil {
		return fmt.Errorf("leave %s: %w", id.Short(), err)
	}
	s.mu.Lock()
	delete(s.topics, id)
	s.mu.Unlock()
	return s.sweep()
}

// Topics returns what was joined, rising.
func (s *Service) Topics() []core.DID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]core.DID, 0, len(s.topics))
	for id := range s.topics {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, core.DID.Compare)
	return ids
}

// topic returns one that was joined. Errors: core.ErrNotExist.
func (s *Service) topic(id core.DID) (*topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[id]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("topic %s: %w", id.Short(), core.ErrNotExist)
}

// write runs change while nobody else changes the topic's logs.
func (t *topic) write(change func() error) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	left := t.left
	t.mu.Unlock()
	if left {
		return fmt.Errorf("topic %s: %w", t.id.Short(), core.ErrNotExist)
	}
	err := change()
	t.mu.Lock()
	t.changes++
	t.mu.Unlock()
	return err
}

// now returns Unix milliseconds.
func (s *Service) now() int64 { return s.c.Clock.Now().UnixMilli() }
