package federation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/page"
)

// Limits of the table of partners.
const (
	partnersMax = 1024
	// partnerSizeMax bounds a partner's record, so that it is a record of the state.
	partnerSizeMax = page.RecordSizeMax - 64
	// seenStep is how old the time in the books may be, in seconds: it is shown to people.
	seenStep = 10 * 60
)

// AgentAddrs is a machine and where it can be dialled.
type AgentAddrs struct {
	DID   core.DID `json:"did"`
	Addrs []string `json:"addrs"`
}

// Partner is a household with which we have a pact.
type Partner struct {
	Grid core.DID
	// Name is what it called itself when the pact was made; no two partners have one name.
	Name string
	// Pact is the pact's id.
	Pact  core.Score
	Terms pact.Terms
	// Inviter says that we invited them.
	Inviter bool
	// From is when the pact began, in Unix seconds.
	From int64
	// Agents are the machines that their newest charter lists, by DID.
	Agents []AgentAddrs
	// Seen is when one of them was last within reach; zero if that is not known.
	Seen time.Time
	// Quiet is for how long none of them was within reach, of the time that this machine ran.
	Quiet time.Duration
	// Gives is what they give us, Given what we give them, in each resource's unit.
	Gives, Given map[core.Resource]int64
	// Amended counts the amendments of the pact so far.
	Amended uint64
	// Until is when the pact ends by itself, Ends when it ends, by that or by a notice, in Unix seconds; 0 for
	// never. Ending says that we have given notice and they have not heard of it.
	Until   int64
	Ends    int64
	Ending  bool
	leaving bool
	// Mine is what we have proposed to change it to, Theirs what they have; nil for nothing.
	Mine, Theirs *Proposal
}

// partner is what is known of a household with which we have a pact. It is
// guarded by Federation.mu, but for what does not change: grid, nudge.
type partner struct {
	household
	record partnerRecord
	pact   pact.Pact // the first
	id     core.Score
	terms  pact.Pact // as it was amended last
	notice pact.Notice
	// waits is what has still to be settled with them; settled says that they know all that there is
	// to say of the pact, as far as was said since the start.
	waits   termsRecord
	settled bool
	// answered is when they last answered to that, however they did.
	answered int64
	// signer is the machine of theirs that signed the pact.
	signer core.DID
	// met is how long this machine had run when it came to know the partner, since it started.
	met int64
	// nudge holds a token when it should be greeted now.
	nudge chan struct{}
}

// seen is when a machine was within reach, in Unix seconds, and what is stored of that; ran is
// how long this machine had run then.
type seen struct{ at, stored, ran int64 }

// openPartner verifies a partner's record: that it is of grid, and that both sides signed its pact.
func (f *Federation) openPartner(r partnerRecord, grid core.DID) (*partner, error) {
	return newPartner(f.self.Grid, r, grid)
}

func newPartner(self core.DID, r partnerRecord, grid core.DID) (*partner, error) {
	p, err := r.Pact.Verify()
	if err != nil {
		return nil, fmt.Errorf("partner %s: %w", grid.Short(), err)
	}
	other, ok := p.Other(self)
	if !ok || other != grid || r.Grid != grid {
		return nil, fmt.Errorf("partner %s: the pact is between others: %w", grid.Short(), core.ErrInvalid)
	}
	if err := CheckName(r.Name); err != nil {
		return nil, fmt.Errorf("partner %s: %w", grid.Short(), err)
	}
	signer := r.Pact.Acceptor.By
	if p.Acceptor == self {
		signer = r.Pact.Inviter.By
	}
	out := &partner{
		household: newHousehold(grid), record: r, pact: p, id: r.Pact.ID(), terms: p, signer: signer,
		nudge: make(chan struct{}, 1), waits: termsRecord{V: codec.Version},
	}
	if r.Amendment != nil {
		if out.terms, err = openAmendment(out, *r.Amendment); err != nil {
			return nil, fmt.Errorf("partner %s: %w", grid.Short(), err)
		}
	}
	if r.Notice != nil {
		if out.notice, err = openNotice(out, *r.Notice); err != nil {
			return nil, fmt.Errorf("partner %s: %w", grid.Short(), err)
		}
	}
	return out, nil
}

// agents returns the machines of a partner. After a recovery there are no charters
// of it yet, and the record in the state says which. The caller holds f.mu.
func (p *partner) agents() []core.DID {
	var out []core.DID
	if p.empty() {
		for _, a := range p.record.Agents {
			out = append(out, a.DID)
		}
		return out
	}
	newest, _ := p.chain.Newest()
	for _, a := range newest.Agents {
		out = append(out, a.DID)
	}
	return out
}

// lists tells whether an agent is of the household. The caller holds f.mu.
func (p *partner) lists(agent core.DID) bool {
	if p.empty() {
		return slices.ContainsFunc(p.record.Agents, func(a AgentAddrs) bool { return a.DID == agent })
	}
	return p.chain.Lists(agent)
}

// public returns what others may know. The caller holds f.mu.
func (f *Federation) public(p *partner) Partner {
	out := Partner{
		Grid: p.grid, Name: p.record.Name, Pact: p.id, Terms: p.terms.Terms, From: p.pact.From,
		Inviter: p.pact.Inviter == f.self.Grid, Amended: p.terms.N, Until: p.terms.Until, Ends: p.ends(), Ending: p.waits.End,
		leaving: p.leaving(f.now()),
		Mine:    f.proposalOf(p.waits.Mine), Theirs: f.proposalOf(p.waits.Theirs),
	}
	out.Gives, out.Given = f.amounts(p.terms)
	var last, ran int64
	for _, agent := range p.agents() {
		out.Agents = append(out.Agents, AgentAddrs{DID: agent, Addrs: f.c.Known.Of(agent)})
		last, ran = max(last, f.seen[agent].at), max(ran, f.seen[agent].ran)
	}
	slices.SortFunc(out.Agents, func(a, b AgentAddrs) int { return a.DID.Compare(b.DID) })
	if last != 0 {
		out.Seen = time.Unix(last, 0)
	}
	if last == 0 {
		ran = p.met
	}
	out.Quiet = time.Duration(f.ran-ran) * time.Second
	return out
}

// Partners returns all partners, by name, then DID.
func (f *Federation) Partners() []Partner {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Partner, 0, len(f.partners))
	for _, p := range f.partners {
		out = append(out, f.public(p))
	}
	slices.SortFunc(out, func(a, b Partner) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Grid.Compare(b.Grid))
	})
	return out
}

// Partner returns one partner.
func (f *Federation) Partner(grid core.DID) (Partner, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.partners[grid]
	if p == nil {
		return Partner{}, false
	}
	return f.public(p), true
}

// ByAgent returns the partner whose machine an agent is.
func (f *Federation) ByAgent(agent core.DID) (Partner, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, _ := f.belongs(agent)
	if p == nil {
		return Partner{}, false
	}
	return f.public(p), true
}

// ListsAgent tells whether the newest charter seen of a household, ours or a
// partner's, lists an agent.
func (f *Federation) ListsAgent(grid, agent core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if grid == f.self.Grid {
		return f.own.chain.Lists(agent)
	}
	p := f.partners[grid]
	return p != nil && p.lists(agent)
}

// Alone tells whether our newest charter lists no machine but this one.
func (f *Federation) Alone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, _ := f.own.chain.Newest()
	return len(newest.Agents) == 1 && newest.Lists(f.self.Agent)
}

// AddrsOf returns the addresses at which a machine can be dialled, none if they are not known.
func (f *Federation) AddrsOf(agent core.DID) []string { return f.c.Known.Of(agent) }

// Saw says that a machine is within reach now. It may be called often: the books
// are written at most every ten minutes a machine.
func (f *Federation) Saw(agent core.DID) {
	now := f.now()
	f.mu.Lock()
	if p, _ := f.belongs(agent); p == nil && f.siblings[agent] == nil && f.errandAtLocked(agent) == nil {
		f.mu.Unlock()
		return
	}
	s := f.seen[agent]
	s.at, s.ran = now, f.ran
	store := now-s.stored >= seenStep || now < s.stored
	if store {
		s.stored = now
	}
	f.seen[agent] = s
	f.mu.Unlock()
	if !store {
		return
	}
	var c changes
	c.set(key(keySeen, agent[:]), seenRecord{V: codec.Version, Time: now, Ran: s.ran})
	if err := c.apply(f.c.Books); err != nil {
		f.c.Log.Warn("note when a machine was seen", "agent", agent.Short(), "err", err)
	}
}

// machines returns the machines of a partner, or of a household where a voucher lets us in, the one seen last first: the order in which to try them.
func (f *Federation) machines(grid core.DID) []core.DID {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []core.DID
	if p := f.partners[grid]; p != nil {
		out = p.agents()
	} else if e := f.errands[grid]; e != nil {
		out = e.agents()
	}
	slices.SortStableFunc(out, func(a, b core.DID) int { return cmp.Compare(f.seen[b].at, f.seen[a].at) })
	return out
}

// join makes a partner of a pact that both sides have signed, with what else is
// written with it. The caller has f.records, and has checked that there is none of that grid.
func (f *Federation) join(c *changes, name string, signed pact.SignedPact, grid core.DID, charters []opened) (*partner, error) {
	newest, ok := newestOf(charters)
	if !ok {
		return nil, fmt.Errorf("partner %s: no charter: %w", grid.Short(), core.ErrInvalid)
	}
	f.mu.Lock()
	full := len(f.partners) >= partnersMax
	name = f.unlike(name)
	f.mu.Unlock()
	if full {
		return nil, fmt.Errorf("at most %d partners: %w", partnersMax, core.ErrRefused)
	}
	r := partnerRecord{V: codec.Version, Grid: grid, Name: name, Pact: signed, Agents: f.located(newest)}
	p, err := f.openPartner(r, grid)
	if err != nil {
		return nil, err
	}
	for _, o := range charters {
		if err := p.add(o.signed); err != nil {
			return nil, fmt.Errorf("partner %s: %w", name, err)
		}
		c.charter(grid, o.signed)
	}
	c.set(key(keyPartner, grid[:]), r)
	if err := c.apply(f.c.Books); err != nil {
		return nil, fmt.Errorf("keep the pact with %s: %w", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p.met = f.ran
	f.partners[grid] = p
	close(f.news)
	f.news = make(chan struct{})
	wake(f.enrol)
	wake(f.dirty)
	return p, nil
}

// unlike returns name, with a number behind it where another partner has that
// name: nobody can pass for an older friend. The caller holds f.mu.
func (f *Federation) unlike(name string) string {
	taken := func(n string) bool {
		for _, p := range f.partners {
			if p.record.Name == n {
				return true
			}
		}
		return false
	}
	for n, base := 2, name; taken(name); n++ {
		tail := fmt.Sprintf("-%d", n)
		name = strings.ToValidUTF8(base[:min(len(base), pact.InvitationNameSizeMax-len(tail))], "") + tail
	}
	return name
}

// located returns the machines that a charter lists with their addresses, fewer
// of these where a record would be too long for the state.
func (f *Federation) located(newest opened) []AgentAddrs {
	out := make([]AgentAddrs, 0, len(newest.Agents))
	most := pact.AddrsMax * 16 / max(16, len(newest.Agents))
	for _, a := range newest.Agents {
		addrs := f.c.Known.Of(a.DID)
		out = append(out, AgentAddrs{DID: a.DID, Addrs: addrs[:min(len(addrs), most)]})
	}
	return out
}

// rewrite brings a partner's record in our state up to what its charters and
// addresses say now. The caller has f.records.
func (f *Federation) rewrite(p *partner) error {
	f.mu.Lock()
	newest, _ := p.chain.Newest()
	agents := f.located(opened{Charter: newest})
	r := p.record
	same := slices.EqualFunc(r.Agents, agents, func(a, b AgentAddrs) bool {
		return a.DID == b.DID && slices.Equal(a.Addrs, b.Addrs)
	})
	f.mu.Unlock()
	if same || len(agents) == 0 {
		return nil
	}
	r.Agents = agents
	var c changes
	c.set(key(keyPartner, p.grid[:]), r)
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep the machines of %s: %w", r.Name, err)
	}
	f.mu.Lock()
	p.record = r
	f.mu.Unlock()
	wake(f.dirty)
	return nil
}

// locate takes in where a partner's machine, or one of ours, says it can be dialled.
func (f *Federation) locate(ctx context.Context, grid, agent core.DID, addrs []string) error {
	if grid == f.self.Grid {
		return f.locateOwn(agent, addrs)
	}
	before := f.c.Known.Of(agent)
	f.c.Known.Learn(agent, addrs)
	if slices.Equal(before, f.c.Known.Of(agent)) {
		return nil
	}
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	f.mu.Lock()
	p := f.partners[grid]
	f.mu.Unlock()
	if p == nil {
		return nil
	}
	return f.rewrite(p)
}

func sortDIDs(list []core.DID) { slices.SortFunc(list, core.DID.Compare) }
