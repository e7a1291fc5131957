package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/feed"
)

// Limits of the wire (docs/SPEC.md §7), in bytes and in what one message has.
const (
	frontierLimit   = 1 << 20
	operationsLimit = 1 << 20
	newsLimit       = 64 << 10
	batchLimit      = feed.BatchSizeMax + 64<<10 // an answer with a batch, and proofs

	itemsMax = 8192 // of a page of a frontier
	wantsMax = 8192
	forksMax = 64
	newsMax  = 256 // items of one piece of news
)

const (
	prefixSize = 8
	wantSize   = 32 + 8 + 8
)

// frontierRequest asks in what two frontiers differ: by Items, which are all that the asker has of the authors after After, up to
// Through where that is not zero; or by Symbols of a sketch under Key; or by Digest, whether they differ at all.
type frontierRequest struct {
	Topic   core.DID   `json:"topic"`
	After   core.DID   `json:"after"`
	Through core.DID   `json:"through"`
	Items   []byte     `json:"items,omitempty"`
	Key     []byte     `json:"key,omitempty"`
	Symbols []byte     `json:"symbols,omitempty"`
	Digest  core.Score `json:"digest"`
}

type frontierAnswer struct {
	// Items are the answerer's that differ, authors rising; none that the asker alone has.
	Items []byte `json:"items,omitempty"`
	// Through is the author up to which Items tell, if there are more.
	Through *core.DID `json:"through,omitempty"`
	// Behind says that the asker has something that the answerer has not.
	Behind bool `json:"behind,omitempty"`
	// More says that the sketch has too few symbols, or the digests differ.
	More bool `json:"more,omitempty"`
}

type operationsRequest struct {
	Topic core.DID `json:"topic"`
	// Wants are author ‖ u64 from ‖ u64 to, authors rising. One with a to of 0 asks for a proof of a fork alone.
	Wants []byte `json:"wants"`
}

type operationsAnswer struct {
	Batch []byte `json:"batch"`
	// Done is how many of the wants are answered, as far as they can be; Next is the seq that the next one goes on with, or 0.
	Done uint64 `json:"done"`
	Next uint64 `json:"next,omitempty"`
	// Forks are the proofs against authors of the wants that are done.
	Forks [][]byte `json:"forks,omitempty"`
}

type newsRequest struct {
	Topic core.DID `json:"topic"`
	// Items are what has changed; none is: too much to say.
	Items []byte `json:"items,omitempty"`
	// Forks are proofs.
	Forks [][]byte `json:"forks,omitempty"`
}

type newsAnswer struct{}

// Routes are what is answered to peers. Whether one may is for Config.May to say, of each topic.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Method: "POST", Path: "/feeds/frontier", Who: wire.Stranger, Limit: frontierLimit, Handler: wire.Handle(s.handleFrontier)},
		{Method: "POST", Path: "/feeds/operations", Who: wire.Stranger, Limit: operationsLimit, Handler: wire.Handle(s.handleOperations)},
		{Method: "POST", Path: "/feeds/news", Who: wire.Stranger, Limit: newsLimit, Handler: wire.Handle(s.handleNews)},
	}
}

// asked returns a topic for a caller who may have it.
func (s *Service) asked(ctx context.Context, id core.DID) (*topic, core.DID, error) {
	peer := wire.CallerOf(ctx).Agent
	t, err := s.topic(id)
	if err == nil {
		err = s.c.May(id, peer)
	}
	return t, peer, err
}

func invalid(format string, args ...any) error {
	return &wire.Error{Code: wire.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

func (s *Service) handleOperations(ctx context.Context, in operationsRequest) (operationsAnswer, error) {
	t, _, err := s.asked(ctx, in.Topic)
	if err != nil {
		return operationsAnswer{}, err
	}
	wants, err := parseWants(in.Wants)
	if err != nil {
		return operationsAnswer{}, err
	}
	return s.serve(ctx, t, wants)
}

func (s *Service) handleNews(ctx context.Context, in newsRequest) (newsAnswer, error) {
	t, peer, err := s.asked(ctx, in.Topic)
	if err != nil {
		return newsAnswer{}, err
	}
	items, err := parseItems(in.Items, newsMax)
	if err != nil {
		return newsAnswer{}, err
	}
	if err := s.learn(t, peer, in.Forks, nil); err != nil {
		return newsAnswer{}, err
	}
	return newsAnswer{}, s.heard(t, peer, items, len(in.Items) == 0 && len(in.Forks) == 0)
}

// learn takes proofs of forks, at most forksMax, and tells taken of each that was new.
func (s *Service) learn(t *topic, peer core.DID, forks [][]byte, taken func(feed.Fork)) error {
	if len(forks) > forksMax {
		return invalid("%d proofs, at most %d", len(forks), forksMax)
	}
	for _, raw := range forks {
		f, err := feed.ParseFork(raw)
		if err == nil && f.Topic() != t.id {
			err = fmt.Errorf("fork: %w: of another topic", core.ErrInvalid)
		}
		if err != nil {
			return err
		}
		fresh, err := s.convict(t, peer, f)
		if err != nil {
			return err
		}
		if fresh && taken != nil {
			taken(f)
		}
	}
	return nil
}

// want is operations of an author from one seq to another.
type want struct {
	author   core.DID
	from, to uint64
}

func appendWants(b []byte, wants []want) []byte {
	for _, w := range wants {
		b = append(b, w.author[:]...)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, w.from), w.to)
	}
	return b
}

func parseWants(b []byte) ([]want, error) {
	if len(b)%wantSize != 0 || len(b) > wantsMax*wantSize {
		return nil, invalid("%d bytes of wants", len(b))
	}
	wants := make([]want, 0, len(b)/wantSize)
	var before core.DID
	for ; len(b) > 0; b = b[wantSize:] {
		w := want{core.DID(b), binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[40:])}
		if w.author.Compare(before) <= 0 || w.to != 0 && (w.from == 0 || w.from > w.to) {
			return nil, invalid("wants do not rise, or are empty")
		}
		before = w.author
		wants = append(wants, w)
	}
	return wants, nil
}

func appendItem(b []byte, i feed.Item) []byte {
	raw := i.Bytes()
	return append(b, raw[:]...)
}

// parseItems reads items whose authors rise.
func parseItems(b []byte, most int) ([]feed.Item, error) {
	if len(b)%feed.ItemSize != 0 || len(b) > most*feed.ItemSize {
		return nil, invalid("%d bytes of items", len(b))
	}
	items := make([]feed.Item, 0, len(b)/feed.ItemSize)
	var before core.DID
	for ; len(b) > 0; b = b[feed.ItemSize:] {
		i, err := feed.ParseItem(b[:feed.ItemSize])
		if err != nil {
			return nil, err
		}
		if i.Author.Compare(before) <= 0 {
			return nil, invalid("items do not rise")
		}
		before = i.Author
		items = append(items, i)
	}
	return items, nil
}

func (s *Service) call(ctx context.Context, peer core.DID, path string, in, out any, limit int64) error {
	return s.c.Wire.CallLimit(ctx, peer, http.MethodPost, path, in, out, limit)
}

func (s *Service) callNews(ctx context.Context, peer, id core.DID, items []feed.Item, forks [][]byte) error {
	in := newsRequest{Topic: id, Forks: forks}
	for _, i := range items {
		in.Items = appendItem(in.Items, i)
	}
	return s.call(ctx, peer, "/feeds/news", in, &newsAnswer{}, wire.AnswerSizeMax)
}

// serve makes a batch of what is wanted, as much as one holds.
func (s *Service) serve(ctx context.Context, t *topic, wants []want) (operationsAnswer, error) {
	out := operationsAnswer{Batch: feed.AppendBatch(make([]byte, 0, 64<<10), t.id)}
	for _, w := range wants {
		r, found, err := s.feed(t.id, w.author)
		if err != nil || ctx.Err() != nil {
			return out, errors.Join(err, ctx.Err())
		}
		if r.forked != 0 {
			if len(out.Forks) == forksMax {
				return out, nil
			}
			raw, err := s.c.Books.Get(didKey(forkPrefix, t.id, w.author))
			if err != nil {
				return out, err
			}
			out.Forks = append(out.Forks, raw)
		}
		if to := min(w.to, r.tip.Seq); found && w.from <= to && w.to != 0 {
			ops, err := s.gather(t.id, w.author, r.number, w.from, to, feed.BatchSizeMax-len(out.Batch)-feed.RunSizeMax)
			if err != nil && !errors.Is(err, core.ErrStale) { // a proof came between: there is less, and it is told next time
				return out, err
			}
			if len(ops) > 0 {
				out.Batch = feed.AppendRun(out.Batch, ops)
				to -= ops[len(ops)-1].Seq
			}
			if to > 0 && err == nil {
				if len(ops) > 0 {
					out.Next = ops[len(ops)-1].Seq + 1
				}
				return out, nil
			}
		}
		out.Done++
	}
	return out, nil
}

// verifiesMost bounds the signatures that are looked at for one that may end a run.
const verifiesMost = 1024

// gather reads operations of at most so many bytes, up to one whose signature stands for those before. That is the last one, if
// nobody has passed on a false signature; none is returned if there is no good one near.
func (s *Service) gather(id, author core.DID, number uint32, from, to uint64, room int) (ops []feed.Logged, err error) {
	for l, e := range s.scan(id, author, number, from, to) {
		if e != nil {
			err = e
			break
		}
		if room -= l.Size(); room < 0 {
			break
		}
		ops = append(ops, l)
	}
	for n := 0; len(ops) > 0 && n < verifiesMost; n++ {
		last := &ops[len(ops)-1]
		complete(last)
		if last.Verify() == nil {
			return ops, err
		}
		ops = ops[:len(ops)-1]
	}
	return nil, err
}
