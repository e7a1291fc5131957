package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// ownHeadsMax bounds the heads of our own household in one answer.
const ownHeadsMax = charter.AgentsMax + charter.RemovedMax

// ahead tells whether among heads of our household that another machine holds is
// one that is newer than what is kept here.
func (f *Federation) ahead(heads []headSeq) bool {
	for _, h := range heads[:min(len(heads), ownHeadsMax)] {
		if newer, err := f.newer(h); err == nil && newer {
			return true
		}
	}
	return false
}

// catchUp takes what newer heads of our other machines a machine has said that it holds, and merges
// those that they have brought.
func (f *Federation) catchUp(ctx context.Context, from core.DID, heads []headSeq) error {
	if f.ahead(heads) {
		return f.pull(ctx, from)
	}
	select {
	case <-f.brought:
		return f.mergeInTurn(ctx)
	default:
		return nil
	}
}

// mergeInTurn merges what heads of our other machines are kept here, when nobody pulls.
func (f *Federation) mergeInTurn(ctx context.Context) error {
	if err := f.pulling.take(ctx); err != nil {
		wake(f.brought)
		return err
	}
	defer f.pulling.give()
	return f.mergeHeld(ctx)
}

// newer tells whether a head of another machine of ours counts, by its number, and is
// newer than the one that is kept here.
func (f *Federation) newer(h headSeq) (bool, error) {
	f.mu.Lock()
	newest, _ := f.own.chain.Newest()
	f.mu.Unlock()
	if r, removed := newest.RemovedAgent(h.Agent); h.Agent == f.self.Agent || !newest.Lists(h.Agent) && (!removed || r.Seq != h.Seq) {
		return false, nil
	}
	old, _, err := f.held(f.self.Grid, h.Agent)
	return h.Seq > old.Seq, err
}

// counts tells whether a head is part of our household's state.
func (f *Federation) counts(h charter.Head, score core.Score) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, _ := f.own.chain.Newest()
	if r, removed := newest.RemovedAgent(h.Agent); removed {
		return r.Seq == h.Seq && r.Head == score
	}
	return h.Grid == f.self.Grid && h.Agent != f.self.Agent && newest.Lists(h.Agent)
}

// pull takes the newer heads of our other machines, with their pages, from a machine that
// holds them, one of ours or a partner's, and merges what is new in them into our state.
func (f *Federation) pull(ctx context.Context, from core.DID) error {
	if err := f.pulling.take(ctx); err != nil {
		return err
	}
	defer f.pulling.give()
	answer, err := callHeads(ctx, f.c, from)
	if err != nil {
		return f.Heed(ctx, err)
	}
	if len(answer.Heads) > ownHeadsMax {
		return fmt.Errorf("%s shows %d heads of this household: %w", from.Short(), len(answer.Heads), core.ErrTooLarge)
	}
	if err := f.learn(ctx, f.self.Grid, answer.Charters); err != nil {
		return fmt.Errorf("the charters at %s: %w", from.Short(), err)
	}
	if err := f.Revoked(); err != nil {
		return err
	}
	var errs []error
	for _, held := range answer.Heads {
		h, err := charter.OpenHead(held.Head)
		newer := false
		if err == nil && f.counts(h, held.Head.Score()) {
			newer, err = f.newer(headSeq{Agent: h.Agent, Seq: h.Seq})
		}
		if err == nil && newer {
			err = f.takeHead(ctx, from, h, held.Head)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("a head at %s: %w", from.Short(), err))
		}
	}
	return errors.Join(append(errs, f.mergeHeld(ctx))...)
}

// takeHead gets the pages of a head and keeps both, as a partner does. Only pages
// that the head leads to are taken: what else is said to be its does not count.
func (f *Federation) takeHead(ctx context.Context, from core.DID, h charter.Head, signed identity.Signed) error {
	who := wire.Caller{Agent: h.Agent, Grid: f.self.Grid, Class: wire.Own}
	ctx, cancel := within(ctx, f.c.Clock, pushTime+stateSizeMax/pushRate*time.Second)
	defer cancel()
	obtain := func(score core.Score) ([]byte, error) { return f.obtain(ctx, from, who, score) }
	tree, load, err := stateReader{f.Secrets(), f.packer, obtain}.open(h)
	if err != nil {
		return err
	}
	list := []core.Score{h.Root}
	for encoded, err := range page.Refs(tree, load) {
		if err != nil {
			return err
		}
		ref, err := manifest.ParseRef(encoded)
		if err != nil {
			return err
		}
		if list = append(list, core.Score(ref.Page)); len(list) > pagesMax {
			return fmt.Errorf("more than %d pages: %w", pagesMax, core.ErrTooLarge)
		}
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(sendsMax)
	for _, score := range list {
		group.Go(func() error {
			_, err := f.obtain(inner, from, who, score)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return cause(ctx, err)
	}
	_, err = f.keepHead(ctx, who, headRequest{Head: signed, Add: list})
	return err
}

// obtain returns a page of another machine's state and keeps it, from the disk if it is
// there: two machines that know the same have the same pages.
func (f *Federation) obtain(ctx context.Context, from core.DID, who wire.Caller, score core.Score) ([]byte, error) {
	data, err := f.c.Blobs.Get(ctx, score, nil)
	if err != nil {
		if data, err = fetchPage(ctx, f.c, from, score, nil); err != nil {
			return nil, err
		}
	}
	return data, f.keepPage(ctx, who, score, data)
}
