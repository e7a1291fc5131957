package charter

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/seal"
)

// Next returns the charter to change and then to Seal after c, whose signed score
// is given: the next epoch, at a time in seconds since 1970, with c's agents. It
// shares no memory with c that a change of its lists would reach.
func (c Charter) Next(score core.Score, time int64) Charter {
	c.Epoch++
	c.Prev, c.Time = score, time
	c.Agents, c.Removed = slices.Clone(c.Agents), slices.Clone(c.Removed)
	c.Vault, c.Boxes = nil, nil
	return c
}

// Remove takes an agent off the list and names its last head that counts; seq 0 and
// the zero score say that none does. Errors: core.ErrNotExist.
func (c *Charter) Remove(agent core.DID, seq uint64, head core.Score) error {
	i, ok := slices.BinarySearchFunc(c.Agents, agent, func(a Agent, d core.DID) int { return a.DID.Compare(d) })
	if !ok {
		return fmt.Errorf("remove agent %s: %w", agent.Short(), core.ErrNotExist)
	}
	c.Agents = slices.Delete(c.Agents, i, i+1)
	c.Removed = append(c.Removed, Removed{DID: agent, Seq: seq, Head: head})
	return nil
}

// Follow checks what nobody but the household can check: that next, which has been
// opened, rightly comes after prev. Whoever signs a charter asks it first. No agent
// goes without being named as removed, none comes back, no removal is forgotten
// or changed, no secret is lost, and a removal brings a new secret under
// next's own epoch. prevScore is the score of the signed prev. Errors: core.ErrInvalid.
func Follow(prev Charter, prevScore core.Score, prevSecrets Secrets, next Charter, nextSecrets Secrets) error {
	wrong := func(what string) error {
		return fmt.Errorf("charter of epoch %d after %d: %w: %s", next.Epoch, prev.Epoch, core.ErrInvalid, what)
	}
	recovered := next.Recoveries == prev.Recoveries+1
	switch {
	case next.Grid != prev.Grid:
		return wrong("another grid")
	case next.Prev != prevScore:
		return wrong("it names another charter before it")
	case next.Recoveries != prev.Recoveries && !recovered:
		return wrong("recoveries are counted one by one")
	case next.Epoch != prev.Epoch+1 && (!recovered || next.Epoch <= prev.Epoch):
		return wrong("epochs are counted one by one")
	case nextSecrets.Chunker != prevSecrets.Chunker:
		return wrong("another chunker key")
	case len(nextSecrets.Vault) < len(prevSecrets.Vault) ||
		!slices.Equal(nextSecrets.Vault[:len(prevSecrets.Vault)], prevSecrets.Vault):
		return wrong("an earlier vault secret is missing or changed")
	}
	removes := false
	for _, a := range prev.Agents {
		if next.Lists(a.DID) {
			continue
		}
		if _, named := next.RemovedAgent(a.DID); !named {
			return wrong("agent " + a.DID.Short() + " is gone and not named as removed")
		}
		removes = true
	}
	for _, r := range prev.Removed {
		if next.Lists(r.DID) {
			return wrong("agent " + r.DID.Short() + " was removed, and is listed again")
		}
		if after, named := next.RemovedAgent(r.DID); !named || after != r {
			return wrong("the removal of agent " + r.DID.Short() + " is missing or changed")
		}
	}
	if removes && nextSecrets.Newest().Epoch != next.Epoch {
		return wrong("an agent is removed, and the vault secret stays")
	}
	return nil
}

// sealedAnew returns the agents by rising DID, each name sealed with the newest secret.
func sealedAnew(agents []Agent, s Secrets) ([]Agent, error) {
	agents = slices.Clone(agents)
	slices.SortFunc(agents, func(a, b Agent) int { return a.DID.Compare(b.DID) })
	for i, a := range agents {
		if _, err := OpenName(s, a.Name); err == nil {
			continue
		}
		name, err := nameOfOld(s, a.Name)
		if err != nil {
			return nil, fmt.Errorf("name of agent %s: %w", a.DID.Short(), err)
		}
		newest := s.Newest()
		agents[i].Name = seal.Small(seal.ContextName, &newest.Key, []byte(name))
	}
	return agents, nil
}

// nameOfOld opens a name with whichever secret sealed it.
func nameOfOld(s Secrets, box []byte) (name string, err error) {
	for _, v := range slices.Backward(s.Vault) {
		if name, err = openName(v, box); err == nil {
			return name, nil
		}
	}
	return "", err
}

func sortedRemoved(removed []Removed) []Removed {
	removed = slices.Clone(removed)
	slices.SortFunc(removed, func(a, b Removed) int { return a.DID.Compare(b.DID) })
	return removed
}
