package table

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// reader is a table as it stands, whatever is written meanwhile.
type reader struct {
	*forest
	ctx    context.Context // of the one question that it is for
	r      *replica
	closer func() error
}

// open returns a table as it was written down last. Errors: core.ErrNotExist where there is no definition yet.
func (r *replica) open(ctx context.Context) (*reader, error) {
	snapshot, err := r.t.c.Books.Snapshot()
	if err != nil {
		return nil, err
	}
	s, err := r.readState(snapshot)
	if errors.Is(err, core.ErrNotExist) {
		err = noDefinition(r.id)
	}
	if err != nil {
		return nil, errors.Join(err, snapshot.Close())
	}
	return &reader{&forest{records: snapshot, shelves: r.t.shelves, state: s}, ctx, r, snapshot.Close}, nil
}

// row returns that of a key, each of whose operations can be shown to anybody. Errors: feed.ErrForged where nobody has its author's signature.
// Then its author, or a relay, is to blame; an erase by the owner ends it.
func (v *reader) row(key []byte) (table.Row, error) {
	value, err := v.get(rowsAt, key)
	if err == nil && value == nil {
		err = core.ErrNotExist
	}
	if err != nil {
		return table.Row{}, fmt.Errorf("row %.40q: %w", key, err)
	}
	place, err := table.ParseRowValue(value)
	if err != nil {
		return table.Row{}, err
	}
	row, err := v.r.row(v.forest, key, place)
	if err != nil {
		return table.Row{}, err
	}
	for i := range row.Sources {
		o := &row.Sources[i]
		if o.Verify() == nil {
			continue
		}
		if o.Logged, err = v.r.t.c.Feeds.Proven(v.ctx, v.check.Table, o.Author, o.Seq); err != nil {
			return table.Row{}, fmt.Errorf("row %.40q cannot be shown: %w", key, err)
		}
	}
	return row, nil
}

// ask answers a question from what is here.
func (r *replica) ask(ctx context.Context, q table.Question) (a table.Answer, result table.Result, s *state, err error) {
	v, err := r.open(ctx)
	if err != nil {
		return a, result, nil, err
	}
	defer func() { err = errors.Join(err, v.closer()) }()
	src := func(index int) tree.Source {
		if index == query.Primary {
			return v.shelf(rowsAt)
		}
		return v.shelf(indexesAt + index)
	}
	a, result, err = table.Ask(v.def, &v.check, q, src, v.row)
	return a, result, v.state, err
}

// whole puts into an answer what a reader needs who has nothing.
func (r *replica) whole(a *table.Answer, s *state) error {
	l, err := r.t.c.Feeds.Get(r.id, r.id, s.seq)
	if err != nil {
		return err
	}
	check := s.check
	a.Checkpoint, a.Definition = &check, table.SentOf(&l)
	a.Attestations, err = r.attestations(s)
	return err
}

// Answered is what a question came to.
type Answered struct {
	table.Verified
	// From is who has answered; the zero DID is this machine, from what it has.
	From core.DID
	// Bytes is what came over the wire, Trips how many requests that took.
	Bytes, Trips int
	// Vouched are the machines that attest the checkpoint and whose word counts; without any, the answer is provisional.
	Vouched []core.DID
	// Answer can be saved: it has all that it takes to check it.
	Answer table.Answer
	// Suggest is an index that would serve the question better; "" where there is none.
	Suggest string
}

// Query answers a question from what is kept here. trust are the machines whose word counts; nil are those that the definition names. Errors:
// core.ErrNotExist, a *query.Error, table.ErrTooMany.
func (t *Tables) Query(ctx context.Context, id core.DID, q table.Question, trust []core.DID) (Answered, error) {
	r, err := t.replica(id)
	if err != nil {
		return Answered{}, err
	}
	a, result, s, err := r.ask(ctx, q)
	if err != nil {
		return Answered{Suggest: r.suggest(q)}, err
	}
	if err := r.whole(&a, s); err != nil {
		return Answered{}, err
	}
	out := Answered{Verified: table.Verified{Result: result, Checkpoint: s.check, Definition: s.def, DefinitionID: s.check.Definition}, Answer: a, Suggest: r.suggest(q)}
	out.Query, err = query.Parse(q.Text)
	if choices := s.def.Plan(out.Query, &s.check); choices[a.Choice].Index != query.Primary {
		out.Index = s.def.Indexes[choices[a.Choice].Index].String()
	}
	out.vouch(a.Attestations, trust, t.c.Key.DID())
	return out, err
}

// ProofBytes is how many of the bytes prove.
func (a *Answered) ProofBytes() int { return len(a.Answer.Proof) }

func (r *replica) suggest(q table.Question) string {
	s := r.current()
	parsed, err := query.Parse(q.Text)
	if s == nil || err != nil {
		return ""
	}
	x, better := s.def.Suggest(parsed)
	if !better {
		return ""
	}
	return x
}

// vouch notes whose word stands behind an answer.
func (a *Answered) vouch(all []identity.Signed, trust []core.DID, self core.DID) {
	if trust == nil {
		trust = append(slices.Clone(a.Definition.Attest), self)
	}
	for _, s := range all {
		if slices.Contains(trust, s.By) && !slices.Contains(a.Vouched, s.By) {
			a.Vouched = append(a.Vouched, s.By)
		}
	}
}
