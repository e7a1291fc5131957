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

// left is how many bytes more can be released within the day; below 0 it was too much. There is an hour.
func (d *dayRecord) left() int64 {
	left := d.Hours[0].Live / massShare
	for _, h := range d.Hours {
		left -= h.Gone
	}
	return left
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

// setAside sets pieces of an owner aside that it released; without a release it only tells how things stand.
func (b *Barter) setAside(ctx context.Context, owner, agent core.DID, s *identity.Signed) (releaseAnswer, error) {
	p, ok := b.owner(owner)
	if !ok {
		return releaseAnswer{}, fmt.Errorf("release of %s: %w", owner, core.ErrForbidden)
	}
	var release pact.Release
	if s != nil {
		var err error
		if release, err = b.openRelease(*s, owner, agent); err != nil {
			return releaseAnswer{}, err
		}
	}
	return b.setAsidePieces(ctx, p, agent, release.Pieces, release.Time)
}

// setAsidePieces sets pieces of a household aside that a machine of it has released at a date.
func (b *Barter) setAsidePieces(ctx context.Context, p Partner, agent core.DID, pieces []core.Score, at int64) (releaseAnswer, error) {
	owner := p.Grid
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	set := &setting{owner: owner, stamp: b.ran()}
	var err error
	if set.day, err = b.dayOf(owner, a, set.stamp); err != nil {
		return releaseAnswer{}, err
	}
	if err := b.setReleased(ctx, a, set, p, agent, pieces, at); err != nil {
		return releaseAnswer{}, err
	}
	return releaseAnswer{Aside: set.pieces, Alarm: set.day.alarmed(set.stamp), Left: max(set.day.left(), 0)}, nil
}

// setReleased sets released pieces aside. The caller holds a.commit.
func (b *Barter) setReleased(ctx context.Context, a *account, set *setting, p Partner, agent core.DID, pieces []core.Score, at int64) error {
	owner := set.owner
	lines := b.heldLines(owner)
	l, err := lines.of(agent)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if err := b.releaseOne(ctx, set, p, l, piece, at); err != nil {
			return err
		}
	}
	if len(set.changes) > 0 {
		l.passed(at)
		counted, err := lines.changes()
		if err != nil {
			return err
		}
		set.changes = append(set.changes, counted...)
	}
	raised := set.pieces > 0 && set.day.left() < 0 && !set.day.alarmed(set.stamp)
	if raised {
		set.day.Raised = set.stamp
	}
	if err := b.applyAside(a, set); err != nil {
		return err
	}
	if raised {
		b.c.Alarm(owner, fmt.Sprintf("%s released more than a quarter of what it keeps here within a day: it is kept %d days, in case that was not meant", b.nameOf(owner), massDays))
	}
	return nil
}

// openRelease opens a release by the caller.
func (b *Barter) openRelease(s identity.Signed, owner, agent core.DID) (pact.Release, error) {
	release, err := pact.OpenRelease(s)
	if err != nil {
		return release, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if release.Owner != owner || release.Agent != agent {
		return release, fmt.Errorf("a release by another than the caller: %w", core.ErrInvalid)
	}
	if ahead := release.Time - b.c.Clock.Now().Unix(); ahead > clockSlack { // or it would count until then
		return release, fmt.Errorf("a release from %d days ahead of the clock here: %w", ahead/daySeconds, core.ErrInvalid)
	}
	return release, nil
}

// releaseOne ends what a machine counts of a piece, and adds to set what sets the piece aside,
// unless another machine of the household has it under a lease.
func (b *Barter) releaseOne(ctx context.Context, set *setting, p Partner, l *line, piece core.Score, at int64) error {
	var r heldRecord
	key := heldKey(set.owner, piece)
	known, err := b.read(key, &r)
	if err != nil || !known {
		return err
	}
	end, now := r.count(l.agent), b.c.Clock.Now().Unix()
	l.release(end, r.Size, at)
	r.setCount(l.agent, 0)
	kept := slices.ContainsFunc(r.Counts, func(c countRecord) bool { return c.End > now && slices.Contains(p.Agents, c.Agent) })
	if r.Aside != 0 || kept {
		if end == 0 {
			return nil
		}
		c, err := change(key, r)
		set.changes = append(set.changes, c)
		return err
	}
	if mine := l.agent == b.c.Key.DID(); !mine && (r.Born == 0 || r.Born <= set.stamp-daySeconds) {
		if _, err := b.c.Blobs.Stat(ctx, piece); err == nil { // whoever finds pieces lost gives them up, which is no theft
			set.day.Hours[len(set.day.Hours)-1].Gone += r.Size
		}
	}
	return set.put(piece, r)
}

// put adds what sets a piece aside that is live.
func (set *setting) put(piece core.Score, r heldRecord) error {
	r.Aside = set.stamp
	c, err := change(heldKey(set.owner, piece), r)
	if err != nil {
		return err
	}
	set.changes = append(set.changes, c, core.Change{Key: asideKey(set.owner, r.Aside, piece), Value: []byte{1}})
	set.added.Aside += r.Size
	set.pieces++
	return nil
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
	b.setUsed(a, used)
	b.mu.Unlock()
	b.c.Uses(owner, used.Bytes)
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
	if p, ok := b.owner(owner); ok {
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
