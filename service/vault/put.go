package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
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
	// Quality is how much it matters; "" is normal.
	Quality core.Quality
	// SkipSame makes no version of a tree that the newest version of the name has already.
	SkipSame bool
	// Seed writes it onto a disk that a person carries to the holders, and makes no version.
	Seed Seeder
	// Wait says to wait for what is being carried already rather than to send it: see ErrCarried.
	Wait bool
	// Progress is called now and then, from one goroutine at a time.
	Progress func(Progress)
}

// Put is the outcome of a put, complete or not.
type Put struct {
	Version manifest.Version
	// Unchanged says that it is one there was, because of PutOptions.SkipSame.
	Unchanged bool
	// Worth is what the version is worth now.
	Worth Worth
	// Problems are files that are not in the version, or not as they should be.
	Problems []Problem
	// Placed of Wanted pieces of the version are leased.
	Placed, Wanted int
	// Refused says why partners took less than they were asked to, or have not got the new head.
	Refused map[core.DID]error
	// Same is how many of the version's bytes were stored already, or twice in it.
	Same int64
	// Carried is what is still to be brought to each household, in bytes, after PutOptions.Seed.
	Carried map[core.DID]int64
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
//
// It cannot lock up: a sealer waits for nobody, place for nobody, fill for these two,
// collect for fill, read for collect. All wait for the end of put.ctx as well.
const (
	orderDepth   = 8 // chunks between cut and segment: at most 1 MiB each, plain and sealed
	eventDepth   = 256
	placers      = 2
	groupChunks  = manifest.ChunksPerRecord
	readTries    = 3
	checkSegs    = 32      // segments between checkpoints, 320 MiB
	checkChunks  = 1 << 14 // chunks between checkpoints: small ones cost memory by number, not by size
	checkEvery   = 30 * time.Second
	lostMax      = 4 // segments that found too few holders, until the put gives up
	progressStep = 256 << 10
)

// A version names the segments of its pages, manifest.SegmentsMax at most. Past
// treeSegsOld of them a page that lies in another old segment is stored anew, and past
// treeSegsApart new pages share segments of their own, each good for 15 GB of files.
const (
	treeSegsApart = manifest.SegmentsMax / 4
	treeSegsOld   = manifest.SegmentsMax / 2
)

// put is one put under way.
type put struct {
	v        *Vault
	name     string
	ctx      context.Context // of the errgroup: ends when any part fails
	secret   [32]byte
	cutter   *chunk.Cutter
	shape    erasure.Shape
	segSize  int
	chunkMax int
	placing  Placement
	seeding  Seeding // placing, if that writes onto a disk
	progress *meter
	cache    *fileCache // of read alone
	avoid    segmentSet // on which nothing is to be built
	// From how many segments with pages on new ones lie apart, and no page is built on in another old one.
	apartFrom, oldUpTo int

	events chan event
	jobs   chan *job
	order  chan *job
	full   chan *openSegment
	plains chan []byte // spare buffers
	seals  chan []byte

	spareSegments chan []byte

	// Of collect alone, until the pipe has ended.
	segs     segmentSet // what the version consists of
	treeSegs segmentSet // what its manifest's pages lie in
	files    uint64
	bytes    uint64
	same     int64

	mu       sync.Mutex
	inFlight map[core.Score]*job // chunks on their way to the books, by plain score
	usable   map[segmentID]uint64
	problems []Problem
	ready    []*placedSegment // placed, and not checkpointed
	chunks   int              // of those
	lost     int              // segments that found too few holders
	stored   uint64           // bytes of pieces that were leased
	touched  []core.Change    // notes that segments of ours are used still
	lastSave time.Time

	checkpointing sync.Mutex // one at a time; held across I/O on purpose
}

// Put stores a tree under a name as a new version. It returns core.ErrPartly,
// with an outcome, when files could not be read, not every piece was placed, or not
// every holder has the new head, but somebody has; an error without an outcome means that no version was made. What has been placed by then is
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

	meter := newMeter("counting", o.Progress)
	files, size, err := src.Count(ctx)
	if err != nil {
		return nil, fmt.Errorf("count what is to be stored: %w", err)
	}
	meter.change(true, func(p *Progress) { p.Stage, p.Of, p.FilesOf = "storing", size, files })
	p, err := v.newPut(name, o.Spread, meter)
	if err != nil {
		return nil, err
	}
	expect := (size + files*1024) / int64(o.Spread.K) * int64(o.Spread.Total())
	if err := p.begins(ctx, o, expect); err != nil {
		return nil, err
	}
	meter.to(o.Spread, p.placing.Households())
	tree, err := p.pipe(ctx, func() error { return p.read(src) }, p.collect)
	if err != nil {
		p.abandon(ctx)
	}
	if p.seeding != nil {
		return p.seeded(size, err)
	}
	if err != nil {
		if errors.Is(err, errDoomed) {
			return nil, p.incomplete(size)
		}
		return nil, err
	}
	return p.finish(ctx, name, src.Single(), tree, o.SkipSame)
}

// begins finds out who takes what is to be placed.
func (p *put) begins(ctx context.Context, o PutOptions, expect int64) (err error) {
	if o.Seed != nil {
		err = p.beginSeed(o.Seed)
	} else if err = p.bring(ctx, o.Wait); err == nil {
		p.placing, err = p.v.c.Barter.Place(ctx, cmp.Or(o.Quality, core.Normal), expect)
	}
	if errors.Is(err, core.ErrNotExist) {
		return ErrNoPartner
	}
	return err
}

func (v *Vault) newPut(name string, shape erasure.Shape, m *meter) (*put, error) {
	p := &put{
		v: v, name: name, secret: v.c.Household.Secret(), shape: shape, segSize: shape.K * erasure.PieceSizeMax, chunkMax: chunk.SizeMax, progress: m,
		events: make(chan event, eventDepth), jobs: make(chan *job, orderDepth), order: make(chan *job, orderDepth),
		full: make(chan *openSegment), plains: make(chan []byte, 2*orderDepth), seals: make(chan []byte, 2*orderDepth),
		spareSegments: make(chan []byte, 2+placers),
		segs:          segmentSet{}, treeSegs: segmentSet{},
		inFlight: map[core.Score]*job{}, usable: map[segmentID]uint64{}, lastSave: v.c.Clock.Now(),
		cache: v.newFileCache(name), apartFrom: treeSegsApart, oldUpTo: treeSegsOld,
	}
	if p.segSize < manifest.SealedSizeMax { // a segment of one piece is shorter than the longest sealed chunk
		p.chunkMax = p.segSize / 2
	}
	cutter, err := chunk.NewCutter(v.c.Household.Chunker())
	if err != nil {
		return nil, err
	}
	p.cutter = cutter
	return p, nil
}

// pipe runs the pipe to its end: everything is placed and leased, or known not to be.
func (p *put) pipe(ctx context.Context, read func() error, collect func() (page.Tree, error)) (page.Tree, error) {
	coder, err := p.v.coder(p.shape)
	if err != nil {
		return page.Tree{}, err
	}
	g, gctx := errgroup.WithContext(ctx)
	p.ctx = gctx
	var tree page.Tree
	g.Go(func() error {
		defer close(p.events)
		return read()
	})
	g.Go(func() (err error) {
		// Only read and collect send jobs, and collect outlasts read.
		tree, err = collect()
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
		return tree, err
	}
	return tree, p.checkpoint(ctx, true)
}

// abandon saves what has been placed, so that the next put finds it.
func (p *put) abandon(ctx context.Context) {
	ctx, cancel := p.v.lastWords(ctx)
	defer cancel()
	if err := errors.Join(p.checkpoint(ctx, true), p.cache.flush()); err != nil {
		p.v.c.Log.Warn("save what a broken put has placed", "err", err)
	}
}

func (p *put) problem(path []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, Problem{path, err})
}

// receive takes the next value, unless ctx ends; more is false when there is none.
func receive[T any](ctx context.Context, from <-chan T) (v T, more bool, err error) {
	select {
	case v, more = <-from:
		return v, more, nil
	case <-ctx.Done():
		return v, false, ctx.Err()
	}
}

// send hands a value on, unless ctx ends.
func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
