package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
)

// roundsMax bounds how often newly found partners lead to others.
const roundsMax = 8

// recovery is a household that is being put together again from what partners say.
type recovery struct {
	c           Config
	o           RecoverOptions
	progress    *teller
	root        identity.Key
	grid        core.DID
	recoveryKey *seal.PrivateKey
	packer      *chunk.Packer

	chain   *charter.Chain
	secrets charter.Secrets
	// state is the union of the heads used, by key.
	state map[string]united
	bytes int64
	used  map[core.DID]sighting
	// unreadable are newer heads that nobody could give the pages of.
	unreadable map[core.DID]uint64

	mu        sync.Mutex
	witnesses []*witness
}

// witness is a partner that is asked. Its fields are guarded by recovery.mu while
// others are being asked.
type witness struct {
	grid   core.DID // zero as long as no state says whose machine it is
	name   string
	agents []core.DID
	// agent is the one that answered.
	agent core.DID
	heads map[core.DID]sighting
	roll  *ownRoll
	err   error // why it did not answer
	lies  error // what in its answer does not verify
	// slow says that others are to be asked before it.
	slow bool
	// own says that it is no partner but a machine of the household itself.
	own bool
}

// sighting is a head that has been verified.
type sighting struct {
	head   charter.Head
	signed identity.Signed
	score  core.Score
}

func newRecovery(c Config, entropy [32]byte, o RecoverOptions) (*recovery, error) {
	key, err := seal.NewPrivateKey(identity.RecoverySeed(entropy))
	if err != nil {
		return nil, err
	}
	root := identity.RootOf(entropy)
	return &recovery{
		c: c, o: o, progress: &teller{f: o.Progress}, root: root, grid: root.DID(), recoveryKey: key,
		packer: chunk.NewPacker(), chain: charter.NewChain(root.DID()),
		state: map[string]united{}, used: map[core.DID]sighting{}, unreadable: map[core.DID]uint64{},
	}, nil
}

// collect asks the first partner, then all that the state knows, until there is no
// partner left that was not asked; and then reads the state of each machine's newest head.
func (r *recovery) collect(ctx context.Context, from From) error {
	first := &witness{name: from.Agent.String(), agents: []core.DID{from.Agent}}
	r.witnesses = []*witness{first}
	todo := r.witnesses
	for round := range roundsMax {
		r.askAll(ctx, todo)
		if err := ctx.Err(); err != nil {
			return err
		}
		if round == 0 && first.err != nil {
			return r.whyNot(first)
		}
		if err := r.openSecrets(); err != nil {
			return fmt.Errorf("%s: %w", first.name, errors.Join(err, first.lies))
		}
		todo = append(r.meet(ctx), r.siblings()...)
		if len(todo) == 0 {
			break
		}
		r.witnesses = append(r.witnesses, todo...)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.unite(ctx)
}

// siblings marks which of those that were asked are machines of the household, and, where
// none was lost, returns those that were not asked yet.
func (r *recovery) siblings() []*witness {
	newest, _ := r.chain.Newest()
	asked := map[core.DID]bool{r.c.Key.DID(): true}
	for _, w := range r.witnesses {
		w.own = len(w.agents) == 1 && newest.Lists(w.agents[0])
		for _, agent := range w.agents {
			asked[agent] = true
		}
	}
	var out []*witness
	for _, a := range newest.Agents {
		if r.o.add && !asked[a.DID] && len(r.c.Known.Of(a.DID)) > 0 {
			out = append(out, &witness{name: a.DID.String(), agents: []core.DID{a.DID}, own: true})
		}
	}
	return out
}

// isNew tells whether none of the household's machines has had anything to save.
func (r *recovery) isNew() bool {
	own := false
	for _, w := range r.witnesses {
		own = own || w.own && w.err == nil
		if len(w.heads) > 0 {
			return false
		}
	}
	return own
}

// whyNot says why nothing can be had from the first partner.
func (r *recovery) whyNot(first *witness) error {
	e, _ := errors.AsType[*wire.Error](first.err)
	switch {
	case e != nil && e.Code == wire.CodeUnknown:
		return fmt.Errorf("no partner knows a household with this phrase: %w", core.ErrForbidden)
	case e != nil && e.Code == wire.CodeRevoked:
		return fmt.Errorf("this machine's key was removed from the household; begin in an empty directory: %w", first.err)
	}
	return first.err
}

// askAll asks partners at once, each in a bounded time.
func (r *recovery) askAll(ctx context.Context, todo []*witness) {
	var group errgroup.Group
	group.SetLimit(pushesMax)
	for _, w := range todo {
		group.Go(func() error {
			r.progress.tell(Progress{Step: StepAsk, Partner: w.name})
			err := r.ask(ctx, w)
			r.progress.tell(Progress{Step: StepAnswer, Partner: w.name, Err: err})
			return nil
		})
	}
	_ = group.Wait() // each witness has its own error
}

// ask asks one partner's machines until one answers.
func (r *recovery) ask(ctx context.Context, w *witness) error {
	var errs []error
	for _, agent := range w.agents {
		answer, err := r.heads(ctx, agent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.hear(w, agent, answer)
		return nil
	}
	err := errors.Join(errs...)
	if err == nil {
		err = fmt.Errorf("no machine of it is known: %w", core.ErrUnreachable)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.err = err
	return err
}

// heads is admitted to a machine, and gets what it keeps of the household. A request of an
// earlier run, that was cut off and comes late, can take the nonce away: so it tries twice.
func (r *recovery) heads(ctx context.Context, agent core.DID) (headsAnswer, error) {
	err := r.enter(ctx, agent)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.CodeUnknown {
		err = r.enter(ctx, agent)
	}
	if err != nil {
		return headsAnswer{}, err
	}
	return callHeads(ctx, r.c, agent)
}

// enter is admitted to a machine.
func (r *recovery) enter(ctx context.Context, agent core.DID) error {
	begun, err := callRecover(ctx, r.c, agent, recoverRequest{})
	if err != nil {
		return err
	}
	if len(begun.Nonce) != 32 {
		return fmt.Errorf("%s: a nonce of %d bytes: %w", agent.Short(), len(begun.Nonce), core.ErrInvalid)
	}
	signed, err := pact.SignAdmission(r.root, pact.Admission{
		V: codec.Version, Grid: r.grid, Agent: r.c.Key.DID(), Partner: agent,
		Nonce: [32]byte(begun.Nonce), Time: r.c.Clock.Now().Unix(),
	})
	if err != nil {
		return err
	}
	_, err = callRecover(ctx, r.c, agent, recoverRequest{Admission: &signed})
	return err
}

// hear verifies what a partner answered, and keeps what is true of it.
func (r *recovery) hear(w *witness, agent core.DID, answer headsAnswer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.agent, w.heads = agent, map[core.DID]sighting{}
	lie := func(format string, args ...any) { w.lies = errors.Join(w.lies, fmt.Errorf(format, args...)) }
	if len(answer.Charters) > chartersMax {
		lie("%d charters: %w", len(answer.Charters), core.ErrTooLarge)
		return
	}
	for i, s := range answer.Charters {
		if _, err := r.chain.Add(s); err != nil {
			lie("charter %d: %w", i, err)
		}
	}
	for _, a := range answer.Machines[:min(len(answer.Machines), charter.AgentsMax)] {
		if newest, _ := r.chain.Newest(); newest.Lists(a.DID) && len(r.c.Known.Of(a.DID)) == 0 {
			r.c.Known.Learn(a.DID, a.Addrs)
		}
	}
	if err := r.hearRoll(w, answer.Roll); err != nil {
		lie("the roll: %w", err)
	}
	for i, held := range answer.Heads {
		h, err := charter.OpenHead(held.Head)
		switch {
		case err != nil:
			lie("head %d: %w", i, err)
		case h.Grid != r.grid:
			lie("head %d is another household's: %w", i, core.ErrInvalid)
		case len(held.Pages) > pagesMax:
			lie("head %d has %d pages: %w", i, len(held.Pages), core.ErrTooLarge)
		case !slices.Contains(held.Pages, h.Root):
			lie("head %d of machine %s: its root is not among its pages: %w", h.Seq, h.Agent.Short(), core.ErrCorrupt)
		case h.Seq > w.heads[h.Agent].head.Seq:
			w.heads[h.Agent] = sighting{head: h, signed: held.Head, score: held.Head.Score()}
		}
	}
}

// openSecrets opens the household's secrets from the newest charter that anybody showed.
func (r *recovery) openSecrets() error {
	newest, score := r.chain.Newest()
	if score.IsZero() {
		return fmt.Errorf("it has no charter of the household: %w", core.ErrCorrupt)
	}
	secrets, err := newest.Secrets(core.DID{}, r.recoveryKey)
	if err != nil {
		return err
	}
	r.secrets = secrets
	return nil
}

// meet reads the partners out of every head that may be the newest, and returns
// those that were not asked yet.
func (r *recovery) meet(ctx context.Context) []*witness {
	found := map[core.DID]partnerRecord{}
	for _, agent := range r.machines() {
		for _, s := range r.sightings(agent) { // until one can be read
			records, err := r.partnersIn(ctx, s)
			for _, p := range records {
				found[p.Grid] = p // any record will do: it says whom to ask
			}
			if err == nil || ctx.Err() != nil {
				break
			}
		}
	}
	var out []*witness
	for grid, p := range found {
		for _, a := range p.Agents {
			r.c.Known.Learn(a.DID, a.Addrs)
		}
		if !r.isAsked(grid, p) {
			w := &witness{grid: grid, name: p.Name}
			for _, a := range p.Agents {
				w.agents = append(w.agents, a.DID)
			}
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *witness) int { return a.grid.Compare(b.grid) })
	return out
}

// isAsked tells whether a partner was asked; and learns who the first one is.
func (r *recovery) isAsked(grid core.DID, p partnerRecord) bool {
	for _, w := range r.witnesses {
		if w.grid == grid {
			return true
		}
		if w.grid.IsZero() && slices.ContainsFunc(p.Agents, func(a AgentAddrs) bool { return a.DID == w.agent }) {
			w.grid, w.name = grid, p.Name
			return true
		}
	}
	return false
}

// machines returns those whose heads make the state: what the newest charter lists,
// and of what it removed those of which a head counts.
func (r *recovery) machines() []core.DID {
	newest, _ := r.chain.Newest()
	var out []core.DID
	for _, a := range newest.Agents {
		out = append(out, a.DID)
	}
	for _, d := range newest.Removed {
		if d.Seq > 0 {
			out = append(out, d.DID)
		}
	}
	return out
}

// counts tells whether a head can be part of the state.
func (r *recovery) counts(s sighting) bool {
	newest, _ := r.chain.Newest()
	if d, removed := newest.RemovedAgent(s.head.Agent); removed {
		return d.Seq == s.head.Seq && d.Head == s.score
	}
	return newest.Lists(s.head.Agent)
}

// newestSeen returns the newest head of a machine that any partner showed.
func (r *recovery) newestSeen(agent core.DID) (sighting, bool) {
	list := r.sightings(agent)
	if len(list) == 0 {
		return sighting{}, false
	}
	return list[0], true
}

// sightings returns the heads of a machine that partners showed and that count, the
// newest first.
func (r *recovery) sightings(agent core.DID) []sighting {
	var out []sighting
	for _, w := range r.witnesses {
		s, ok := w.heads[agent]
		if ok && r.counts(s) && !slices.ContainsFunc(out, func(o sighting) bool { return o.score == s.score }) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(b.head.Seq, a.head.Seq), cmp.Compare(b.head.Time, a.head.Time), slices.Compare(a.score[:], b.score[:]))
	})
	return out
}

// judge says how a partner answered, once the heads to use are known.
func (r *recovery) judge(w *witness) Asked {
	a := Asked{Grid: w.grid, Name: w.name, Answer: Agrees}
	e, _ := errors.AsType[*wire.Error](w.err)
	switch {
	case w.lies != nil:
		a.Answer, a.Err = False, w.lies
	case e != nil && (e.Code == wire.CodeUnknown || e.Code == wire.CodeRevoked):
		a.Answer, a.Err = Unknown, w.err
	case w.err != nil:
		a.Answer, a.Err = Away, w.err
	default:
		for _, agent := range r.machines() {
			if newest, ok := r.newestSeen(agent); ok && w.heads[agent].head.Seq < newest.head.Seq {
				a.Answer = Behind
			}
		}
	}
	return a
}
