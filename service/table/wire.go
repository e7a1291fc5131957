package table

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/table"
)

// Limits of the wire (docs/SPEC.md §7), in bytes.
const (
	queryLimit  = 16 << 10
	attestLimit = 8 << 20
)

// queryRequest asks a question. Have and Definition are the checkpoint and the definition that the asker has.
type queryRequest struct {
	Table core.DID `json:"table"`
	table.Question
	Have       *core.Score `json:"have,omitempty"`
	Definition *core.Score `json:"definition,omitempty"`
}

// attestRequest shows the newest attestations that one has, and proofs of omissions; the answer does the same.
type attestRequest struct {
	Table core.DID `json:"table"`
	testimony
}

// testimony is what machines have said of a table, and what is proven against them.
type testimony struct {
	Attestations []identity.Signed `json:"attestations"`
	Omissions    []table.Omission  `json:"omissions,omitempty"`
}

// Routes are what this machine answers about tables.
func (t *Tables) Routes() []wire.Route {
	return []wire.Route{
		{Method: "POST", Path: "/table/query", Who: wire.Stranger, Limit: queryLimit, Handler: wire.Handle(t.handleQuery)},
		{Method: "POST", Path: "/table/show", Who: wire.Stranger, Limit: showLimit, Handler: wire.Handle(t.handleShow)},
		{Method: "POST", Path: "/table/attest", Who: wire.Stranger, Limit: attestLimit, Handler: wire.Handle(t.handleAttest)},
	}
}

// readable returns a table that the caller may read. Who may not is not told whether it is here.
func (t *Tables) readable(ctx context.Context, id core.DID) (*replica, *state, error) {
	r, err := t.replica(id)
	var s *state
	if err == nil {
		s = r.current()
	}
	if s == nil || !s.def.MayRead(wire.CallerOf(ctx).Agent) {
		return nil, nil, &wire.Error{Code: wire.CodeNotFound, Message: "no such table is here for this machine to read"}
	}
	return r, s, nil
}

// MayRead tells whether a machine may have a table's operations: nobody, before its definition has come.
func (t *Tables) MayRead(id, who core.DID) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	if s := r.current(); s == nil || !s.def.MayRead(who) {
		return fmt.Errorf("machine %s may not read table %s: %w", who.Short(), id.Short(), core.ErrForbidden)
	}
	return nil
}

// MayWrite tells whether an author's feed may grow to an operation, and to so many bytes. The table key's own always may, and before its definition has
// come nobody else's: it is asked for again then. Errors: table.ErrLeave, table.ErrQuota.
func (t *Tables) MayWrite(id, author core.DID, seq, size uint64) error {
	r, err := t.replica(id)
	if err != nil || author == id {
		return err
	}
	s := r.current()
	if s == nil {
		return noDefinition(id)
	}
	return s.def.LeaveOf(author).Stands(seq, size)
}

func (t *Tables) handleQuery(ctx context.Context, in queryRequest) (table.Answer, error) {
	r, _, err := t.readable(ctx, in.Table)
	if err != nil {
		return table.Answer{}, err
	}
	a, _, s, err := r.ask(ctx, in.Question)
	if err != nil {
		return table.Answer{}, refusal(r, in.Question, err)
	}
	if in.Have != nil && *in.Have == s.score {
		a.Attestations = []identity.Signed{}
	} else if err := r.whole(&a, s); err != nil {
		return table.Answer{}, err
	}
	if in.Definition != nil && *in.Definition == s.check.Definition {
		a.Definition = nil
	}
	return a, nil
}

// refusal says what is wrong with a question.
func refusal(r *replica, q table.Question, err error) error {
	bad, syntax := errors.AsType[*query.Error](err)
	switch {
	case syntax:
		return &wire.Error{Code: wire.CodeInvalid, Message: bad.Error()}
	case errors.Is(err, table.ErrTooMany):
		out := &wire.Error{Code: wire.CodeTooLarge, Message: fmt.Sprintf("this query: %v", err)}
		if x := r.suggest(q); x != "" {
			out.Hint = "an index would help: " + x
		}
		return out
	case errors.Is(err, core.ErrInvalid):
		return &wire.Error{Code: wire.CodeInvalid, Message: err.Error()}
	}
	return err
}

func (t *Tables) handleAttest(ctx context.Context, in attestRequest) (testimony, error) {
	r, _, err := t.readable(ctx, in.Table)
	if err != nil {
		return testimony{}, err
	}
	if err := r.hear(in.testimony); err != nil {
		return testimony{}, &wire.Error{Code: wire.CodeInvalid, Message: err.Error()}
	}
	return r.testimony()
}

// Ask asks another machine a question, and checks what it answers. The table need not be kept here. trust is as for Query. Errors: core.ErrUnreachable, *wire.Error, and
// those of table.Answer.Verify, each with the machine's DID.
func (t *Tables) Ask(ctx context.Context, id, from core.DID, q table.Question, trust []core.DID) (Answered, error) {
	known := t.known(id, from)
	in := queryRequest{Table: id, Question: q}
	if known.check != nil && known.vouched(trust, t.self()) { // else somebody may have attested it since
		score := known.check.Score()
		in.Have = &score
	}
	if known.def != nil {
		in.Definition = &known.defID
	}
	var a table.Answer
	if err := t.c.Wire.CallLimit(ctx, from, "POST", "/table/query", in, &a, table.AnswerSizeMax); err != nil {
		return Answered{}, err
	}
	size := answerSize(a)
	out, err := t.check(id, from, q, a, known)
	out.Bytes, out.Trips = size, 1
	if err != nil {
		return out, fmt.Errorf("the answer of %s: %w", from.Short(), err)
	}
	out.vouch(out.Answer.Attestations, trust, t.self())
	return out, nil
}

// self is this machine; who keeps nothing is nobody.
func (t *Tables) self() core.DID {
	if t.c.Key.IsZero() {
		return core.DID{}
	}
	return t.c.Key.DID()
}

// answerSize is how many bytes came.
func answerSize(a table.Answer) int {
	b, err := a.Marshal()
	if err != nil {
		return 0
	}
	return len(b)
}

// check verifies an answer, and completes it.
func (t *Tables) check(id, from core.DID, q table.Question, a table.Answer, known known) (Answered, error) {
	v, err := a.Verify(id, q, table.Known{Checkpoint: known.check, Definition: known.def, DefinitionID: known.defID})
	if err != nil {
		return Answered{}, err
	}
	if a.Checkpoint == nil {
		a.Checkpoint, a.Attestations = known.check, known.attestations
	}
	if a.Definition == nil {
		a.Definition = known.sent
	}
	for _, s := range a.Attestations {
		if err := t.fresh(id, v.Definition, s); err != nil {
			return Answered{}, err
		}
	}
	out := Answered{Verified: v, From: from, Answer: a}
	if x, better := v.Definition.Suggest(v.Query); better {
		out.Suggest = x
	}
	t.learn(id, from, &out)
	return out, nil
}

// fresh refuses a checkpoint that its maker has attested at an earlier time than another that was seen, and notes it otherwise.
func (t *Tables) fresh(id core.DID, def *table.Definition, s identity.Signed) error {
	at, err := table.OpenAttestation(s)
	if err != nil {
		return err
	}
	if t.c.Books == nil {
		return nil // nothing was seen
	}
	_, before, ok, err := t.seen(id, s.By)
	switch {
	case err != nil:
		return err
	case ok && at.Time < before.Time && at.Checkpoint != before.Checkpoint:
		return fmt.Errorf("%w: %s has attested another %d s later", table.ErrOld, s.By.Short(), before.Time-at.Time)
	case ok && at.Time <= before.Time:
		return nil
	}
	_, err = t.note(def, s, at, ok)
	return err
}
