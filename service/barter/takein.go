package barter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seed"
)

const (
	// carriedSeconds is for how long what was carried here is promised: its owner asks for
	// more by then, or it is set aside like anything else.
	carriedSeconds = 30 * daySeconds
	// intakeBatch is how many pieces are stored between two leases.
	intakeBatch = 1024
	// faultsMax is how many faults of a disk are told one by one.
	faultsMax = 100
	roomTries = 3
)

// TakenIn is what became of what a carried disk had for this machine.
type TakenIn struct {
	From   []TakenFrom
	Others []string
	// Faults are the first of FaultCount.
	Faults     []Fault
	FaultCount int
}

// TakenFrom is what was taken in of one machine of a partner.
type TakenFrom struct {
	Partner Partner
	Agent   core.DID
	// Size is what its files come to, in bytes.
	Size int64
	// Pieces and Bytes were not here before, Known pieces were.
	Pieces, Known int
	Bytes         int64
	// Left is how many bytes of files were not looked at, because of Refused.
	Left    int64
	Refused error
	// Until is when the first promise of any of them ends, unless its owner asks for more; in Unix seconds.
	Until int64
}

// TakeIn takes in what a carried disk has for this machine, as far as capacity, pacts and policies
// allow, and promises to keep it for 30 days. It may be called again, after whatever stopped it. tell is called
// with the bytes looked at, of all. It fails when ctx has ended, or this machine's own disk fails.
func (b *Barter) TakeIn(ctx context.Context, disk Carried, tell func(done, of int64)) (TakenIn, error) {
	c, err := b.Look(ctx, disk)
	out := TakenIn{Others: c.Others}
	if err != nil {
		return out, err
	}
	for _, f := range c.Faults {
		out.fault(f)
	}
	var done, of int64
	for _, p := range c.Parcels {
		of += p.Bytes
	}
	for _, p := range c.Parcels {
		t := &intake{
			b: b, disk: disk, parcel: p, all: &out, left: p.Bytes, got: TakenFrom{Partner: p.Partner, Agent: p.Agent, Size: p.Bytes},
			tell: func(n int64) { tell(done+n, of) },
		}
		err := t.run(ctx)
		out.From = append(out.From, t.got)
		if err != nil {
			return out, err
		}
		done += p.Bytes
	}
	return out, nil
}

func (t *TakenIn) fault(f Fault) {
	if t.FaultCount++; len(t.Faults) < faultsMax {
		t.Faults = append(t.Faults, f)
	}
}

// intake is one parcel being taken in.
type intake struct {
	b      *Barter
	disk   Carried
	parcel Parcel
	all    *TakenIn
	got    TakenFrom
	tell   func(n int64)
	left   int64 // bytes of files that were not looked at
	grant  []byte
	grants [][]byte
	batch  []core.Piece // stored, or here before, and not leased
	fresh  int          // of these, those that were not here
	size   int64        // of those, the bytes
}

// errNoRoom ends a parcel: no more of it is taken, and TakenFrom says why.
var errNoRoom = errors.New("no room is granted")

func (t *intake) run(ctx context.Context) error {
	defer func() { t.b.closeGrants(t.parcel.Partner.Grid, t.grants) }()
	var err error
	for _, f := range t.parcel.files {
		if err = t.file(ctx, path.Base(f.Name()), f.Size()); err != nil {
			break
		}
	}
	if errors.Is(err, errNoRoom) {
		err, t.got.Left = nil, t.left
	}
	words := context.WithoutCancel(ctx) // what was stored by now is promised, or it would be dropped
	return errors.Join(err, t.lease(words))
}

// file takes in one file. What is rotten in it is noted, and passed over.
func (t *intake) file(ctx context.Context, name string, size int64) (err error) {
	folder := carriedName(t.b.c.Key.DID())
	begun := t.left
	defer func() {
		if err == nil {
			t.left = begun - size
		}
	}()
	f, err := t.disk.Open(folder, name)
	if err != nil {
		t.all.fault(Fault{path.Join(folder, name), err})
		return nil
	}
	defer f.Close() // it was read alone
	r, err := seed.NewReader(f)
	if err == nil { // it is read again, and may not be the one that was looked at
		var agent core.DID
		if _, agent, err = t.b.senderOf(r); err == nil && agent != t.parcel.Agent {
			err = fmt.Errorf("it has changed: %w", core.ErrInvalid)
		}
	}
	if err != nil {
		t.all.fault(Fault{path.Join(folder, name), err})
		return nil
	}
	buf := t.b.borrow()
	defer t.b.giveBack(buf)
	end := int64(-1) // of the last damage
	for ctx.Err() == nil {
		record, data, err := r.Next(*buf)
		damage, rotten := errors.AsType[*seed.Damage](err)
		switch {
		case err == nil:
			if err := t.piece(ctx, record, data); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return nil
		case rotten:
			if damage.Offset != end {
				t.all.fault(Fault{path.Join(folder, name), err})
			}
			end = damage.Offset + damage.Length
		default:
			t.all.fault(Fault{path.Join(folder, name), fmt.Errorf("at byte %d: %w", r.At(), err)})
			return nil
		}
		t.left = begun - min(r.At(), size)
		t.tell(t.parcel.Bytes - t.left)
	}
	return ctx.Err()
}

// piece stores one piece, unless it is here.
func (t *intake) piece(ctx context.Context, r seed.Record, data []byte) error {
	owner := t.parcel.Partner.Grid
	if slices.ContainsFunc(t.batch, func(p core.Piece) bool { return p.Score == r.Score }) {
		return nil
	}
	known, err := t.b.holds(owner, r.Score)
	if err != nil {
		return err
	}
	if !known {
		if err := t.store(ctx, r, data); err != nil {
			return err
		}
		t.fresh++
		t.size += int64(r.Size)
	}
	t.batch = append(t.batch, core.Piece{Score: r.Score, Size: int64(r.Size)})
	if len(t.batch) < intakeBatch {
		return nil
	}
	return t.lease(ctx)
}

// store stores a piece under a grant, asking for one where there is none, or no room left.
func (t *intake) store(ctx context.Context, r seed.Record, data []byte) error {
	owner := t.parcel.Partner.Grid
	about, err := codec.Marshal(note{V: codec.Version, Kind: notePiece, Owner: owner, Segment: r.Segment[:], Index: uint(r.Index)})
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	for range roomTries {
		if t.grant == nil {
			if err := t.ask(ctx, int64(r.Size)); err != nil {
				return err
			}
		}
		err = t.b.keep(ctx, owner, [grantIDSize]byte(t.grant), core.Blob{Score: r.Score, Note: about, Data: data})
		switch {
		case errors.Is(err, core.ErrRefused), errors.Is(err, core.ErrNotExist): // it is used up, or too old
			t.grant = nil
		case errors.Is(err, core.ErrBusy): // the very piece is just being dropped
			if err := t.b.c.Clock.Sleep(ctx, busyWait); err != nil {
				return err
			}
		case errors.Is(err, core.ErrFull):
			t.got.Refused = err
			return errNoRoom
		default:
			return err
		}
	}
	return err
}

// ask asks ourselves for room for all that is left, or for as much of it as there is, but at
// least for a piece.
func (t *intake) ask(ctx context.Context, size int64) error {
	if len(t.grants) == grantsMax {
		t.b.closeGrants(t.parcel.Partner.Grid, t.grants[:1])
		t.grants = t.grants[1:]
	}
	amount := max(t.left, size)
	var last error
	for range counterTries {
		got, err := t.b.askAs(t.parcel.Partner, t.parcel.Agent, core.Ask{
			Resource: core.Storage, Amount: amount, Seconds: carriedSeconds, Quality: core.Normal,
			Why: core.Why{Kind: core.WhyPact, Ref: t.parcel.Partner.Pact[:]},
		}, false)
		if err == nil {
			t.grant, t.grants = got.Grant, append(t.grants, got.Grant)
			return nil
		}
		last = err
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok && !errors.Is(err, core.ErrBusy) {
			return err
		}
		if wait, busy := busyFor(err); ok && busy {
			if err := t.b.c.Clock.Sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if !ok || denial.Counter == nil || denial.Counter.Amount < size || denial.Counter.Amount >= amount {
			break
		}
		amount = denial.Counter.Amount
	}
	t.got.Refused = last
	return errNoRoom
}

// lease promises to keep what was stored since the last lease.
func (t *intake) lease(ctx context.Context) error {
	if len(t.batch) == 0 {
		return nil
	}
	slices.SortFunc(t.batch, func(x, y core.Piece) int { return compareScores(x.Score, y.Score) })
	// It is no machine's: what its owner has not asked for counts on no line.
	got, err := t.b.lease(ctx, t.parcel.Partner.Grid, core.DID{}, leaseRequest{Pieces: t.batch, Seconds: carriedSeconds})
	if err != nil {
		return fmt.Errorf("promise to keep what was taken in: %w", err)
	}
	if len(got.Missing) > 0 {
		return fmt.Errorf("%d pieces were dropped before they were promised: %w", len(got.Missing), core.ErrBusy)
	}
	promise, err := pact.OpenLease(*got.Lease)
	if err != nil {
		return fmt.Errorf("our own promise: %w", err)
	}
	if t.got.Until == 0 || promise.Until < t.got.Until {
		t.got.Until = promise.Until
	}
	t.got.Pieces += t.fresh
	t.got.Known += len(t.batch) - t.fresh
	t.got.Bytes += t.size
	t.batch, t.fresh, t.size = t.batch[:0], 0, 0
	return nil
}
