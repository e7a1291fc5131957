package feed

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// vectors is the file's form.
type vectors struct {
	// Seed is that of the author's ed25519 key.
	Seed       golden.Hex        `json:"seed"`
	Topic      core.DID          `json:"topic"`
	Operations []operationVector `json:"operations"`
	// Batch has both, the second one's payload gone.
	Batch golden.Hex `json:"batch"`
	Fork  golden.Hex `json:"fork"`
	// Sketch is the first symbols of the items, under the key.
	Key    golden.Hex   `json:"key"`
	Items  []golden.Hex `json:"items"`
	Sketch golden.Hex   `json:"sketch"`
}

type operationVector struct {
	Salt    golden.Hex `json:"salt"`
	Payload golden.Hex `json:"payload"`
	Header  golden.Hex `json:"header"`
	ID      golden.Hex `json:"id"`
	Sig     golden.Hex `json:"sig"`
}

func writeVectors(t *testing.T) vectors {
	seed := core.ScoreOf([]byte("anna"))
	key := Key(golden.Stream("key", 16))
	ops, sealed := write(t, anna, "one", "the second")
	v := vectors{Seed: seed[:], Topic: topic, Fork: fork(t, anna).Bytes(), Key: key[:]}
	for i, o := range ops {
		header, id := o.Header.Bytes(), o.ID()
		v.Operations = append(v.Operations, operationVector{sealed[i].Salt[:], sealed[i].Payload, header[:], id[:], o.Sig[:]})
	}
	v.Batch = AppendRun(AppendBatch(nil, topic), logOf(ops, sealed, 1))
	sketch := NewSketch(key, 0, 12)
	for n := range 5 {
		i := itemOf(n, n)
		if n == 0 {
			i.ID = core.Score{}
		}
		if n == 3 {
			i.Forked = 4
		}
		b := i.Bytes()
		v.Items = append(v.Items, b[:])
		sketch.Add(i)
	}
	v.Sketch = sketch.Bytes()
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "feed", writeVectors)
	var ops []Operation
	for i, o := range v.Operations {
		h, err := ParseHeader(o.Header)
		if err != nil {
			t.Fatal(err)
		}
		op := Operation{h, [SigSize]byte(o.Sig)}
		if id := op.ID(); !bytes.Equal(id[:], o.ID) || Check(h, Sealed{[SaltSize]byte(o.Salt), o.Payload}) != nil {
			t.Errorf("operation %d has the id %v", i, id)
		}
		ops = append(ops, op)
	}
	if _, err := Chain(Tip{}, ops); err != nil {
		t.Error(err)
	}
	for run, err := range ReadBatch(v.Batch, v.Topic) {
		if err != nil || run.Verify(2) != nil || run.Ops[0].Operation != ops[0] || run.Ops[1].Operation != ops[1] || !run.Ops[1].Gone {
			t.Errorf("%+v, %v", run, err)
		}
	}
	if f, err := ParseFork(v.Fork); err != nil || f.Seq() != 3 || f.Topic() != v.Topic {
		t.Error(err)
	}
	s, err := ParseSketch(Key(v.Key), 0, v.Sketch)
	if err != nil {
		t.Fatal(err)
	}
	var want []Mark
	for _, b := range v.Items {
		i, err := ParseItem(b)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, Key(v.Key).MarkOf(i))
	}
	first, second, whole, err := s.Peel()
	if err != nil || !whole || len(first) != len(want) || len(second) != 0 {
		t.Errorf("%d and %d, %v, %v", len(first), len(second), whole, err)
	}
}
