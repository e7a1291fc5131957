package vault

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// ErrNoPartner says that there is nobody to keep anything.
var ErrNoPartner = errors.New("no partner")

// PutOptions say how a tree is stored.
type PutOptions struct {
	// Spread is k+m; zero means 10+10.
	Spread erasure.Shape
	// Progress is called now and then, from one goroutine at a time.
	Progress func(Progress)
}

// Put is the outcome of a put, complete or not.
type Put struct {
	Version manifest.Version
	// Worth is what the version is worth now.
	Worth Worth
	// Problems are files that are not in the version, or not as they should be.
	Problems []Problem
	// Placed of Wanted pieces of the version are leased.
	Placed, Wanted int
	// Refused says why partners took less than they were asked to, or have not got the new head.
	Refused map[core.DID]error
	// Same is how many of the bytes read were stored already.
	Same int64
}

// The pipe of a put. Every channel is bounded, and everything between two of
// them is one goroutine, or a few alike:
//
//	source ─ read, cut, look up ──events──> collect: entries → pages ─┐
//	            │                                                     │ pages are chunks too
//	            └──────┬──────────────────────────────────────────────┘
//	                   │ jobs              │ order
//	            pack, seal (one a core)    │
//	                   └──────> fill: two open segments
//	                                       │ full
//	                             code, place (two at once) ──> checkpoint: leases, books
//
// order keeps the jobs as they came, so that a file's chunks lie side by side
// (but for the coin that picks one of the two open segments).
const (
	orderDepth   = 16 // chunks between cut and segment: at most 1 MiB each, plain and sealed
	eventDepth   = 256
	placers      = 2
	groupChunks  = manifest.ChunksPerRecord
	readTries    = 3
	checkSegs    = 32 // segments between checkpoints, 320 MiB
	checkEvery   = 30 * time.Second
	progressStep = 256 << 10
)

// put is one put under way.
type put struct {
	v       *Vault
	ctx     context.Context // of the errgroup: ends when any part fails
	secret  [32]byte
	cutter  *chunk.Cutter
	shape   erasure.Shape
	segSize int
	placing Placement

	events chan event
	jobs   chan *job
	order  chan *job
	full   chan *openSegment
	plains chan []byte // spare buffers
	seals  chan []byte

	spareSegments chan []byte

	mu       sync.Mutex
	inFlight map[core.Score]*job                   // chunks on their way to the books, by plain score
	had      map[[manifest.SegmentIDSize]byte]bool // whether older segments can be read
	problems []Problem
	ready    []*placedSegment // placed, and not checkpointed
	lost     bool             // a segment found too few holders
	lastSave time.Time

	checkpointing sync.Mutex // one at a time; held across I/O on purpose

	segs      segmentSet // what the version consists of
	treeSegs  segmentSet // what its manifest's pages lie in
	progress  *meter
	newBytes  atomic.Int64
	sameBytes atomic.Int64
}

// Put stores a tree under a name as a new version. It returns core.ErrPartly,
// with an outcome, when files could not be read or not every piece was placed;
// an error without an outcome means that no version was made. What has been placed by then is
// found again by the next put of the same bytes.
func (v *Vault) Put(ctx context.Context, name string, src Source, o PutOptions) (*Put, error) {
	if err := manifest.CheckName(name); err != nil {
		return nil, err
	}
	if o.Spread == (erasure.Shape{}) {
		o.Spread = erasure.Shape{K: erasure.DataMax, M: erasure.ParityMax}
	}
	if err := o.Spread.Valid(); err != nil {
		return nil, err
	}
	unlock, err := v.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()

	meter := newMeter("reading", o.Progress)
	files, size, err := src.Count(ctx)
	if err != nil {
		return nil, fmt.Errorf("count what is to be stored: %w", err)
	}
	meter.of(size)
	expect := (size + files*1024) * int64(o.Spread.Total()) / int64(o.Spread.K)
	placing, err := v.c.Barter.Place(ctx, expect)
	if errors.Is(err, core.ErrNotExist) {
		return nil, ErrNoPartner
	}
	if err != nil {
		return nil, err
	}
	p, tree, err := v.pipe(ctx, src, o, placing, meter)
	if err != nil {
		p.abandon(ctx)
		return nil, err
	}
	return v.finish(ctx, name, src, p, tree)
}

// pipe runs the pipe to its end: everything is placed and leased, or known not to be.
func (v *Vault) pipe(ctx context.Context, src Source, o PutOptions, placing Placement, m *meter) (*put, page.Tree, error) {
	p := &put{
		v: v, secret: v.c.Household.Secret(), shape: o.Spread, segSize: o.Spread.K * erasure.PieceSizeMax, placing: placing,
		events: make(chan event, eventDepth), jobs: make(chan *job, orderDepth), order: make(chan *job, orderDepth),
		full: make(chan *openSegment), plains: make(chan []byte, 2*orderDepth), seals: make(chan []byte, 2*orderDepth),
		spareSegments: make(chan []byte, 2+placers),
		inFlight:      map[core.Score]*job{}, had: map[[manifest.SegmentIDSize]byte]bool{}, segs: segmentSet{}, treeSegs: segmentSet{}, progress: m,
		lastSave: v.c.Clock.Now(),
	}
	cutter, err := chunk.NewCutter(v.c.Household.Chunker())
	if err != nil {
		return p, page.Tree{}, err
	}
	p.cutter = cutter
	coder, err := v.coder(o.Spread)
	if err != nil {
		return p, page.Tree{}, err
	}
	g, gctx := errgroup.WithContext(ctx)
	p.ctx = gctx
	var tree page.Tree
	g.Go(func() error {
		defer close(p.events)
		return p.read(src)
	})
	g.Go(func() (err error) {
		// Only read and collect send jobs, and collect outlasts read.
		tree, err = p.collect()
		if err == nil {
			close(p.jobs)
			close(p.order)
		}
		return err
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(p.seal)
	}
	g.Go(func() error {
		defer close(p.full)
		return p.fill()
	})
	for range placers {
		g.Go(func() error { return p.place(coder) })
	}
	if err := g.Wait(); err != nil {
		return p, tree, err
	}
	return p, tree, p.checkpoint(ctx, true)
}

// abandon saves what has been placed, so that the next put finds it.
func (p *put) abandon(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer p.v.c.Clock.AfterFunc(10*time.Second, cancel).Stop()
	if err := p.checkpoint(ctx, true); err != nil {
		p.v.c.Log.Warn("save what a broken put has placed", "err", err)
	}
}

func (p *put) problem(path []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, Problem{path, err})
}
