package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// From is a partner's machine with which a recovery begins.
type From struct {
	Agent core.DID
	Addrs []string
}

// RecoverOptions change what Recover does.
type RecoverOptions struct {
	// KeepMachines leaves the household's other machines in the charter. The one that the recovery begins with, if
	// it is one of them, stays in any case: pieces lie there.
	KeepMachines bool
	from         core.DID
	// add says that none was lost: this machine joins the others.
	add bool
	// Progress, if not nil, is told of each step as it begins or of each answer as it comes.
	Progress func(Progress)
}

// Step is a part of a recovery.
type Step string

// The steps of a recovery, in order.
const (
	StepAsk      Step = "ask"       // a partner is asked
	StepAnswer   Step = "answer"    // a partner has answered, or Err says why not
	StepRead     Step = "read"      // a machine's newest state is read from a partner
	StepStore    Step = "store"     // the household is written to this machine's books
	StepHandOver Step = "hand over" // the new charter goes to the partners
	StepSave     Step = "save"      // the first head of this machine goes to the partners
)

// Progress is one event of a recovery.
type Progress struct {
	Step Step
	// Partner is the name of the partner that it is about, or, as long as that is not known, its
	// machine's DID; empty of what is about none.
	Partner string
	Err     error
}

// Answer is how a partner answered a recovery.
type Answer string

// The answers.
const (
	Agrees  Answer = "agrees"  // it has the newest head of every machine
	Behind  Answer = "behind"  // it has an older one, or lacks one
	Away    Answer = "away"    // it did not answer
	Unknown Answer = "unknown" // it knows no such household
	False   Answer = "false"   // something in its answer does not verify
)

// Asked is one partner's answer.
type Asked struct {
	// Grid is zero and Name a machine's DID where no state says whose machine it is.
	Grid   core.DID
	Name   string
	Answer Answer
	// Err says more where the answer is Away, Unknown or False.
	Err error
}

// HeadUsed is a machine's head whose state was taken over.
type HeadUsed struct {
	Agent core.DID
	// Seq is 0 where no head of the machine could be read.
	Seq  uint64
	Time time.Time
	// Holders is how many partners have this very head.
	Holders int
	// Unreadable is the seq of a newer head that some partner showed and nobody could
	// give the pages of; 0 if there was none.
	Unreadable uint64
}

// Report says what a recovery found and did.
type Report struct {
	Self Self
	// Adopted says that the newest charter listed this machine already, so that none was signed.
	Adopted bool
	// Partners are all that are known, by name; Agree of them have the newest of everything.
	Partners []Asked
	Agree    int
	Heads    []HeadUsed
	// Newest is the time of the newest head used; zero if there is none.
	Newest time.Time
	// Records and Versions are how many there are in the state.
	Records, Versions int
	// Saved is how far this machine's first head came.
	Saved Saved
}

// Recover makes this machine, whose key is fresh, one of the household that the
// phrase's entropy gives, with all that any partner has of its state, and takes the
// others out unless told to keep them. One partner to begin with is enough; all
// others are found in the state and asked, too: no single one can roll the household back.
//
// Everything is written in one Apply, before any partner hears of the new charter. Cut at
// any point it can be called again.
//
// Errors: core.ErrForbidden where the first partner knows no household of this phrase;
// core.ErrUnreachable; core.ErrCorrupt where nothing that came could be verified;
// core.ErrRevoked where another recovery, at the same time or later, has removed
// this machine. The Report is as far as it came.
func Recover(ctx context.Context, c Config, entropy [32]byte, from From, o RecoverOptions) (Report, error) {
	c = c.withDefaults()
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	c.Known.Learn(from.Agent, from.Addrs)
	report, err := recoverHousehold(ctx, c, entropy, from, o)
	if err != nil {
		return report, fmt.Errorf("recover: %w", err)
	}
	return report, nil
}

func recoverHousehold(ctx context.Context, c Config, entropy [32]byte, from From, o RecoverOptions) (Report, error) {
	o.from = from.Agent
	root := identity.RootOf(entropy)
	var report Report
	var self selfRecord
	ok, err := get(c.Books, []byte(keySelf), &self, recordSizeMax)
	switch {
	case err != nil:
		return report, err
	case ok && (self.Grid != root.DID() || self.Agent != c.Key.DID()):
		return report, fmt.Errorf("household %s is on this machine already: %w", self.Name, fs.ErrExist)
	case !ok:
		r, err := newRecovery(c, entropy, o)
		if err != nil {
			return report, err
		}
		if err := r.collect(ctx, from); err != nil {
			r.summarise(&report)
			return report, err
		}
		o.Progress(Progress{Step: StepStore})
		err = r.store(&report)
		r.summarise(&report)
		if err != nil {
			return report, err
		}
	}
	f, err := New(c)
	if err != nil {
		return report, err
	}
	report.Self = f.Self()
	return report, f.settle(ctx, from, o, &report)
}

// store signs the new charter, or adopts one that lists this machine, and writes
// the whole household in one Apply, the record of who we are with it.
func (r *recovery) store(report *Report) error {
	newest, score := r.chain.Newest()
	agent, members := r.c.Key.DID(), r.newestRoll()
	name := r.householdName(newest)
	if newest.Lists(agent) {
		report.Adopted = true
	} else {
		signed, err := r.next(newest, score, name)
		if err != nil {
			return err
		}
		if _, err := r.chain.Add(signed); err != nil {
			return err
		}
	}
	var out changes
	for change, err := range r.c.Books.Scan([]byte(keyState), nil) {
		if err != nil {
			return err
		}
		if _, kept := r.state[string(change.Key[len(keyState):])]; !kept {
			out.drop(change.Key)
		}
	}
	for k, u := range r.state {
		out.list = append(out.list, core.Change{Key: key(keyState, []byte(k)), Value: u.value})
	}
	for _, s := range r.chain.All() {
		out.charter(r.grid, s)
	}
	for _, a := range newest.Agents {
		if addrs := r.c.Known.Of(a.DID); a.DID != agent && len(addrs) > 0 {
			out.sibling(a.DID, addrs)
		}
	}
	if own, ok := r.newestSeen(agent); ok { // of an earlier run: no seq may be used twice
		out.set([]byte(keyHead), ownRecord{V: codec.Version, Head: own.signed, Tree: emptyTree(), Rebuild: true})
	}
	r.keepRoll(&out, members)
	out.set([]byte(keySelf), selfRecord{V: codec.Version, Grid: r.grid, Agent: agent, Name: name, Time: r.c.Clock.Now().Unix()})
	if err := out.apply(r.c.Books); err != nil {
		return fmt.Errorf("write the household: %w", err)
	}
	return nil
}

// next signs the charter that makes this machine one of the household.
func (r *recovery) next(newest charter.Charter, score core.Score, name string) (identity.Signed, error) {
	agent := r.c.Key.DID()
	if r.chain.EverListed(agent) {
		return identity.Signed{}, fmt.Errorf("this machine's key was removed by charter %d (recovery %d); begin in an empty directory: %w", newest.Epoch, newest.Recoveries, core.ErrRevoked)
	}
	next := newest.Next(score, r.c.Clock.Now().Unix())
	secrets := r.secrets
	if !r.o.add {
		next.Recoveries++
		var fresh [32]byte
		seal.Random(fresh[:])
		secrets = r.secrets.With(next.Epoch, fresh)
	}
	if !r.o.KeepMachines && !r.o.add {
		for _, a := range newest.Agents {
			if a.DID == r.o.from {
				continue
			}
			// The newest that was seen, even if nobody could give its pages today.
			last, _ := r.newestSeen(a.DID)
			if err := next.Remove(a.DID, last.head.Seq, last.score); err != nil {
				return identity.Signed{}, err
			}
		}
	}
	sealed, err := charter.SealName(secrets, label(r.c.Machine, name))
	if err != nil {
		return identity.Signed{}, err
	}
	next.Agents = append(next.Agents, charter.Agent{DID: agent, Seal: r.c.Seal.Public(), Name: sealed})
	next.Recovery = r.recoveryKey.Public()
	signed, err := charter.Seal(r.root, next, secrets)
	if err != nil {
		return identity.Signed{}, err
	}
	opened, err := charter.Open(signed)
	if err != nil {
		return identity.Signed{}, err
	}
	return signed, charter.Follow(newest, score, r.secrets, opened, secrets)
}

// householdName returns what the household calls itself, by the names of its machines.
func (r *recovery) householdName(newest charter.Charter) string {
	names, err := newest.Names(r.secrets)
	if err != nil {
		return "recovered"
	}
	for _, wantUsed := range []bool{true, false} {
		for _, a := range newest.Agents {
			_, household := parseLabel(names[a.DID])
			if _, used := r.used[a.DID]; used == wantUsed && CheckName(household) == nil {
				return household
			}
		}
	}
	return "recovered"
}

// settle tells all partners of the new charter, greets them, and saves this
// machine's first head. A partner that is away hears of it from Run, later.
func (f *Federation) settle(ctx context.Context, from From, o RecoverOptions, report *Report) error {
	o.Progress(Progress{Step: StepHandOver})
	var group errgroup.Group
	group.SetLimit(pushesMax)
	for _, p := range f.Partners() {
		group.Go(func() error {
			for _, agent := range f.machines(p.Grid) {
				if err := f.handOver(ctx, p.Grid, agent); err == nil || ctx.Err() != nil {
					return nil
				}
			}
			return nil // Saved will say what is wrong with it
		})
	}
	for _, agent := range f.others() {
		group.Go(func() error {
			_ = f.handOver(ctx, f.self.Grid, agent) // it hears of it from Run
			return nil
		})
	}
	if _, known := f.ByAgent(from.Agent); !known && !f.IsOurs(from.Agent) {
		group.Go(func() error { return f.handOverToNew(ctx, from.Agent) })
	}
	if err := group.Wait(); err != nil {
		f.c.Log.Warn("hand over the charter", "agent", from.Agent, "err", err)
	}
	if err := f.Revoked(); err != nil {
		return err
	}
	o.Progress(Progress{Step: StepSave})
	saved, err := f.SaveHead(ctx)
	report.Saved, report.Self = saved, f.Self()
	return err
}

// handOver gives our charters to a machine that has admitted this one, or to which
// this one is introduced, and greets it.
func (f *Federation) handOver(ctx context.Context, grid, agent core.DID) error {
	if err := f.present(ctx, agent); err != nil {
		return err
	}
	_, err := f.greet(ctx, grid, agent)
	return err
}

func (f *Federation) present(ctx context.Context, agent core.DID) error {
	_, err := callCharter(ctx, f.c, agent, f.ownCharters(greetChartersMax))
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.CodeUnknown {
		err = f.introduce(ctx, agent)
	}
	return f.Heed(ctx, err)
}

// handOverToNew does so with a machine that our state does not know: its
// household has replaced it since, and says so by its charters.
func (f *Federation) handOverToNew(ctx context.Context, agent core.DID) error {
	if err := f.present(ctx, agent); err != nil {
		return err
	}
	theirs, err := f.callGreet(ctx, agent, greeting{Charters: f.ownCharters(greetChartersMax), Addrs: tidyAddrs(f.c.Addrs()), Name: f.self.Name, Time: f.now()})
	if err != nil || len(theirs.Charters) == 0 {
		return f.Heed(ctx, err)
	}
	return f.heard(ctx, theirs.Charters[0].By, agent, theirs)
}

// summarise writes into the report what was found.
func (r *recovery) summarise(report *Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report.Partners, report.Agree = nil, 0
	for _, w := range r.witnesses {
		if w.own {
			continue
		}
		a := r.judge(w)
		if a.Answer == Agrees {
			report.Agree++
		}
		report.Partners = append(report.Partners, a)
	}
	slices.SortFunc(report.Partners, func(a, b Asked) int { return cmp.Compare(a.Name, b.Name) })
	report.Heads = nil
	for agent, u := range r.used {
		h := HeadUsed{Agent: agent, Seq: u.head.Seq, Time: time.Unix(u.head.Time, 0), Unreadable: r.unreadable[agent]}
		for _, w := range r.witnesses {
			if w.heads[agent].score == u.score {
				h.Holders++
			}
		}
		if h.Time.After(report.Newest) {
			report.Newest = h.Time
		}
		report.Heads = append(report.Heads, h)
	}
	for agent, seq := range r.unreadable {
		if _, used := r.used[agent]; !used {
			report.Heads = append(report.Heads, HeadUsed{Agent: agent, Unreadable: seq})
		}
	}
	slices.SortFunc(report.Heads, func(a, b HeadUsed) int { return a.Agent.Compare(b.Agent) })
	report.Records = len(r.state)
	report.Versions = r.versions()
}

// teller tells of the progress of parallel calls, one event at a time.
type teller struct {
	mu sync.Mutex
	f  func(Progress)
}

func (t *teller) tell(p Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.f(p)
}
