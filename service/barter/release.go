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

// rememberDays is how much longer than its holder keeps it a released piece is remembered, so that
// it can be brought back as long as anybody has it: the holder counts only the days that it runs.
const rememberDays = 7

// Release gives pieces back to their holders, who set them aside. From now on Held does not
// tell them; the holders hear of it from Run or Deliver, however long they are away. What is not
// recorded as held is passed over. Renew takes it back.
func (b *Barter) Release(ctx context.Context, holdings []core.Holding) error {
	for batch := range slices.Chunk(holdings, leasePieceMax) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.queueRelease(batch); err != nil {
			return err
		}
		var here []core.Score
		for _, h := range batch {
			if h.Agent == b.c.Key.DID() {
				here = append(here, h.Score)
			}
		}
		if err := b.releaseHere(ctx, here); err != nil {
			return err
		}
	}
	return nil
}

func (b *Barter) queueRelease(batch []core.Holding) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	now := b.c.Clock.Now().Unix()
	var changes []core.Change
	added := tally{}
	seen := map[string]bool{}
	for _, h := range batch {
		key := placedKey(h.Score, h.Agent)
		var r placedRecord
		known, err := b.read(key, &r)
		if err != nil {
			return err
		}
		if !known || r.Released != 0 || seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		added.add(r.Grid, -1, -r.Size)
		more, err := b.remember(h.Score, h.Agent, r, now+b.asideSeconds(r.Grid, false))
		if err != nil {
			return err
		}
		changes = append(append(changes, more...), core.Change{Key: queueKey(h.Agent, h.Score), Value: []byte{1}})
	}
	return b.applyPlaced(changes, added)
}

// asideSeconds is how long a released piece at a household is remembered.
func (b *Barter) asideSeconds(grid core.DID, alarm bool) int64 {
	days := int64(pact.AsideDays)
	if p, ok := b.c.Partners.Of(grid); ok {
		days = p.AsideDays
	}
	if alarm {
		days = max(days, massDays)
	}
	return (days + rememberDays) * daySeconds
}

// remember returns the changes by which a placement is released, and remembered until a date;
// 0: it is not released any more.
func (b *Barter) remember(piece core.Score, agent core.DID, r placedRecord, until int64) ([]core.Change, error) {
	var changes []core.Change
	if r.Released != 0 {
		changes = append(changes, core.Change{Key: goneKey(r.Released, agent, piece)})
	}
	r.Released = until
	if until != 0 {
		changes = append(changes, core.Change{Key: goneKey(until, agent, piece), Value: []byte{1}})
	}
	c, err := change(placedKey(piece, agent), r)
	return append(changes, c), err
}

// Deliver tells holders what was released, as far as they can be reached, and not more in a day than what they take
// for no theft; and asks each, once a day, whether it suspects one. One holder's failure does not keep it from the others.
func (b *Barter) Deliver(ctx context.Context) error {
	agents := map[core.DID]bool{}
	for _, prefix := range [][]byte{queuePrefix, sentPrefix} {
		for from := prefix; from != nil; {
			next, err := b.nextAgent(prefix, from, agents)
			if err != nil {
				return err
			}
			from = next
		}
	}
	var failures []error
	for _, p := range b.c.Partners.All() {
		for _, agent := range p.Agents {
			if agent == b.c.Key.DID() || b.isDown(agent) != nil || !b.due(agent, agents[agent]) {
				continue
			}
			err := b.deliverTo(ctx, p, agent, agents[agent])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failures = append(failures, fmt.Errorf("release to %s: %w", p.Name, err))
			}
		}
	}
	return errors.Join(failures...)
}

// nextAgent adds the first machine that has a record from a key on, and returns the key behind all of its
// records; nil if there is none.
func (b *Barter) nextAgent(prefix, from []byte, agents map[core.DID]bool) ([]byte, error) {
	for c, err := range b.c.Books.Scan(prefix, from) {
		if err != nil {
			return nil, fmt.Errorf("read what is to be released: %w", err)
		}
		if len(c.Key) < len(prefix)+didSize {
			return nil, fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		agent := core.DID(c.Key[len(prefix):][:didSize])
		agents[agent] = true
		return join(prefix, agent[:], slices.Repeat([]byte{0xff}, core.ScoreSize+1)), nil
	}
	return nil, nil
}

// deliverTo tells one machine what is waiting for it, or only asks it.
func (b *Barter) deliverTo(ctx context.Context, p Partner, agent core.DID, waiting bool) error {
	if !waiting {
		_, err := b.askLeft(ctx, p, agent)
		return err
	}
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return err
	}
	defer unlock()
	for {
		if err := b.settleLine(ctx, p, agent); err != nil {
			return err
		}
		left, err := b.askLeft(ctx, p, agent)
		if err != nil {
			return err
		}
		more, err := b.signNext(p, agent, left)
		if err != nil || !more {
			return err
		}
	}
}

// signNext signs a release of what is queued for a machine, as much of it as is not too much, and writes it down before it goes
// out: if nobody knows whether it has arrived, the very same one is sent again. The caller has the line.
func (b *Barter) signNext(p Partner, agent core.DID, left int64) (more bool, err error) {
	pieces, waits, err := b.next(agent, left)
	if err != nil {
		return false, err
	}
	if len(pieces) == 0 {
		if waits {
			b.paced(agent)
		}
		return false, nil
	}
	l, err := b.lineOf(asOwner, p.Grid, agent)
	if err != nil {
		return false, err
	}
	at := max(b.c.Clock.Now().Unix(), l.rec.Latest) // the holder would count until then in any case
	s, err := pact.SignRelease(b.c.Key, pact.Release{Owner: b.c.Grid, Agent: b.c.Key.DID(), Pieces: pieces, Time: at})
	if err != nil {
		return false, err
	}
	c, err := change(join(sentPrefix, agent[:]), s)
	if err != nil {
		return false, err
	}
	changes := []core.Change{c}
	b.settling.Lock() // Renew takes back what is queued, and nothing that is signed
	defer b.settling.Unlock()
	for _, piece := range pieces {
		if ok, err := b.has(queueKey(agent, piece)); !ok || err != nil {
			return err == nil, err // it was taken back just now: sign anew
		}
		changes = append(changes, core.Change{Key: queueKey(agent, piece)})
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return false, fmt.Errorf("record a release: %w", err)
	}
	return true, nil
}

// resend sends the release that was signed last, if it is not known to have arrived. The caller has the line.
func (b *Barter) resend(ctx context.Context, p Partner, agent core.DID) error {
	raw, err := b.c.Books.Get(join(sentPrefix, agent[:]))
	if errors.Is(err, core.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read a release: %w", err)
	}
	var s identity.Signed
	if err := codec.Unmarshal(raw, &s, releaseLimit); err != nil {
		return fmt.Errorf("a release in the books is broken: %v", err)
	}
	release, err := pact.OpenRelease(s)
	if err != nil {
		return fmt.Errorf("a release in the books is broken: %v", err)
	}
	var out releaseAnswer
	err = b.c.Wire.Call(ctx, agent, "POST", "/release", releaseRequest{Release: &s}, &out)
	if ctx.Err() == nil {
		b.heard(agent, err)
	}
	if final(err) {
		return errors.Join(err, b.requeue(agent, release))
	}
	if err != nil {
		return err
	}
	if err := b.released(p, agent, release, out.Alarm); err != nil {
		return err
	}
	b.noteAlarm(p, agent, out.Alarm)
	return nil
}

// requeue leaves to a later release what a holder would not take as it was, be it that the clocks are too far
// apart. The caller has the line.
func (b *Barter) requeue(agent core.DID, release pact.Release) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	changes := []core.Change{{Key: join(sentPrefix, agent[:])}}
	for _, piece := range release.Pieces {
		var r placedRecord
		if _, err := b.read(placedKey(piece, agent), &r); err != nil {
			return err
		}
		if r.Released != 0 {
			changes = append(changes, core.Change{Key: queueKey(agent, piece), Value: []byte{1}})
		}
	}
	return b.applyPlaced(changes, nil)
}

// released writes down that a release has arrived, and counts it.
func (b *Barter) released(p Partner, agent core.DID, release pact.Release, alarm bool) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	now := b.c.Clock.Now().Unix()
	l, err := b.lineOf(asOwner, p.Grid, agent)
	if err != nil {
		return err
	}
	changes := []core.Change{{Key: join(sentPrefix, agent[:])}}
	for _, piece := range release.Pieces {
		var r placedRecord
		known, err := b.read(placedKey(piece, agent), &r)
		if err != nil {
			return err
		}
		if !known || r.Released == 0 {
			continue
		}
		l.release(r.Counted, r.Bytes, release.Time)
		r.Counted = 0
		more, err := b.remember(piece, agent, r, now+b.asideSeconds(p.Grid, alarm))
		if err != nil {
			return err
		}
		changes = append(changes, more...)
	}
	l.passed(release.Time)
	counted, err := l.changes()
	if err != nil {
		return err
	}
	return b.applyPlaced(append(changes, counted...), nil)
}

// noteAlarm tells the person, once, that a holder finds that too much was released.
func (b *Barter) noteAlarm(p Partner, agent core.DID, alarm bool) {
	key := join(alarmPrefix, agent[:])
	told, err := b.has(key)
	if alarm && !told {
		if err := b.noteFound(); err != nil {
			b.c.Log.Error("note that too much was released", "err", err)
			return
		}
		b.c.Alarm(p.Grid, fmt.Sprintf("more than a quarter of what %s keeps for us was released within a day: it is kept there %d days; what is needed of it is taken back", p.Name, massDays))
	}
	if err == nil && told != alarm {
		c := core.Change{Key: key}
		if alarm {
			c.Value = []byte{1}
		}
		err = b.c.Books.Apply(c)
	}
	if err != nil { // it is told once too often then
		b.c.Log.Warn("note an alarm", "err", err)
	}
}

// forgetReleased forgets released pieces that nobody keeps any more. What has not been
// told to a machine that there still is stays.
func (b *Barter) forgetReleased() error {
	now := b.c.Clock.Now().Unix()
	agents := b.agents()
	b.settling.Lock()
	defer b.settling.Unlock()
	var changes []core.Change
	for c, err := range b.c.Books.Scan(gonePrefix, nil) {
		if err != nil {
			return fmt.Errorf("read what was released: %w", err)
		}
		rest := c.Key[len(gonePrefix):]
		if len(rest) != dateSize+didSize+core.ScoreSize {
			return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		if int64(binary.BigEndian.Uint64(rest)) >= now || len(changes) >= reclaimBatch {
			break
		}
		agent, piece := core.DID(rest[dateSize:][:didSize]), core.Score(rest[dateSize+didSize:])
		if _, there := agents[agent]; there {
			waits, err := b.untold(agent, piece)
			if err != nil {
				return err
			}
			if waits {
				continue
			}
		}
		changes = append(changes, core.Change{Key: c.Key}, core.Change{Key: placedKey(piece, agent)}, core.Change{Key: queueKey(agent, piece)})
	}
	return b.applyPlaced(changes, nil)
}

// untold tells whether a machine may not have heard that a piece was released, and promises it still.
func (b *Barter) untold(agent core.DID, piece core.Score) (bool, error) {
	queued, err := b.has(queueKey(agent, piece))
	if err != nil {
		return false, err
	}
	if !queued {
		return b.has(join(sentPrefix, agent[:]))
	}
	var r placedRecord
	if _, err := b.read(placedKey(piece, agent), &r); err != nil {
		return false, err
	}
	atHome := r.Grid == b.c.Grid // where what nobody gives up is kept past its lease
	return atHome || r.Until+(pact.AsideDays+rememberDays)*daySeconds >= b.c.Clock.Now().Unix(), nil
}
