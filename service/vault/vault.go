package vault

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// Pieces is what it takes to read.
type Pieces interface {
	// Fetch returns a verified piece; now says to try also holders that were away
	// a moment ago.
	Fetch(ctx context.Context, p core.Piece, buf []byte, now bool) ([]byte, error)
	// Held returns who promised to keep a piece.
	Held(piece core.Score) ([]core.Holding, error)
}

// Barter places, fetches, audits and gives up pieces; service/barter does.
type Barter interface {
	Pieces
	// Place begins a placement of about expect bytes of pieces, which are asked for with a quality.
	Place(ctx context.Context, quality core.Quality, expect int64) (Placement, error)
	// Audit asks every holder of pieces for proof.
	Audit(ctx context.Context, pieces []core.Piece, found func(core.Finding)) error
	// Forget strikes out placements that are no more.
	Forget(holdings ...core.Holding) error
	// Release gives holdings up: Held does not tell them any more, and their holders set the
	// pieces aside, for two weeks at the least. What is not held is passed over.
	Release(ctx context.Context, holdings []core.Holding) error
	// Changes counts the changes of what Held tells.
	Changes() uint64
	// Renew brings pieces back wherever they were released to. missing are those that nobody has any
	// more; the error says who could not be asked.
	Renew(ctx context.Context, pieces []core.Score) (missing []core.Score, err error)
	// Claim asks a machine for a promise to keep pieces that may have been brought to it. missing are those
	// that it has not. Errors: core.ErrNotExist if it is no partner's that stays.
	Claim(ctx context.Context, agent core.DID, pieces []core.Piece) (missing []core.Score, err error)
}

// Placement is one placement under way.
type Placement interface {
	// Segment places the pieces in want and returns those that nobody would take.
	Segment(ctx context.Context, s manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) (unplaced []int, err error)
	// Households returns those that can still take pieces.
	Households() []core.DID
	// Drop gives up what was stored of a segment and not committed.
	Drop(segment []byte)
	// Commit makes leases of all that was stored; done closes the placement.
	Commit(ctx context.Context, done bool) map[core.DID]error
	// Refusals says why partners took less than they were asked to.
	Refusals() map[core.DID]error
}

// Household is ours, as far as the vault needs it; service/federation has it.
type Household interface {
	// Agent is this machine.
	Agent() core.DID
	// Lists tells whether a machine is one of the household's now, Alone whether there is no
	// other than this one, Heir whether this one sees to what removed ones have placed.
	Lists(agent core.DID) bool
	Alone() bool
	Heir() bool
	// Several tells whether a household keeps our pieces on several machines, of which one may be lost alone: ours, if it has
	// two others.
	Several(grid core.DID) bool
	// Secret is the newest vault secret, Chunker the chunker key.
	Secret() [32]byte
	Chunker() [32]byte
	// SaveHead makes our newest state known to the partners, and says which have it.
	SaveHead(ctx context.Context) (done []core.DID, failed map[core.DID]error, err error)
}

// Source is a tree of files to be stored.
type Source interface {
	// Items yields the tree in the order of the manifest's keys, the root first. An
	// error ends it.
	Items(ctx context.Context) iter.Seq2[Item, error]
	// Single says that the root is one file, not a directory.
	Single() bool
	// Count returns how many files and bytes there are, roughly; it may take a while.
	Count(ctx context.Context) (files, bytes int64, err error)
}

// Item is one file, directory or symlink of a Source.
type Item struct {
	Path []byte
	// Entry has everything but the chunks.
	Entry manifest.Entry
	// Open is set for regular files.
	Open func() (File, error)
	// Stamp is that of a regular file now.
	Stamp Stamp
}

// Stamp is what a filesystem says of a file that differs when its contents do. The zero
// Stamp says nothing.
type Stamp struct {
	// Size is in bytes, Mtime in seconds since 1970, Nsec in nanoseconds beyond, Ctime, when
	// anything of the file last changed, in nanoseconds since 1970.
	Size               uint64
	Mtime, Nsec, Ctime int64
	Inode, Dev         uint64
}

// File is a regular file that is being read.
type File interface {
	io.ReadCloser
	// Entry is how the file stood when it was opened.
	Entry() manifest.Entry
	// Stamp is the file's, of the same moment.
	Stamp() Stamp
	// Changed tells whether it has changed since.
	Changed() (bool, error)
}

// Sink takes what is restored. Paths and entries are checked again by it: a
// manifest may be hostile.
type Sink interface {
	Dir(path []byte, e manifest.Entry) error
	Link(path []byte, e manifest.Entry) error
	// File may be called while other files are open.
	File(path []byte, e manifest.Entry) (SinkFile, error)
	// Found opens what an earlier restore has left of a file that File will be called for: all or
	// the beginning of it, or what somebody else put there. Nil is nothing.
	Found(path []byte, e manifest.Entry) io.ReadCloser
}

// SinkFile is a file that is being restored.
type SinkFile interface {
	io.Writer
	// Pass says that the next n bytes are there already, and right: none was written before.
	Pass(n uint64) error
	// Commit makes the file appear under its name, Abort forgets it.
	Commit() error
	Abort()
}

// Problem is one file that could not be stored or restored as it should.
type Problem struct {
	Path []byte
	Err  error
}

// Progress is how far long work has come.
type Progress struct {
	// Stage is what is being done, in one or two words.
	Stage string `json:"stage"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
	// Of is how many bytes there are in all, FilesOf how many files; 0 while that is not known.
	Of      int64 `json:"of,omitempty"`
	FilesOf int64 `json:"files_of,omitempty"`
	// To are the households that a put spreads it over, of which any Survives may vanish then.
	To       []core.DID `json:"to,omitempty"`
	Survives int        `json:"survives,omitempty"`
	// Placed is how many bytes of pieces have reached holders.
	Placed int64 `json:"placed,omitempty"`
}

// Config is what a Vault needs; all but Name and Log is required.
type Config struct {
	Books     core.Books
	Clock     core.Clock
	Barter    Barter
	Household Household
	// Name returns what a person calls a household.
	Name func(core.DID) string
	Log  *slog.Logger
}

// Vault keeps versions of trees.
type Vault struct {
	*opener
	c      Config
	worths worths

	// writing serializes puts and mendings: they share the dedup index and would
	// place the same bytes twice.
	writing chan struct{}
	waiting atomic.Int32 // for it
	// collecting keeps what is given up apart from what is brought back. Who has both has writing first.
	collecting chan struct{}
	removing   sync.Mutex // over removals and their undoing; held across I/O on purpose

	mu sync.Mutex
	// shared is the reader that readers have in hand.
	shared  *reader
	readers int
}

// New returns a vault over the books. It starts nothing.
func New(c Config) *Vault {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name == nil {
		c.Name = core.DID.String
	}
	return &Vault{
		opener:  newOpener(c.Barter, c.Name, c.Log),
		c:       c,
		writing: make(chan struct{}, 1), collecting: make(chan struct{}, 1),
	}
}

// lock waits for other puts and mendings to end.
func (v *Vault) lock(ctx context.Context) (unlock func(), err error) {
	v.waiting.Add(1)
	defer v.waiting.Add(-1)
	return take(ctx, v.writing)
}

// take waits for a lock that only one has.
func take(ctx context.Context, lock chan struct{}) (unlock func(), err error) {
	if err := send(ctx, lock, struct{}{}); err != nil {
		return nil, err
	}
	return func() { <-lock }, nil
}
