package manifest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
)

// vectors are the records of this room. In a value, text that begins with "hex:" is bytes.
type vectors struct {
	About   string         `json:"about"`
	Records []recordVector `json:"records"`
	Refused []recordVector `json:"refused"`
	Keys    []keyVector    `json:"keys"`
	Paths   []pathVector   `json:"paths"`
}

type recordVector struct {
	What  string     `json:"what"`
	Why   string     `json:"why,omitempty"`
	CBOR  golden.Hex `json:"cbor"`
	Value any        `json:"value,omitempty"`
}

type keyVector struct {
	Name      string     `json:"name"`
	Agent     core.DID   `json:"agent"`
	Seq       uint64     `json:"seq"`
	Version   golden.Hex `json:"version"`
	Tombstone golden.Hex `json:"tombstone"`
}

// pathVector is a path and its key; an empty key with refused set has none.
type pathVector struct {
	Path    golden.Hex `json:"path"`
	Part    uint32     `json:"part,omitempty"`
	Key     golden.Hex `json:"key,omitempty"`
	Refused bool       `json:"refused,omitempty"`
}

// readers read a record and write it again.
var readers = map[string]func([]byte) ([]byte, error){
	"ref":       again(ParseRef),
	"segment":   again(DecodeSegment),
	"entry":     again(DecodeEntry),
	"more":      again(DecodeMore),
	"version":   again(DecodeVersion),
	"tombstone": again(DecodeTombstone),
}

func again[T checker](read func([]byte) (T, error)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		v, err := read(b)
		if err != nil {
			return nil, err
		}
		return marshal(v)
	}
}

func TestVectors(t *testing.T) {
	all := golden.File(t, "manifest", makeVectors)
	if len(all.Records) < 8 || len(all.Refused) < 8 || len(all.Keys) == 0 || len(all.Paths) == 0 {
		t.Fatal("vectors are missing")
	}
	for i, v := range all.Records {
		data := v.CBOR
		if got, err := readers[v.What](data); err != nil || !bytes.Equal(got, data) {
			t.Errorf("record %d, a %s: %v", i, v.What, err)
		}
		if got, err := codec.Marshal(fromJSON(t, v.Value)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("record %d, a %s: its value is encoded as %x, %v", i, v.What, got, err)
		}
	}
	for i, v := range all.Refused {
		if _, err := readers[v.What](v.CBOR); err == nil {
			t.Errorf("refused record %d, a %s with %s, was read", i, v.What, v.Why)
		}
	}
	for _, v := range all.Keys {
		for _, key := range []golden.Hex{v.Version, v.Tombstone} {
			if name, agent, seq, err := ParseVersionKey(key); err != nil || name != v.Name || agent != v.Agent || seq != v.Seq {
				t.Errorf("key %x: %q %v %d, %v", key, name, agent, seq, err)
			}
		}
	}
	for _, v := range all.Paths {
		checkPathVector(t, v)
	}
}

func checkPathVector(t *testing.T, v pathVector) {
	t.Helper()
	key, err := Key(v.Path)
	if v.Part > 0 {
		key, err = PartKey(v.Path, v.Part)
	}
	if v.Refused {
		if err == nil {
			t.Errorf("path %q has a key", v.Path)
		}
		return
	}
	if err != nil || !bytes.Equal(key, v.Key) {
		t.Errorf("path %q: key %x, %v", v.Path, key, err)
	}
	if back, part, err := Path(v.Key); err != nil || !bytes.Equal(back, v.Path) || part != v.Part {
		t.Errorf("key %x: path %q, part %d, %v", v.Key, back, part, err)
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	all := vectors{About: "Records of manifests and of the state, docs/SPEC.md §4 and §5. cbor, version, tombstone, path and key are hexadecimal; in a value, text that begins with hex: is bytes."}
	add := func(what string, v checker) {
		data, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := codec.Unmarshal(data, &value, len(data)); err != nil {
			t.Fatal(err)
		}
		all.Records = append(all.Records, recordVector{What: what, CBOR: data, Value: toJSON(value)})
	}
	refuse := func(what, why string, v any) {
		data, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all.Refused = append(all.Refused, recordVector{What: what, Why: why, CBOR: data})
	}
	add("ref", aRef(3000))
	add("ref", aPageRef())
	add("segment", aSegment())
	add("entry", aFile())
	add("entry", aFile(100, 200))
	add("entry", aDir())
	add("entry", aLink())
	add("more", More{Chunks: aFile(100, 200).Chunks})
	add("version", aVersion(t))
	add("tombstone", Tombstone{V: 1, Time: 1_700_000_000})
	add("tombstone", Tombstone{V: 1, Time: 1_700_000_001, Thinned: true})
	refuse("ref", "a sealed length that is not padded", change(aRef(3000), func(r *Ref) { r.Sealed = 4001 }))
	refuse("ref", "an offset past any segment", change(aRef(3000), func(r *Ref) { r.Offset = 10 << 20 }))
	refuse("ref", "a segment and a page", change(aPageRef(), func(r *Ref) { r.Segment = segmentID(7) }))
	refuse("segment", "scores of nineteen pieces", change(aSegment(), func(s *Segment) { s.Pieces = s.Pieces[32:] }))
	refuse("segment", "version 2", change(aSegment(), func(s *Segment) { s.V = 2 }))
	refuse("entry", "setuid", change(aFile(1), func(e *Entry) { e.Mode = 0o4755 }))
	refuse("entry", "a size that is not its chunks'", change(aFile(1), func(e *Entry) { e.Size = 2 }))
	refuse("entry", "an unknown kind", change(aDir(), func(e *Entry) { e.Kind = "fifo" }))
	refuse("more", "no chunks", More{})
	refuse("version", "a root in none of its segments", change(aVersion(t), func(v *Version) { v.Segments = nil }))
	refuse("version", "a name that climbs", change(aVersion(t), func(v *Version) { v.Name = ".." }))
	agent := core.DID(scoreOf("agent"))
	for _, name := range []string{"photos", "Bücher 水"} {
		all.Keys = append(all.Keys, keyVector{
			Name: name, Agent: agent, Seq: 258,
			Version: VersionKey(name, agent, 258), Tombstone: TombstoneKey(name, agent, 258),
		})
	}
	for _, path := range []string{"", "a", "a/b", "\xff/.c"} {
		key, err := Key([]byte(path))
		if err != nil {
			t.Fatal(err)
		}
		all.Paths = append(all.Paths, pathVector{Path: []byte(path), Key: key})
	}
	key, err := PartKey([]byte("a/b"), 258)
	if err != nil {
		t.Fatal(err)
	}
	all.Paths = append(all.Paths, pathVector{Path: []byte("a/b"), Part: 258, Key: key})
	for _, path := range []string{"/a", "a/", "a//b", "..", "a/../b", "./a", "a\x00b", strings.Repeat("x", 4097)} {
		all.Paths = append(all.Paths, pathVector{Path: []byte(path), Refused: true})
	}
	return all
}

// toJSON makes a decoded value one that JSON can hold.
func toJSON(v any) any {
	switch v := v.(type) {
	case []byte:
		return "hex:" + hex.EncodeToString(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = toJSON(v[i])
		}
		return out
	case map[any]any:
		out := map[string]any{}
		for k, e := range v {
			out[fmt.Sprint(k)] = toJSON(e)
		}
		return out
	}
	return v
}

// fromJSON is toJSON undone. Numbers are whole, and within 2^53.
func fromJSON(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case string:
		if b, ok := strings.CutPrefix(v, "hex:"); ok {
			data, err := hex.DecodeString(b)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
	case float64:
		return int64(v)
	case []any:
		for i := range v {
			v[i] = fromJSON(t, v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = fromJSON(t, v[k])
		}
	}
	return v
}
