package table

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/tree"
)

// Limits of an answer.
const (
	// AnswerSizeMax bounds its encoding in bytes.
	AnswerSizeMax = 32 << 20
	// rowsSizeMax bounds the rows in it: there is room for the proof besides, and for 16 bytes of CBOR an operation.
	rowsSizeMax = AnswerSizeMax - tree.ProofSizeMax - 1<<20
	// AttestationsMax is how many come along.
	AttestationsMax = 8
)

// Question is what is asked of a table.
type Question struct {
	// Text is the query, in the one text that it has.
	Text string `json:"text"`
	// After is the entry after which to begin; nil is the beginning.
	After []byte `json:"after,omitempty"`
	// Any asks for rows in whatever order they are found fastest.
	Any bool `json:"any,omitempty"`
}

// ParseQuestion reads a query as a person writes it. Errors: a *query.Error.
func ParseQuestion(text string) (Question, error) {
	q, err := query.Parse(text)
	if err != nil {
		return Question{}, err
	}
	return Question{Text: q.String()}, q.Check()
}

// parse reads one that came from elsewhere.
func (q Question) parse() (query.Query, error) {
	out, err := query.Parse(q.Text)
	switch {
	case err != nil:
		return out, err
	case out.String() != q.Text:
		return out, invalid("a query that has another text: %.100s", out)
	case q.Any && (len(out.Order) > 0 || out.Count):
		return out, invalid("a query in any order that has one, or that counts")
	case len(q.After) > tree.KeySizeMax:
		return out, invalid("a place of %d bytes to go on from", len(q.After))
	}
	return out, nil
}

// Sent is an operation with its payload, as it stands in an answer: the operation, the salt, the payload.
type Sent []byte

// Answer is what a machine answers, with all that it takes to check it.
type Answer struct {
	V     uint     `json:"v"`
	Table core.DID `json:"table"`
	Question
	// Checkpoint and Definition are nil where the reader has them.
	Checkpoint   *Checkpoint       `json:"checkpoint,omitempty"`
	Attestations []identity.Signed `json:"attestations"`
	Definition   Sent              `json:"definition,omitempty"`
	Choice       uint              `json:"choice"`
	Proof        []byte            `json:"proof"`
	Rows         [][]Sent          `json:"rows"`
}

// Marshal encodes an answer.
func (a Answer) Marshal() ([]byte, error) {
	a.V = codec.Version
	return codec.Marshal(a)
}

// ParseAnswer reads what Marshal makes. Errors: core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func ParseAnswer(b []byte) (Answer, error) {
	var a Answer
	if err := codec.Unmarshal(b, &a, AnswerSizeMax); err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

// SentOf is an operation as it stands in an answer.
func SentOf(l *feed.Logged) Sent { return slices.Concat(l.Bytes(), l.Salt[:], l.Payload) }

// Open verifies one by itself: its table, its signature, and that its payload is what was signed for.
// Errors: ErrOtherTable, ErrPayload, ErrForged, core.ErrInvalid.
func (s Sent) Open(table core.DID) (feed.Logged, error) {
	if len(s) < feed.OperationSize+feed.SaltSize {
		return feed.Logged{}, invalid("an operation of %d bytes", len(s))
	}
	o, err := feed.ParseOperation(s[:feed.OperationSize])
	if err != nil {
		return feed.Logged{}, err
	}
	if o.Topic != table {
		return feed.Logged{}, fmt.Errorf("operation %d of %s: %w", o.Seq, o.Author.Short(), ErrOtherTable)
	}
	rest := s[feed.OperationSize:]
	l := feed.Logged{Operation: o, ID: o.ID(), Sealed: feed.Sealed{Salt: [feed.SaltSize]byte(rest), Payload: rest[feed.SaltSize:]}}
	if err := feed.Check(o.Header, l.Sealed); err != nil {
		return l, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if err := o.Verify(); err != nil {
		return l, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return l, nil
}

// Definition opens one that came with an answer. Errors: ErrOtherTable, ErrLeave, ErrForged, ErrPayload, core.ErrInvalid.
func (s Sent) Definition(table core.DID) (*Definition, core.Score, error) {
	l, err := s.Open(table)
	if err != nil {
		return nil, core.Score{}, fmt.Errorf("definition: %w", err)
	}
	switch {
	case l.Author != table:
		return nil, core.Score{}, fmt.Errorf("definition: %w: %s is not the table's key", ErrLeave, l.Author.Short())
	case l.Kind != feed.Define:
		return nil, core.Score{}, invalid("definition: operation %d of the table's key is none", l.Seq)
	}
	d, err := ParseDefinition(l.Payload)
	return &d, l.ID, err
}

// Ask runs a question and makes the answer. src has the nodes of the tree that a choice names, rows the rows by their keys.
func Ask(d *Definition, c *Checkpoint, question Question, src func(index int) tree.Source, row func(key []byte) (Row, error)) (Answer, Result, error) {
	q, err := question.parse()
	if err != nil {
		return Answer{}, Result{}, err
	}
	choices := d.Plan(q, c)
	a := Answer{V: codec.Version, Table: c.Table, Question: question, Rows: [][]Sent{}}
	used := map[string]Row{}
	run := d.run(q, question, choices[0], c)
	recorder := tree.NewRecorder(src(choices[0].Index))
	run.View.Src = recorder
	size := 0
	run.Row = func(key []byte) (Row, error) {
		if r, ok := used[string(key)]; ok {
			return r, nil
		}
		r, err := row(key)
		if err != nil {
			return r, err
		}
		for i := range r.Sources {
			size += feed.OperationSize + feed.SaltSize + len(r.Sources[i].Payload)
		}
		if size > rowsSizeMax {
			return r, fmt.Errorf("%w: they have over %d bytes", ErrTooMany, rowsSizeMax)
		}
		used[string(key)] = r
		return r, nil
	}
	if err := run.check(); err != nil {
		return a, Result{}, err
	}
	result, err := run.Do()
	if err != nil {
		return a, result, err
	}
	rows := make([]Row, 0, len(used))
	for _, r := range used {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
	for i := range rows {
		sources := make([]Sent, len(rows[i].Sources))
		for j := range sources {
			sources[j] = SentOf(&rows[i].Sources[j].Logged)
		}
		a.Rows = append(a.Rows, sources)
	}
	if _, err := recorder.Node(run.View.Map.Root); err != nil { // a query that reads nothing is proven by its root too
		return a, result, err
	}
	a.Proof, err = recorder.Proof(run.View.Map, run.given(rows))
	return a, result, err
}

// run is a query over the tree that a choice names.
func (d *Definition) run(q query.Query, asked Question, choice query.Choice, c *Checkpoint) *Run {
	r := &Run{Definition: d, Query: q, Choice: choice, After: asked.After, Any: asked.Any}
	if choice.Index == query.Primary {
		r.View.Map = c.Rows.Map(Salt(c.Table, RowsTree))
	} else {
		r.View.Map = c.Indexes[choice.Index].Map(Salt(c.Table, IndexTree(d.Indexes[choice.Index])))
	}
	return r
}

func (r *Run) check() error {
	if r.After != nil && (!r.ordered() || r.Query.Count) {
		return invalid("this query cannot be gone on with: no index has its order")
	}
	return nil
}

// Known is what a reader has already.
type Known struct {
	Checkpoint *Checkpoint
	Definition *Definition
	// DefinitionID is the id of its operation.
	DefinitionID core.Score
}

// Verified is an answer that was checked.
type Verified struct {
	Result
	Query        query.Query
	Checkpoint   Checkpoint
	Definition   *Definition
	DefinitionID core.Score
	// Index is the text of the index that served it; "" is the rows.
	Index        string
	Attestations []Attestation
}

// Verify checks an answer to a question, by asking it again. Errors, each with what it is about: ErrOtherTable, ErrOtherQuery, ErrForged, ErrPayload,
// ErrRoot, ErrRow (with it ErrVoid, ErrLeave, ErrQuota), tree.ErrNotProven, ErrTooMany, core.ErrInvalid.
func (a Answer) Verify(table core.DID, asked Question, known Known) (Verified, error) {
	var v Verified
	switch {
	case a.Table != table:
		return v, fmt.Errorf("answer: %w: %s", ErrOtherTable, a.Table.Short())
	case a.Text != asked.Text || !bytes.Equal(a.After, asked.After) || a.Any != asked.Any:
		return v, fmt.Errorf("%w: %.100s", ErrOtherQuery, a.Text)
	}
	var err error
	if v.Query, err = a.parse(); err != nil {
		return v, err
	}
	if err := a.setting(&v, known); err != nil {
		return v, err
	}
	rows, err := a.rows(v.Definition)
	if err != nil {
		return v, err
	}
	choices := v.Definition.Plan(v.Query, &v.Checkpoint)
	if a.Choice >= uint(len(choices)) {
		return v, invalid("answer: choice %d of %d", a.Choice, len(choices))
	}
	run := v.Definition.run(v.Query, a.Question, choices[a.Choice], &v.Checkpoint)
	if err := run.check(); err != nil {
		return v, err
	}
	if run.Choice.Index != query.Primary {
		v.Index = v.Definition.Indexes[run.Choice.Index].String()
	}
	v.Result, err = a.replay(run, rows)
	return v, err
}

// setting checks what an answer is relative to.
func (a Answer) setting(v *Verified, known Known) error {
	v.Definition, v.DefinitionID = known.Definition, known.DefinitionID
	if a.Definition != nil {
		var err error
		if v.Definition, v.DefinitionID, err = a.Definition.Definition(a.Table); err != nil {
			return err
		}
	}
	switch {
	case a.Checkpoint != nil:
		v.Checkpoint = *a.Checkpoint
	case known.Checkpoint != nil:
		v.Checkpoint = *known.Checkpoint
	default:
		return invalid("answer without a checkpoint")
	}
	if err := v.Checkpoint.check(); err != nil {
		return err
	}
	switch {
	case v.Checkpoint.Table != a.Table:
		return fmt.Errorf("checkpoint: %w", ErrOtherTable)
	case v.Definition == nil:
		return invalid("answer without a definition")
	case v.DefinitionID != v.Checkpoint.Definition:
		return fmt.Errorf("definition: %w: the checkpoint names another", ErrRoot)
	case len(v.Checkpoint.Indexes) != len(v.Definition.Indexes):
		return fmt.Errorf("checkpoint: %w: %d indexes, of %d", ErrRoot, len(v.Checkpoint.Indexes), len(v.Definition.Indexes))
	case len(a.Attestations) > AttestationsMax:
		return invalid("%d attestations, of %d at most", len(a.Attestations), AttestationsMax)
	}
	score := v.Checkpoint.Score()
	for _, s := range a.Attestations {
		at, err := OpenAttestation(s)
		switch {
		case err != nil:
			return fmt.Errorf("attestation: %w", err)
		case at.Table != a.Table:
			return fmt.Errorf("attestation: %w", ErrOtherTable)
		case at.Checkpoint != score:
			return fmt.Errorf("attestation of %s: %w: it is of another checkpoint", at.Machine.Short(), ErrRoot)
		}
		v.Attestations = append(v.Attestations, at)
	}
	return nil
}

// rows makes the rows that came along.
func (a Answer) rows(d *Definition) ([]Row, error) {
	if len(a.Rows) > ReadMax {
		return nil, fmt.Errorf("answer of %d rows: %w", len(a.Rows), ErrTooMany)
	}
	out := make([]Row, len(a.Rows))
	for i, sent := range a.Rows {
		if len(sent) > SourcesMax {
			return nil, wrongRow("row %d of %d operations", i, len(sent))
		}
		sources := make([]Op, len(sent))
		for j, s := range sent {
			l, err := s.Open(a.Table)
			if err == nil {
				sources[j], err = d.shown(l)
			}
			if errors.Is(err, ErrVoid) || errors.Is(err, ErrLeave) || errors.Is(err, ErrQuota) {
				err = fmt.Errorf("%w: %w", ErrRow, err)
			}
			if err != nil {
				return nil, fmt.Errorf("row %d: %w", i, err)
			}
		}
		var err error
		if out[i], err = d.NewRow(sources); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		if i > 0 && bytes.Compare(out[i-1].Key, out[i].Key) >= 0 {
			return nil, wrongRow("row %d: keys do not rise", i)
		}
	}
	return out, nil
}

// shown makes an operation on a key of one that is shown by itself, if it can stand: of its author's feed it says only how long it is at least.
func (d *Definition) shown(l feed.Logged) (Op, error) {
	leave := d.LeaveOf(l.Author)
	if l.Author == l.Topic {
		leave = Leave{}
	}
	if err := leave.Stands(l.Seq, l.Seq*feed.OperationSize+uint64(l.Header.Size)); err != nil {
		return Op{}, fmt.Errorf("operation %d of %s: %w", l.Seq, l.Author.Short(), err)
	}
	if l.Clock < leave.Since {
		return Op{}, void("operation %d of %s is from before it had leave", l.Seq, l.Author.Short())
	}
	return d.Operation(l)
}

// replay asks the question again, of what the answer brought alone.
func (a Answer) replay(run *Run, rows []Row) (Result, error) {
	proof, err := tree.ParseProof(a.Proof, run.given(rows))
	if err != nil {
		return Result{}, fmt.Errorf("it does not fit the %d rows that came: %w", len(rows), err)
	}
	if root, is := run.View.Map.Root, proof.Root(); is.Hash != root.Hash || is.Count != root.Count || is.Level != root.Level {
		return Result{}, fmt.Errorf("%w: the checkpoint's is %s", ErrRoot, root.Hash.Short())
	}
	run.View.Src = proof
	byKey, used := map[string]int{}, map[string]bool{}
	for i := range rows {
		byKey[string(rows[i].Key)] = i
	}
	run.Row = func(key []byte) (Row, error) {
		i, ok := byKey[string(key)]
		if !ok {
			return Row{}, wrongRow("key %.40q is in the answer, its row is not", key)
		}
		used[string(key)] = true
		return rows[i], nil
	}
	out, err := run.Do()
	if err == nil && len(used) < len(rows) {
		err = wrongRow("%d rows that the query does not look at", len(rows)-len(used))
	}
	return out, err
}
