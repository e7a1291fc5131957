// Package charter holds a household's signed membership: the charters that its
// grid root signs, in numbered epochs; the secrets that are sealed in them; the
// chain of all that have been seen; and the heads that the listed agents sign.
// The formats are in docs/SPEC.md, sections 3 and 4.
//
// A charter stands on its own. The root signed it, so no earlier one is needed to
// verify it, and a partner that was away for years believes the newest at once. Which
// stands is a matter of order alone, never of arrival: by (recoveries, epoch), then
// the lower score. So all who have seen the same charters agree.
//
// It does not decide what to do about a rival, keeps nothing on a disk, and does
// not check that a head's page list is there. The rules for the one who writes the
// next charter are in Follow; readers cannot apply them, and do not.
package charter

import (
	"bytes"
	"cmp"
	"crypto/hpke"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// Limits of a Charter.
const (
	AgentsMax  = 64
	RemovedMax = 1024
	// NameSizeMax bounds a machine's name, in bytes of UTF-8.
	NameSizeMax = 64
	// BodySizeMax bounds the encoding of a charter, in bytes. The largest that
	// the other limits allow is below it.
	BodySizeMax = 320 << 10
	// SignedSizeMax bounds the encoding of a signed charter, in bytes.
	SignedSizeMax = BodySizeMax + identity.SignedOverhead
)

// Charter is who belongs to a household in one epoch.
type Charter struct {
	V          uint     `json:"v"`
	Grid       core.DID `json:"grid"`
	Recoveries uint64   `json:"recoveries"`
	Epoch      uint64   `json:"epoch"` // from 1
	// Prev is the score of the signed charter before this one; zero at epoch 1.
	Prev core.Score `json:"prev"`
	Time int64      `json:"time"` // seconds since 1970
	// Agents are the machines of the household, by rising DID.
	Agents []Agent `json:"agents"`
	// Removed are the machines that were, by rising DID.
	Removed []Removed `json:"removed"`
	// Recovery is the public half of the recovery key, seal.PublicSize bytes.
	Recovery []byte `json:"recovery"`
	// Vault is the Secrets, sealed under a key of this charter's own.
	Vault []byte `json:"vault"`
	// Boxes hold that key: one for the recovery key, which comes first, and one for each agent.
	Boxes []Box `json:"boxes"`
}

// Agent is one machine of a household.
type Agent struct {
	DID core.DID `json:"did"`
	// Seal is its X-Wing public key, seal.PublicSize bytes.
	Seal []byte `json:"seal"`
	// Name is sealed: SealName makes it, Charter.Names opens it.
	Name []byte `json:"name"`
}

// Removed is a machine that no longer belongs, and its last head that counts. Seq 0
// and the zero score say that none does.
type Removed struct {
	DID  core.DID   `json:"did"`
	Seq  uint64     `json:"seq"`
	Head core.Score `json:"head"`
}

// Box is the key of a charter's Vault, sealed to one reader: an agent, or where To
// is zero the recovery key.
type Box struct {
	To  core.DID `json:"to"`
	Box []byte   `json:"box"`
}

// boxSize is the length of every Box, in bytes.
const boxSize = 32 + seal.BoxOverhead

// Open verifies a signed charter: the signature, by the grid itself, and every
// rule that can be checked without the secrets. Errors: core.ErrCorrupt,
// core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func Open(s identity.Signed) (Charter, error) {
	c, err := identity.Open[Charter](s, identity.KindCharter, BodySizeMax)
	if err != nil {
		return Charter{}, err
	}
	if s.By != c.Grid {
		return Charter{}, fmt.Errorf("charter of grid %s: %w: signed by %s", c.Grid.Short(), core.ErrInvalid, s.By.Short())
	}
	if err := c.check(); err != nil {
		return Charter{}, fmt.Errorf("charter of grid %s, epoch %d: %w", c.Grid.Short(), c.Epoch, err)
	}
	return c, nil
}

// Lists tells whether agent belongs to the household in this epoch.
func (c Charter) Lists(agent core.DID) bool {
	_, ok := c.Agent(agent)
	return ok
}

// Agent returns what the charter says of one that it lists.
func (c Charter) Agent(agent core.DID) (Agent, bool) {
	i, ok := slices.BinarySearchFunc(c.Agents, agent, func(a Agent, d core.DID) int { return a.DID.Compare(d) })
	if !ok {
		return Agent{}, false
	}
	return c.Agents[i], true
}

// RemovedAgent returns what the charter says of one that it removed.
func (c Charter) RemovedAgent(agent core.DID) (Removed, bool) {
	i, ok := slices.BinarySearchFunc(c.Removed, agent, func(r Removed, d core.DID) int { return r.DID.Compare(d) })
	if !ok {
		return Removed{}, false
	}
	return c.Removed[i], true
}

// Compare orders two charters of one grid: above zero when a stands over b, below
// when b stands over a, zero when they are one. The scores are those of the signed charters.
func Compare(a Charter, aScore core.Score, b Charter, bScore core.Score) int {
	return rankOf(a, aScore).compare(rankOf(b, bScore))
}

// rank is what charters are ordered by.
type rank struct {
	recoveries, epoch uint64
	score             core.Score
}

func rankOf(c Charter, score core.Score) rank { return rank{c.Recoveries, c.Epoch, score} }

func (r rank) compare(s rank) int {
	return cmp.Or(cmp.Compare(r.recoveries, s.recoveries), cmp.Compare(r.epoch, s.epoch), bytes.Compare(s.score[:], r.score[:]))
}

// rivals tells whether two charters claim one place.
func (r rank) rivals(s rank) bool { return r.recoveries == s.recoveries && r.epoch == s.epoch }

// check is every rule of the format but the signature. All errors are core.ErrInvalid.
func (c Charter) check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{core.ErrInvalid}, args...)...)
	}
	switch {
	case c.Epoch == 0:
		return invalid("epochs start at 1")
	case (c.Epoch == 1) != c.Prev.IsZero():
		return invalid("only the first epoch has no charter before it")
	case c.Time < 0:
		return invalid("a time before 1970")
	case len(c.Agents) == 0 || len(c.Agents) > AgentsMax:
		return invalid("%d agents, want 1 to %d", len(c.Agents), AgentsMax)
	case len(c.Removed) > RemovedMax:
		return invalid("%d removed agents, at most %d", len(c.Removed), RemovedMax)
	case len(c.Vault) < seal.SmallOverhead || len(c.Vault) > secretsSizeMax+seal.SmallOverhead:
		return invalid("a vault of %d bytes", len(c.Vault))
	case len(c.Boxes) != 1+len(c.Agents):
		return invalid("%d boxes for %d agents and the recovery key", len(c.Boxes), len(c.Agents))
	}
	if err := checkSealKey(c.Recovery); err != nil {
		return fmt.Errorf("recovery key: %w", err)
	}
	if err := c.checkAgents(); err != nil {
		return err
	}
	for i, r := range c.Removed {
		if i > 0 && c.Removed[i-1].DID.Compare(r.DID) >= 0 {
			return invalid("removed agents that do not rise")
		}
		if c.Lists(r.DID) {
			return invalid("agent %s is both listed and removed", r.DID.Short())
		}
		if (r.Seq == 0) != r.Head.IsZero() {
			return invalid("removed agent %s: a head is named by seq and score, or by neither", r.DID.Short())
		}
	}
	return nil
}

// checkAgents checks each agent, and that the box at its place is its own.
func (c Charter) checkAgents() error {
	for i, b := range c.Boxes {
		var to core.DID
		if i > 0 {
			to = c.Agents[i-1].DID
		}
		if b.To != to || len(b.Box) != boxSize {
			return fmt.Errorf("%w: box %d is not that of the recovery key and the agents in turn", core.ErrInvalid, i)
		}
	}
	for i, a := range c.Agents {
		if i > 0 && c.Agents[i-1].DID.Compare(a.DID) >= 0 {
			return fmt.Errorf("%w: agents that do not rise", core.ErrInvalid)
		}
		if err := identity.CheckDID(a.DID); err != nil {
			return err
		}
		if a.DID == c.Grid { // the root's key is on no machine
			return fmt.Errorf("%w: the grid root is listed as an agent", core.ErrInvalid)
		}
		if err := checkSealKey(a.Seal); err != nil {
			return fmt.Errorf("agent %s: %w", a.DID.Short(), err)
		}
		if n := len(a.Name) - seal.SmallOverhead; n < 1 || n > NameSizeMax {
			return fmt.Errorf("%w: agent %s: a sealed name of %d bytes", core.ErrInvalid, a.DID.Short(), len(a.Name))
		}
	}
	return nil
}

// checkSealKey refuses what is not the encoding of an X-Wing public key.
func checkSealKey(public []byte) error {
	if _, err := hpke.MLKEM768X25519().NewPublicKey(public); err != nil {
		return fmt.Errorf("%w: X-Wing key of %d bytes: %w", core.ErrInvalid, len(public), err)
	}
	return nil
}
