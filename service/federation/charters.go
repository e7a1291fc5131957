package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// chartersMax bounds the charters in one message. How many are kept the chain decides.
const chartersMax = 1024

// household is a grid and the charters seen of it. It is guarded by Federation.mu.
type household struct {
	grid  core.DID
	chain *charter.Chain
	// kept are those that are in the books.
	kept map[core.Score]struct{}
}

func newHousehold(grid core.DID) household {
	return household{grid: grid, chain: charter.NewChain(grid), kept: map[core.Score]struct{}{}}
}

// add takes in a charter that is in the books, or is about to be.
func (h *household) add(s identity.Signed) error {
	if _, err := h.chain.Add(s); err != nil {
		return err
	}
	h.kept[s.Score()] = struct{}{}
	return nil
}

// empty tells that no charter is known.
func (h *household) empty() bool {
	_, score := h.chain.Newest()
	return score.IsZero()
}

// newest returns the charter that stands, as it was signed.
func (h *household) newest() identity.Signed {
	all := h.chain.All()
	return all[len(all)-1]
}

// unkept returns what has to change in the books for them to have the chain.
func (h *household) unkept() (set []identity.Signed, drop []core.Score) {
	in := map[core.Score]bool{}
	for _, s := range h.chain.All() {
		score := s.Score()
		in[score] = true
		if _, ok := h.kept[score]; !ok {
			set = append(set, s)
		}
	}
	for score := range h.kept {
		if !in[score] {
			drop = append(drop, score)
		}
	}
	return set, drop
}

// opened is a charter that has been verified.
type opened struct {
	charter.Charter
	signed identity.Signed
	score  core.Score
}

// openCharters verifies charters that must all be of one household.
func openCharters(grid core.DID, given []identity.Signed) ([]opened, error) {
	if len(given) > chartersMax {
		return nil, fmt.Errorf("%d charters, at most %d: %w", len(given), chartersMax, core.ErrTooLarge)
	}
	out := make([]opened, 0, len(given))
	for i, s := range given {
		c, err := charter.Open(s)
		if err != nil {
			return nil, fmt.Errorf("charter %d: %w", i, err)
		}
		if c.Grid != grid {
			return nil, fmt.Errorf("charter %d: of household %s, not of %s: %w", i, c.Grid.Short(), grid.Short(), core.ErrInvalid)
		}
		out = append(out, opened{Charter: c, signed: s, score: s.Score()})
	}
	return out, nil
}

// newestOf returns the charter that stands over all others; false of none.
func newestOf(list []opened) (opened, bool) {
	if len(list) == 0 {
		return opened{}, false
	}
	return slices.MaxFunc(list, func(a, b opened) int { return charter.Compare(a.Charter, a.score, b.Charter, b.score) }), true
}

// householdOf returns our household, a partner's or a guest's, nil of any other. The caller holds f.mu.
func (f *Federation) householdOf(grid core.DID) *household {
	if grid == f.self.Grid {
		return &f.own
	}
	if p := f.partners[grid]; p != nil {
		return &p.household
	}
	if g := f.guests[grid]; g != nil {
		return &g.household
	}
	return nil
}

// learn verifies charters of our household or of a partner's, keeps those that are
// new, whichever of them stands, and draws what follows: the machines that may
// call, the partner's record in our state, and whether we ourselves are still listed.
// The memory goes before the books: a machine that was removed is shut out at once.
func (f *Federation) learn(ctx context.Context, grid core.DID, given []identity.Signed) error {
	fresh, err := f.unknown(grid, given)
	if err != nil || len(fresh) == 0 {
		return err
	}
	all, err := openCharters(grid, fresh) // before the turn: it takes time
	if err != nil {
		return err
	}
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	f.mu.Lock()
	h := f.householdOf(grid)
	if h == nil { // a guest that has just been forgotten
		f.mu.Unlock()
		return core.ErrForbidden
	}
	for _, o := range all {
		if _, bad := h.chain.Add(o.signed); bad != nil {
			err = errors.Join(err, bad)
		}
	}
	set, drop := h.unkept()
	if grid == f.self.Grid {
		err = errors.Join(err, f.judge())
	}
	p := f.partners[grid]
	f.mu.Unlock()
	if len(set)+len(drop) == 0 {
		return err
	}
	if bad := f.keepCharters(grid, set, drop); bad != nil {
		return errors.Join(err, bad)
	}
	if p != nil {
		err = errors.Join(err, f.rewrite(p))
	}
	return err
}

// unknown returns those charters that are not in the books.
func (f *Federation) unknown(grid core.DID, given []identity.Signed) ([]identity.Signed, error) {
	if len(given) > chartersMax {
		return nil, fmt.Errorf("%d charters, at most %d: %w", len(given), chartersMax, core.ErrTooLarge)
	}
	scores := make([]core.Score, len(given))
	for i, s := range given {
		scores[i] = s.Score()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.householdOf(grid)
	if h == nil {
		return nil, fmt.Errorf("charters of %s, with whom there is no pact: %w", grid.Short(), core.ErrForbidden)
	}
	var fresh []identity.Signed
	for i, s := range given {
		if _, kept := h.kept[scores[i]]; !kept {
			fresh = append(fresh, s)
		}
	}
	return fresh, nil
}

// keepCharters writes to the books what unkept said. The caller has f.records.
func (f *Federation) keepCharters(grid core.DID, set []identity.Signed, drop []core.Score) error {
	var c changes
	for _, s := range set {
		c.charter(grid, s)
	}
	for _, score := range drop {
		c.drop(key(keyCharter, grid[:], score[:]))
	}
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep charters of %s: %w", grid.Short(), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.householdOf(grid)
	for _, s := range set {
		h.kept[s.Score()] = struct{}{}
	}
	for _, score := range drop {
		delete(h.kept, score)
	}
	return nil
}

func (c *changes) charter(grid core.DID, s identity.Signed) {
	score := s.Score()
	c.set(key(keyCharter, grid[:], score[:]), signedRecord{V: codec.Version, Signed: s})
}

// judge draws what follows from our own charters: the secrets, our other machines, and
// whether this machine is still of the household. The caller holds f.mu.
func (f *Federation) judge() error {
	newest, _ := f.own.chain.Newest()
	if !newest.Lists(f.self.Agent) {
		if f.revoked == nil {
			f.revoked = &removed{name: f.self.Name, epoch: newest.Epoch, recoveries: newest.Recoveries}
			close(f.revocation)
		}
		return nil
	}
	secrets, err := newest.Secrets(f.self.Agent, f.c.Seal)
	if err != nil {
		return fmt.Errorf("open the secrets of charter %d: %w", newest.Epoch, err)
	}
	f.secrets = secrets
	f.gather()
	return nil
}

// removed says by which charter this machine was removed.
type removed struct {
	name              string
	epoch, recoveries uint64
}

func (r *removed) Error() string {
	return fmt.Sprintf("this machine was removed from household %s by its charter %d (recovery %d)", r.name, r.epoch, r.recoveries)
}

func (r *removed) Is(target error) bool { return target == core.ErrRevoked }

// chartersWithin returns the newest charters of a household that fit into size
// bytes, at least one, oldest first. The caller holds f.mu.
func chartersWithin(h *household, size int) []identity.Signed {
	all := h.chain.All()
	from := len(all) - 1
	for size -= signedSize(all[from]); from > 0; from-- {
		if size -= signedSize(all[from-1]); size < 0 {
			break
		}
	}
	return all[from:]
}

func signedSize(s identity.Signed) int { return len(s.Body) + identity.SignedOverhead }

// ownCharters returns our charters that fit into size bytes.
func (f *Federation) ownCharters(size int) []identity.Signed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return chartersWithin(&f.own, size)
}

// Charter returns the newest of our own household.
func (f *Federation) Charter() identity.Signed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.own.newest()
}

// Heed looks at an error of a call to another machine for evidence that our own
// household has a newer charter, and takes it in. It returns an error of kind
// core.ErrRevoked if this machine is no longer of the household, whoever said
// so; else err, which then is never of that kind. Package grange passes the errors
// of other services' calls through it.
func (f *Federation) Heed(ctx context.Context, err error) error {
	e, ok := errors.AsType[*wire.Error](err)
	if ok && len(e.Evidence) > 0 {
		signed, bad := identity.ParseSigned(e.Evidence, charter.SignedSizeMax)
		if bad == nil {
			bad = f.learn(ctx, f.self.Grid, []identity.Signed{signed})
		}
		if bad != nil {
			f.c.Log.Warn("evidence that is none", "code", e.Code, "err", bad)
		}
	}
	if revoked := f.Revoked(); revoked != nil {
		return revoked
	}
	if errors.Is(err, core.ErrRevoked) {
		return fmt.Errorf("a partner says that this machine was removed, and shows no proof: %w", core.ErrForbidden)
	}
	return err
}
