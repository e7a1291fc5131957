package federation

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
)

// hintsMax is how many of the addresses of a machine of ours come from partners: those
// that it says itself keep their place.
const hintsMax = pact.AddrsMax / 2

// sibling is another machine of our household. Its addrs, those that it said itself,
// and met are guarded by Federation.mu.
type sibling struct {
	agent core.DID
	addrs []string
	// met is how long this machine had run when it came to know that one, since it started.
	met int64
	// nudge holds a token when it should be greeted now.
	nudge chan struct{}
}

// Machine is one of our household's.
type Machine struct {
	Agent core.DID
	// Name is what it is called within the household; it may be empty.
	Name string
	// Self says that it is this one.
	Self bool
	// Seen is when it was last within reach; zero if that is not known, and of this one.
	Seen  time.Time
	Addrs []string
	// Quiet is for how long it was not within reach, of the time that this machine ran; 0 of this one.
	Quiet time.Duration
	// Head is the number of its newest head that is kept here, or, of one that was removed,
	// of the last that counts; 0 for none.
	Head uint64
}

// Home returns our own household as if it were a partner: its machines, this one among them, keep pieces for each
// other without a pact. When each was seen Machines tells.
func (f *Federation) Home() Partner {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := Partner{Grid: f.self.Grid, Name: f.self.Name, Pact: pact.Home(f.self.Grid), Terms: pact.Terms{}.WithDefaults()}
	newest, _ := f.own.chain.Newest()
	for _, a := range newest.Agents {
		out.Agents = append(out.Agents, AgentAddrs{DID: a.DID, Addrs: f.c.Known.Of(a.DID)})
	}
	return out
}

// Heir tells whether this machine is the one, of those that our newest charter lists, that sees to what
// removed machines have left: the first.
func (f *Federation) Heir() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, _ := f.own.chain.Newest()
	return len(newest.Agents) > 0 && newest.Agents[0].DID == f.self.Agent
}

// Machines returns our household's machines, this one first, then by DID, and those that
// were removed, of which nothing but name and head is known.
func (f *Federation) Machines() (list, removed []Machine, err error) {
	seqs, err := f.heldSeqs(f.self.Grid)
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, _ := f.own.chain.Newest()
	names, err := newest.Names(f.secrets)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range newest.Agents {
		m := Machine{Agent: a.DID, Self: a.DID == f.self.Agent, Addrs: f.c.Known.Of(a.DID)}
		m.Name, _ = parseLabel(names[a.DID])
		seen, last := f.seen[a.DID], f.ran
		if s := f.siblings[a.DID]; s != nil {
			last = s.met
		}
		if seen.at != 0 {
			m.Seen, last = time.Unix(seen.at, 0), seen.ran
		}
		m.Quiet = time.Duration(f.ran-last) * time.Second
		if i := slices.IndexFunc(seqs, func(h headSeq) bool { return h.Agent == a.DID }); i >= 0 {
			m.Head = seqs[i].Seq
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(a, b Machine) int {
		switch {
		case a.Self:
			return -1
		case b.Self:
			return 1
		}
		return a.Agent.Compare(b.Agent)
	})
	earlier := f.earlierNames(newest)
	for _, r := range newest.Removed {
		removed = append(removed, Machine{Agent: r.DID, Name: earlier[r.DID], Head: r.Seq})
	}
	return list, removed, nil
}

// earlierNames returns what the machines that a charter removes were called, as far as the
// charters that are kept here tell. The caller holds f.mu.
func (f *Federation) earlierNames(newest charter.Charter) map[core.DID]string {
	out := map[core.DID]string{}
	for _, s := range slices.Backward(f.own.chain.All()) {
		if len(out) == len(newest.Removed) {
			break
		}
		c, err := charter.Open(s)
		if err != nil {
			continue // all of them were opened when they came
		}
		then := f.secrets // as they were
		for len(then.Vault) > 0 && then.Newest().Epoch > c.Epoch {
			then.Vault = then.Vault[:len(then.Vault)-1]
		}
		names, err := c.Names(then)
		if err != nil {
			continue // of a charter that lost against another: its secrets are not ours
		}
		for _, a := range c.Agents {
			if _, removed := newest.RemovedAgent(a.DID); removed && out[a.DID] == "" {
				out[a.DID], _ = parseLabel(names[a.DID])
			}
		}
	}
	return out
}

// gather brings the siblings up to what the newest charter lists. The caller holds f.mu.
func (f *Federation) gather() {
	newest, _ := f.own.chain.Newest()
	changed := false
	maps.DeleteFunc(f.siblings, func(agent core.DID, s *sibling) bool {
		if newest.Lists(agent) {
			return false
		}
		wake(s.nudge) // so that it is told
		return true
	})
	for _, a := range newest.Agents {
		if a.DID != f.self.Agent && f.siblings[a.DID] == nil {
			f.siblings[a.DID] = &sibling{agent: a.DID, met: f.ran, nudge: make(chan struct{}, 1)}
			changed = true
		}
	}
	if changed {
		close(f.news)
		f.news = make(chan struct{})
		wake(f.dirty) // a machine that has come needs a head of ours
	}
}

// loadSiblings reads where our other machines were last found.
func (f *Federation) loadSiblings() error {
	for e, err := range scan[siblingRecord](f.c.Books, []byte(keySibling), didSize, recordSizeMax*4) {
		if err != nil {
			return err
		}
		if s := f.siblings[core.DID(e.rest)]; s != nil {
			s.addrs = tidyAddrs(e.value.Addrs)
			f.c.Known.Learn(s.agent, s.addrs)
		}
	}
	return nil
}

// IsOurs tells whether an agent is another machine of our household.
func (f *Federation) IsOurs(agent core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.siblings[agent] != nil
}

// others returns our other machines, the one seen last first.
func (f *Federation) others() []core.DID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(f.siblings), func(a, b core.DID) int {
		return cmp.Or(cmp.Compare(f.seen[b].at, f.seen[a].at), a.Compare(b))
	})
}

// nudgeOwn has one of them greeted now.
func (f *Federation) nudgeOwn(agent core.DID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.siblings[agent]; s != nil {
		wake(s.nudge)
	}
}

// locateOwn takes in where another machine of ours says it can be dialled.
func (f *Federation) locateOwn(agent core.DID, addrs []string) error {
	addrs = tidyAddrs(addrs)
	f.mu.Lock()
	s := f.siblings[agent]
	same := s == nil || len(addrs) == 0 || slices.Equal(s.addrs, addrs)
	if !same {
		s.addrs = addrs
	}
	f.mu.Unlock()
	if same {
		return nil
	}
	f.c.Known.Learn(agent, addrs)
	var c changes
	c.sibling(agent, addrs)
	return c.apply(f.c.Books)
}

func (c *changes) sibling(agent core.DID, addrs []string) {
	c.set(key(keySibling, agent[:]), siblingRecord{V: codec.Version, Addrs: addrs})
}

// hear takes in where a partner has found our other machines. It may lie, so what a
// machine said itself is not forgotten for it.
func (f *Federation) hear(hints []AgentAddrs) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range hints[:min(len(hints), charter.AgentsMax)] {
		if s := f.siblings[h.DID]; s != nil {
			said := s.addrs[:min(len(s.addrs), hintsMax)]
			f.c.Known.Learn(h.DID, append(slices.Clone(said), h.Addrs[:min(len(h.Addrs), hintsMax)]...))
		}
	}
}

// machinesOf returns where the machines of a household were last found, but for one.
func (f *Federation) machinesOf(grid, but core.DID) []AgentAddrs {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.householdOf(grid)
	if h == nil {
		return nil
	}
	var out []AgentAddrs
	newest, _ := h.chain.Newest()
	for _, a := range newest.Agents {
		if addrs := f.c.Known.Of(a.DID); a.DID != but && len(addrs) > 0 {
			out = append(out, AgentAddrs{DID: a.DID, Addrs: addrs})
		}
	}
	return out
}

// tendOwn greets another machine of ours, for as long as it is one, and once more when it
// has been removed: it learns why nobody answers it.
func (f *Federation) tendOwn(ctx context.Context, s *sibling) {
	f.tend(ctx, s.agent, s.nudge, func() (bool, error) {
		f.mu.Lock()
		still := f.siblings[s.agent] == s
		f.mu.Unlock()
		if !still {
			_, err := f.greet(ctx, f.self.Grid, s.agent)
			return false, err
		}
		return true, f.visitOwn(ctx, s.agent)
	})
}

// visitOwn greets another machine of ours, and takes what newer heads it has.
func (f *Federation) visitOwn(ctx context.Context, agent core.DID) error {
	theirs, err := f.greet(ctx, f.self.Grid, agent)
	if err != nil {
		return err
	}
	return f.catchUp(ctx, agent, theirs.Heads)
}
