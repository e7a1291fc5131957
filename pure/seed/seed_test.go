package seed

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
)

func key(n byte) identity.Key { return identity.KeyOf([32]byte{n}) }

func header() Header {
	return Header{V: 1, Owner: key(1).DID(), Agent: key(2).DID(), Holder: key(3).DID(), Time: 1_700_000_000}
}

func record(n byte, size int) (Record, []byte) {
	data := bytes.Repeat([]byte{n}, size)
	return Record{Score: core.ScoreOf(data), Segment: [16]byte{15: n}, Index: uint32(n), Size: uint32(size)}, data
}

// file returns a file with three pieces, and where each begins.
func file(t testing.TB) (raw []byte, starts []int) {
	t.Helper()
	s, err := Sign(key(2), header())
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = AppendHeader(nil, s); err != nil {
		t.Fatal(err)
	}
	for n, size := range []int{100, 1, 3000} {
		r, data := record(byte(n+1), size)
		starts = append(starts, len(raw))
		raw = append(AppendRecord(raw, r), data...)
	}
	return raw, starts
}

// readAll returns the pieces' first bytes, and the damage.
func readAll(t testing.TB, r io.Reader) (pieces []byte, damage []Damage, err error) {
	t.Helper()
	f, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	for {
		rec, data, err := f.Next(nil)
		var d *Damage
		switch {
		case errors.Is(err, io.EOF):
			return pieces, damage, nil
		case errors.As(err, &d):
			damage = append(damage, *d)
		case err != nil:
			return pieces, damage, err
		default:
			if core.ScoreOf(data) != rec.Score || len(data) != int(rec.Size) {
				t.Errorf("piece %+v has %d other bytes", rec, len(data))
			}
			pieces = append(pieces, data[0])
		}
	}
}

func TestAFileIsReadAsItWasWritten(t *testing.T) {
	raw, _ := file(t)
	for _, r := range []io.Reader{bytes.NewReader(raw), iotest.OneByteReader(bytes.NewReader(raw))} {
		pieces, damage, err := readAll(t, r)
		if err != nil || len(damage) > 0 || !bytes.Equal(pieces, []byte{1, 2, 3}) {
			t.Errorf("pieces %v, damage %v, %v", pieces, damage, err)
		}
	}
	f, err := NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := Open(f.Signed()); err != nil || h != header() {
		t.Errorf("%+v, %v", h, err)
	}
	for want := byte(1); want <= 3; want++ {
		got, _, err := f.Next(make([]byte, 0, erasure.PieceSizeMax))
		if wanted, _ := record(want, int(got.Size)); err != nil || got != wanted {
			t.Errorf("%+v, %v; want %+v", got, err, wanted)
		}
	}
	if _, _, err := f.Next(nil); err != io.EOF || f.At() != int64(len(raw)) {
		t.Errorf("%v at %d of %d", err, f.At(), len(raw))
	}
	if _, _, err := f.Next(nil); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
}

func TestWhatIsRottenCostsNoMoreThanItself(t *testing.T) {
	raw, starts := file(t)
	size := int64(len(raw))
	for _, c := range []struct {
		name   string
		spoil  func([]byte) []byte
		pieces []byte
		damage []Damage
	}{
		{
			"a byte of a piece", func(b []byte) []byte { b[starts[0]+RecordSize+50]++; return b },
			[]byte{2, 3},
			[]Damage{{int64(starts[0]), RecordSize + 100, "the bytes of a piece are not what its score says"}},
		},
		{
			"the marker", func(b []byte) []byte { b[starts[0]] = 0; return b },
			[]byte{2, 3},
			[]Damage{{int64(starts[0]), RecordSize + 100, "what stands there is no piece"}},
		},
		{
			"the size", func(b []byte) []byte { b[starts[1]+sizeAt]++; return b },
			[]byte{1, 3},
			[]Damage{{int64(starts[1]), RecordSize + 1, "what stands there is no piece"}},
		},
		{
			"the check of the last", func(b []byte) []byte { b[starts[2]+checkAt]++; return b },
			[]byte{1, 2},
			[]Damage{{int64(starts[2]), size - int64(starts[2]), "what stands there is no piece"}},
		},
		{
			"cut in a piece", func(b []byte) []byte { return b[:size-1] },
			[]byte{1, 2},
			[]Damage{{int64(starts[2]), size - 1 - int64(starts[2]), "it ends within a piece"}},
		},
		{
			"cut in a record", func(b []byte) []byte { return b[:starts[1]+3] },
			[]byte{1},
			[]Damage{{int64(starts[1]), 3, "it ends within a piece"}},
		},
		{"something else in between", func(b []byte) []byte {
			return bytes.Join([][]byte{b[:starts[1]], bytes.Repeat([]byte{marker[0]}, 500), b[starts[1]:]}, nil)
		}, []byte{1, 2, 3}, []Damage{{int64(starts[1]), 500, "what stands there is no piece"}}},
	} {
		pieces, damage, err := readAll(t, bytes.NewReader(c.spoil(bytes.Clone(raw))))
		if err != nil || !bytes.Equal(pieces, c.pieces) || len(damage) != len(c.damage) || damage[0] != c.damage[0] {
			t.Errorf("%s: pieces %v, damage %+v, %v; want %v, %+v", c.name, pieces, damage, err, c.pieces, c.damage)
		}
	}
	// One call does not look through a whole disk of nothing.
	pieces, damage, err := readAll(t, bytes.NewReader(append(raw, make([]byte, 3*searchMax)...)))
	if err != nil || len(pieces) != 3 || len(damage) != 3 || damage[1].Offset != damage[0].Offset+damage[0].Length {
		t.Errorf("pieces %v, damage %+v, %v", pieces, damage, err)
	}
	broken := errors.New("a bad sector")
	if _, _, err := readAll(t, io.MultiReader(bytes.NewReader(raw[:starts[2]+9]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a disk that cannot be read: %v", err)
	}
}

func TestWhatIsNoSuchFileIsRefused(t *testing.T) {
	raw, _ := file(t)
	long := bytes.Clone(raw)
	long[len(magic)+2] = 0xff
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":               {nil, core.ErrInvalid},
		"half a beginning":      {raw[:10], core.ErrInvalid},
		"half a header":         {raw[:50], core.ErrInvalid},
		"another file":          {append([]byte("grange pack 1\n\x00\x00"), raw[16:]...), core.ErrInvalid},
		"a header that is long": {long, core.ErrTooLarge},
	} {
		if _, err := NewReader(bytes.NewReader(c.raw)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeadersAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Header){
		"no owner":        func(h *Header) { h.Owner = core.DID{} },
		"no agent":        func(h *Header) { h.Agent = core.DID{} },
		"no holder":       func(h *Header) { h.Holder = core.DID{} },
		"for itself":      func(h *Header) { h.Holder = h.Agent },
		"of another":      func(h *Header) { h.Agent = key(9).DID() },
		"no time":         func(h *Header) { h.Time = 0 },
		"after all times": func(h *Header) { h.Time = 1 << 60 },
	} {
		h := header()
		change(&h)
		if _, err := Sign(key(2), h); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s is signed: %v", name, err)
		}
		s, err := identity.Sign(key(2), identity.KindSeed, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(s); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s is opened: %v", name, err)
		}
	}
	s, err := identity.Sign(key(2), identity.KindLease, header())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("signed as something else: %v", err)
	}
	h := header()
	h.V = 2
	if s, err = identity.Sign(key(2), identity.KindSeed, h); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of version 2: %v", err)
	}
}

// vectors is the file's form.
type vectors struct {
	// Seed is that of the ed25519 key that signs.
	Seed   golden.Hex `json:"seed"`
	Owner  core.DID   `json:"owner"`
	Agent  core.DID   `json:"agent"`
	Holder core.DID   `json:"holder"`
	Time   int64      `json:"time"`
	Pieces []vector   `json:"pieces"`
	File   golden.Hex `json:"file"`
}

type vector struct {
	Segment golden.Hex `json:"segment"`
	Index   uint32     `json:"index"`
	Score   core.Score `json:"score"`
	Bytes   golden.Hex `json:"bytes"`
}

func makeVectors(t *testing.T) vectors {
	h := header()
	seed := [32]byte{2}
	v := vectors{Seed: seed[:], Owner: h.Owner, Agent: h.Agent, Holder: h.Holder, Time: h.Time}
	s, err := Sign(identity.KeyOf(seed), h)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := AppendHeader(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	for n, size := range []int{20, 1} {
		r, data := record(byte(n+1), size)
		raw = append(AppendRecord(raw, r), data...)
		v.Pieces = append(v.Pieces, vector{r.Segment[:], r.Index, r.Score, data})
	}
	v.File = raw
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "seed", makeVectors)
	f, err := NewReader(bytes.NewReader(v.File))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{V: codec.Version, Owner: v.Owner, Agent: v.Agent, Holder: v.Holder, Time: v.Time}
	if h, err := Open(f.Signed()); err != nil || h != want {
		t.Errorf("%+v, %v; want %+v", h, err, want)
	}
	for _, p := range v.Pieces {
		r, data, err := f.Next(nil)
		if err != nil || !bytes.Equal(data, p.Bytes) || r.Score != p.Score || r.Index != p.Index || !bytes.Equal(r.Segment[:], p.Segment) {
			t.Errorf("%+v %x, %v; want %+v", r, data, err, p)
		}
	}
	if _, _, err := f.Next(nil); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// FuzzReader reads a file, whatever it is: nothing but pieces comes out, and damage and
// pieces together are all of it.
func FuzzReader(f *testing.F) {
	raw, starts := file(f)
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Add(append(bytes.Clone(raw[:starts[1]]), raw[starts[1]+1:]...))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := NewReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if h, err := Open(r.Signed()); err == nil && h.Agent != r.Signed().By {
			t.Errorf("%+v is signed by %s", h, r.Signed().By)
		}
		at := r.At()
		for {
			rec, data, err := r.Next(nil)
			var d *Damage
			switch {
			case err == io.EOF:
				if at != int64(len(raw)) {
					t.Errorf("%d of %d bytes were accounted for", at, len(raw))
				}
				return
			case errors.As(err, &d):
				if d.Offset != at || d.Length < 1 {
					t.Fatalf("%+v at %d", d, at)
				}
				at += d.Length
			case err != nil:
				t.Fatal(err)
			default:
				again := append(AppendRecord(nil, rec), data...)
				if core.ScoreOf(data) != rec.Score || !bytes.Equal(again, raw[at:at+int64(len(again))]) {
					t.Fatalf("%+v is not what stands at %d", rec, at)
				}
				at += int64(len(again))
			}
		}
	})
}
