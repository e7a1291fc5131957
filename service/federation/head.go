package federation

import (
	"context"
	"fmt"
	"math"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

// historyMax bounds the pages of earlier heads that are remembered, so that a
// partner that was away is told only what has changed.
const historyMax = 4096

// ownSizeMax bounds the record of our newest head, in bytes.
const ownSizeMax = headSizeMax + page.TreeSizeMax + 128

// cached is how a page of our state was sealed.
type cached struct {
	ref  []byte
	page core.Score
	size int64
}

// refCache has the pages of our newest head by the score of their plain bytes, so
// that those which did not change are not packed and sealed again. Whoever makes a
// head has it.
type refCache struct {
	epoch uint64
	refs  map[core.Score]cached
}

// ownHead returns the record of our newest head, and the head; false if there is none.
func (f *Federation) ownHead() (r ownRecord, h charter.Head, ok bool, err error) {
	ok, err = get(f.c.Books, []byte(keyHead), &r, ownSizeMax)
	if err != nil || !ok {
		return r, h, ok, err
	}
	score := r.Head.Score()
	if last := f.lastHead.Load(); last != nil && last.score == score { // each greeting asks
		return r, last.head, true, nil
	}
	if h, err = charter.OpenHead(r.Head); err == nil {
		f.lastHead.Store(&openedHead{score, h})
	}
	return r, h, true, err
}

// openedHead is a head that was verified, by the score of what was signed.
type openedHead struct {
	score core.Score
	head  charter.Head
}

// advance makes a head of the state as it stands now, unless our newest is one,
// and returns its seq. It is in the books, and its pages are on the disk, before anybody
// hears of it, so that no seq ever stands for two contents.
func (f *Federation) advance(ctx context.Context) (uint64, error) {
	if err := f.heading.take(ctx); err != nil {
		return 0, err
	}
	defer f.heading.give()
	old, head, known, err := f.ownHead()
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	secret := f.secrets.Newest()
	_, cites := f.own.chain.Newest()
	f.mu.Unlock()
	b, err := f.newBuild(ctx, secret, old.Rebuild)
	if err != nil {
		return 0, err
	}
	defer b.end()
	tree, err := b.state()
	if err != nil {
		return 0, err
	}
	if known && !old.Rebuild && head.Charter == cites && head.Epoch == secret.Epoch && treesEqual(tree, old.Tree) {
		return head.Seq, nil
	}
	next := charter.Head{
		V: codec.Version, Grid: f.self.Grid, Agent: f.self.Agent, Charter: cites,
		Epoch: secret.Epoch, Seq: head.Seq + 1, Time: f.now(),
	}
	if next.Stopped, err = f.stoppedTickets(); err != nil {
		return 0, err
	}
	if err := b.root(tree, &next); err != nil {
		return 0, err
	}
	signed, err := charter.SignHead(f.c.Key, next)
	if err != nil {
		return 0, err
	}
	dead, err := f.commitHead(b, signed, next.Seq, tree, old.Floor)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.endBearers(f.self.Grid, next.Stopped)
	f.mu.Unlock()
	f.refs = refCache{epoch: secret.Epoch, refs: b.used}
	if _, err := f.dropPages(ctx, dead); err != nil { // they are dropped the next time
		f.c.Log.Warn("drop pages of earlier heads", "err", err)
	}
	f.c.Log.Info("new head", "seq", next.Seq, "records", tree.Count, "pages", len(b.live))
	return next.Seq, nil
}

func treesEqual(a, b page.Tree) bool {
	return a.Level == b.Level && a.Count == b.Count && string(a.Root) == string(b.Root)
}

// commitHead writes a head and what it changes of the records of our pages, in one
// Apply. It returns the pages that nobody needs any more.
func (f *Federation) commitHead(b *build, signed identity.Signed, seq uint64, tree page.Tree, floor uint64) (map[core.Score][]byte, error) {
	c := &changes{}
	for score, size := range b.live {
		if r, ok := b.old[score]; !ok || r.Died != 0 {
			c.set(key(keyOwnPage, score[:]), ownPage{V: codec.Version, Size: size, Born: seq})
		}
	}
	least, err := f.leastAck()
	if err != nil {
		return nil, err
	}
	gone := map[core.Score]uint64{}
	for score, r := range b.old {
		if _, live := b.live[score]; live {
			continue
		}
		if r.Died == 0 {
			r.Died = seq
			c.set(key(keyOwnPage, score[:]), r)
		}
		gone[score] = r.Died
	}
	dead := map[core.Score][]byte{}
	for score, died := range gone {
		if died <= least || len(gone) > historyMax && died < seq {
			dead[score] = key(keyOwnPage, score[:])
			floor = max(floor, died)
		}
	}
	c.set([]byte(keyHead), ownRecord{V: codec.Version, Head: signed, Tree: tree, Floor: floor})
	return dead, c.apply(f.c.Books)
}

// leastAck returns the oldest seq that a partner's machine has acknowledged.
func (f *Federation) leastAck() (uint64, error) {
	least := uint64(math.MaxUint64)
	for e, err := range scan[ackRecord](f.c.Books, []byte(keyAck), didSize, recordSizeMax) {
		if err != nil {
			return 0, err
		}
		least = min(least, e.value.Seq)
	}
	return least, nil
}

// build makes the pages of our state.
type build struct {
	f       *Federation
	ctx     context.Context // of the one call that the build is part of
	secret  charter.VaultSecret
	rebuild bool
	note    []byte
	// old are the pages of our heads so far, live those of this one with their sizes.
	old  map[core.Score]ownPage
	live map[core.Score]int64
	used map[core.Score]cached
	// begun are the blobs that were put.
	begun          []core.Score
	packed, sealed []byte
}

func (f *Federation) newBuild(ctx context.Context, secret charter.VaultSecret, rebuild bool) (*build, error) {
	about, err := pageNote(f.self.Grid, f.self.Agent)
	if err != nil {
		return nil, err
	}
	b := &build{
		f: f, ctx: ctx, secret: secret, rebuild: rebuild, note: about,
		old: map[core.Score]ownPage{}, live: map[core.Score]int64{}, used: map[core.Score]cached{},
	}
	for e, err := range scan[ownPage](f.c.Books, []byte(keyOwnPage), core.ScoreSize, recordSizeMax) {
		if err != nil {
			return nil, err
		}
		b.old[core.Score(e.rest)] = e.value
	}
	return b, nil
}

// end lets go of the blobs that were put: their records are made, or never will be.
func (b *build) end() {
	for _, score := range b.begun {
		b.f.pages.end(score)
	}
}

// state builds the pages of all records of the state.
func (b *build) state() (page.Tree, error) {
	builder := page.NewBuilder(b.store)
	for c, err := range b.f.c.Books.Scan([]byte(keyState), nil) {
		if err != nil {
			return page.Tree{}, fmt.Errorf("read the state: %w", err)
		}
		if err := builder.Add(c.Key[len(keyState):], c.Value); err != nil {
			return page.Tree{}, fmt.Errorf("state record %.32q: %w", c.Key, err)
		}
	}
	return builder.Finish()
}

// store packs, seals and keeps one page, and returns the reference to it.
func (b *build) store(plain []byte) ([]byte, error) {
	score := core.ScoreOf(plain)
	if known, ok := b.f.refs.refs[score]; ok && b.f.refs.epoch == b.secret.Epoch && b.has(known.page) {
		b.live[known.page], b.used[score] = known.size, known
		return known.ref, nil
	}
	b.packed = b.f.packer.Pack(b.packed[:0], plain)
	sealed, packed, k := seal.Chunk(&b.secret.Key, b.packed, b.sealed[:0])
	b.sealed = sealed
	name := core.ScoreOf(sealed)
	ref, err := manifest.Ref{
		Plain: score, Packed: packed, Key: k, Size: uint64(len(plain)), Sealed: uint64(len(sealed)), Page: name[:],
	}.Marshal()
	if err != nil {
		return nil, err
	}
	b.used[score] = cached{ref: ref, page: name, size: int64(len(sealed))}
	return ref, b.put(name, sealed)
}

// has tells whether a page of an earlier head is on the disk.
func (b *build) has(score core.Score) bool {
	r, ok := b.old[score]
	return ok && r.Died == 0 && !b.rebuild
}

// put keeps the sealed bytes of a page.
func (b *build) put(score core.Score, sealed []byte) error {
	b.live[score] = int64(len(sealed))
	if b.has(score) {
		return nil
	}
	if !b.f.pages.begin(score) {
		return fmt.Errorf("page %s is being dropped: %w", score.Short(), core.ErrBusy)
	}
	b.begun = append(b.begun, score)
	return b.f.c.Blobs.Put(b.ctx, core.Blob{Score: score, Note: b.note, Data: sealed})
}

// root seals the tree's root and names it in the head.
func (b *build) root(tree page.Tree, h *charter.Head) error {
	text, err := codec.Marshal(tree)
	if err != nil {
		return err
	}
	seal.Random(h.Salt[:])
	sealed := seal.State(&b.secret.Key, &h.Salt, text)
	h.Root, h.Size = core.ScoreOf(sealed), uint64(len(sealed))
	return b.put(h.Root, sealed)
}

// rebuildNext notes that a page of our newest head is not on the disk any more, so
// that the next head makes all of them anew.
func (f *Federation) rebuildNext(ctx context.Context, seq uint64) error {
	if err := f.heading.take(ctx); err != nil {
		return err
	}
	defer f.heading.give()
	r, h, ok, err := f.ownHead()
	if err != nil || !ok || h.Seq != seq {
		return err
	}
	r.Rebuild = true
	var c changes
	c.set([]byte(keyHead), r)
	return c.apply(f.c.Books)
}
