package table

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// auditRows is how many rows, chosen at random, another replica is asked for at a time: what leaves out one in a hundred is found in some dozens of rounds,
	// what leaves out one row that it has chosen hardly ever.
	auditRows = 4
	// omissionsMax is how many are kept of a table, one a machine.
	omissionsMax = 64
	showLimit    = 8 << 10
)

// recordOmission is where proofs of omissions lie, by who has omitted.
const recordOmission = 'o'

// showRequest asks what the newest checkpoint says of an operation.
type showRequest struct {
	Table  core.DID `json:"table"`
	Key    []byte   `json:"key"`
	Author core.DID `json:"author"`
	Seq    uint64   `json:"seq"`
}

type showAnswer struct {
	Checkpoint  table.Checkpoint `json:"checkpoint"`
	Attestation identity.Signed  `json:"attestation"`
	Definition  table.Sent       `json:"definition"`
	table.Shown
}

func (t *Tables) handleShow(ctx context.Context, in showRequest) (out showAnswer, err error) {
	r, _, err := t.readable(ctx, in.Table)
	if err != nil {
		return out, err
	}
	if err := table.CheckKey(in.Key); err != nil {
		return out, &wire.Error{Code: wire.CodeInvalid, Message: err.Error()}
	}
	v, err := r.open(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, v.closer()) }()
	out.Checkpoint = v.check
	if out.Attestation, err = r.attest(v.state); err != nil {
		return out, err
	}
	l, err := t.c.Feeds.Get(r.id, r.id, v.seq)
	if err != nil {
		return out, err
	}
	out.Definition = table.SentOf(&l)
	places := map[string]int{table.FeedsTree: feedsAt, table.RowsTree: rowsAt, table.GoneTree: goneAt}
	out.Shown, err = table.Show(&v.check, in.Key, table.Target{Author: in.Author, Seq: in.Seq}, func(name string) tree.Source { return v.shelf(places[name]) })
	return out, err
}

// Audit asks another replica about rows chosen at random, and keeps the proof where one is left out. It returns how many were. Errors:
// core.ErrUnreachable, *wire.Error, and those of what is no answer.
func (t *Tables) Audit(ctx context.Context, id, peer core.DID) (omitted int, err error) {
	r, err := t.replica(id)
	if err != nil {
		return 0, err
	}
	v, err := r.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v.closer()) }()
	if v.check.Rows.Count == 0 || len(v.def.Folds) > 0 {
		return 0, nil
	}
	for range auditRows {
		record, err := v.view(rowsAt).Nth(rand.Uint64N(v.check.Rows.Count))
		if err != nil {
			return omitted, err
		}
		row, err := v.row(record.Key)
		if err != nil {
			return omitted, err
		}
		fresh, err := r.audit(ctx, peer, row.Newest())
		if err != nil {
			return omitted, err
		}
		if fresh {
			omitted++
		}
	}
	return omitted, nil
}

// audit asks about one operation.
func (r *replica) audit(ctx context.Context, peer core.DID, op *table.Op) (omitted bool, err error) {
	in := showRequest{Table: r.id, Key: op.Key, Author: op.Author, Seq: op.Seq}
	var out showAnswer
	if err := r.t.c.Wire.CallLimit(ctx, peer, "POST", "/table/show", in, &out, table.OmissionSizeMax); err != nil {
		return false, err
	}
	if out.Attestation.By != peer {
		return false, fmt.Errorf("the answer of %s: %w: attested by another", peer.Short(), table.ErrForged)
	}
	o := table.Omission{V: 1, Attestation: out.Attestation, Checkpoint: out.Checkpoint, Definition: out.Definition, Op: table.SentOf(&op.Logged), Shown: out.Shown}
	_, err = r.convict(o)
	if errors.Is(err, table.ErrNoOmission) {
		return false, nil
	}
	return err == nil, err
}

// convict verifies a proof of an omission, and keeps it if it is the first against that machine. It takes no author's word for what this machine has
// not: who has forked could accuse everybody.
func (r *replica) convict(o table.Omission) (fresh bool, err error) {
	at, op, err := o.Verify()
	if err != nil {
		return false, err
	}
	if at.Table != r.id {
		return false, fmt.Errorf("omission: %w", table.ErrOtherTable)
	}
	l, err := r.t.c.Feeds.Get(r.id, op.Author, op.Seq)
	switch {
	case errors.Is(err, core.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case l.ID != op.ID:
		return false, fmt.Errorf("%w: %s has forked", table.ErrNoOmission, op.Author.Short())
	}
	all, err := r.omissions()
	if err != nil || len(all) >= omissionsMax {
		return false, err
	}
	for _, known := range all {
		if known.Attestation.By == at.Machine {
			return false, nil
		}
	}
	b, err := o.Marshal()
	if err != nil {
		return false, err
	}
	if err := r.t.c.Books.Apply(core.Change{Key: recordAt(r.id, recordOmission, at.Machine[:]), Value: b}); err != nil {
		return false, err
	}
	r.t.c.Log.Warn("a replica has left out an operation", "table", r.id, "machine", at.Machine, "author", op.Author, "seq", op.Seq)
	if r.t.c.Omitted != nil {
		r.t.c.Omitted(r.id, at.Machine)
	}
	return true, nil
}

// omissions returns the proofs that are kept.
func (r *replica) omissions() (out []table.Omission, err error) {
	for c, err := range r.t.c.Books.Scan(recordAt(r.id, recordOmission), nil) {
		if err != nil {
			return nil, err
		}
		o, err := table.ParseOmission(c.Value)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// Omissions returns the proofs that machines have left operations out of what they attest, one a machine. Errors: core.ErrNotExist.
func (t *Tables) Omissions(id core.DID) ([]table.Omission, error) {
	r, err := t.replica(id)
	if err != nil {
		return nil, err
	}
	return r.omissions()
}
