package core

import (
	"context"
	"iter"
	"net"
	"time"
)

// Blob is a block of bytes and what its record says of itself.
type Blob struct {
	Score Score
	// Note is written beside the bytes, and is what books are rebuilt from. At most NoteSizeMax bytes.
	Note []byte
	Data []byte
}

// BlobInfo is a Blob without its bytes.
type BlobInfo struct {
	Score Score
	Note  []byte
	// Size is the length of the blob's data in bytes.
	Size int64
}

// Limits of a Blob.
const (
	BlobSizeMax = 2 << 20 // bytes of Data
	NoteSizeMax = 4 << 10 // bytes of Note
)

// Blobs keeps blocks of bytes by score. All methods may be called at once.
type Blobs interface {
	// Put keeps b. When it returns nil the bytes and the note have reached the
	// disk. A blob that is already kept whole is left as it is, after its bytes
	// have been read and hashed again; one that has rotted is replaced.
	// Errors: ErrCorrupt if Data does not hash to Score, ErrTooLarge,
	// ErrFull (nothing is kept), ErrAway. Put does not keep b.Data afterwards.
	Put(ctx context.Context, b Blob) error
	// Get appends the blob's bytes to buf[:0] and returns them, after checking
	// that they hash to s. Errors: ErrNotExist, ErrCorrupt, ErrAway.
	Get(ctx context.Context, s Score, buf []byte) ([]byte, error)
	// Stat tells a blob's size and note without reading its bytes.
	// Errors: ErrNotExist.
	Stat(ctx context.Context, s Score) (BlobInfo, error)
	// Delete forgets blobs and gives their room back, at once or later; one
	// that is not kept is not an error. It is durable when it returns.
	Delete(ctx context.Context, scores ...Score) error
	// All yields every blob in no particular order; what is put or deleted
	// meanwhile may or may not be among them.
	All(ctx context.Context) iter.Seq2[BlobInfo, error]
}

// Conn is a connection whose far end has proven that it holds Peer's key.
type Conn interface {
	net.Conn
	Peer() DID
}

// PathEvent says that a peer came within reach or went out of it.
type PathEvent struct {
	Peer DID
	Up   bool
}

// Peers reaches other agents. All methods may be called at once.
type Peers interface {
	// Dial opens a new connection to an agent, over whatever path there already
	// is between the two, whoever made it, or else a new one to one of addrs
	// (multiaddrs, with or without a /p2p part). An empty addrs uses
	// what is known. Errors: ErrUnreachable.
	Dial(ctx context.Context, to DID, addrs []string) (Conn, error)
	// Accept waits for the next connection that a peer opened.
	// After Close it returns net.ErrClosed.
	Accept() (Conn, error)
	// Reset drops every path to an agent, so that the next Dial makes a fresh one.
	Reset(to DID)
	// Addrs returns the addresses at which this agent can be dialled, each with its
	// /p2p part; none if it does not listen.
	Addrs() []string
	// Paths yields path events until ctx ends. A slow reader loses the oldest.
	Paths(ctx context.Context) iter.Seq[PathEvent]
	// Close ends all connections and waits for what it started.
	Close() error
}

// Timer is a pending AfterFunc.
type Timer interface {
	// Stop prevents the call; it reports whether it did.
	Stop() bool
}

// Clock is the only source of time.
type Clock interface {
	// Now returns the time; it may jump either way between two calls.
	Now() time.Time
	// Sleep waits for d or until ctx ends, and returns ctx's error.
	Sleep(ctx context.Context, d time.Duration) error
	// AfterFunc calls f in a goroutine of its own after d.
	AfterFunc(d time.Duration, f func()) Timer
}

// Change is one write to Books. A nil Value deletes the key.
type Change struct {
	Key, Value []byte
}

// Records is an ordered map of small records to read. All methods may be called at once.
type Records interface {
	// Get returns a copy of the value. Errors: ErrNotExist.
	Get(key []byte) ([]byte, error)
	// Scan yields the records whose key starts with prefix and is not below from
	// (nil: all), in key order, as they stood when it began. The slices are the
	// caller's to keep.
	Scan(prefix, from []byte) iter.Seq2[Change, error]
	// Visit is Scan without copies: the slices are valid within the call of see only, and are not to be
	// written to. It ends where see returns false.
	Visit(prefix, from []byte, see func(key, value []byte) bool) error
}

// Books is an ordered map of small records. It is what edge/disk keeps beside
// the blobs, and is declared here because every service writes in it.
// All methods may be called at once.
type Books interface {
	Records
	// Apply makes all changes or none; they have reached the disk when it returns nil.
	// Errors: ErrFull (none were made).
	Apply(changes ...Change) error
	// Snapshot returns the records as they stand now, however they change afterwards. What is deleted meanwhile
	// takes its room on the disk until the snapshot is closed.
	Snapshot() (Snapshot, error)
}

// Snapshot is Records that stand still.
type Snapshot interface {
	Records
	// Close lets go of them, once the calls that are under way are done; it must not be called from within one. Calls after
	// it answer fs.ErrClosed, but a second Close does nothing. Whoever closes what the books are of closes the snapshots too.
	Close() error
}
