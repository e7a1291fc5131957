package table

import (
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// known is what this machine has learned of a table from the answers of another, so that it need not be sent again.
type known struct {
	check        *table.Checkpoint
	attestations []identity.Signed
	def          *table.Definition
	defID        core.Score
	sent         table.Sent
}

// vouched tells whether somebody attests the checkpoint whose word counts.
func (k known) vouched(trust []core.DID, self core.DID) bool {
	a := Answered{Verified: table.Verified{Definition: k.def}}
	a.vouch(k.attestations, trust, self)
	return len(a.Vouched) > 0
}

// knownMax is how many are remembered.
const knownMax = 256

// memory is what is known, by table and machine; it is lost with the process, which costs a few hundred bytes.
type memory struct {
	mu  sync.Mutex
	all map[[2]core.DID]known
}

func (t *Tables) known(id, from core.DID) known {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	return t.memory.all[[2]core.DID{id, from}]
}

func (t *Tables) learn(id, from core.DID, a *Answered) {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	if len(t.memory.all) >= knownMax || t.memory.all == nil {
		t.memory.all = map[[2]core.DID]known{}
	}
	t.memory.all[[2]core.DID{id, from}] = known{a.Answer.Checkpoint, a.Answer.Attestations, a.Definition, a.DefinitionID, a.Answer.Definition}
}

// lastPart is the part of a table that was asked last, as it was read.
type lastPart struct {
	mu   sync.Mutex
	part Part
	all  *Answered
}

func (l *lastPart) get(p Part) *Answered {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part != p {
		return nil
	}
	return l.all
}

func (l *lastPart) put(p Part, all *Answered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part, l.all = p, all
}

func (l *lastPart) forget(id core.DID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part.Table == id {
		l.part, l.all = Part{}, nil
	}
}
