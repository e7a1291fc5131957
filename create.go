package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/edge/p2p"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/steward"
	"github.com/grange-grid/grange/service/federation"
)

// Create founds a household on a new directory and returns its recovery phrase,
// 24 words that are kept nowhere else. It dials nobody. save is called with the
// phrase before anything is made, and after the name and the directory were found fit;
// its error ends Create.
func Create(_ context.Context, c Config, name string, save func(phrase string) error) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	if err := federation.CheckName(name); err != nil {
		return err
	}
	store, err := leftover(c)
	if err != nil {
		return err
	}
	var entropy [32]byte
	seal.Random(entropy[:])
	if save != nil {
		err = save(identity.Phrase(entropy))
	}
	if store == nil && err == nil {
		store, err = newDirectory(c)
	}
	if store == nil {
		return err
	}
	if err != nil {
		return errors.Join(err, store.Close())
	}
	machine, err := readKeys(store)
	if err == nil {
		err = federation.Found(machine.federation(c, store, newNetwork(c, machine.key)), entropy, name)
	}
	return errors.Join(err, store.Close())
}

// SplitPhrase makes n lines of a recovery phrase, of which any k are as good as the phrase wherever that is asked for; fewer
// are of no use. Errors: ErrInvalid; CheckStewards tells beforehand.
func SplitPhrase(phrase string, k, n uint) ([]string, error) {
	entropy, err := identity.ParsePhrase(phrase)
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	seal.Random(seed[:])
	shares, err := steward.Split(entropy, k, n, seed)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(shares))
	for i, s := range shares {
		if out[i], err = s.Line(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CheckStewards tells whether a phrase can be split so. Errors: ErrInvalid.
func CheckStewards(k, n uint) error { return steward.CheckNumbers(k, n) }

// leftover opens what an init or a recovery that came to nothing has left of the
// directory; nil if that is still to be made. Its key stands in no charter, because a
// household is written down before anybody hears of the key. Errors: fs.ErrExist of a
// directory that has a household, or something else.
func leftover(c Config) (store, error) {
	store, err := openStore(c)
	if errors.Is(err, core.ErrNotExist) {
		return nil, c.disks.Vacant(c.Dir)
	}
	if err != nil {
		return nil, err
	}
	machine, err := readKeys(store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	_, err = federation.New(machine.federation(c, store, newNetwork(c, machine.key)))
	if errors.Is(err, core.ErrNotExist) {
		return store, nil
	}
	if err == nil {
		err = fmt.Errorf("%s has a household already: %w", c.Dir, fs.ErrExist)
	}
	return nil, errors.Join(err, store.Close())
}

// newDirectory makes a directory with new keys of a machine and opens it.
func newDirectory(c Config) (store, error) {
	k := identity.AgentKey{V: 1}
	seal.Random(k.Seed[:])
	seal.Random(k.Seal[:])
	raw, err := k.Marshal()
	if err != nil {
		return nil, err
	}
	if err := c.disks.Create(c.Dir, raw); err != nil {
		return nil, err
	}
	return c.disks.Open(c.Dir, disk.Config{})
}

// RecoverOptions say how a household is recovered.
type RecoverOptions struct {
	// From is one partner, or another machine of the household: an address with its /p2p part, or an invitation of theirs.
	From string
	// KeepMachines leaves the household's other machines in its charter, not only one that From names.
	KeepMachines bool
	Progress     func(Progress)

	add bool // none was lost: this machine joins the others
}

// Recover makes this machine one of a household that has lost its own, from the
// recovery phrase, or enough lines of SplitPhrase one after another, and one partner. All partners that can be reached are asked, and
// the newest of what they say counts. Called again after it was cut short, it goes on.
// Errors: ErrUnreachable, ErrInvalid for a phrase that is none, core.ErrForbidden if no
// partner knows it.
func Recover(ctx context.Context, c Config, phrase string, o RecoverOptions) (RecoverResult, error) {
	c, err := c.complete()
	if err != nil {
		return RecoverResult{}, err
	}
	entropy, err := steward.Secret(phrase)
	if err != nil {
		return RecoverResult{}, err
	}
	from, err := parseFrom(o.From)
	if err != nil {
		return RecoverResult{}, err
	}
	store, err := openStore(c)
	if errors.Is(err, core.ErrNotExist) {
		store, err = newDirectory(c)
	}
	if err != nil {
		return RecoverResult{}, err
	}
	report, err := recoverHousehold(ctx, c, store, entropy, from, o)
	if err != nil {
		return RecoverResult{}, errors.Join(err, store.Close())
	}
	a, err := assemble(c, store)
	if err != nil {
		return RecoverResult{}, errors.Join(err, store.Close())
	}
	out, err := a.takeOver(ctx, report, o)
	return out, errors.Join(err, a.Close())
}

// CheckFrom tells whether RecoverOptions.From can be read. Errors: ErrInvalid, ErrVersion.
func CheckFrom(text string) error {
	_, err := parseFrom(text)
	return err
}

// parseFrom reads where a recovery begins.
func parseFrom(text string) (federation.From, error) {
	if text == "" {
		return federation.From{}, fmt.Errorf("a recovery needs one partner's address, or an invitation of theirs: %w", ErrInvalid)
	}
	if strings.HasPrefix(text, "/") {
		agent, err := p2p.ParseAddr(text)
		if err != nil {
			return federation.From{}, err
		}
		return federation.From{Agent: agent, Addrs: []string{text}}, nil
	}
	inv, err := pact.ParseInvitation(text)
	if err != nil {
		return federation.From{}, err
	}
	return federation.From{Agent: inv.Agent, Addrs: inv.Addrs}, nil
}

func recoverHousehold(ctx context.Context, c Config, store store, entropy [32]byte, from federation.From, o RecoverOptions) (federation.Report, error) {
	machine, err := readKeys(store)
	if err != nil {
		return federation.Report{}, err
	}
	n := newNetwork(c, machine.key)
	progress := func(p federation.Progress) {
		if o.Progress != nil {
			o.Progress(Progress{Stage: stageOf(p, from)})
		}
	}
	var report federation.Report
	if o.add {
		report, err = federation.AddMachine(ctx, machine.federation(c, store, n), entropy, from, progress)
	} else {
		report, err = federation.Recover(ctx, machine.federation(c, store, n), entropy, from, federation.RecoverOptions{
			KeepMachines: o.KeepMachines, Progress: progress,
		})
	}
	return report, errors.Join(err, n.Close())
}

// firstPartner is what the partner that a recovery begins with is called as long as
// its name is not known.
const firstPartner = "the first partner"

// stageOf says in a few words what a recovery is doing.
func stageOf(p federation.Progress, from federation.From) string {
	name := p.Partner
	if name == from.Agent.String() {
		name = firstPartner
	}
	switch p.Step {
	case federation.StepAsk:
		return "asking " + name
	case federation.StepAnswer:
		if p.Err != nil {
			return name + " " + wire.Plain(p.Err)
		}
		return name + " has answered"
	case federation.StepRead:
		return "reading what " + name + " has"
	case federation.StepStore:
		return "writing it down"
	case federation.StepHandOver:
		return "showing partners this machine"
	case federation.StepSave:
		return "telling partners"
	}
	return string(p.Step)
}

// takeOver finds out where the household's pieces lie, and what its versions
// consist of.
func (a *Agent) takeOver(ctx context.Context, report federation.Report, o RecoverOptions) (RecoverResult, error) {
	self := a.federation.Self()
	out := RecoverResult{
		Household: self.Name, Grid: self.Grid, Machine: self.Agent, Asked: len(report.Partners), Agree: report.Agree,
		Newest: report.Newest, Versions: []Version{}, Failed: map[string]string{},
	}
	for _, h := range report.Heads {
		if h.Agent != self.Agent && !o.KeepMachines && !a.federation.ListsAgent(self.Grid, h.Agent) {
			out.Removed = append(out.Removed, h.Agent)
		}
	}
	for _, p := range report.Partners {
		name := p.Name
		if p.Grid.IsZero() {
			name = firstPartner
		}
		if why := a.answer(p); why != "" {
			out.Failed[name] = why
		}
	}
	sizeOf, err := a.pieceSizes()
	if err != nil {
		return out, err
	}
	if o.Progress != nil {
		o.Progress(Progress{Stage: "asking holders for their lists"})
	}
	for _, p := range a.holders() {
		known, unknown, err := a.barter.Learn(ctx, p.Grid, sizeOf)
		out.Pieces, out.Unknown = out.Pieces+known, out.Unknown+unknown
		if err != nil && out.Failed[p.Name] == "" {
			out.Failed[p.Name] = a.plain(p.Name, err)
		}
	}
	if err := a.vault.TakeOver(ctx, a.progressOf(o.Progress)); err != nil {
		a.c.Log.Warn("read manifests", "err", err) // it is done again when it is needed
	}
	status, err := a.Status(ctx, "")
	out.Versions = status.Versions
	return out, err
}

// answer says why a partner was of no help in a recovery, in words that follow its
// name; "" if it was.
func (a *Agent) answer(p federation.Asked) string {
	switch p.Answer {
	case federation.Agrees:
		return ""
	case federation.Behind:
		return "has an older state"
	case federation.Unknown:
		return "does not know this household"
	case federation.False:
		a.c.Log.Warn("an answer that does not verify", "partner", p.Name, "err", p.Err)
		return "sent what does not verify"
	}
	return a.plain(p.Name, p.Err)
}
