package table

import (
	"context"
	"errors"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/table"
)

// Looked is what a table has under a key: no Row where there is none that a query is for.
type Looked struct {
	Key []byte
	Row *table.Row
}

// Look returns what a table has under some keys, as a query sees it. Errors: core.ErrNotExist.
func (t *Tables) Look(ctx context.Context, id core.DID, keys [][]byte, q query.Query) (out []Looked, err error) {
	r, err := t.replica(id)
	if err != nil {
		return nil, err
	}
	v, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.closer()) }()
	for _, key := range keys {
		row, err := v.row(key)
		switch {
		case errors.Is(err, core.ErrNotExist):
			out = append(out, Looked{Key: key})
		case err != nil:
			return nil, err
		case q.Match(row.Asked()):
			out = append(out, Looked{key, &row})
		default:
			out = append(out, Looked{Key: key})
		}
	}
	return out, nil
}

// AskOnce asks another machine a question about a table, as somebody who keeps nothing; see Tables.Ask.
func AskOnce(ctx context.Context, w Wire, id, from core.DID, q table.Question, trust []core.DID) (Answered, error) {
	t := &Tables{c: Config{Wire: w}}
	return t.Ask(ctx, id, from, q, trust)
}

// VerifySaved checks an answer that was saved, asking nobody. trust is as for Query.
func VerifySaved(saved []byte, trust []core.DID) (Answered, error) {
	a, err := table.ParseAnswer(saved)
	if err != nil {
		return Answered{}, err
	}
	t := &Tables{}
	out, err := t.check(a.Table, core.DID{}, a.Question, a, known{})
	if err != nil {
		return Answered{}, err
	}
	out.vouch(a.Attestations, trust, core.DID{})
	return out, nil
}
