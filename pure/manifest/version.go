package manifest

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/page"
)

// What the keys of the state's records begin with.
const (
	SegmentPrefix   = "s/"
	VersionPrefix   = "v/"
	TombstonePrefix = "x/"
)

// Limits of a version.
const (
	// NameSizeMax bounds a name in bytes.
	NameSizeMax = 255
	// SegmentsMax is how many segments may hold the pages of one tree.
	SegmentsMax = 2048
)

// Version is one put of one name by one agent. It never changes.
type Version struct {
	V     uint     `json:"v"`
	Name  string   `json:"name"`
	Agent core.DID `json:"agent"`
	// Seq counts the agent's versions from 1.
	Seq uint64 `json:"seq"`
	// Time is in seconds since 1970.
	Time int64 `json:"time"`
	// Files and Bytes are how many files there are, and their sizes together.
	Files uint64 `json:"files"`
	Bytes uint64 `json:"bytes"`
	// Stored is the bytes of the pieces that were placed for it anew.
	Stored uint64 `json:"stored"`
	// Single says that one file was put, not a directory.
	Single bool `json:"single"`
	// Tree has the entries; its root is an encoded Ref.
	Tree page.Tree `json:"tree"`
	// Segments are the ids, rising, of those that hold the tree's pages.
	Segments [][]byte `json:"segments"`
}

// Check bounds everything in v. Errors: core.ErrVersion, core.ErrInvalid.
func (v Version) Check() error {
	if err := checkVersion("version", v.V); err != nil {
		return err
	}
	if err := CheckName(v.Name); err != nil {
		return err
	}
	if err := v.Tree.Check(); err != nil {
		return err
	}
	switch {
	case v.Agent.IsZero():
		return invalid("version", "no agent")
	case v.Seq < 1:
		return invalid("version", "number 0")
	case v.Tree.Count < 1 || v.Files > v.Tree.Count:
		return invalid("version", "%d files in a tree of %d records", v.Files, v.Tree.Count)
	case v.Single && (v.Files > 1 || v.Tree.Count < 2):
		return invalid("version", "a single file, and %d files in %d records", v.Files, v.Tree.Count)
	case v.Bytes > math.MaxInt64 || v.Stored > math.MaxInt64:
		return invalid("version", "%d bytes, %d stored", v.Bytes, v.Stored)
	}
	root, err := ParseRef(v.Tree.Root)
	if err != nil {
		return err
	}
	return v.checkSegments(root)
}

func (v Version) checkSegments(root Ref) error {
	if len(v.Segments) > SegmentsMax {
		return invalid("version", "pages in %d segments, at most %d", len(v.Segments), SegmentsMax)
	}
	for i, id := range v.Segments {
		if len(id) != SegmentIDSize {
			return invalid("version", "a segment id of %d bytes, want %d", len(id), SegmentIDSize)
		}
		if i > 0 && bytes.Compare(v.Segments[i-1], id) >= 0 {
			return invalid("version", "segments that do not rise")
		}
	}
	if _, found := slices.BinarySearchFunc(v.Segments, root.Segment, bytes.Compare); !found {
		return invalid("version", "the root page is in none of its segments")
	}
	return nil
}

// Key returns the key of v in the state.
func (v Version) Key() []byte { return VersionKey(v.Name, v.Agent, v.Seq) }

// Marshal returns the strict CBOR of v. Errors: those of Check.
func (v Version) Marshal() ([]byte, error) { return marshal(v) }

// DecodeVersion reads what Marshal returns. That it stands under its own Key is the
// caller's to check. Errors: core.ErrVersion, core.ErrInvalid, core.ErrTooLarge.
func DecodeVersion(b []byte) (Version, error) { return decode[Version]("version", b, recordSizeMax) }

// Tombstone says that a version was removed, or that its removal was undone.
type Tombstone struct {
	V uint `json:"v"`
	// Time is in seconds since 1970.
	Time   int64 `json:"time"`
	Undone bool  `json:"undone"`
	// Thinned says that a rule removed it, because newer versions had come, and no person.
	Thinned bool `json:"thinned,omitempty"`
}

// TombstoneTimeMax is the last second of the year 9999.
const TombstoneTimeMax = 253402300799

// Check bounds everything in t. Errors: core.ErrVersion, core.ErrInvalid.
func (t Tombstone) Check() error {
	if err := checkVersion("tombstone", t.V); err != nil {
		return err
	}
	if t.Time < 0 || t.Time > TombstoneTimeMax {
		return invalid("tombstone", "time %d, want 0 to %d", t.Time, int64(TombstoneTimeMax))
	}
	return nil
}

// Marshal returns the strict CBOR of t. Errors: those of Check.
func (t Tombstone) Marshal() ([]byte, error) { return marshal(t) }

// DecodeTombstone reads what Marshal returns. Errors: core.ErrVersion, core.ErrInvalid, core.ErrTooLarge.
func DecodeTombstone(b []byte) (Tombstone, error) {
	return decode[Tombstone]("tombstone", b, recordSizeMax)
}

// CheckName tells whether a version may have that name: 1 to NameSizeMax bytes of
// UTF-8 without '/' and control characters, and not "." or "..", so that it
// can be printed and be the name of a file. Errors: core.ErrInvalid.
func CheckName(name string) error {
	switch {
	case len(name) < 1 || len(name) > NameSizeMax:
		return invalid("name", "%d bytes, want 1 to %d", len(name), NameSizeMax)
	case !utf8.ValidString(name):
		return invalid("name", "%.80q is not UTF-8", name)
	case name == "." || name == "..":
		return invalid("name", "%q stands for a directory", name)
	}
	for _, r := range name {
		if r == '/' || unicode.IsControl(r) {
			return invalid("name", "%q in %.80q", r, name)
		}
	}
	return nil
}

// VersionKey returns the key in the state of a version; the name was checked.
func VersionKey(name string, agent core.DID, seq uint64) []byte {
	return versionKey(VersionPrefix, name, agent, seq)
}

// TombstoneKey returns the key in the state of a version's tombstone; the name was checked.
func TombstoneKey(name string, agent core.DID, seq uint64) []byte {
	return versionKey(TombstonePrefix, name, agent, seq)
}

// TombstonesOf returns what the keys of all tombstones of a name begin with, and no other keys.
func TombstonesOf(name string) []byte { return append([]byte(TombstonePrefix+name), 0) }

// NamePrefix returns what the keys of all versions of a name begin with, and no other keys.
func NamePrefix(name string) []byte { return append([]byte(VersionPrefix+name), 0) }

func versionKey(prefix, name string, agent core.DID, seq uint64) []byte {
	key := make([]byte, 0, len(prefix)+len(name)+1+len(agent)+8)
	key = append(append(key, prefix...), name...)
	key = append(append(key, 0), agent[:]...)
	return binary.BigEndian.AppendUint64(key, seq)
}

// ParseVersionKey returns what VersionKey or TombstoneKey was given. Errors: core.ErrInvalid.
func ParseVersionKey(key []byte) (name string, agent core.DID, seq uint64, err error) {
	prefix := string(key[:min(len(key), len(VersionPrefix))])
	at := len(key) - 1 - len(agent) - 8 // where the zero byte stands
	if (prefix != VersionPrefix && prefix != TombstonePrefix) || at < len(prefix) || key[at] != 0 {
		return "", agent, 0, invalid("version key", "%.80q", key)
	}
	name = string(key[len(prefix):at])
	if err := CheckName(name); err != nil {
		return "", agent, 0, err
	}
	copy(agent[:], key[at+1:])
	seq = binary.BigEndian.Uint64(key[len(key)-8:])
	if agent.IsZero() || seq == 0 {
		return "", core.DID{}, 0, invalid("version key", "%.80q has no agent or number", key)
	}
	return name, agent, seq, nil
}
