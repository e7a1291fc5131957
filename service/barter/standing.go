package barter

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/policy"
)

// lossDays is for how many running days a loss counts against a household, by a part less each day.
const lossDays = 30

// lossRecord is what a household was found to have lost, by the running day of the finding, which rise.
type lossRecord struct {
	V    uint      `json:"v"`
	Days []lossDay `json:"days"`
}

type lossDay struct {
	Day   int64 `json:"day"`
	Bytes int64 `json:"bytes"`
}

// losses are those of households, as a batch of findings changes them.
type losses map[core.DID][]lossDay

// lossLeft returns what still counts of losses on a running day, rounded up.
func lossLeft(days []lossDay, today int64) (sum int64) {
	for _, d := range days {
		sum += d.Bytes - d.Bytes/lossDays*min(today-d.Day, lossDays) - d.Bytes%lossDays*min(today-d.Day, lossDays)/lossDays
	}
	return sum
}

// count adds bytes, which may be less than 0, to a day, and forgets days that count no more.
func (l losses) count(grid core.DID, day, today, bytes int64) {
	i, known := slices.BinarySearchFunc(l[grid], day, func(d lossDay, day int64) int { return cmp.Compare(d.Day, day) })
	if !known {
		l[grid] = slices.Insert(l[grid], i, lossDay{Day: day})
	}
	l[grid][i].Bytes = max(0, l[grid][i].Bytes+bytes)
	l[grid] = slices.DeleteFunc(l[grid], func(d lossDay) bool { return d.Bytes == 0 || today-d.Day >= lossDays })
}

// find counts the outcome of a look at a piece. What is found lost again counts from then on; what is proven again was
// not lost. Nobody promised to keep what was released, or whose date is over. The caller holds b.settling.
func (b *Barter) find(l losses, r *placedRecord, state core.PieceState, now, ran int64) {
	lost := state == core.PieceMissing || state == core.PieceCorrupt
	if !lost && state != core.PieceOK || r.Grid == b.c.Grid || r.Released != 0 || lost && r.Until <= now {
		return
	}
	if l[r.Grid] == nil {
		b.mu.Lock()
		l[r.Grid] = slices.Clone(b.account(r.Grid).lost)
		b.mu.Unlock()
	}
	if r.Lost != 0 {
		l.count(r.Grid, r.Lost/daySeconds, ran/daySeconds, -r.Size)
		r.Lost = 0
	}
	if lost {
		l.count(r.Grid, ran/daySeconds, ran/daySeconds, r.Size)
		r.Lost = ran
	}
}

// changes returns them as they are to be written.
func (l losses) changes() (out []core.Change, err error) {
	for grid, days := range l {
		c := core.Change{Key: join(lostPrefix, grid[:])}
		if len(days) > 0 {
			if c, err = change(c.Key, lossRecord{V: codec.Version, Days: days}); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// loadStanding reads what there was to say of households.
func (b *Barter) loadStanding() error {
	for c, err := range b.c.Books.Scan(lostPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read what was lost: %w", err)
		}
		var r lossRecord
		var grid core.DID
		if err := grid.UnmarshalBinary(c.Key[len(lostPrefix):]); err != nil {
			return fmt.Errorf("record %q: %w", c.Key, err)
		}
		if err := parse(c.Key, c.Value, &r); err != nil {
			return err
		}
		b.account(grid).lost = r.Days
	}
	for c, err := range b.c.Books.Scan(sincePrefix, nil) {
		if err != nil {
			return fmt.Errorf("read since when partners are known: %w", err)
		}
		var r runRecord
		var grid core.DID
		if err := grid.UnmarshalBinary(c.Key[len(sincePrefix):]); err != nil {
			return fmt.Errorf("record %q: %w", c.Key, err)
		}
		if err := parse(c.Key, c.Value, &r); err != nil {
			return err
		}
		b.account(grid).since = r.Seconds
	}
	return nil
}

// meet notes of partners that are new since when they are known, by the time that this machine has run. Who ends a pact
// and makes another is no newcomer for that.
func (b *Barter) meet() error {
	var fresh []core.DID
	var changes []core.Change
	all := b.c.Partners.All()
	b.mu.Lock()
	ran := b.running.seconds
	for _, p := range all {
		if p.Why.Kind == "" && !b.isHome(p) && b.account(p.Grid).since == 0 {
			fresh = append(fresh, p.Grid)
		}
	}
	b.mu.Unlock()
	for _, grid := range fresh {
		c, err := change(join(sincePrefix, grid[:]), runRecord{V: codec.Version, Seconds: ran})
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, grid := range fresh {
		b.account(grid).since = ran
	}
	return nil
}

// standing returns what a household gives, as policies see it. All of it is in memory. The caller holds b.mu.
func (b *Barter) standing(a *account) policy.Other {
	out, today := policy.Other{Gives: a.gives}, b.running.seconds/daySeconds
	if len(a.lost)+len(a.twice) > 0 {
		out.Missing = lossLeft(a.lost, today) + lossLeft(a.twice[core.Storage], today)
	}
	if a.since != 0 {
		out.Age = max(0, b.running.seconds-a.since)
	}
	return out
}
