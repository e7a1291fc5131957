package federation

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// keepRival keeps a second head with one seq as evidence, within limits.
func (f *Federation) keepRival(who wire.Caller, head identity.Signed) {
	n := 0
	for _, err := range f.c.Books.Scan(key(keyRival, who.Grid[:], who.Agent[:]), nil) {
		if n++; err != nil || n >= rivalsMax {
			return
		}
	}
	score := head.Score()
	var c changes
	c.set(key(keyRival, who.Grid[:], who.Agent[:], score[:]), signedRecord{V: codec.Version, Signed: head})
	err := c.apply(f.c.Books)
	f.c.Log.Warn("two heads with one number", "agent", who.Agent, "head", score, "err", err)
}

// heldSeqs returns the seqs of the heads that are kept of a household, of ours with
// that of this machine.
func (f *Federation) heldSeqs(grid core.DID) ([]headSeq, error) {
	out := []headSeq{}
	if grid == f.self.Grid {
		_, h, ok, err := f.ownHead()
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, headSeq{Agent: f.self.Agent, Seq: h.Seq})
		}
	}
	for e, err := range scan[heldRecord](f.c.Books, key(keyHeld, grid[:]), didSize, headSizeMax) {
		if err != nil {
			return nil, err
		}
		out = append(out, headSeq{Agent: core.DID(e.rest), Seq: e.value.Seq})
	}
	return out, nil
}

// heldHeads returns all that is kept of a household's charters, heads and page lists.
func (f *Federation) heldHeads(grid core.DID) (headsAnswer, error) {
	pages := map[core.DID][]core.Score{}
	for e, err := range scan[pageRecord](f.c.Books, key(keyPage, grid[:]), didSize+core.ScoreSize, recordSizeMax) {
		if err != nil {
			return headsAnswer{}, err
		}
		if e.value.Sent == 0 && e.value.Aside == 0 {
			agent := core.DID(e.rest[core.ScoreSize:])
			pages[agent] = append(pages[agent], core.Score(e.rest[:core.ScoreSize]))
		}
	}
	out := headsAnswer{Heads: []heldHead{}}
	for e, err := range scan[heldRecord](f.c.Books, key(keyHeld, grid[:]), didSize, headSizeMax) {
		if err != nil {
			return headsAnswer{}, err
		}
		out.Heads = append(out.Heads, heldHead{Head: e.value.Head, Pages: pages[core.DID(e.rest)]})
	}
	if grid == f.self.Grid {
		own, _, ok, err := f.ownHead()
		if err != nil {
			return headsAnswer{}, err
		}
		if ok && !own.Rebuild {
			pages, _, _, err := f.changesSince(0)
			if err != nil {
				return headsAnswer{}, err
			}
			out.Heads = append(out.Heads, heldHead{Head: own.Head, Pages: pages})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.householdOf(grid); h != nil && !h.empty() {
		out.Charters = chartersWithin(h, headsChartersMax)
	}
	return out, nil
}
