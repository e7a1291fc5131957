package feed

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"pgregory.net/rapid"
)

func keyOf(name string) identity.Key { return identity.KeyOf(core.ScoreOf([]byte(name))) }

var (
	topic      = keyOf("table").DID()
	anna, bert = keyOf("anna"), keyOf("bert")
)

// write returns a feed of so many operations with their payloads.
func write(t testing.TB, k identity.Key, texts ...string) ([]Operation, []Sealed) {
	t.Helper()
	var tip Tip
	var ops []Operation
	var sealed []Sealed
	for i, text := range texts {
		random := core.ScoreOf([]byte(text))
		s := Sealed{[SaltSize]byte(random[:]), []byte(text)}
		o, err := Sign(k, Header{
			Topic: topic, Seq: tip.Seq + 1, Prev: tip.ID, Clock: Next(int64(1000+i/2), tip.Clock), Kind: Put,
			Size: uint32(len(text)), Commitment: Commit(s.Salt, s.Payload),
		})
		if err != nil {
			t.Fatal(err)
		}
		ops, sealed, tip = append(ops, o), append(sealed, s), TipOf(o.Header)
	}
	return ops, sealed
}

func TestHeaderIsReadAsItWasWritten(t *testing.T) {
	ops, _ := write(t, anna, "one", "two")
	for _, o := range ops {
		b := o.Bytes()
		got, err := ParseOperation(b)
		if err != nil || got != o || got.Verify() != nil {
			t.Fatal(got, err)
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if got, err := ParseOperation(bad); err == nil && got.Verify() == nil {
				t.Errorf("byte %d changed, and it verifies", i)
			}
		}
	}
	good := ops[1].Header
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"short":            {func(b []byte) []byte { return b[1:] }, core.ErrInvalid},
		"long":             {func(b []byte) []byte { return append(b, 0) }, core.ErrInvalid},
		"another version":  {func(b []byte) []byte { b[0] = 2; return b }, core.ErrVersion},
		"seq 0":            {func(b []byte) []byte { clear(b[65:73]); return b }, core.ErrInvalid},
		"no prev":          {func(b []byte) []byte { clear(b[73:105]); return b }, ErrBroken},
		"first with prev":  {func(b []byte) []byte { b[72] = 1; return b }, ErrBroken},
		"kind 0":           {func(b []byte) []byte { b[113] = 0; return b }, core.ErrInvalid},
		"payload too long": {func(b []byte) []byte { b[115] = 0x10; return b }, core.ErrTooLarge},
		"weak author":      {func(b []byte) []byte { clear(b[33:65]); return b }, core.ErrInvalid},
		"weak topic":       {func(b []byte) []byte { clear(b[1:33]); return b }, core.ErrInvalid},
	} {
		b := good.Bytes()
		if _, err := ParseHeader(c.change(b[:])); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Sign(anna, Header{Topic: topic, Seq: 2, Kind: Put}); !errors.Is(err, ErrBroken) {
		t.Errorf("signed what nobody reads: %v", err)
	}
}

func TestPayloadIsCommittedTo(t *testing.T) {
	ops, sealed := write(t, anna, "one", "two")
	if err := Check(ops[0].Header, sealed[0]); err != nil {
		t.Error(err)
	}
	salted := sealed[0]
	salted.Salt[3]++
	for _, s := range []Sealed{sealed[1], salted, {Salt: sealed[0].Salt, Payload: []byte("on")}, {}} {
		if err := Check(ops[0].Header, s); !errors.Is(err, ErrPayload) || !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%q: %v", s.Payload, err)
		}
	}
}

func TestClock(t *testing.T) {
	const ms = 1_800_000_000_000
	for _, c := range []struct {
		now        int64
		last, want uint64
	}{
		{ms, 0, ms << 16},
		{ms, ms << 16, ms<<16 + 1},
		{ms - 5000, ms<<16 + 7, ms<<16 + 8},
		{ms, ms<<16 - 1, ms << 16},
		{-1, 0, 1},
	} {
		if got := Next(c.now, c.last); got != c.want {
			t.Errorf("Next(%d, %d) = %d, want %d", c.now, c.last, got, c.want)
		}
	}
	for clock, ahead := range map[uint64]bool{ms << 16: false, (ms + AheadMax) << 16: false, (ms+AheadMax+1)<<16 - 1: false, (ms + AheadMax + 1) << 16: true, math.MaxUint64: true} {
		if Ahead(clock, ms) != ahead {
			t.Errorf("%d ahead: %v", clock, !ahead)
		}
	}
}

func TestChain(t *testing.T) {
	ops, _ := write(t, anna, "1", "2", "3", "4", "5")
	other, _ := write(t, bert, "1", "2", "3")
	tip, err := Chain(Tip{}, ops[:2])
	if err != nil || tip != TipOf(ops[1].Header) {
		t.Fatal(tip, err)
	}
	if end, err := Chain(tip, ops[2:]); err != nil || end != TipOf(ops[4].Header) {
		t.Fatal(end, err)
	}
	if same, err := Chain(tip, nil); err != nil || same != tip {
		t.Fatal(same, err)
	}
	late, err := Sign(anna, Header{Topic: topic, Seq: 3, Prev: tip.ID, Clock: tip.Clock, Kind: Put})
	if err != nil {
		t.Fatal(err)
	}
	unsigned := ops[4]
	unsigned.Sig[0]++
	mid := ops[3]
	mid.Sig[0]++
	changed := ops[3]
	changed.Size++
	for name, c := range map[string]struct {
		ops  []Operation
		want error
	}{
		"a gap":                   {ops[3:], ErrBroken},
		"again":                   {ops[1:2], ErrBroken},
		"one left out":            {[]Operation{ops[2], ops[4]}, ErrBroken},
		"another's":               {other[2:], ErrBroken},
		"another's behind":        {[]Operation{ops[2], other[2]}, ErrBroken},
		"clock stands":            {[]Operation{late}, ErrClock},
		"last one unsigned":       {[]Operation{ops[2], ops[3], unsigned}, ErrForged},
		"the last one changed":    {[]Operation{ops[2], changed}, ErrForged},
		"one changed in between":  {[]Operation{ops[2], changed, ops[4]}, ErrBroken},
		"signature in between":    {[]Operation{ops[2], mid, ops[4]}, nil},
		"what no header would be": {[]Operation{{}}, core.ErrInvalid},
	} {
		if _, err := Chain(tip, c.ops); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// fork returns two operations by k with one seq.
func fork(t testing.TB, k identity.Key) Fork {
	t.Helper()
	a, _ := write(t, k, "1", "2", "3")
	b, _ := write(t, k, "1", "2", "other")
	f, err := NewFork(a[2], b[2])
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFork(t *testing.T) {
	f := fork(t, anna)
	same, err := NewFork(f.Ops[1], f.Ops[0])
	if err != nil || same != f || f.Seq() != 3 || f.Author() != anna.DID() || f.Topic() != topic {
		t.Fatal(same, err)
	}
	b := f.Bytes()
	if got, err := ParseFork(b); err != nil || got != f || len(b) != 355 {
		t.Fatal(len(b), err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := ParseFork(bad); err == nil {
			t.Errorf("byte %d changed, and it proves", i)
		}
	}
	const half = restSize + SigSize
	swapped := append(append(bytes.Clone(b[:73]), b[73+half:]...), b[73:73+half]...)
	twice := append(append(bytes.Clone(b[:73]), b[73:73+half]...), b[73:73+half]...)
	unsigned := bytes.Clone(b)
	unsigned[len(b)-1] ^= 0x80
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"the higher id first": {swapped, core.ErrInvalid},
		"one operation twice": {twice, core.ErrInvalid},
		"one not signed":      {unsigned, ErrForged},
		"short":               {b[:354], core.ErrInvalid},
	} {
		if _, err := ParseFork(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	ops, _ := write(t, anna, "1", "2")
	if _, err := NewFork(ops[0], ops[1]); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("two of a chain: %v", err)
	}
}

// TestHeadersHaveOneEncoding: whatever is read is written as it was.
func TestHeadersHaveOneEncoding(t *testing.T) {
	good := mustOps(t)[1].Header.Bytes()
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(good[:])
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			b[rapid.IntRange(65, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		if h, err := ParseHeader(b); err == nil {
			if again := h.Bytes(); !bytes.Equal(again[:], b) {
				t.Fatalf("%x was read as %x", b, again)
			}
		}
	})
}

func mustOps(t testing.TB) []Operation {
	ops, _ := write(t, anna, "one", "two")
	return ops
}

func FuzzParseHeader(f *testing.F) {
	for _, o := range mustOps(f) {
		f.Add(o.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOperation(b)
		if err == nil && !bytes.Equal(o.Bytes(), b) {
			t.Fatalf("%x was read as %x", b, o.Bytes())
		}
	})
}

func FuzzParseFork(f *testing.F) {
	f.Add(fork(f, anna).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseFork(b); err == nil && !bytes.Equal(got.Bytes(), b) {
			t.Fatalf("%x was read as %x", b, got.Bytes())
		}
	})
}
