package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"pgregory.net/rapid"
)

// log returns operations as they lie in a log; those at gone have no payload any more.
func logOf(ops []Operation, sealed []Sealed, gone ...int) []Logged {
	var out []Logged
	for i, o := range ops {
		l := Logged{Operation: o, ID: o.ID(), Sealed: sealed[i]}
		if slices.Contains(gone, i) {
			l.Gone, l.Sealed = true, Sealed{}
		}
		out = append(out, l)
	}
	return out
}

// batch returns a batch of runs by two authors, and the runs, as they rise.
func batch(t testing.TB) ([]byte, [][]Logged) {
	t.Helper()
	runs := [][]Logged{logOf(write(t, anna, "1", "", "3", "4"))[1:], logOf(write(t, bert, "1", "2"))}
	runs[0][1].Gone, runs[0][1].Sealed = true, Sealed{}
	slices.SortFunc(runs, func(a, b []Logged) int { return a[0].Author.Compare(b[0].Author) })
	b := AppendBatch(nil, topic)
	for _, r := range runs {
		b = AppendRun(b, r)
	}
	return b, runs
}

func readAll(b []byte) ([][]Logged, error) {
	var out [][]Logged
	for run, err := range ReadBatch(b, topic) {
		if err != nil {
			return out, err
		}
		out = append(out, run.Ops)
	}
	return out, nil
}

func same(a, b Logged) bool {
	return a.Operation == b.Operation && a.ID == b.ID && a.Gone == b.Gone && a.Salt == b.Salt && bytes.Equal(a.Payload, b.Payload)
}

func TestBatch(t *testing.T) {
	b, want := batch(t)
	got, err := readAll(b)
	if err != nil || len(got) != len(want) {
		t.Fatal(len(got), err)
	}
	for i, run := range got {
		if !slices.EqualFunc(run, want[i], same) {
			t.Errorf("run %d is %+v, want %+v", i, run, want[i])
		}
		r := Run{run}
		if err := r.Verify(len(run)); err != nil || r.First() != want[i][0].Seq || r.Last().ID != want[i][len(run)-1].ID {
			t.Error(err)
		}
	}
	if runs, err := readAll(AppendBatch(nil, topic)); err != nil || len(runs) != 0 {
		t.Errorf("an empty batch: %v", err)
	}
}

// TestBatchesThatLie: whatever bit is changed, it is not read, or does not verify, or it was a signature
// that the last one stands for.
func TestBatchesThatLie(t *testing.T) {
	b, want := batch(t)
	for bit := range len(b) * 8 {
		bad := bytes.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		runs, err := readAll(bad)
		for _, run := range runs {
			if err == nil {
				err = Run{run}.Verify(len(run))
			}
		}
		if err != nil {
			continue
		}
		for i, run := range runs {
			for j, l := range run {
				w := want[i][j]
				w.Sig = l.Sig
				if !same(l, w) || j == len(run)-1 && l.Sig != want[i][j].Sig {
					t.Fatalf("bit %d of %d changed, and operation %d of run %d is taken", bit, len(b)*8, j, i)
				}
			}
		}
	}
	one := AppendRun(AppendBatch(nil, topic), want[0][:1])
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"another version":       {append([]byte{2}, b[1:]...), core.ErrVersion},
		"another topic":         {AppendBatch(nil, anna.DID()), core.ErrInvalid},
		"no head":               {b[:32], core.ErrInvalid},
		"too long":              {make([]byte, BatchSizeMax+1), core.ErrTooLarge},
		"cut":                   {b[:len(b)-1], core.ErrInvalid},
		"an author twice":       {AppendRun(bytes.Clone(one), want[0][1:2]), core.ErrInvalid},
		"authors fall":          {AppendRun(AppendRun(AppendBatch(nil, topic), want[1]), want[0]), core.ErrInvalid},
		"no operations":         {append(append(AppendBatch(nil, topic), one[33:65]...), 1, 0), core.ErrInvalid},
		"seq 0":                 {append(append(AppendBatch(nil, topic), one[33:65]...), make([]byte, 300)...), core.ErrInvalid},
		"a number with a zero":  {append(append(AppendBatch(nil, topic), one[33:65]...), 0x81, 0), core.ErrInvalid},
		"a million operations":  {binary.AppendUvarint(append(append(AppendBatch(nil, topic), one[33:65]...), 1), 1<<20), core.ErrInvalid},
		"as many as there are":  {binary.AppendUvarint(append(append(AppendBatch(nil, topic), one[33:65]...), 1), 1<<64-1), core.ErrInvalid},
		"a payload of 1 GB":     {binary.AppendUvarint(append(append(AppendBatch(nil, topic), one[33:65]...), 1, 1, 1, 1), 1<<31), core.ErrInvalid},
		"a clock that stands":   {AppendRun(AppendBatch(nil, topic), standing(want[1], 0)), ErrClock},
		"a clock that overruns": {AppendRun(AppendBatch(nil, topic), standing(want[1], -1)), ErrClock},
	} {
		if _, err := readAll(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func standing(ops []Logged, by int64) []Logged {
	ops = slices.Clone(ops)
	ops[1].Clock = uint64(int64(ops[0].Clock) + by)
	return ops
}

// TestAnyFeedGoesThroughBatches: cut anywhere, it comes out the same.
func TestAnyFeedGoesThroughBatches(t *testing.T) {
	texts := make([]string, 40)
	for i := range texts {
		texts[i] = string(bytes.Repeat([]byte{byte(i)}, i*i%97))
	}
	ops, sealed := write(t, anna, texts...)
	rapid.Check(t, func(t *rapid.T) {
		all := logOf(ops, sealed, rapid.SliceOf(rapid.IntRange(0, 39)).Draw(t, "gone")...)
		var tip Tip
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			b := AppendRun(AppendBatch(nil, topic), rest[:n])
			size := batchHead + RunSizeMax
			for i := range n {
				size += rest[i].Size()
			}
			if len(b) > size {
				t.Fatalf("%d bytes, said to be at most %d", len(b), size)
			}
			runs, err := readAll(b)
			if err != nil || len(runs) != 1 || !slices.EqualFunc(runs[0], rest[:n], same) {
				t.Fatal(err)
			}
			var plain []Operation
			for _, l := range runs[0] {
				plain = append(plain, l.Operation)
			}
			if tip, err = Chain(tip, plain); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if tip != TipOf(ops[39].Header) {
			t.Fatal("another end")
		}
	})
}

func FuzzReadBatch(f *testing.F) {
	b, _ := batch(f)
	f.Add(b)
	f.Add(AppendBatch(nil, topic))
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, err := readAll(b)
		if err != nil {
			return
		}
		again := AppendBatch(nil, topic)
		for _, run := range runs {
			again = AppendRun(again, run)
			for _, l := range run {
				if l.ID != l.Header.ID() || !l.Gone && Check(l.Header, l.Sealed) != nil {
					t.Fatalf("operation %d is not what it says", l.Seq)
				}
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %x", b, again)
		}
	})
}

func BenchmarkReadBatch(b *testing.B) {
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = string(bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 40))
	}
	raw := AppendRun(AppendBatch(nil, topic), logOf(write(b, anna, texts...)))
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		for run, err := range ReadBatch(raw, topic) {
			if err != nil || run.Verify(1000) != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "operations/s")
}

func TestBatchOf(t *testing.T) {
	ops, sealed := write(t, anna, "one")
	b := AppendRun(AppendBatch(nil, topic), logOf(ops, sealed))
	if id, first, err := BatchOf(b); err != nil || id != topic || first != anna.DID() {
		t.Errorf("%s, %s, %v", id, first, err)
	}
	if _, _, err := BatchOf(b[:64]); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("too short: %v", err)
	}
	b[0] = 2
	if _, _, err := BatchOf(b); !errors.Is(err, core.ErrVersion) {
		t.Errorf("another version: %v", err)
	}
}
