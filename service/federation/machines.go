package federation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// AddMachine makes this machine, whose key is fresh, one more of the household that the
// phrase's entropy gives. It is a recovery in which nothing was lost: it begins with a
// partner's machine or with one of the household's own, takes over the whole state, and
// signs the next charter, which counts no recovery and removes nobody. The household's
// other machines are asked too, so that it follows on the newest charter. Errors and the
// report are Recover's.
func AddMachine(ctx context.Context, c Config, entropy [32]byte, from From, progress func(Progress)) (Report, error) {
	c = c.withDefaults()
	o := RecoverOptions{KeepMachines: true, Progress: progress, add: true}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	c.Known.Learn(from.Agent, from.Addrs)
	report, err := recoverHousehold(ctx, c, entropy, from, o)
	if err != nil {
		return report, fmt.Errorf("add this machine: %w", err)
	}
	return report, nil
}

// Removal is how far the removal of a machine has come.
type Removal struct {
	Self Self
	// Already says that it had been removed before, so that no charter was signed.
	Already bool
	// Head is the number of its last head that counts; 0 for none.
	Head uint64
	// Told are the partners and the machines of ours that know of it now; Failed says of the others
	// why not. They hear of it from Run.
	Told   []core.DID
	Failed map[core.DID]error
}

// RemoveMachine takes another machine out of the household, by the phrase's entropy: a
// new charter no longer lists it, names its newest head known here as the last that
// counts, and brings a new vault secret. What it has stored stays. Everybody is asked
// first whether there is a newer charter, and told afterwards; cut at any point it can be
// called again.
//
// Errors: core.ErrForbidden where the phrase is another household's, core.ErrInvalid of this very
// machine, core.ErrNotExist of one that never belonged, core.ErrUnreachable where there is
// somebody to ask and nobody answers: then nothing was done; core.ErrRevoked, core.ErrStale
// where another charter was signed at the same time.
func (f *Federation) RemoveMachine(ctx context.Context, entropy [32]byte, agent core.DID) (Removal, error) {
	out, err := f.removeMachine(ctx, identity.RootOf(entropy), agent)
	if err != nil {
		return out, fmt.Errorf("remove machine %s: %w", agent.Short(), err)
	}
	return out, nil
}

func (f *Federation) removeMachine(ctx context.Context, root identity.Key, agent core.DID) (out Removal, err error) {
	switch {
	case f.Revoked() != nil:
		return out, f.Revoked()
	case root.DID() != f.self.Grid:
		return out, fmt.Errorf("these are another household's words: %w", core.ErrForbidden)
	case agent == f.self.Agent:
		return out, fmt.Errorf("it is this one; remove it from another: %w", core.ErrInvalid)
	}
	asked, failed := f.greetAll(ctx, agent)
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err()
	case f.Revoked() != nil:
		return out, f.Revoked()
	case len(asked) == 0 && len(failed) > 0:
		return out, fmt.Errorf("nobody could be asked whether there is a newer charter: %w", core.ErrUnreachable)
	}
	if out.Already, out.Head, err = f.signRemoval(ctx, root, agent); err != nil {
		return out, err
	}
	if _, err = f.SaveHead(ctx); err != nil && !errors.Is(err, core.ErrRevoked) {
		f.c.Log.Warn("save head", "err", err) // Run does it again
	}
	out.Told, out.Failed = f.greetAll(ctx, agent)
	out.Self = f.Self()
	return out, errors.Join(f.Revoked(), ctx.Err())
}

// signRemoval signs the charter without a machine, and keeps it.
func (f *Federation) signRemoval(ctx context.Context, root identity.Key, agent core.DID) (already bool, seq uint64, err error) {
	f.mu.Lock()
	newest, score := f.own.chain.Newest()
	secrets, listed := f.secrets, f.own.chain.EverListed(agent)
	f.mu.Unlock()
	if r, removed := newest.RemovedAgent(agent); removed {
		return true, r.Seq, nil
	}
	if !newest.Lists(agent) {
		if listed { // by a charter that lost against another
			return true, 0, nil
		}
		return false, 0, fmt.Errorf("no machine of this household: %w", core.ErrNotExist)
	}
	held, _, err := f.held(f.self.Grid, agent)
	if err != nil {
		return false, 0, err
	}
	last := core.Score{}
	if held.Seq > 0 {
		last = held.Head.Score()
	}
	next := newest.Next(score, f.now())
	if err := next.Remove(agent, held.Seq, last); err != nil {
		return false, 0, err
	}
	var fresh [32]byte
	seal.Random(fresh[:])
	after := secrets.With(next.Epoch, fresh)
	signed, err := charter.Seal(root, next, after)
	if err != nil {
		return false, 0, err
	}
	opened, err := charter.Open(signed)
	if err != nil {
		return false, 0, err
	}
	if err := charter.Follow(newest, score, secrets, opened, after); err != nil {
		return false, 0, err
	}
	if err := f.learn(ctx, f.self.Grid, []identity.Signed{signed}); err != nil {
		return false, 0, err
	}
	if f.newestScore(f.self.Grid) != signed.Score() {
		return false, 0, fmt.Errorf("another charter was signed at the same time; try again: %w", core.ErrStale)
	}
	return false, held.Seq, nil
}

// greetAll greets one machine of each partner and all of ours, but for one, and takes newer
// heads from them. It returns who answered, and why the others did not.
func (f *Federation) greetAll(ctx context.Context, but core.DID) ([]core.DID, map[core.DID]error) {
	var mu sync.Mutex
	var told []core.DID
	failed := map[core.DID]error{}
	note := func(who core.DID, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[who] = err
		} else {
			told = append(told, who)
		}
	}
	var group errgroup.Group
	group.SetLimit(pushesMax)
	for _, p := range f.Partners() {
		group.Go(func() error {
			note(p.Grid, f.visit(ctx, p.Grid))
			return nil
		})
	}
	for _, agent := range f.others() {
		if agent != but {
			group.Go(func() error {
				note(agent, f.visitOwn(ctx, agent))
				return nil
			})
		}
	}
	_ = group.Wait() // each has its own error
	sortDIDs(told)
	return told, failed
}
