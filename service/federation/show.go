package federation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
)

// UseVouchers shows the best voucher for each home there, where it is not the one that lets us in now; Run does so when there
// are new ones. It returns by household what came of those that it has shown, nil where one lets us in. A club's own machine keeps
// nothing anywhere.
func (f *Federation) UseVouchers(ctx context.Context) map[core.DID]error {
	out := map[core.DID]error{}
	if f.showing.take(ctx) != nil {
		return out
	}
	defer f.showing.give()
	best := f.bestVouchers()
	for _, grid := range slices.SortedFunc(maps.Keys(best), core.DID.Compare) {
		h := best[grid]
		if e, ok := f.Errand(grid); ok && e.Ref == h.right.ID {
			continue
		}
		err := fmt.Errorf("no machine of it is known: %w", core.ErrUnreachable)
		for _, at := range h.Agents {
			if _, err = f.UseVoucher(ctx, at, h.Chain); err == nil || errors.Is(err, core.ErrRefused) || ctx.Err() != nil {
				break
			}
		}
		if out[grid] = err; err != nil && ctx.Err() == nil {
			f.c.Log.Info("a voucher does not let us in", "at", h.Name, "grid", grid.Short(), "err", err)
		}
	}
	return out
}

// bestVouchers returns one for each home where no account lets us in: one on the pact that is drawn on there already, or else the greatest.
func (f *Federation) bestVouchers() map[core.DID]keptHome {
	drawn, byAccount := map[core.DID]core.DID{}, map[core.DID]bool{}
	for _, e := range f.Errands() {
		if !e.Leaving {
			drawn[e.Grid], byAccount[e.Grid] = e.Subject, e.Account != AccountName{}
		}
	}
	now := f.now()
	best := map[core.DID]keptHome{}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.roll != nil {
		return nil
	}
	look := func(homes []keptHome) {
		for _, h := range homes {
			if f.partners[h.Grid] != nil || h.Grid == f.self.Grid || h.right.Until <= now || byAccount[h.Grid] {
				continue
			}
			o, there := best[h.Grid]
			if is, was := h.right.Subject == drawn[h.Grid], o.right.Subject == drawn[h.Grid]; !there || is && !was ||
				is == was && (h.right.Amount > o.right.Amount || h.right.Amount == o.right.Amount && lower(h.right.ID, o.right.ID)) {
				best[h.Grid] = h
			}
		}
	}
	for grid, c := range f.clubs {
		if p := f.partners[grid]; p != nil && !p.leaving(now) {
			look(c.homes)
		}
	}
	for _, p := range f.passes {
		look(p.homes)
	}
	return best
}

func lower(a, b core.Score) bool { return slices.Compare(a[:], b[:]) < 0 }
