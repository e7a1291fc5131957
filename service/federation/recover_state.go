package federation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/ticket"
)

// stateSizeMax bounds the records of a household's state that a recovery takes
// into memory, in bytes.
const stateSizeMax = 1 << 30

// slowTime is how long a page may take before other partners are asked first.
const slowTime = 5 * time.Second

// united is a record of the state, and the head that it is from.
type united struct {
	value []byte
	from  sighting
}

// unite reads the state of every machine's newest head and unites them. Where
// nobody can give the pages of that, it takes the newest that somebody can.
func (r *recovery) unite(ctx context.Context) error {
	var errs []error
	for _, agent := range r.machines() {
		for _, s := range r.sightings(agent) {
			err := r.take(ctx, s)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				r.used[agent] = s
				break
			}
			errs = append(errs, fmt.Errorf("head %d of machine %s: %w", s.head.Seq, agent.Short(), err))
			r.unreadable[agent] = max(r.unreadable[agent], s.head.Seq)
		}
	}
	if len(r.used) == 0 && (!r.o.add || !r.isNew()) {
		// Going on would make a household without anything out of one that had something.
		return fmt.Errorf("no partner gave a state of the household that can be read; begin with another partner: %w",
			errors.Join(append(errs, core.ErrCorrupt)...))
	}
	for k, u := range r.state {
		if !strings.HasPrefix(k, partnerPrefix) {
			continue
		}
		if _, err := r.openPartner([]byte(k), u.value); err != nil {
			r.c.Log.Warn("a partner's record is left out", "err", err)
			delete(r.state, k)
		}
	}
	return nil
}

// take reads a head's whole state and unites it with the rest. It is all or
// nothing: what fails half way leaves no records behind.
func (r *recovery) take(ctx context.Context, s sighting) error {
	tree, load, err := r.open(ctx, s)
	if err != nil {
		return err
	}
	var list []page.Record
	size := r.bytes
	for record, err := range page.Walk(tree, load, nil, nil) {
		if err != nil {
			return err
		}
		if size += int64(len(record.Key) + len(record.Value)); size > stateSizeMax {
			return fmt.Errorf("more than %d bytes of state: %w", int64(stateSizeMax), core.ErrTooLarge)
		}
		list = append(list, record)
	}
	r.bytes = size
	for _, record := range list {
		k := string(record.Key)
		if old, ok := r.state[k]; !ok || r.stands(k, united{record.Value, s}, old) {
			r.state[k] = united{record.Value, s}
		}
	}
	return nil
}

// stands tells whether a stands over b, of two records with one key (SPEC §4): the version
// as a maker that is still listed has it, the later tombstone, the ticket that is stopped, else the one from the later
// head, then from the higher DID.
func (r *recovery) stands(k string, a, b united) bool {
	newest, _ := r.chain.Newest()
	if maker := makerOf(k); newest.Lists(maker) && (a.from.head.Agent == maker || b.from.head.Agent == maker) {
		return a.from.head.Agent == maker
	}
	if strings.HasPrefix(k, manifest.TombstonePrefix) {
		at, errA := manifest.DecodeTombstone(a.value)
		bt, errB := manifest.DecodeTombstone(b.value)
		if (errA == nil) != (errB == nil) {
			return errA == nil
		}
		if errA == nil && at.Time != bt.Time {
			return at.Time > bt.Time
		}
	}
	if strings.HasPrefix(k, ticket.RecordPrefix) {
		at, errA := ticket.DecodeRecord(a.value)
		bt, errB := ticket.DecodeRecord(b.value)
		if (errA == nil) != (errB == nil) {
			return errA == nil
		}
		if at.Stopped != bt.Stopped {
			return at.Stopped
		}
	}
	if a.from.head.Time != b.from.head.Time {
		return a.from.head.Time > b.from.head.Time
	}
	return a.from.head.Agent.Compare(b.from.head.Agent) > 0
}

// partnersIn reads only the partners out of a head's state.
func (r *recovery) partnersIn(ctx context.Context, s sighting) ([]partnerRecord, error) {
	tree, load, err := r.open(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []partnerRecord
	for record, err := range page.Walk(tree, load, []byte(partnerPrefix), nil) {
		if err != nil {
			return nil, err
		}
		p, err := r.openPartner(record.Key, record.Value)
		if err != nil {
			r.c.Log.Warn("a partner's record is left out", "err", err)
			continue
		}
		out = append(out, p.record)
		if len(out) == partnersMax {
			break
		}
	}
	return out, nil
}

func (r *recovery) openPartner(k, value []byte) (*partner, error) {
	if len(k) != len(partnerPrefix)+didSize {
		return nil, fmt.Errorf("a partner under a key of %d bytes: %w", len(k), core.ErrCorrupt)
	}
	var p partnerRecord
	if err := codec.Unmarshal(value, &p, partnerSizeMax); err != nil {
		return nil, err
	}
	return newPartner(r.grid, p, core.DID(k[len(partnerPrefix):]))
}

// open fetches and opens the root of a head's state, and returns how its pages are loaded.
func (r *recovery) open(ctx context.Context, s sighting) (page.Tree, page.Load, error) {
	return stateReader{r.secrets, r.packer, func(score core.Score) ([]byte, error) { return r.fetch(ctx, s, score) }}.open(s.head)
}

// fetch gets a page of a head from any partner that showed that head: what one does
// not give, or gives wrong, another may.
func (r *recovery) fetch(ctx context.Context, s sighting, score core.Score) ([]byte, error) {
	var errs []error
	for _, slow := range []bool{false, true} {
		for _, w := range r.witnesses {
			if w.heads[s.head.Agent].score != s.score || w.slow != slow {
				continue
			}
			begun := r.c.Clock.Now()
			data, err := fetchPage(ctx, r.c, w.agent, score, nil)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if !slow {
				w.slow = err != nil || r.c.Clock.Now().Sub(begun) > slowTime
			}
			if err == nil {
				return data, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
			r.blame(w, s, err)
		}
	}
	return nil, errors.Join(errs...)
}

// blame notes why a partner did not give a page of a head that it showed.
func (r *recovery) blame(w *witness, s sighting, err error) {
	switch {
	case errors.Is(err, core.ErrUnreachable) || errors.Is(err, core.ErrBusy) || errors.Is(err, core.ErrAway):
		w.err = err
	case w.lies == nil: // once is enough
		w.lies = fmt.Errorf("head %d of machine %s: it does not have the pages: %w", s.head.Seq, s.head.Agent.Short(), err)
	}
}

// versions counts the versions in the state.
func (r *recovery) versions() int {
	n := 0
	for k := range r.state {
		if strings.HasPrefix(k, manifest.VersionPrefix) {
			n++
		}
	}
	return n
}

func emptyTree() page.Tree { return page.Tree{V: codec.Version, Root: []byte{}} }
