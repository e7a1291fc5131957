package vault

import (
	"sync"

	"github.com/grange-grid/grange/core"
)

// spot is a piece at a machine.
type spot struct {
	piece core.Score
	agent core.DID
}

// findings is what an audit of a batch of segments found to be wrong, and so which
// promises count for what. Nil finds nothing wrong.
type findings struct {
	now bool // what is away counts as lost
	// leaves tells which holdings are replaced for where they are; nil: none.
	leaves func(core.Holding) bool

	mu  sync.Mutex
	bad map[spot]core.PieceState
}

// begin forgets the batch before.
func (f *findings) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = map[spot]core.PieceState{}
}

func (f *findings) note(found core.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad[spot{found.Score, found.Agent}] = found.State
}

// state returns what was found to be wrong with a holding, "" if nothing was.
func (f *findings) state(h core.Holding) core.PieceState {
	if f == nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad[spot{h.Score, h.Agent}]
}

// unproven tells which holdings are not worth anything just now.
func (f *findings) unproven(h core.Holding) bool { return f.state(h) != "" }

// dead tells which holdings are no more for certain.
func (f *findings) dead(h core.Holding) bool {
	state := f.state(h)
	return state != "" && state != core.PieceAway
}

// lost tells which holdings a mending replaces: the dead ones, and those of a holder that is
// away, when the person says that it will not come back, or that leaves.
func (f *findings) lost(h core.Holding) bool {
	return f.dead(h) || f != nil && (f.now && f.unproven(h) || f.leaves != nil && f.leaves(h))
}

// struck notes that a holding was struck out: the next one at that spot is a new one.
func (f *findings) struck(h core.Holding) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.bad, spot{h.Score, h.Agent})
}
