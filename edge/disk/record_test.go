package disk

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// vectors are of one pack: the head of its file, and records in it.
type vectors struct {
	Version string         `json:"version"`
	Salt    golden.Hex     `json:"salt"`
	Header  golden.Hex     `json:"pack_header"` // the first 64 bytes, which stand at 4096 again
	Start   int            `json:"first_record_at"`
	Records []vectorRecord `json:"records"`
}

type vectorRecord struct {
	Offset uint64     `json:"offset"`
	Score  golden.Hex `json:"score"`
	Note   golden.Hex `json:"note,omitempty"`
	Data   golden.Hex `json:"data,omitempty"`
	Gone   *place     `json:"gone,omitempty"`
	Record golden.Hex `json:"record"`
}

func goldenSalt() salt {
	var s salt
	for i := range s {
		s[i] = byte(i)
	}
	return s
}

func goldenRecords() []struct {
	header
	data []byte
} {
	hello := []byte("hello, grange")
	return []struct {
		header
		data []byte
	}{
		{header{Score: core.ScoreOf(hello), Note: []byte("a note"), Size: uint64(len(hello))}, hello},
		{header{Score: core.ScoreOf(nil)}, nil},
		{header{Score: core.ScoreOf(hello), Gone: &place{Pack: 1, Offset: packStart}}, nil},
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	s := goldenSalt()
	v := vectors{Version: Version, Salt: s[:], Header: encodePackHeader(s)[:packHeaderSize], Start: packStart}
	at := uint64(packStart)
	for _, r := range goldenRecords() {
		b, err := appendHead(nil, &s, at, r.header)
		check(t, err)
		b = append(b, r.data...)
		v.Records = append(v.Records, vectorRecord{Offset: at, Score: r.Score[:], Note: r.Note, Data: r.data, Gone: r.Gone, Record: b})
		at += uint64(len(b))
	}
	return v
}

func TestGoldenVectors(t *testing.T) {
	v := golden.File(t, "disk", makeVectors)
	s := goldenSalt()
	pack := make([]byte, packStart)
	copy(pack[packStart/2:], v.Header) // the second copy alone
	if s, err := parsePackHeader(pack); err != nil || !bytes.Equal(s[:], v.Salt) {
		t.Errorf("pack header: %x, %v", s, err)
	}
	for i, r := range v.Records {
		b := r.Record
		h, n, err := parseHead(b, &s, r.Offset)
		if err != nil || !bytes.Equal(h.Score[:], r.Score) || !bytes.Equal(h.Note, r.Note) || !bytes.Equal(b[n:], r.Data) || int(h.Size) != len(b)-n {
			t.Errorf("record %d: %+v, %v", i, h, err)
		}
		if (h.Gone == nil) != (r.Gone == nil) || h.Gone != nil && *h.Gone != *r.Gone {
			t.Errorf("record %d: gone %+v", i, h.Gone)
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	s := goldenSalt()
	for _, r := range goldenRecords() {
		good, err := appendHead(nil, &s, packStart, r.header)
		check(t, err)
		for bit := range len(good) * 8 {
			bad := bytes.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			// A longer header is short of bytes, which ends a pack as well.
			if h, _, err := parseHead(bad, &s, packStart); !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, errShort) {
				t.Fatalf("bit %d: %+v, %v", bit, h, err)
			}
			if h, _, err := parseHead(append(bad, make([]byte, headSizeMax)...), &s, packStart); !errors.Is(err, core.ErrCorrupt) {
				t.Fatalf("bit %d, with more behind: %+v, %v", bit, h, err)
			}
		}
		for n := range good {
			if _, _, err := parseHead(good[:n], &s, packStart); !errors.Is(err, errShort) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		if _, _, err := parseHead(good, &s, packStart+1); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("at another place: %v", err)
		}
		if _, _, err := parseHead(good, &salt{}, packStart); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("in another pack: %v", err)
		}
	}
	header := encodePackHeader(s)[:packHeaderSize]
	for bit := range len(header) * 8 {
		bad := bytes.Clone(header)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := parsePackHeader(bad); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("pack header, bit %d: %v", bit, err)
		}
	}
}

func TestAHeaderKeepsItsLimits(t *testing.T) {
	s := goldenSalt()
	for name, h := range map[string]header{
		"size":        {Size: core.BlobSizeMax + 1},
		"note":        {Note: make([]byte, core.NoteSizeMax+1)},
		"gone size":   {Size: 1, Gone: &place{Pack: 1, Offset: packStart}},
		"gone note":   {Note: []byte{1}, Gone: &place{Pack: 1, Offset: packStart}},
		"gone pack":   {Gone: &place{Offset: packStart}},
		"gone offset": {Gone: &place{Pack: 1, Offset: packStart - 1}},
	} {
		if _, err := appendHead(nil, &s, packStart, h); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
	largest := header{Note: make([]byte, core.NoteSizeMax), Size: core.BlobSizeMax}
	b, err := appendHead(nil, &s, 1<<40, largest)
	if err != nil || len(b) > headSizeMax || len(b)-core.NoteSizeMax > goneBound {
		t.Errorf("the largest header: %d bytes, %v", len(b), err)
	}
	b, err = appendHead(nil, &s, 1<<40, header{Gone: &place{Pack: packNumberMax, Offset: 1 << 62}})
	if err != nil || len(b) > goneBound {
		t.Errorf("the largest deletion: %d bytes, %v", len(b), err)
	}
	for i, h := range [][]byte{sealHead(&s, 2, []byte{0xa0}), sealHead(&s, 1, []byte{0xa0}), sealHead(&s, 1, nil), sealHead(&s, 1, []byte("\xff"))} {
		_, _, err := parseHead(h, &s, packStart)
		if want := map[bool]error{true: core.ErrVersion, false: core.ErrCorrupt}[i == 0]; !errors.Is(err, want) {
			t.Errorf("header %d with a good checksum: %v", i, err)
		}
	}
}

// sealHead makes a head whose checksum is right, whatever its body is.
func sealHead(s *salt, version byte, body []byte) []byte {
	b := append(bytes.Clone(recordMagic), version, 0, byte(len(body)>>8), byte(len(body)))
	check := recordCheck(s, packStart, b, body)
	return append(append(b, check[:]...), body...)
}

func TestPackNames(t *testing.T) {
	for n, name := range map[uint32]string{1: "001.pack", 42: "042.pack", 999: "999.pack", 1000: "1000.pack", packNumberMax: "2147483647.pack"} {
		if got := packName(n); got != name {
			t.Errorf("%d: %s", n, got)
		}
		if got, ok := parsePackName(name); !ok || got != n {
			t.Errorf("%s: %d, %t", name, got, ok)
		}
	}
	for _, name := range []string{"", ".pack", "1.pack", "000.pack", "0001.pack", "-01.pack", "+01.pack", "001", "001.pack~", "01a.pack", "2147483648.pack", "99999999999999999999.pack"} {
		if n, ok := parsePackName(name); ok {
			t.Errorf("%q is taken for %d", name, n)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	s := goldenSalt()
	for _, r := range goldenRecords() {
		b, err := appendHead(nil, &s, packStart, r.header)
		check(f, err)
		f.Add(b[frameSize:], uint8(1))
		f.Add(b, uint8(0))
	}
	f.Add([]byte("\xa0"), uint8(1))
	f.Add([]byte{}, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, version uint8) {
		if version > 0 && len(b) < 1<<16 {
			b = sealHead(&s, version, b) // behind a good checksum the CBOR is met
		}
		h, n, err := parseHead(b, &s, packStart)
		if err != nil {
			return
		}
		again, err := appendHead(nil, &s, packStart, h)
		if err != nil || n > len(b) || !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x is read as %+v and written as %x, %v", b, h, again, err)
		}
	})
}

// FuzzScan reads packs of garbage, and of records with garbage between them.
func FuzzScan(f *testing.F) {
	f.Add([]byte("garbage"), uint16(0), uint16(3))
	f.Add(bytes.Repeat(recordMagic, 20), uint16(40), uint16(100))
	f.Add([]byte(strings.Repeat("\x89grb\x01\x00\x00\x05", 10)), uint16(9), uint16(0))
	s := goldenSalt()
	f.Fuzz(func(t *testing.T, garbage []byte, cut, doubt uint16) {
		pack := encodePackHeader(s)
		var want []int64
		for _, r := range goldenRecords() {
			pack = append(pack, garbage...)
			want = append(want, int64(len(pack)))
			b, err := appendHead(nil, &s, uint64(len(pack)), r.header)
			check(t, err)
			pack = append(append(pack, b...), r.data...)
		}
		size := max(packStart, int64(len(pack))-int64(cut))
		var got []int64
		scan := packScan{file: memFile(pack[:size]), salt: &s, from: packStart, size: size, doubt: size - int64(doubt)}
		scan.visit = func(at int64, h header, head int) error {
			got = append(got, at)
			return nil
		}
		found, err := scan.run()
		if err != nil || found.end > size || found.garbage < 0 {
			t.Fatalf("%+v, %v", found, err)
		}
		if len(got) > len(want) || cut == 0 && len(got) != len(want) {
			t.Fatalf("records at %d, want %d", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("records at %d, want %d", got, want)
			}
		}
	})
}

type memFile []byte

func (f memFile) ReadAt(b []byte, at int64) (int, error)  { return bytes.NewReader(f).ReadAt(b, at) }
func (f memFile) WriteAt(b []byte, at int64) (int, error) { return 0, os.ErrInvalid }
func (f memFile) Truncate(int64) error                    { return os.ErrInvalid }
func (f memFile) Sync() error                             { return nil }
func (f memFile) Close() error                            { return nil }

func FuzzIndexEntry(f *testing.F) {
	f.Add(entry{place: place{1, packStart}, head: 90, size: 5, note: []byte("note")}.encode(), true)
	f.Add((&pack{number: 3, end: packStart, live: 2, gone: 3, stale: true}).encode(), false)
	f.Fuzz(func(t *testing.T, b []byte, isEntry bool) {
		if isEntry {
			if e, err := parseEntry(b); err == nil && !bytes.Equal(e.encode(), b) {
				t.Fatalf("%x is read as %+v", b, e)
			}
			return
		}
		if p, err := parseState(stateKey(3), b); err == nil && (p.number != 3 || !bytes.Equal(p.encode(), b)) {
			t.Fatalf("%x is read as %+v", b, p)
		}
	})
}
