package table

import (
	"context"
	"iter"
	"log/slog"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// Feeds has the operations of tables, each author's in a feed.
type Feeds interface {
	// Append signs operations as a key and writes them down, all or none. Errors: core.ErrFull.
	Append(ctx context.Context, table core.DID, as identity.Key, drafts []Draft) ([]feed.Logged, error)
	// From yields an author's operations from a seq on, those before its first fork.
	From(table, author core.DID, seq uint64) iter.Seq2[feed.Logged, error]
	// Get returns one operation. Errors: core.ErrNotExist.
	Get(table, author core.DID, seq uint64) (feed.Logged, error)
	// Proven is Get with the author's own signature, which is looked for where it is missing. Errors: feed.ErrForged where nobody has it.
	Proven(ctx context.Context, table, author core.DID, seq uint64) (feed.Logged, error)
	// Ends yields where each feed ends, or is before it has forked; End is one author's, 0 of none; Forked are those that have.
	Ends(table core.DID) iter.Seq2[End, error]
	End(table, author core.DID) (uint64, error)
	Forked(table core.DID) ([]End, error)
	// Drop deletes payloads for good.
	Drop(table core.DID, ops []table.Target) error
}

// Draft is an operation that is to be written.
type Draft struct {
	Kind    feed.Kind
	Payload []byte
	// After is a clock that its own is to be above: that of what it takes the place of.
	After uint64
}

// End is how far an author's operations count.
type End struct {
	Author core.DID
	Seq    uint64
}

// Wire calls other machines.
type Wire interface {
	CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error
}

// Config is what Tables are made of. All is required but Changed, Omitted and Log.
type Config struct {
	// Key is this machine's: it writes and attests.
	Key   identity.Key
	Books core.Books
	Feeds Feeds
	Wire  Wire
	Clock core.Clock
	// Changed is told of each checkpoint that is new, and of the keys whose rows are others than before. It must not wait.
	Changed func(table core.DID, keys [][]byte)
	// Omitted is told of a machine that is proven to have left out an operation of what it attests.
	Omitted func(table, machine core.DID)
	Log     *slog.Logger
}
