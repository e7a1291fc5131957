package table

import (
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/tree"
)

// OmissionSizeMax bounds the encoding of an Omission in bytes: an operation, a definition, and three proofs.
const OmissionSizeMax = 4 << 20

// ErrNoOmission says that what is shown as an omission is none.
var ErrNoOmission = errors.New("no omission")

// Shown is what a checkpoint has to say of one operation: proofs of three of its trees.
type Shown struct {
	// Feeds is of the author, Rows and Gone are of the key; Gone is of the operation as erased too.
	Feeds []byte `json:"feeds"`
	Rows  []byte `json:"rows"`
	Gone  []byte `json:"gone"`
}

// Omission proves that who attests a checkpoint has left out an operation that it counts, or that the operation's author has forked.
type Omission struct {
	V           uint            `json:"v"`
	Attestation identity.Signed `json:"attestation"`
	Checkpoint  Checkpoint      `json:"checkpoint"`
	Definition  Sent            `json:"definition"`
	Op          Sent            `json:"op"`
	Shown
}

// Marshal encodes an omission.
func (o Omission) Marshal() ([]byte, error) {
	o.V = codec.Version
	return codec.Marshal(o)
}

// ParseOmission reads what Marshal makes, without verifying it. Errors: core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func ParseOmission(b []byte) (Omission, error) {
	var o Omission
	if err := codec.Unmarshal(b, &o, OmissionSizeMax); err != nil {
		return Omission{}, fmt.Errorf("read omission: %w", err)
	}
	return o, nil
}

// Show proves what the trees of a checkpoint say of an operation. src has the nodes of a tree, by its name.
func Show(c *Checkpoint, key []byte, at Target, src func(name string) tree.Source) (Shown, error) {
	show := func(name string, root Root, keys ...[]byte) ([]byte, error) {
		recorder := tree.NewRecorder(src(name))
		view := tree.View{Map: root.Map(Salt(c.Table, name)), Src: recorder}
		for _, key := range keys {
			if _, err := view.Get(key); err != nil && !errors.Is(err, core.ErrNotExist) {
				return nil, err
			}
		}
		return recorder.Proof(view.Map, nil)
	}
	feeds, err1 := show(FeedsTree, c.Feeds, at.Author[:])
	rows, err2 := show(RowsTree, c.Rows, key)
	gone, err3 := show(GoneTree, c.Gone, DeletedKey(key), ErasedKey(at))
	return Shown{feeds, rows, gone}, errors.Join(err1, err2, err3)
}

// view reads one of the proofs.
func (o *Omission) view(name string, root Root, proof []byte) (tree.View, error) {
	m := root.Map(Salt(o.Checkpoint.Table, name))
	p, err := tree.ParseProof(proof, nil)
	if err == nil && (p.Root().Hash != m.Root.Hash || p.Root().Level != m.Root.Level || p.Root().Count != m.Root.Count) {
		err = ErrRoot
	}
	if err != nil {
		err = fmt.Errorf("proof of %s: %w", name, err)
	}
	return tree.View{Map: m, Src: p}, err
}

func none(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNoOmission, fmt.Sprintf(format, args...))
}

// Verify checks an omission, and returns who has left out what. Errors: ErrNoOmission where all is as it should be, or nothing can be said;
// ErrForged, ErrPayload, ErrOtherTable, ErrRoot, tree.ErrNotProven, core.ErrInvalid.
func (o *Omission) Verify() (Attestation, Op, error) {
	at, err := OpenAttestation(o.Attestation)
	if err == nil {
		err = o.Checkpoint.check()
	}
	if err != nil {
		return at, Op{}, err
	}
	if at.Table != o.Checkpoint.Table || at.Checkpoint != o.Checkpoint.Score() {
		return at, Op{}, fmt.Errorf("attestation: %w", ErrRoot)
	}
	d, id, err := o.Definition.Definition(at.Table)
	if err == nil && id != o.Checkpoint.Definition {
		err = fmt.Errorf("definition: %w: the checkpoint names another", ErrRoot)
	}
	if err != nil {
		return at, Op{}, err
	}
	l, err := o.Op.Open(at.Table)
	if err != nil {
		return at, Op{}, err
	}
	op, err := o.counts(d, l)
	if err == nil {
		err = o.missing(&op)
	}
	return at, op, err
}

// counts tells whether an operation is one that the checkpoint has to have.
func (o *Omission) counts(d *Definition, l feed.Logged) (Op, error) {
	if len(d.Folds) > 0 {
		return Op{}, none("in a table with folds a row does not show what it is made of")
	}
	op, err := d.Operation(l)
	if err != nil {
		return op, none("%v", err)
	}
	leave := d.LeaveOf(l.Author)
	switch {
	case op.Write.Kind != feed.Put:
		return op, none("the operation is no put")
	case l.Author == l.Topic:
		return op, none("what the table's key puts is no row")
	case !leave.Given, leave.Stopped && l.Seq > leave.Until, l.Clock < leave.Since:
		return op, none("its author had no leave")
	}
	feeds, err := o.view(FeedsTree, o.Checkpoint.Feeds, o.Feeds)
	if err != nil {
		return op, err
	}
	value, err := feeds.Get(l.Author[:])
	if errors.Is(err, core.ErrNotExist) {
		return op, none("the checkpoint has nothing of the author")
	}
	if err != nil {
		return op, err
	}
	if seq, _, _, err := ParseFeedValue(value); err != nil || seq < l.Seq {
		return op, errors.Join(err, none("the checkpoint has the author's operations up to %d", seq))
	}
	return op, nil
}

// missing tells whether neither the operation, nor what takes its place, is in the trees.
func (o *Omission) missing(op *Op) error {
	rows, err := o.view(RowsTree, o.Checkpoint.Rows, o.Rows)
	if err != nil {
		return err
	}
	gone, err := o.view(GoneTree, o.Checkpoint.Gone, o.Gone)
	if err != nil {
		return err
	}
	older := func(view tree.View, key []byte, parse func([]byte) (Place, error)) error {
		value, err := view.Get(key)
		if errors.Is(err, core.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if p, err := parse(value); err != nil || !Newer(op.Clock, op.ID, p.Clock, p.ID) {
			return errors.Join(err, none("the checkpoint has it, or what is newer"))
		}
		return nil
	}
	if err := older(rows, op.Key, ParseRowValue); err != nil {
		return err
	}
	if err := older(gone, DeletedKey(op.Key), ParsePlace); err != nil {
		return err
	}
	_, err = gone.Get(ErasedKey(Target{op.Author, op.Seq}))
	switch {
	case err == nil:
		return none("it is erased")
	case errors.Is(err, core.ErrNotExist):
		return nil
	}
	return err
}
