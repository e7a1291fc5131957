package manifest

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

func scoreOf(text string) core.Score { return core.ScoreOf([]byte(text)) }

func segmentID(n byte) []byte { return bytes.Repeat([]byte{n}, SegmentIDSize) }

// aRef is to size plain bytes that did not compress.
func aRef(size uint64) Ref {
	return Ref{
		Plain: scoreOf("plain"), Packed: scoreOf("packed"), Key: seal.Key(scoreOf("key")),
		Size: size, Sealed: uint64(chunk.Padme(int(size)+5)) + sealOverhead,
		Segment: segmentID(7), Offset: 4096,
	}
}

func aPageRef() Ref {
	r := aRef(3000)
	page := scoreOf("sealed")
	r.Segment, r.Offset, r.Page = nil, 0, page[:]
	return r
}

func aSegment() Segment {
	s := Segment{V: 1, ID: segmentID(7), K: 10, M: 10, Size: 1 << 20}
	for i := range 20 {
		piece := core.ScoreOf([]byte{byte(i)})
		s.Pieces = append(s.Pieces, piece[:]...)
	}
	return s
}

func aFile(sizes ...uint64) Entry {
	e := Entry{Kind: KindFile, Mode: 0o644, Mtime: 1_700_000_000, Nsec: 999_999_999}
	for _, size := range sizes {
		e.Chunks = append(e.Chunks, aRef(size))
		e.Size += size
	}
	return e
}

func aDir() Entry { return Entry{Kind: KindDir, Mode: 0o1777, Mtime: -1} }

func aLink() Entry { return Entry{Kind: KindLink, Mode: 0o777, Target: []byte("../\xff/x")} }

func aVersion(t testing.TB) Version {
	t.Helper()
	root, err := aRef(2000).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return Version{
		V: 1, Name: "photos", Agent: core.DID(scoreOf("agent")), Seq: 3, Time: 1_700_000_000,
		Files: 2, Bytes: 1 << 40, Stored: 1 << 41,
		Tree:     page.Tree{V: 1, Level: 1, Count: 4, Root: root},
		Segments: [][]byte{segmentID(6), segmentID(7), segmentID(8)},
	}
}

// change returns v after f, for the tables below.
func change[T any](v T, f func(*T)) T {
	f(&v)
	return v
}

// refusals checks that each value is refused, both when it is checked or written
// and when somebody else's program wrote it.
func refusals[T checker](t *testing.T, read func([]byte) (T, error), want error, cases map[string]T) {
	t.Helper()
	for name, v := range cases {
		if err := v.Check(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if _, err := marshal(v); !errors.Is(err, want) {
			t.Errorf("%s: written: %v", name, err)
		}
		data, err := codec.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := read(data)
		if !errors.Is(err, want) && !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("%s: read: %v, want %v", name, err, want)
		}
		if !reflect.ValueOf(got).IsZero() {
			t.Errorf("%s: refused, and returned all the same", name)
		}
	}
}

// roundTrip checks that a value reads as it was written, and that no other
// bytes near it do.
func roundTrip[T checker](t *testing.T, read func([]byte) (T, error), values ...T) {
	t.Helper()
	for _, v := range values {
		data, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(data)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := marshal(got); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%T is not the same after a round trip: %v", v, err)
		}
		for n := range data {
			if _, err := read(data[:n]); err == nil {
				t.Fatalf("%T cut to %d of %d bytes was read", v, n, len(data))
			}
		}
		if _, err := read(append(bytes.Clone(data), 0)); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("%T with a byte too many: %v", v, err)
		}
		if _, err := read(make([]byte, recordSizeMax+1)); !errors.Is(err, core.ErrTooLarge) {
			t.Fatalf("%T of %d bytes: %v", v, recordSizeMax+1, err)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	roundTrip(t, ParseRef, aRef(1), aRef(chunk.SizeMax), aPageRef())
	roundTrip(t, DecodeSegment, aSegment())
	roundTrip(t, DecodeEntry, aFile(), aFile(1, 2, chunk.SizeMax), aDir(), aLink())
	roundTrip(t, DecodeMore, More{Chunks: aFile(1, 2).Chunks})
	roundTrip(t, DecodeVersion, aVersion(t))
	roundTrip(t, DecodeTombstone, Tombstone{V: 1, Time: 1_700_000_000}, Tombstone{V: 1, Undone: true}, Tombstone{V: 1, Time: TombstoneTimeMax, Thinned: true})
}

func TestRefsAreBounded(t *testing.T) {
	ref := func(f func(*Ref)) Ref { return change(aRef(70_000), f) }
	refusals(t, ParseRef, core.ErrInvalid, map[string]Ref{
		"no plain score":           ref(func(r *Ref) { r.Plain = core.Score{} }),
		"no packed score":          ref(func(r *Ref) { r.Packed = core.Score{} }),
		"no bytes":                 ref(func(r *Ref) { r.Size = 0 }),
		"more than a chunk":        ref(func(r *Ref) { r.Size = chunk.SizeMax + 1 }),
		"all that is countable":    ref(func(r *Ref) { r.Size = math.MaxUint64 }),
		"nothing sealed":           ref(func(r *Ref) { r.Sealed = 0 }),
		"a tag alone":              ref(func(r *Ref) { r.Sealed = sealOverhead }),
		"too much sealed":          ref(func(r *Ref) { r.Sealed = SealedSizeMax + 32<<10 }),
		"huge sealed":              ref(func(r *Ref) { r.Sealed = math.MaxUint64 }),
		"a length not padded":      ref(func(r *Ref) { r.Sealed++ }),
		"past a segment's end":     ref(func(r *Ref) { r.Offset = segmentSizeMax - r.Sealed + 1 }),
		"an offset that wraps":     ref(func(r *Ref) { r.Offset = math.MaxUint64 - r.Sealed + 1 }),
		"a short segment id":       ref(func(r *Ref) { r.Segment = r.Segment[1:] }),
		"neither segment nor page": ref(func(r *Ref) { r.Segment, r.Offset = nil, 0 }),
		"segment and page":         ref(func(r *Ref) { r.Page = r.Plain[:] }),
		"a page at an offset":      ref(func(r *Ref) { r.Segment, r.Page = nil, r.Plain[:] }),
		"a short page":             ref(func(r *Ref) { r.Segment, r.Offset, r.Page = nil, 0, r.Plain[1:] }),
	})
	if err := ref(func(r *Ref) { r.Offset = segmentSizeMax - r.Sealed }).Check(); err != nil {
		t.Errorf("the last bytes of a segment: %v", err)
	}
	if err := change(aRef(chunk.SizeMax), func(r *Ref) { r.Sealed = SealedSizeMax }).Check(); err != nil {
		t.Errorf("the longest sealed chunk: %v", err)
	}
}

func TestRefsLieWithinTheirSegment(t *testing.T) {
	small := change(aSegment(), func(s *Segment) { s.Size = 500 }) // 5,000 bytes of data
	for _, c := range []struct {
		name string
		ref  Ref
		ok   bool
	}{
		{"at its end", change(aRef(995), func(r *Ref) { r.Offset = 5000 - r.Sealed }), true},
		{"past its end", change(aRef(995), func(r *Ref) { r.Offset = 5001 - r.Sealed }), false},
		{"longer than it", change(aRef(5000), func(r *Ref) { r.Offset = 0 }), false},
		{"of another segment", change(aRef(995), func(r *Ref) { r.Segment = segmentID(8); r.Offset = 0 }), false},
		{"an offset that wraps", change(aRef(995), func(r *Ref) { r.Offset = math.MaxUint64 }), false},
	} {
		if err := c.ref.Within(small); (err == nil) != c.ok || (err != nil && !errors.Is(err, core.ErrInvalid)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSegmentsAreBounded(t *testing.T) {
	segment := func(f func(*Segment)) Segment { return change(aSegment(), f) }
	refusals(t, DecodeSegment, core.ErrInvalid, map[string]Segment{
		"no id":               segment(func(s *Segment) { s.ID = nil }),
		"a long id":           segment(func(s *Segment) { s.ID = make([]byte, 17) }),
		"no data pieces":      segment(func(s *Segment) { s.K = 0; s.Pieces = s.Pieces[:320] }),
		"too many data":       segment(func(s *Segment) { s.K = 11; s.M = 9 }),
		"too much parity":     segment(func(s *Segment) { s.M = 11; s.K = 9 }),
		"counts that wrap":    segment(func(s *Segment) { s.K = 10; s.M = math.MaxUint64 }),
		"empty pieces":        segment(func(s *Segment) { s.Size = 0 }),
		"large pieces":        segment(func(s *Segment) { s.Size = erasure.PieceSizeMax + 1 }),
		"huge pieces":         segment(func(s *Segment) { s.Size = math.MaxUint64 }),
		"a score too few":     segment(func(s *Segment) { s.Pieces = s.Pieces[:19*32] }),
		"a byte too few":      segment(func(s *Segment) { s.Pieces = s.Pieces[:20*32-1] }),
		"a score too many":    segment(func(s *Segment) { s.Pieces = append(bytes.Clone(s.Pieces), s.Pieces[:32]...) }),
		"a piece of no score": segment(func(s *Segment) { s.Pieces = append(make([]byte, 32), s.Pieces[32:]...) }),
	})
	refusals(t, DecodeSegment, core.ErrVersion, map[string]Segment{
		"version 2": segment(func(s *Segment) { s.V = 2 }),
	})
	s := aSegment()
	for i := range s.Total() {
		if want := core.ScoreOf([]byte{byte(i)}); s.Piece(i) != want || s.Index(want) != i {
			t.Errorf("piece %d: %v, index %d", i, s.Piece(i), s.Index(want))
		}
	}
	if s.Index(scoreOf("another")) != -1 || s.Shape() != (erasure.Shape{K: 10, M: 10}) {
		t.Errorf("index of another's piece %d, shape %v", s.Index(scoreOf("another")), s.Shape())
	}
	if err := segment(func(s *Segment) { s.M = 0; s.K = 1; s.Pieces = s.Pieces[:32] }).Check(); err != nil {
		t.Errorf("one piece: %v", err)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	file := func(f func(*Entry)) Entry { return change(aFile(100, 200), f) }
	refusals(t, DecodeEntry, core.ErrInvalid, map[string]Entry{
		"no kind":                  file(func(e *Entry) { e.Kind = "" }),
		"a device":                 file(func(e *Entry) { e.Kind = "device" }),
		"setuid":                   file(func(e *Entry) { e.Mode = 0o4755 }),
		"setgid":                   file(func(e *Entry) { e.Mode = 0o2755 }),
		"a type in its mode":       file(func(e *Entry) { e.Mode = 0o100644 }),
		"a second of nanoseconds":  file(func(e *Entry) { e.Nsec = 1e9 }),
		"a size below its chunks'": file(func(e *Entry) { e.Size-- }),
		"a size above its chunks'": file(func(e *Entry) { e.Size++ }),
		"a negative size":          file(func(e *Entry) { e.Size = 1 << 63 }),
		"chunks of no size":        file(func(e *Entry) { e.Size = 0 }),
		"a size without chunks":    file(func(e *Entry) { e.Chunks = nil }),
		"a chunk that lies":        file(func(e *Entry) { e.Chunks = []Ref{change(aRef(300), func(r *Ref) { r.Sealed++ })} }),
		"a chunk in no segment":    file(func(e *Entry) { e.Chunks = []Ref{aPageRef()}; e.Size = 3000 }),
		"chunks that sum to 2⁶⁴":   file(func(e *Entry) { e.Chunks[0].Size = math.MaxUint64 - 199; e.Size = 0 }),
		"too many chunks":          aFile(bytesOf(ChunksPerRecord + 1)...),
		"a file with a target":     file(func(e *Entry) { e.Target = []byte("x") }),
		"a directory with chunks":  change(aFile(5), func(e *Entry) { e.Kind = KindDir }),
		"a directory with a size":  change(aDir(), func(e *Entry) { e.Size = 4096 }),
		"a link without a target":  change(aLink(), func(e *Entry) { e.Target = nil }),
		"a link with a size":       change(aLink(), func(e *Entry) { e.Size = 7 }),
		"a long target":            change(aLink(), func(e *Entry) { e.Target = bytes.Repeat([]byte("x"), 4097) }),
		"a target with a zero":     change(aLink(), func(e *Entry) { e.Target = []byte("a\x00b") }),
	})
	refusals(t, DecodeMore, core.ErrInvalid, map[string]More{
		"no chunks":             {},
		"too many chunks":       {Chunks: aFile(bytesOf(ChunksPerRecord + 1)...).Chunks},
		"a chunk in no segment": {Chunks: []Ref{aPageRef()}},
	})
	full := change(aFile(bytesOf(ChunksPerRecord)...), func(e *Entry) { e.Size = math.MaxInt64 })
	if err := full.Check(); err != nil {
		t.Errorf("a file with more to follow: %v", err)
	}
}

// bytesOf returns n sizes of one byte.
func bytesOf(n int) []uint64 {
	sizes := make([]uint64, n)
	for i := range sizes {
		sizes[i] = 1
	}
	return sizes
}

func TestVersionsAreBounded(t *testing.T) {
	version := func(f func(*Version)) Version { return change(aVersion(t), f) }
	refusals(t, DecodeVersion, core.ErrInvalid, map[string]Version{
		"no name":                version(func(v *Version) { v.Name = "" }),
		"no agent":               version(func(v *Version) { v.Agent = core.DID{} }),
		"number 0":               version(func(v *Version) { v.Seq = 0 }),
		"an empty tree":          version(func(v *Version) { v.Tree = page.Tree{V: 1} }),
		"a tree without a root":  version(func(v *Version) { v.Tree.Root = nil }),
		"a root that is no ref":  version(func(v *Version) { v.Tree.Root = []byte("root") }),
		"a root in the state":    version(func(v *Version) { v.Tree.Root, _ = aPageRef().Marshal() }),
		"a root in no segment":   version(func(v *Version) { v.Segments = v.Segments[:1] }),
		"a tree too high":        version(func(v *Version) { v.Tree.Level = page.LevelMax + 1 }),
		"more files than that":   version(func(v *Version) { v.Files = 5 }),
		"two single files":       version(func(v *Version) { v.Single = true }),
		"a single of one record": version(func(v *Version) { v.Single, v.Files, v.Tree.Count = true, 1, 1 }),
		"huge bytes":             version(func(v *Version) { v.Bytes = math.MaxUint64 }),
		"huge stored":            version(func(v *Version) { v.Stored = math.MaxUint64 }),
		"segments that fall":     version(func(v *Version) { v.Segments = [][]byte{segmentID(8), segmentID(7)} }),
		"one segment twice":      version(func(v *Version) { v.Segments = [][]byte{segmentID(7), segmentID(7)} }),
		"a short segment id":     version(func(v *Version) { v.Segments = [][]byte{segmentID(7), segmentID(8)[1:]} }),
		"too many segments":      version(func(v *Version) { v.Segments = make([][]byte, SegmentsMax+1) }),
	})
	refusals(t, DecodeVersion, core.ErrVersion, map[string]Version{
		"version 2":      version(func(v *Version) { v.V = 2 }),
		"a tree of such": version(func(v *Version) { v.Tree.V = 2 }),
	})
	refusals(t, DecodeTombstone, core.ErrVersion, map[string]Tombstone{"version 2": {V: 2}})
	refusals(t, DecodeTombstone, core.ErrInvalid, map[string]Tombstone{
		"before 1970": {V: 1, Time: -1}, "after 9999": {V: 1, Time: TombstoneTimeMax + 1},
	})
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "Fotos von früher", "..a", "a.b", "水", strings.Repeat("x", 255), "a\\b"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00", "a\nb", "\x1b[2J", "\u0085", "\x7f", "\xff", strings.Repeat("x", 256)} {
		if err := CheckName(name); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestVersionKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.Rune(), 1, 60, 255).Draw(t, "name")
		if CheckName(name) != nil {
			t.Skip("no name")
		}
		agent := core.DID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "agent"))
		agent[31] |= 1
		seq := rapid.Uint64Min(1).Draw(t, "seq")
		for _, key := range [][]byte{VersionKey(name, agent, seq), TombstoneKey(name, agent, seq)} {
			gotName, gotAgent, gotSeq, err := ParseVersionKey(key)
			if err != nil || gotName != name || gotAgent != agent || gotSeq != seq {
				t.Fatalf("%x: %q %v %d, %v", key, gotName, gotAgent, gotSeq, err)
			}
		}
		if !bytes.HasPrefix(VersionKey(name, agent, seq), NamePrefix(name)) {
			t.Fatal("a version's key does not begin with its name's prefix")
		}
	})
	agent := core.DID(scoreOf("agent"))
	good := VersionKey("n", agent, 1)
	for name, key := range map[string][]byte{
		"nothing":         {},
		"a prefix":        []byte("v/"),
		"another prefix":  append([]byte("p/"), good[2:]...),
		"cut short":       good[:len(good)-1],
		"a byte too many": append(bytes.Clone(good), 0),
		"no name":         VersionKey("", agent, 1),
		"a bad name":      VersionKey("a/b", agent, 1),
		"a zero in it":    VersionKey("a\x00b", agent, 1),
		"no agent":        VersionKey("n", core.DID{}, 1),
		"number 0":        VersionKey("n", agent, 0),
	} {
		if _, _, _, err := ParseVersionKey(key); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	id, err := ParseSegmentKey(SegmentKey(segmentID(3)))
	if err != nil || !bytes.Equal(id, segmentID(3)) {
		t.Errorf("segment key: %x, %v", id, err)
	}
	for _, key := range [][]byte{{}, []byte("s/"), SegmentKey(segmentID(3)[1:]), append([]byte("v/"), segmentID(3)...)} {
		if _, err := ParseSegmentKey(key); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("segment key %q: %v", key, err)
		}
	}
}
