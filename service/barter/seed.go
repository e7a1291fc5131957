package barter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/pure/seed"
)

// Seeding writes the pieces of one put onto a disk that a person carries, in the place of a
// Placement. Its methods may be called at once.
type Seeding struct {
	b    *Barter
	disk Carried

	mu      sync.Mutex // held across writing on purpose: a disk likes one file at a time
	lanes   map[core.DID]*seedLane
	turn    int
	pending []seeded
	given   map[string]map[core.DID][]int // what is safe on the disk: by segment, by household
}

// seedLane is one partner household, for the length of a Seeding.
type seedLane struct {
	partner Partner
	agent   core.DID
	room    int64 // bytes left of what the pact gives
	short   bool  // for want of it, pieces went elsewhere
	file    CarriedFile
	size    int64
}

// seeded is a piece that was written and may not be safe yet.
type seeded struct {
	grid    core.DID
	segment string
	index   int
}

// Seed begins to write pieces onto a disk, for all partners that are not leaving, be they within
// reach or not. waiting is what each of them is still to be brought, in bytes; with what it has that is at most
// what the pact gives. Errors: core.ErrNotExist if there is no partner.
func (b *Barter) Seed(disk Carried, waiting map[core.DID]int64) (*Seeding, error) {
	s := &Seeding{b: b, disk: disk, lanes: map[core.DID]*seedLane{}, turn: int(randomBelow(1 << 16)), given: map[string]map[core.DID][]int{}}
	for _, p := range b.c.Partners.All() {
		if len(p.Agents) > 0 && !p.Leaving && !b.isHome(p) && p.Why.Kind == "" {
			s.lanes[p.Grid] = &seedLane{partner: p, agent: b.likely(p.Agents), room: p.Gives - b.Placed(p.Grid) - waiting[p.Grid]}
		}
	}
	if len(s.lanes) == 0 {
		return nil, fmt.Errorf("no partner: %w", core.ErrNotExist)
	}
	return s, nil
}

// likely returns the first of a household's machines that has not failed to answer just now, or else the first.
func (b *Barter) likely(agents []core.DID) core.DID {
	return agents[max(0, slices.IndexFunc(agents, func(agent core.DID) bool { return b.isDown(agent) == nil }))]
}

// Holder is the machine of a household that gets its pieces.
func (s *Seeding) Holder(grid core.DID) core.DID {
	if l := s.lanes[grid]; l != nil {
		return l.agent
	}
	return core.DID{}
}

// Households returns those that can be given more, in order of their DIDs.
func (s *Seeding) Households() []core.DID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.SortedFunc(maps.Keys(s.lanes), core.DID.Compare), func(grid core.DID) bool { return s.lanes[grid].room <= 0 })
}

// Refusals says of each partner whose pact has too little room that it has.
func (s *Seeding) Refusals() map[core.DID]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[core.DID]error{}
	for grid, l := range s.lanes {
		if l.short {
			out[grid] = &core.Denial{Reason: fmt.Sprintf("%s left of your %s", policy.Bytes(max(0, l.room)), policy.Bytes(l.partner.Gives))}
		}
	}
	return out
}

// Segment writes those pieces of a segment whose index is in want, and returns those that no pact has
// room for. They count when they have been committed. Errors: core.ErrFull, the disk's.
func (s *Seeding) Segment(ctx context.Context, segment manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) (unplaced []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	var hs []place.Household
	for grid, l := range s.lanes {
		room := int(min(max(0, l.room)/int64(segment.Size), int64(segment.Total())))
		l.short = l.short || room == 0
		hs = append(hs, place.Household{DID: grid, Held: held[grid], Room: room})
	}
	give, _ := place.Spread(segment.Total(), hs, s.turn)
	unplaced = slices.Clone(want)
	for _, grid := range slices.SortedFunc(maps.Keys(give), core.DID.Compare) {
		for _, i := range give[grid] {
			if !slices.Contains(want, i) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return want, err
			}
			if err := s.write(s.lanes[grid], segment, i, pieces[i]); err != nil {
				return want, fmt.Errorf("write for %s: %w", s.lanes[grid].partner.Name, err)
			}
			unplaced = slices.DeleteFunc(unplaced, func(j int) bool { return j == i })
		}
	}
	return unplaced, nil
}

// write writes one piece. What was written of it when the disk turned out to be full is taken back.
// The caller holds s.mu.
func (s *Seeding) write(l *seedLane, segment manifest.Segment, index int, data []byte) error {
	if l.file != nil && l.size >= seed.FileSize {
		if err := s.close(l); err != nil {
			return err
		}
	}
	if l.file == nil {
		if err := s.begin(l); err != nil {
			return err
		}
	}
	head := seed.AppendRecord(make([]byte, 0, seed.RecordSize), seed.Record{
		Score: segment.Piece(index), Segment: [manifest.SegmentIDSize]byte(segment.ID), Index: uint32(index), Size: uint32(len(data)),
	})
	_, err := l.file.Write(head)
	if err == nil {
		_, err = l.file.Write(data)
	}
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	n := int64(len(data))
	l.size += seed.RecordSize + n
	l.room -= n
	s.pending = append(s.pending, seeded{l.partner.Grid, string(segment.ID), index})
	return nil
}

// begin begins a file. One of an earlier call is never gone on with: nobody knows how it ends.
func (s *Seeding) begin(l *seedLane) error {
	folder, prefix := carriedName(l.agent), carriedName(s.b.c.Key.DID())+"-"
	files, err := s.disk.Files(folder)
	if err != nil {
		return err
	}
	next := 1
	for _, f := range files {
		var n int
		if rest, ok := strings.CutPrefix(f.Name(), prefix); ok {
			if _, err := fmt.Sscanf(rest, "%d", &n); err == nil && n < 1<<30 {
				next = max(next, n+1)
			}
		}
	}
	signed, err := seed.Sign(s.b.c.Key, seed.Header{Owner: s.b.c.Grid, Agent: s.b.c.Key.DID(), Holder: l.agent, Time: s.b.c.Clock.Now().Unix()})
	if err != nil {
		return err
	}
	head, err := seed.AppendHeader(nil, signed)
	if err != nil {
		return err
	}
	f, err := s.disk.Create(folder, fmt.Sprintf("%s%04d%s", prefix, next, seedSuffix))
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("somebody else writes to this disk: %w", core.ErrBusy)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(head); err != nil {
		return errors.Join(err, f.Truncate(0), f.Close())
	}
	l.file, l.size = f, int64(len(head))
	return nil
}

// close ends a lane's file, which is safe on the disk then. The caller holds s.mu.
func (s *Seeding) close(l *seedLane) error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	if err == nil {
		s.safe(l)
	} else {
		s.lose(l)
	}
	return err
}

// safe notes that what a lane has written is on the disk. The caller holds s.mu.
func (s *Seeding) safe(l *seedLane) {
	for _, p := range s.pending {
		if p.grid != l.partner.Grid {
			continue
		}
		if s.given[p.segment] == nil {
			s.given[p.segment] = map[core.DID][]int{}
		}
		s.given[p.segment][p.grid] = append(s.given[p.segment][p.grid], p.index)
	}
	s.lose(l)
}

// lose forgets what a lane has written that is not known to be safe. The caller holds s.mu.
func (s *Seeding) lose(l *seedLane) {
	s.pending = slices.DeleteFunc(s.pending, func(p seeded) bool { return p.grid == l.partner.Grid })
}

// Drop forgets what was written of a segment.
func (s *Seeding) Drop(segment []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(p seeded) bool { return p.segment == string(segment) })
	delete(s.given, string(segment))
}

// Commit sees to it that all that was written is on the disk. done closes the files. The errors are by household:
// what was written for it since the last Commit does not count.
func (s *Seeding) Commit(_ context.Context, done bool) map[core.DID]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := map[core.DID]error{}
	for grid, l := range s.lanes {
		switch {
		case l.file == nil:
		case done:
			if err := s.close(l); err != nil {
				failed[grid] = err
			}
		default:
			if err := l.file.Sync(); err != nil { // what it has is unknown from now on
				s.lose(l)
				failed[grid] = errors.Join(err, l.file.Close())
				l.file = nil
				continue
			}
			s.safe(l)
		}
	}
	return failed
}

// Given returns what is safe on the disk of a segment, by household, once.
func (s *Seeding) Given(segment []byte) map[core.DID][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.given[string(segment)]
	delete(s.given, string(segment))
	return out
}

// Claim asks a machine for a lease over pieces that may have been brought to it, which rise. missing are those
// that it has not. Errors: core.ErrNotExist if it is no machine of a partner that stays.
func (b *Barter) Claim(ctx context.Context, agent core.DID, pieces []core.Piece) (missing []core.Score, err error) {
	p, ok := b.agents()[agent]
	if !ok || p.Leaving {
		return nil, fmt.Errorf("no partner has machine %s: %w", agent.Short(), core.ErrNotExist)
	}
	l := newLane(b, p, []core.DID{agent}, core.Normal, 0)
	for batch := range slices.Chunk(pieces, leasePieceMax) {
		err := l.persist(ctx, busyPatience, func() error {
			without, err := b.takeLease(ctx, p, agent, batch, nil, true)
			if err == nil {
				missing = append(missing, without...)
			}
			return err
		})
		if err != nil {
			return missing, err
		}
	}
	return missing, nil
}
