package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/ticket"
)

// mergeBatch is how many records one change of the books takes over.
const mergeBatch = 256

// Merged has a token when records of another machine of ours have come into our state.
func (f *Federation) Merged() <-chan struct{} { return f.merged }

// mergeHeld merges those heads of our other machines that are kept here and are not merged yet.
func (f *Federation) mergeHeld(ctx context.Context) error {
	var errs []error
	for e, err := range scan[heldRecord](f.c.Books, key(keyHeld, f.self.Grid[:]), didSize, headSizeMax) {
		if err != nil {
			return err
		}
		h, err := charter.OpenHead(e.value.Head)
		if err == nil && f.counts(h, e.value.Head.Score()) {
			err = f.merge(ctx, h, e.value.Head.Score())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("merge head %d of machine %s: %w", e.value.Seq, core.DID(e.rest).Short(), err))
		}
	}
	if ctx.Err() != nil { // it was the caller that gave up: the next one is to go on
		wake(f.brought)
	}
	return errors.Join(errs...)
}

// merge takes into our state what a head of another machine of ours adds to or changes of the
// one that was merged before it. What that machine has forgotten is left: each
// forgets by itself, by the same rules, and a tombstone says what was removed.
func (f *Federation) merge(ctx context.Context, h charter.Head, score core.Score) error {
	k := key(keyMerged, h.Agent[:])
	last := mergedRecord{Tree: emptyTree()}
	if _, err := get(f.c.Books, k, &last, ownSizeMax); err != nil || last.Head == score {
		return err
	}
	fetch := func(s core.Score) ([]byte, error) { return f.c.Blobs.Get(ctx, s, nil) }
	tree, load, err := stateReader{f.Secrets(), f.packer, fetch}.open(h)
	if err != nil {
		return err
	}
	err = f.mergeTrees(ctx, h.Agent, last.Tree, tree, load)
	if err != nil && last.Tree.Count > 0 && ctx.Err() == nil { // pages of the one before are gone
		err = f.mergeTrees(ctx, h.Agent, emptyTree(), tree, load)
	}
	if err != nil {
		return err
	}
	var c changes
	c.set(k, mergedRecord{V: codec.Version, Head: score, Tree: tree})
	if err := c.apply(f.c.Books); err != nil {
		return err
	}
	wake(f.merged)
	return nil
}

func (f *Federation) mergeTrees(ctx context.Context, by core.DID, before, after page.Tree, load page.Load) error {
	var c changes
	for d, err := range page.Diff(before, after, load) {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return err
		case d.New == nil:
			continue
		case bytes.HasPrefix(d.Key, []byte(partnerPrefix)):
			if err := f.mergePartner(ctx, d.Key, d.New); err != nil {
				return err
			}
			continue
		}
		if err := checkRecord(d.Key, d.New); err != nil {
			f.c.Log.Warn("a record of another machine is left out", "key", fmt.Sprintf("%.40q", d.Key), "err", err)
			continue
		}
		k := key(keyState, d.Key)
		mine, err := f.c.Books.Get(k)
		if err != nil && !errors.Is(err, core.ErrNotExist) {
			return err
		}
		known := err == nil
		if !known || takes(string(d.Key), f.self.Agent, by, mine, d.Old, d.New) {
			c.list = append(c.list, core.Change{Key: k, Value: d.New})
		}
		if len(c.list) == mergeBatch { // in the order of keys: segments go before versions
			if err := c.apply(f.c.Books); err != nil {
				return err
			}
			c.list = c.list[:0]
		}
	}
	return c.apply(f.c.Books)
}

// checkRecord holds a record of the state, other than a partner, against its form.
func checkRecord(k, value []byte) error {
	wrong := fmt.Errorf("its key is another's: %w", core.ErrCorrupt)
	switch {
	case bytes.HasPrefix(k, []byte(manifest.SegmentPrefix)):
		s, err := manifest.DecodeSegment(value)
		if err == nil && !bytes.Equal(s.Key(), k) {
			err = wrong
		}
		return err
	case bytes.HasPrefix(k, []byte(manifest.VersionPrefix)):
		v, err := manifest.DecodeVersion(value)
		if err == nil && !bytes.Equal(v.Key(), k) {
			err = wrong
		}
		return err
	case bytes.HasPrefix(k, []byte(manifest.TombstonePrefix)):
		_, _, _, err := manifest.ParseVersionKey(k)
		if err == nil {
			_, err = manifest.DecodeTombstone(value)
		}
		return err
	case bytes.HasPrefix(k, []byte(ticket.RecordPrefix)):
		_, err := ticket.ParseRecordKey(k)
		if err == nil {
			_, err = ticket.DecodeRecord(value)
		}
		return err
	}
	return fmt.Errorf("a record of an unknown kind: %w", core.ErrVersion)
}

// takes tells whether another machine's record takes the place of ours. before is what it
// had when we merged last, nil for nothing. A version is as its maker has it: a stolen
// machine cannot alter what another has stored. Of other records, where both have changed
// one, each machine decides alike: the later tombstone stands, else the greater bytes.
func takes(k string, self, by core.DID, mine, before, theirs []byte) bool {
	maker := makerOf(k)
	switch {
	case bytes.Equal(mine, theirs):
		return false
	case maker == self || maker == by:
		return maker == by
	case before != nil && bytes.Equal(mine, before):
		return true
	case before != nil && bytes.Equal(theirs, before):
		return false
	}
	if strings.HasPrefix(k, manifest.TombstonePrefix) {
		m, errM := manifest.DecodeTombstone(mine)
		t, errT := manifest.DecodeTombstone(theirs)
		if errM != nil || errT != nil {
			return errT == nil
		}
		if m.Time != t.Time {
			return t.Time > m.Time
		}
	}
	return bytes.Compare(theirs, mine) > 0
}

// makerOf returns the machine that made the version of a record of the state; zero of any
// other record.
func makerOf(k string) core.DID {
	if !strings.HasPrefix(k, manifest.VersionPrefix) {
		return core.DID{}
	}
	_, maker, _, _ := manifest.ParseVersionKey([]byte(k)) // a key that is none has no maker
	return maker
}

// mergePartner takes in a partner that another machine of ours has.
func (f *Federation) mergePartner(ctx context.Context, k, value []byte) error {
	if len(k) != len(partnerPrefix)+didSize {
		return fmt.Errorf("a partner under a key of %d bytes: %w", len(k), core.ErrCorrupt)
	}
	var r partnerRecord
	err := codec.Unmarshal(value, &r, partnerSizeMax)
	if err != nil {
		return err
	}
	p, err := f.openPartner(r, core.DID(k[len(partnerPrefix):]))
	if err != nil {
		f.c.Log.Warn("a partner of another machine is left out", "err", err)
		return nil
	}
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	f.mu.Lock()
	old, full := f.partners[p.grid], len(f.partners) >= partnersMax
	if old == nil {
		p.record.Name = f.unlike(r.Name)
	}
	f.mu.Unlock()
	switch {
	case old == nil && full:
		return fmt.Errorf("at most %d partners: %w", partnersMax, core.ErrRefused)
	case old != nil && p.id == old.id:
		return f.takeTerms(old, p.record.Amendment, p.record.Notice)
	case old != nil && !p.standsOver(old):
		return nil
	case old != nil: // its machines are as we know them
		p.record.Name, p.record.Agents = old.record.Name, old.record.Agents
	}
	var c changes
	c.set(key(keyPartner, p.grid[:]), p.record)
	if err := c.apply(f.c.Books); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if old != nil {
		old.record, old.pact, old.id, old.signer, old.terms, old.notice = p.record, p.pact, p.id, p.signer, p.terms, p.notice
		return nil
	}
	for _, a := range p.record.Agents {
		if len(f.c.Known.Of(a.DID)) == 0 {
			f.c.Known.Learn(a.DID, a.Addrs)
		}
	}
	p.met = f.ran
	f.partners[p.grid] = p
	close(f.news)
	f.news = make(chan struct{})
	return nil
}

// standsOver tells whether p's pact takes the place of q's, of two with one household:
// that is the older one, then the one with the lower id.
func (p *partner) standsOver(q *partner) bool {
	if p.pact.From != q.pact.From {
		return p.pact.From < q.pact.From
	}
	return bytes.Compare(p.id[:], q.id[:]) < 0
}
