package barter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Limits of what is set aside.
const (
	// massShare: an owner that releases more than this part of what it had a running day ago
	// within that day may have been robbed; what it has aside is kept massDays instead.
	massShare = 4
	massDays  = 60
	// reclaimBatch is how many pieces of an owner are reclaimed in one go, expireBatch how many
	// leases are looked at in one tick.
	reclaimBatch = 4096
	expireBatch  = 64
)

// setting is pieces being set aside.
type setting struct {
	owner   core.DID
	stamp   int64 // what the machine has run
	day     dayRecord
	added   usedRecord
	pieces  int
	changes []core.Change
}

// dayRecord is how an owner's pieces went in the last running day, by the hour.
type dayRecord struct {
	V uint `json:"v"`
	// Raised is when the alarm was raised that too much was released, in running seconds; 0: never.
	Raised int64        `json:"raised,omitempty"`
	Hours  []hourRecord `json:"hours"`
}

// hourRecord is one running hour in which pieces came or went.
type hourRecord struct {
	Hour int64 `json:"hour"`
	// Live is the bytes that were not aside when it began.
	Live int64 `json:"live"`
	// Gone is the bytes released in it that had been here for a day.
	Gone int64 `json:"gone,omitempty"`
}

const (
	hourSeconds = 60 * 60
	dayHours    = 24
)

// at returns the hour of a count, making it if need be; live is the bytes there are before
// anything changes. Hours that are over a day old are forgotten.
func (d *dayRecord) at(ran, live int64) *hourRecord {
	hour := ran / hourSeconds
	d.Hours = slices.DeleteFunc(d.Hours, func(h hourRecord) bool { return h.Hour <= hour-dayHours })
	if n := len(d.Hours); n == 0 || d.Hours[n-1].Hour != hour {
		d.Hours = append(d.Hours, hourRecord{Hour: hour, Live: live})
	}
	return &d.Hours[len(d.Hours)-1]
}

// mass tells whether too much was released within the day.
func (d *dayRecord) mass() bool {
	var gone int64
	for _, h := range d.Hours {
		gone += h.Gone
	}
	return len(d.Hours) > 0 && gone > d.Hours[0].Live/massShare
}

// alarmed tells whether the alarm stands.
func (d *dayRecord) alarmed(ran int64) bool {
	return d.Raised > 0 && ran < d.Raised+(massDays+1)*daySeconds
}

// dayOf reads how an owner's pieces went, with the hour of the count at its end. The caller holds the
// account's commit.
func (b *Barter) dayOf(owner core.DID, a *account, ran int64) (dayRecord, error) {
	d := dayRecord{V: codec.Version}
	if _, err := b.read(join(dayPrefix, owner[:]), &d); err != nil {
		return d, err
	}
	b.mu.Lock()
	live := a.used.Bytes - a.used.Aside
	b.mu.Unlock()
	d.at(ran, live)
	return d, nil
}

// setAside sets pieces of an owner aside that it released.
func (b *Barter) setAside(owner, agent core.DID, s identity.Signed) (releaseAnswer, error) {
	release, err := pact.OpenRelease(s)
	if err != nil {
		return releaseAnswer{}, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if release.Owner != owner || release.Agent != agent {
		return releaseAnswer{}, fmt.Errorf("a release by another than the caller: %w", core.ErrInvalid)
	}
	if _, ok := b.c.Partners.Of(owner); !ok {
		return releaseAnswer{}, fmt.Errorf("release of %s: %w", owner, core.ErrForbidden)
	}
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	set := &setting{owner: owner, stamp: b.ran()}
	if set.day, err = b.dayOf(owner, a, set.stamp); err != nil {
		return releaseAnswer{}, err
	}
	hour := &set.day.Hours[len(set.day.Hours)-1]
	for _, piece := range release.Pieces {
		r, aside, err := b.putAside(set, piece)
		if err != nil {
			return releaseAnswer{}, err
		}
		if aside && (r.Born == 0 || r.Born <= set.stamp-daySeconds) {
			hour.Gone += r.Size
		}
	}
	raised := set.pieces > 0 && set.day.mass() && !set.day.alarmed(set.stamp)
	if raised {
		set.day.Raised = set.stamp
	}
	if err := b.applyAside(a, set); err != nil {
		return releaseAnswer{}, err
	}
	if raised {
		b.c.Alarm(owner, fmt.Sprintf("%s released more than a quarter of what it keeps here within a day: it is kept %d days, in case that was not meant", b.nameOf(owner), massDays))
	}
	return releaseAnswer{Aside: set.pieces, Alarm: set.day.alarmed(set.stamp)}, nil
}

// putAside adds to set what sets one piece aside, if it is here and is not aside already.
func (b *Barter) putAside(set *setting, piece core.Score) (r heldRecord, aside bool, err error) {
	key := heldKey(set.owner, piece)
	known, err := b.read(key, &r)
	if err != nil || !known || r.Aside != 0 {
		return r, false, err
	}
	r.Aside = set.stamp
	c, err := change(key, r)
	if err != nil {
		return r, false, err
	}
	set.changes = append(set.changes, c, core.Change{Key: asideKey(set.owner, r.Aside, piece), Value: []byte{1}})
	set.added.Aside += r.Size
	set.pieces++
	return r, true, nil
}

// applyAside writes what sets pieces aside, with the total, at once. The caller holds a.commit.
func (b *Barter) applyAside(a *account, set *setting) error {
	if set.pieces > 0 {
		day, err := change(join(dayPrefix, set.owner[:]), set.day)
		if err != nil {
			return err
		}
		set.changes = append(set.changes, day)
	}
	return b.applyUsed(a, set.owner, set.added, set.changes)
}

// applyUsed makes changes that change what an owner uses, in the books and then in memory. The caller
// holds a.commit.
func (b *Barter) applyUsed(a *account, owner core.DID, added usedRecord, changes []core.Change) error {
	if len(changes) == 0 {
		return nil
	}
	b.mu.Lock()
	used := a.used.plus(added)
	b.mu.Unlock()
	total, err := change(join(usedPrefix, owner[:]), used)
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(append(changes, total)...); err != nil {
		return fmt.Errorf("record what is kept for %s: %w", owner.Short(), err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.used = used
	return nil
}

// reclaim drops what has been aside for long enough.
func (b *Barter) reclaim(ctx context.Context) error {
	b.mu.Lock()
	doubt := b.running.doubt > 0
	owners := map[core.DID]*account{}
	for owner, a := range b.accounts {
		owners[owner] = a
	}
	b.mu.Unlock()
	if doubt {
		return nil
	}
	var failures []error
	for owner, a := range owners {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = b.reclaimSome(owner, a); err != nil {
				failures = append(failures, fmt.Errorf("reclaim what %s has aside: %w", owner.Short(), err))
				break
			}
			if err := b.drop(ctx); err != nil { // the books are right; Sweep or a later drop does it
				failures = append(failures, err)
				break
			}
		}
	}
	return errors.Join(failures...)
}

// reclaimSome strikes out a batch of pieces; more says that there may be others.
func (b *Barter) reclaimSome(owner core.DID, a *account) (more bool, err error) {
	a.commit.Lock()
	defer a.commit.Unlock()
	ran := b.ran()
	day, err := b.dayOf(owner, a, ran)
	if err != nil {
		return false, err
	}
	days := int64(pact.AsideDays)
	if p, ok := b.c.Partners.Of(owner); ok {
		days = p.AsideDays
	}
	if day.alarmed(ran) {
		days = max(days, massDays)
	}
	var (
		added   usedRecord
		changes []core.Change
		gone    []core.Score
	)
	prefix := join(asidePrefix, owner[:])
	for c, err := range b.c.Books.Scan(prefix, nil) {
		if err != nil {
			return false, err
		}
		stamp, piece, err := parseAside(c.Key[len(prefix):])
		if err != nil {
			return false, fmt.Errorf("record %q is broken: %v", c.Key, err)
		}
		if stamp+days*daySeconds > ran {
			break
		}
		if more = len(gone) == reclaimBatch; more {
			break
		}
		var r heldRecord
		known, err := b.read(heldKey(owner, piece), &r)
		if err != nil {
			return false, err
		}
		changes = append(changes, core.Change{Key: c.Key})
		if !known || r.Aside != stamp {
			continue
		}
		changes = append(changes, core.Change{Key: heldKey(owner, piece)})
		added = added.plus(usedRecord{Bytes: -r.Size, Pieces: -1, Aside: -r.Size})
		gone = append(gone, piece)
	}
	if err := b.applyUsed(a, owner, added, changes); err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, piece := range gone {
		b.orphans[piece] = struct{}{}
	}
	return more, nil
}

func parseAside(rest []byte) (stamp int64, piece core.Score, err error) {
	if len(rest) != dateSize+core.ScoreSize {
		return 0, piece, fmt.Errorf("%d bytes behind the owner", len(rest))
	}
	copy(piece[:], rest[dateSize:])
	return int64(binary.BigEndian.Uint64(rest)), piece, nil
}
