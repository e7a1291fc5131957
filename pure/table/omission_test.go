package table

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/tree"
)

// omissionOf is what is shown of an operation that a table has: no omission.
func omissionOf(t testing.TB) Omission {
	a := &writer{key: anna}
	a.put(t, 1, "k", `{"n": 1}`)
	l := a.put(t, 2, "k", `{"n": 2}`)
	m := makeTable(t, definition(anna), a)
	signed, err := Attest(anna, m.check, 1)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := Show(&m.check, []byte("k"), Target{anna.DID(), 2}, func(string) tree.Source { return m.nodes })
	if err != nil {
		t.Fatal(err)
	}
	return Omission{1, signed, m.check, m.sent, SentOf(&l), shown}
}

func TestWhatIsNotLeftOut(t *testing.T) {
	o := omissionOf(t)
	if _, _, err := o.Verify(); !errors.Is(err, ErrNoOmission) {
		t.Error(err)
	}
	own := &writer{key: owner}
	l := own.put(t, 9, "k", `{}`)
	o.Op = SentOf(&l)
	if _, _, err := o.Verify(); !errors.Is(err, ErrNoOmission) {
		t.Errorf("a put of the table's key: %v", err)
	}
	b, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, b[:len(b)-1], append(bytes.Clone(b), 0)} {
		if _, err := ParseOmission(b); !errors.Is(err, core.ErrInvalid) {
			t.Error(err)
		}
	}
}

func FuzzParseOmission(f *testing.F) {
	b, err := omissionOf(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOmission(b)
		if err != nil {
			return
		}
		if again, err := o.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written %x, %v", b, again, err)
		}
		if at, op, err := o.Verify(); err == nil && at.Machine == anna.DID() && op.Author == anna.DID() {
			t.Error("anna is convicted of what she has not done")
		}
	})
}
