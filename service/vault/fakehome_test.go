package vault

import (
	"context"
	"slices"

	"github.com/grange-grid/grange/core"
)

// home is a Household whose heads reach every household that is not away.
type ourHome struct {
	m      *market
	secret [32]byte
	saves  int
	deaf   bool // nobody can be told of a head

	machine int        // we are a new machine when it rises
	others  []core.DID // the household's other machines
}

func (h *ourHome) Agent() core.DID { return did(99 + h.machine) }
func (h *ourHome) Lists(agent core.DID) bool {
	return agent == h.Agent() || slices.Contains(h.others, agent)
}
func (h *ourHome) Alone() bool { return len(h.others) == 0 }
func (h *ourHome) Heir() bool  { return h.Alone() }

func (h *ourHome) Several(core.DID) bool { return false }
func (h *ourHome) Secret() [32]byte      { return h.secret }
func (h *ourHome) Chunker() [32]byte     { return [32]byte{7} }

func (h *ourHome) SaveHead(context.Context) (done []core.DID, failed map[core.DID]error, err error) {
	h.saves++
	failed = map[core.DID]error{}
	for grid, home := range h.m.homes {
		if home.away || h.deaf {
			failed[grid] = core.ErrUnreachable
		} else {
			done = append(done, grid)
		}
	}
	return done, failed, nil
}
