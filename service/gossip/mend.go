package gossip

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// Proven is Get for an operation that is to be shown by itself: its own signature is verified. If a peer has passed on a false
// one, which the one behind it covered, others are asked for the good one. Errors: core.ErrNotExist; feed.ErrForged if nobody had it.
func (s *Service) Proven(ctx context.Context, id, author core.DID, seq uint64) (feed.Logged, error) {
	l, err := s.Get(id, author, seq)
	if err != nil {
		return l, err
	}
	return l, s.mend(ctx, id, &l)
}

// mend verifies the signature of an operation that is here, and gets a good one if it is not.
func (s *Service) mend(ctx context.Context, id core.DID, l *feed.Logged) error {
	why := l.Verify()
	if why == nil {
		return nil
	}
	t, err := s.topic(id)
	if err != nil {
		return err
	}
	for _, peer := range s.peers(id) {
		x := &session{s: s, t: t, peer: peer}
		theirs, err := x.one(ctx, l.Author, l.Seq)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || theirs.ID != l.ID {
			continue
		}
		l.Sig = theirs.Sig
		return t.write(func() error { return s.resign(l) })
	}
	return fmt.Errorf("%w, and no peer has the signature", why)
}

// resign gives an operation that is here a good signature.
func (s *Service) resign(l *feed.Logged) error {
	r, _, err := s.feed(l.Topic, l.Author)
	if err != nil {
		return err
	}
	here, state, err := s.operation(l.Topic, l.Author, r.number, l.Seq)
	if errors.Is(err, core.ErrNotExist) || err == nil && here.ID != l.ID {
		return nil // a proof came between
	}
	if err != nil {
		return err
	}
	here.Sig = l.Sig
	return s.c.Books.Apply(core.Change{Key: opKey(r.number, l.Seq), Value: appendOp(nil, &here, state)})
}
