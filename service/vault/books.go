package vault

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// The keys of the vault's records. What stands under statePrefix goes to the
// partners with every head, and has the keys of SPEC.md §4; the rest is ours alone and can
// be made again from manifests.
var (
	statePrefix = []byte("state/")
	chunkPrefix = []byte("v/chunk/") // + plain score: the Ref of a chunk that is placed
	openPrefix  = []byte("v/open/")  // + segment id: the table of one that is being placed
	minePrefix  = []byte("v/mine/")  // + segment id: it was placed, or taken over, here; when a put last used it
	seedPrefix  = []byte("v/seed/")  // + segment id: which of its pieces a person carries to whom
	gonePrefix  = []byte("v/gone/")  // + segment id: since when its pieces are given up
	seqKey      = []byte("v/seq")    // the last sequence number of a version of ours
	usesPrefix  = []byte("v/uses/")  // + a version's key: the segments it consists of
	tailPrefix  = []byte("v/tail/")  // + number: a record of the long file that a put is reading
	filePrefix  = []byte("v/file/")  // + name ‖ 0x00 ‖ a manifest's key: what a file was when it was last read
)

const (
	recordSizeMax = 64 << 10
	usesSizeMax   = 64 << 20 // 4M segments, 40 TiB
)

func stateKey(key []byte) []byte { return append(bytes.Clone(statePrefix), key...) }

func chunkKey(plain core.Score) []byte { return append(bytes.Clone(chunkPrefix), plain[:]...) }

// filePrefixOf returns what the keys of a name's files begin with: a name has no zero byte.
func filePrefixOf(name string) []byte {
	return append(append(bytes.Clone(filePrefix), name...), 0)
}

func openKey(segment []byte) []byte { return append(bytes.Clone(openPrefix), segment...) }

func mineKey(segment []byte) []byte { return append(bytes.Clone(minePrefix), segment...) }

func goneKey(segment []byte) []byte { return append(bytes.Clone(gonePrefix), segment...) }

func usesKey(version []byte) []byte { return append(bytes.Clone(usesPrefix), version...) }

// knownChunk returns where a chunk with this plain score is placed, if it is.
func (v *Vault) knownChunk(plain core.Score) (manifest.Ref, bool, error) {
	raw, err := v.c.Books.Get(chunkKey(plain))
	if errors.Is(err, core.ErrNotExist) {
		return manifest.Ref{}, false, nil
	}
	if err != nil {
		return manifest.Ref{}, false, fmt.Errorf("look up chunk %s: %w", plain.Short(), err)
	}
	ref, err := manifest.ParseRef(raw)
	if err != nil || ref.Plain != plain { // the index is no more than that: the chunk is stored anew
		v.c.Log.Warn("a chunk's record is broken", "chunk", plain.Short(), "err", err)
		return manifest.Ref{}, false, nil
	}
	return ref, true, nil
}

// errNoSegment says that a segment has no record, or a broken one.
var errNoSegment = errors.New("its record is not here")

// segment returns a segment's record. Errors: errNoSegment, with core.ErrNotExist or
// core.ErrCorrupt.
func (v *Vault) segment(id []byte) (manifest.Segment, error) {
	raw, err := v.c.Books.Get(stateKey(manifest.SegmentKey(id)))
	if errors.Is(err, core.ErrNotExist) {
		return manifest.Segment{}, fmt.Errorf("segment %x: %w: %w", id, errNoSegment, core.ErrNotExist)
	}
	if err != nil {
		return manifest.Segment{}, fmt.Errorf("segment %x: %w", id, err)
	}
	s, err := manifest.DecodeSegment(raw)
	if err == nil && !bytes.Equal(s.ID, id) {
		err = errors.New("it is another's")
	}
	if err != nil { // records come from the household's other machines too
		return manifest.Segment{}, fmt.Errorf("segment %x: %w: %w: %w", id, errNoSegment, core.ErrCorrupt, err)
	}
	return s, nil
}

// nextSeq returns the number of the next version of ours and the change that uses
// it up. A machine that is new to the household, as after a recovery, counts on from the
// others' versions, so that "version 7" means one.
func (v *Vault) nextSeq() (uint64, core.Change, error) {
	var last uint64
	raw, err := v.c.Books.Get(seqKey)
	switch {
	case errors.Is(err, core.ErrNotExist):
		if last, err = v.lastSeq(); err != nil {
			return 0, core.Change{}, err
		}
	case err != nil:
		return 0, core.Change{}, fmt.Errorf("read the last version's number: %w", err)
	default:
		if err := codec.Unmarshal(raw, &last, recordSizeMax); err != nil {
			return 0, core.Change{}, fmt.Errorf("read the last version's number: %w", err)
		}
	}
	value, err := codec.Marshal(last + 1)
	if err != nil {
		return 0, core.Change{}, fmt.Errorf("write the version's number: %w", err)
	}
	return last + 1, core.Change{Key: seqKey, Value: value}, nil
}

// expectedSeq returns the number that the next version would have, 0 if that cannot be read.
func (v *Vault) expectedSeq() uint64 {
	seq, _, err := v.nextSeq()
	if err != nil {
		v.c.Log.Warn("read the last version's number", "err", err)
	}
	return seq
}

// lastSeq returns the greatest number of any version in the state, removed ones among them.
func (v *Vault) lastSeq() (uint64, error) {
	var last uint64
	for _, prefix := range []string{manifest.VersionPrefix, manifest.TombstonePrefix} {
		for c, err := range v.c.Books.Scan(stateKey([]byte(prefix)), nil) {
			if err != nil {
				return 0, fmt.Errorf("read the last version's number: %w", err)
			}
			if _, _, seq, err := manifest.ParseVersionKey(c.Key[len(statePrefix):]); err == nil {
				last = max(last, seq)
			}
		}
	}
	return last, nil
}

type segmentID [manifest.SegmentIDSize]byte

// segmentSet is a set of segment ids.
type segmentSet map[segmentID]struct{}

func (s segmentSet) add(id []byte) {
	if len(id) == manifest.SegmentIDSize {
		s[segmentID(id)] = struct{}{}
	}
}

func (s segmentSet) has(id []byte) bool {
	if len(id) != manifest.SegmentIDSize {
		return false
	}
	_, has := s[segmentID(id)]
	return has
}

// sorted returns the ids in order, so that equal sets make equal records.
func (s segmentSet) sorted() [][]byte {
	out := make([][]byte, 0, len(s))
	for id := range s {
		out = append(out, bytes.Clone(id[:]))
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}

// encodeUses lists the segments that a version with that tree consists of. The tree is named, because
// a version may be rewritten: see Compact.
func encodeUses(t page.Tree, s segmentSet) []byte {
	root := core.ScoreOf(t.Root)
	return append(root[:], bytes.Join(s.sorted(), nil)...)
}

// decodeUses reads what encodeUses returned. Errors: core.ErrCorrupt, core.ErrNotExist if it is of another tree.
func decodeUses(t page.Tree, raw []byte) (segmentSet, error) {
	if len(raw) < core.ScoreSize || (len(raw)-core.ScoreSize)%manifest.SegmentIDSize != 0 || len(raw) > usesSizeMax {
		return nil, fmt.Errorf("a list of segments of %d bytes: %w", len(raw), core.ErrCorrupt)
	}
	if core.Score(raw[:core.ScoreSize]) != core.ScoreOf(t.Root) {
		return nil, fmt.Errorf("a list of segments of another tree: %w", core.ErrNotExist)
	}
	s := segmentSet{}
	for id := range slices.Chunk(raw[core.ScoreSize:], manifest.SegmentIDSize) {
		s.add(id)
	}
	return s, nil
}
