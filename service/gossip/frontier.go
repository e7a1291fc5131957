package gossip

import (
	"context"
	"io"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/feed"
)

const (
	// wholeMost is how many items are said outright; of more, a sketch is.
	wholeMost = 128
	// symbolsFirst find some 130 authors that differ, symbolsStep times as many are sent if they do not do.
	symbolsFirst = 400
	symbolsStep  = 4
)

// handleFrontier answers in what two frontiers differ.
func (s *Service) handleFrontier(ctx context.Context, in frontierRequest) (frontierAnswer, error) {
	t, _, err := s.asked(ctx, in.Topic)
	if err != nil {
		return frontierAnswer{}, err
	}
	select {
	case s.scans <- struct{}{}:
		defer func() { <-s.scans }()
	case <-ctx.Done():
		return frontierAnswer{}, ctx.Err()
	}
	switch {
	case !in.Digest.IsZero():
		ours, err := s.digest(t)
		return frontierAnswer{More: ours != in.Digest}, err
	case len(in.Key) > 0:
		return s.compareSketch(t, in)
	default:
		return s.compareItems(t, in)
	}
}

// compareItems answers with a page of the items that differ from the asker's.
func (s *Service) compareItems(t *topic, in frontierRequest) (out frontierAnswer, err error) {
	theirs, err := parseItems(in.Items, itemsMax)
	if err != nil {
		return out, err
	}
	if len(theirs) > 0 && (theirs[0].Author.Compare(in.After) <= 0 || !in.Through.IsZero() && theirs[len(theirs)-1].Author.Compare(in.Through) > 0) {
		return out, invalid("items beyond what they are said to tell of")
	}
	count, last := 0, in.After
	for ours, err := range s.frontier(t.id, in.After) {
		if err != nil {
			return out, err
		}
		author := ours.Author
		if author.Compare(in.After) <= 0 {
			continue
		}
		if !in.Through.IsZero() && author.Compare(in.Through) > 0 {
			break
		}
		if count == itemsMax {
			out.Through = &last
			return out, nil
		}
		for len(theirs) > 0 && theirs[0].Author.Compare(author) < 0 {
			out.Behind, theirs = true, theirs[1:]
		}
		if last = author; len(theirs) > 0 && theirs[0].Author == author {
			item := theirs[0]
			theirs = theirs[1:]
			if item == ours.Item {
				continue
			}
			out.Behind = out.Behind || newer(item, ours.Item)
		}
		out.Items = appendItem(out.Items, ours.Item)
		count++
	}
	out.Behind = out.Behind || len(theirs) > 0
	return out, nil
}

// newer tells whether item a says something that whoever has b lacks.
func newer(a, b feed.Item) bool {
	lower := a.Forked != 0 && (b.Forked == 0 || a.Forked < b.Forked)
	return lower || a.Seq > b.Seq && (b.Forked == 0 || b.Seq+1 < b.Forked)
}

// compareSketch subtracts a sketch of the asker's frontier, and answers with the items that it finds.
func (s *Service) compareSketch(t *topic, in frontierRequest) (out frontierAnswer, err error) {
	if len(in.Key) != len(feed.Key{}) {
		return out, invalid("a sketch with a key of %d bytes", len(in.Key))
	}
	key := feed.Key(in.Key)
	theirs, err := feed.ParseSketch(key, 0, in.Symbols)
	if err != nil {
		return out, err
	}
	ours := feed.NewSketch(key, 0, theirs.Len())
	for i, err := range s.frontier(t.id, core.DID{}) {
		if err != nil {
			return out, err
		}
		ours.Add(i.Item)
	}
	ours.Subtract(theirs)
	mine, asker, whole, err := ours.Peel()
	if err != nil || !whole {
		return frontierAnswer{More: true}, err
	}
	var items []feed.Item
	for _, m := range mine {
		item, err := s.marked(t, key, m)
		if err != nil {
			return out, err
		}
		if item.Author.IsZero() {
			return frontierAnswer{More: true}, nil // it has changed since the scan
		}
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b feed.Item) int { return a.Author.Compare(b.Author) })
	if len(items) > itemsMax {
		return frontierAnswer{More: true}, nil
	}
	for _, i := range items {
		out.Items = appendItem(out.Items, i)
	}
	out.Behind, err = s.lacks(t, asker)
	return out, err
}

// marked finds the item of a mark.
func (s *Service) marked(t *topic, key feed.Key, m feed.Mark) (found feed.Item, err error) {
	err = s.prefixed(t, m.Prefix(), func(i feed.Item) {
		if key.MarkOf(i) == m {
			found = i
		}
	})
	return found, err
}

// lacks tells whether there is a mark of an author of whom nothing is here.
func (s *Service) lacks(t *topic, marks []feed.Mark) (bool, error) {
	for _, m := range marks {
		n := 0
		if err := s.prefixed(t, m.Prefix(), func(feed.Item) { n++ }); err != nil || n == 0 {
			return true, err
		}
	}
	return false, nil
}

// prefixed visits the items whose author begins so.
func (s *Service) prefixed(t *topic, prefix [prefixSize]byte, visit func(feed.Item)) error {
	for c, err := range s.c.Books.Scan(append(didKey(feedPrefix, t.id), prefix[:]...), nil) {
		if err != nil {
			return err
		}
		r, err := parseFeedRecord(c.Value)
		if err != nil {
			return err
		}
		visit(r.standing(core.DID(c.Key[len(c.Key)-32:])).Item)
	}
	return nil
}

// digest returns a hash of the whole frontier; it is made anew only when that has changed.
func (s *Service) digest(t *topic) (core.Score, error) {
	t.mu.Lock()
	at, known, d := t.changes, t.digestAt, t.digest
	t.mu.Unlock()
	if at == known {
		return d, nil
	}
	d = core.ScoreOf(t.id[:])
	for i, err := range s.frontier(t.id, core.DID{}) {
		if err != nil {
			return d, err
		}
		item := i.Bytes()
		d = core.ScoreOf(append(d[:], item[:]...))
	}
	t.mu.Lock()
	t.digestAt, t.digest = at, d
	t.mu.Unlock()
	return d, nil
}

// reconcile calls page with the peer's items that differ, authors rising within a page, until all were told.
func (x *session) reconcile(ctx context.Context, page func([]feed.Item) error) error {
	few, err := x.few()
	if err != nil {
		return err
	}
	if !few {
		done, err := x.sketch(ctx, page)
		if done || err != nil {
			return err
		}
	}
	return x.pages(ctx, page)
}

// few tells whether the own frontier is said outright.
func (x *session) few() (bool, error) {
	n := 0
	for _, err := range x.s.frontier(x.t.id, core.DID{}) {
		if n++; err != nil || n > wholeMost {
			return false, err
		}
	}
	return true, nil
}

// sketch finds out by a sketch what differs; it reports whether that was found.
func (x *session) sketch(ctx context.Context, page func([]feed.Item) error) (bool, error) {
	x.t.mu.Lock()
	level := x.t.level[x.peer] == x.t.changes
	x.t.mu.Unlock()
	if level { // then it is likely so still, which costs no more than a hash to find out
		d, err := x.s.digest(x.t)
		if err != nil {
			return false, err
		}
		answer, err := x.frontier(ctx, frontierRequest{Digest: d})
		if err != nil || !answer.More {
			return true, err
		}
	}
	var key feed.Key
	if _, err := io.ReadFull(x.s.c.Rand, key[:]); err != nil {
		return false, err
	}
	for n := symbolsFirst; n <= feed.SymbolsMax; n *= symbolsStep {
		ours := feed.NewSketch(key, 0, n)
		for i, err := range x.s.frontier(x.t.id, core.DID{}) {
			if err != nil {
				return false, err
			}
			ours.Add(i.Item)
		}
		answer, err := x.frontier(ctx, frontierRequest{Key: key[:], Symbols: ours.Bytes()})
		if err != nil {
			return false, err
		}
		if answer.More {
			continue
		}
		items, err := parseItems(answer.Items, itemsMax)
		if err != nil {
			return false, err
		}
		return true, page(items)
	}
	return false, nil
}

// pages says the own frontier, page by page, and hears the peer's where it differs.
func (x *session) pages(ctx context.Context, page func([]feed.Item) error) error {
	for after := (core.DID{}); ; {
		in := frontierRequest{After: after}
		n := 0
		for ours, err := range x.s.frontier(x.t.id, after) {
			if err != nil {
				return err
			}
			if ours.Author.Compare(after) <= 0 {
				continue
			}
			if n == itemsMax {
				in.Through = core.DID(in.Items[len(in.Items)-feed.ItemSize:])
				break
			}
			in.Items = appendItem(in.Items, ours.Item)
			n++
		}
		answer, err := x.frontier(ctx, in)
		if err != nil {
			return err
		}
		items, err := parseItems(answer.Items, itemsMax)
		if err != nil {
			return err
		}
		if len(items) > 0 && items[0].Author.Compare(after) <= 0 {
			return invalid("items of authors before those that were asked for")
		}
		if err := page(items); err != nil {
			return err
		}
		next := in.Through
		if answer.Through != nil {
			next = *answer.Through
		}
		if next.IsZero() {
			return nil
		}
		if next.Compare(after) <= 0 || !in.Through.IsZero() && next.Compare(in.Through) > 0 {
			return ErrStuck
		}
		after = next
	}
}

// frontier makes one round trip.
func (x *session) frontier(ctx context.Context, in frontierRequest) (out frontierAnswer, err error) {
	in.Topic = x.t.id
	err = x.s.call(ctx, x.peer, "/feeds/frontier", in, &out, wire.AnswerSizeMax)
	x.stats.Trips++
	x.stats.Compared += int64(len(in.Items) + len(in.Symbols) + len(out.Items) + 2*messageSize)
	x.behind = x.behind || out.Behind
	return out, err
}

// messageSize is about what names and numbers of such a message take, in bytes.
const messageSize = 200
