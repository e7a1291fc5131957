package manifest

import (
	"bytes"
	"math"
)

// Kind is what an entry is.
type Kind string

// The kinds of entry. There are no others: devices, sockets and the like are not stored.
const (
	KindFile Kind = "file"
	KindDir  Kind = "dir"
	KindLink Kind = "link"
)

// ChunksPerRecord is how many references a record holds at most. All records of a
// file but the last hold exactly so many.
const ChunksPerRecord = 128

// Limits of an entry.
const (
	// ModeMask has the bits of a mode that are stored: permissions and the sticky bit.
	ModeMask = 0o1777
	// TargetSizeMax bounds a symlink's target in bytes.
	TargetSizeMax = 4096
)

// Entry is one file, directory or symlink.
type Entry struct {
	Kind Kind `json:"kind"`
	// Mode is the low twelve bits of st_mode without setuid and setgid.
	Mode uint64 `json:"mode"`
	// Mtime and Nsec are the time of the last change of its contents.
	Mtime int64  `json:"mtime"`
	Nsec  uint64 `json:"nsec"`
	// Size is a file's in bytes, else 0.
	Size uint64 `json:"size"`
	// Target is what a symlink says, any bytes.
	Target []byte `json:"target,omitempty"`
	// Chunks are the first ChunksPerRecord of a file's, in order.
	Chunks []Ref `json:"chunks,omitempty"`
}

// Check bounds everything in e that e alone shows. That a file's size is the sum
// of its chunks' is known only with the records that follow: see Rows.
// Errors: core.ErrInvalid.
func (e Entry) Check() error {
	switch {
	case e.Kind != KindFile && e.Kind != KindDir && e.Kind != KindLink:
		return invalid("entry", "kind %.20q", e.Kind)
	case e.Mode&^ModeMask != 0:
		return invalid("entry", "mode %#o, at most %#o", e.Mode, ModeMask)
	case e.Nsec >= 1e9:
		return invalid("entry", "%d nanoseconds", e.Nsec)
	case e.Size > math.MaxInt64:
		return invalid("entry", "%d bytes", e.Size)
	case e.Kind != KindFile && (e.Size != 0 || len(e.Chunks) != 0):
		return invalid("entry", "a %s with contents", e.Kind)
	case e.Kind != KindLink && len(e.Target) != 0:
		return invalid("entry", "a %s with a target", e.Kind)
	case e.Kind == KindLink && (len(e.Target) < 1 || len(e.Target) > TargetSizeMax):
		return invalid("entry", "a target of %d bytes, want 1 to %d", len(e.Target), TargetSizeMax)
	case bytes.IndexByte(e.Target, 0) >= 0:
		return invalid("entry", "a target with a zero byte")
	}
	sum, err := sumOf(e.Chunks)
	if err != nil {
		return err
	}
	if sum > e.Size || (sum < e.Size && len(e.Chunks) < ChunksPerRecord) {
		return invalid("entry", "%d bytes in chunks of a file of %d", sum, e.Size)
	}
	return nil
}

// sumOf checks the chunks of one record and returns how many bytes they hold.
func sumOf(chunks []Ref) (uint64, error) {
	if len(chunks) > ChunksPerRecord {
		return 0, invalid("chunks", "%d in one record, at most %d", len(chunks), ChunksPerRecord)
	}
	var sum uint64 // at most ChunksPerRecord × chunk.SizeMax
	for _, r := range chunks {
		if err := r.Check(); err != nil {
			return 0, err
		}
		if len(r.Segment) == 0 {
			return 0, invalid("chunks", "one that is in no segment")
		}
		sum += r.Size
	}
	return sum, nil
}

// Marshal returns the strict CBOR of e. Errors: those of Check.
func (e Entry) Marshal() ([]byte, error) { return marshal(e) }

// DecodeEntry reads what Marshal returns. Errors: core.ErrInvalid, core.ErrTooLarge.
func DecodeEntry(b []byte) (Entry, error) { return decode[Entry]("entry", b, recordSizeMax) }

// More is what follows a file's entry where it has more than ChunksPerRecord chunks.
type More struct {
	Chunks []Ref `json:"chunks"`
}

// Check bounds everything in m. Errors: core.ErrInvalid.
func (m More) Check() error {
	if len(m.Chunks) == 0 {
		return invalid("chunks", "none in a record that follows")
	}
	_, err := sumOf(m.Chunks)
	return err
}

// Marshal returns the strict CBOR of m. Errors: those of Check.
func (m More) Marshal() ([]byte, error) { return marshal(m) }

// DecodeMore reads what Marshal returns. Errors: core.ErrInvalid, core.ErrTooLarge.
func DecodeMore(b []byte) (More, error) { return decode[More]("chunks", b, recordSizeMax) }
