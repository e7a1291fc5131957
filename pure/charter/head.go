package charter

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// Limits of a Head; sizes are in bytes.
const (
	HeadSizeMax = 2 << 10
	// RootSizeMax bounds the sealed state root.
	RootSizeMax = 64 << 10
	// StoppedMax is how many tickets it may say are stopped.
	StoppedMax = 64
)

// Head is an agent's signed pointer to its newest state.
type Head struct {
	V     uint     `json:"v"`
	Grid  core.DID `json:"grid"`
	Agent core.DID `json:"agent"`
	// Charter is the score of the signed charter that it cites, which lists the agent.
	Charter core.Score `json:"charter"`
	// Epoch names the vault secret that sealed the state root.
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"` // from 1
	// Root is the score of the sealed state root, Size its length in bytes.
	Root core.Score `json:"root"`
	Size uint64     `json:"size"`
	// Salt is random, and fresh for each head: the key of the state root is made with it.
	Salt [32]byte `json:"salt"`
	Time int64    `json:"time"` // seconds since 1970
	// Stopped are the ids, rising, of tickets that were stopped and have not lapsed for a day.
	Stopped [][16]byte `json:"stopped,omitempty"`
}

// SignHead signs h with its agent's key. It takes V and Agent from the key, and
// refuses what OpenHead would.
func SignHead(k identity.Key, h Head) (identity.Signed, error) {
	h.V, h.Agent = codec.Version, k.DID()
	if err := h.check(); err != nil {
		return identity.Signed{}, fmt.Errorf("sign head %d: %w", h.Seq, err)
	}
	return identity.Sign(k, identity.KindHead, h)
}

// OpenHead verifies a signed head: the signature, by the agent that it names, and its
// form. That a charter lists the agent, and that the grid is the one expected, is for
// the caller to check. Errors: core.ErrCorrupt, core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func OpenHead(s identity.Signed) (Head, error) {
	h, err := identity.Open[Head](s, identity.KindHead, HeadSizeMax)
	if err != nil {
		return Head{}, err
	}
	if s.By != h.Agent {
		return Head{}, fmt.Errorf("head of %s: %w: signed by %s", h.Agent.Short(), core.ErrInvalid, s.By.Short())
	}
	if err := h.check(); err != nil {
		return Head{}, fmt.Errorf("head of %s: %w", h.Agent.Short(), err)
	}
	return h, nil
}

func (h Head) check() error {
	what := ""
	switch {
	case h.Seq == 0:
		what = "heads are counted from 1"
	case h.Epoch == 0:
		what = "epochs are counted from 1"
	case h.Time < 0:
		what = "a time before 1970"
	case h.Grid.IsZero() || h.Charter.IsZero() || h.Root.IsZero():
		what = "it names no grid, charter or root"
	case h.Size < seal.Overhead || h.Size > RootSizeMax:
		what = fmt.Sprintf("a state root of %d bytes", h.Size)
	case h.Salt == [32]byte{}: // two such heads would share a key and a nonce
		what = "a salt of zeros"
	case len(h.Stopped) > StoppedMax:
		what = fmt.Sprintf("%d tickets that are stopped, at most %d", len(h.Stopped), StoppedMax)
	case !rise(h.Stopped):
		what = "ids of tickets that do not rise"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", core.ErrInvalid, what)
}

// rise tells whether each id is greater than the one before.
func rise(ids [][16]byte) bool {
	for i := range ids {
		if i > 0 && bytes.Compare(ids[i-1][:], ids[i][:]) >= 0 {
			return false
		}
	}
	return true
}
