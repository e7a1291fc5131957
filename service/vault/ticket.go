package vault

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/ticket"
)

const (
	// ticketsMax is how many tickets a household may have that have not lapsed; the heads name those that
	// were stopped.
	ticketsMax = 64
	// lapsedAfter is for how many seconds a ticket that has lapsed counts still: clocks differ.
	lapsedAfter = daySeconds
)

// ErrTickets says that there are too many tickets.
var ErrTickets = fmt.Errorf("%d tickets have not lapsed, and more there cannot be: %w", ticketsMax, core.ErrInvalid)

// Ticket is a ticket as the state has it.
type Ticket struct {
	ID ticket.ID
	ticket.Record
}

// Ticketed is what a ticket is made of.
type Ticketed struct {
	Ticket
	Version manifest.Version
	// Tables are the records of the segments that hold the table.
	Tables []manifest.Segment
	// Holders are the households that have any of what it reads.
	Holders []core.DID
}

// MakeTicket stores a table of the version that Find finds, and writes down that what it names is in use until then,
// in seconds since 1970. write writes the line of what was stored: where it fails there is no ticket. Partners know of it when
// it returns nil, or none was to be told.
// Errors: core.ErrNotExist; core.ErrInvalid of a time; ErrTickets; ErrNoPartner; core.ErrUnreachable if the version cannot be read
// from its holders; *Incomplete; those of write.
func (v *Vault) MakeTicket(ctx context.Context, name string, seq uint64, until int64, write func(*Ticketed) error) (*Ticketed, error) {
	unlock, err := v.lock(ctx) // else it may be rewritten, or given up, meanwhile
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, err := v.Tickets("")
	if err != nil {
		return nil, err
	}
	if len(all) >= ticketsMax {
		return nil, ErrTickets
	}
	version, err := v.Find(name, seq)
	if err != nil {
		return nil, err
	}
	out := &Ticketed{Version: version, Ticket: Ticket{Record: ticket.Record{
		V: codec.Version, Name: version.Name, Agent: version.Agent, Seq: version.Seq, Time: v.c.Clock.Now().Unix(), Until: until,
	}}}
	if now := out.Time; until <= now || until-now > ticket.LifeMax {
		return nil, fmt.Errorf("a ticket is good for a year at most, and not from the past: %w", core.ErrInvalid)
	}
	seal.Random(out.ID[:])
	uses, err := v.usesOf(ctx, version)
	if err != nil {
		return nil, err
	}
	tables, err := v.putTable(ctx, out, uses)
	if err != nil {
		return nil, err
	}
	uses = maps.Clone(uses)
	maps.Copy(uses, tables)
	worth, _, err := v.worthOf(uses, nil)
	if err != nil {
		return nil, err
	}
	if !worth.Readable {
		return nil, fmt.Errorf("%q, version %d, is not readable from its holders: %w", version.Name, version.Seq, core.ErrUnreachable)
	}
	out.Holders = slices.SortedFunc(maps.Keys(worth.Held), core.DID.Compare)
	if err := write(out); err != nil {
		return nil, err
	}
	return out, v.recordTicket(ctx, out.Ticket, uses)
}

// putTable stores the table of a ticket, by the pipe of a put, in segments of its own.
func (v *Vault) putTable(ctx context.Context, t *Ticketed, uses segmentSet) (segmentSet, error) {
	like, err := v.segment(t.Version.Segments[0])
	if err != nil {
		return nil, err
	}
	p, err := v.newPut(t.Version.Name, like.Shape(), newMeter("", nil))
	if err != nil {
		return nil, err
	}
	p.apartFrom, p.oldUpTo = 0, 0
	p.placing, err = v.c.Barter.Place(ctx, core.Normal, int64(len(uses))*int64(1<<10)*int64(like.Total())/int64(like.K))
	if errors.Is(err, core.ErrNotExist) {
		return nil, ErrNoPartner
	}
	if err != nil {
		return nil, err
	}
	if t.Table, err = p.pipe(ctx, func() error { return nil }, func() (page.Tree, error) { return p.table(t.Version, uses) }); err != nil {
		p.abandon(ctx)
		return nil, err
	}
	if p.lost > 0 {
		return nil, p.incomplete(0)
	}
	f := v.newFilling(newMeter("", nil))
	if err := f.all(ctx, p.treeSegs); err != nil {
		return nil, err
	}
	t.Segments = p.treeSegs.sorted()
	for _, id := range t.Segments {
		s, err := v.segment(id)
		if err != nil {
			return nil, err
		}
		t.Tables = append(t.Tables, s)
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return p.treeSegs, nil
}

// table builds the records that a reader needs: those of the segments, and then the version's.
func (p *put) table(version manifest.Version, uses segmentSet) (page.Tree, error) {
	for range p.events { // nothing is read
	}
	b := page.NewBuilder(p.storePage)
	for _, id := range uses.sorted() {
		s, err := p.v.segment(id)
		if err != nil {
			return page.Tree{}, err
		}
		value, err := s.Marshal()
		if err == nil {
			err = b.Add(s.Key(), value)
		}
		if err != nil {
			return page.Tree{}, err
		}
	}
	value, err := version.Marshal()
	if err == nil {
		err = b.Add(version.Key(), value)
	}
	if err != nil {
		return page.Tree{}, err
	}
	return b.Finish()
}

// recordTicket writes a ticket down, and tells the partners; if none can be told, it was never made.
func (v *Vault) recordTicket(ctx context.Context, t Ticket, uses segmentSet) error {
	value, err := t.Marshal()
	if err != nil {
		return err
	}
	key := ticket.RecordKey(t.ID)
	err = v.c.Books.Apply(core.Change{Key: stateKey(key), Value: value}, core.Change{Key: usesKey(key), Value: encodeUses(t.Table, uses)})
	if err != nil {
		return fmt.Errorf("record a ticket: %w", err)
	}
	if err = v.publish(ctx); err != nil {
		err = errors.Join(err, v.c.Books.Apply(core.Change{Key: stateKey(key)}, core.Change{Key: usesKey(key)}))
	}
	return err
}

// Tickets returns the tickets of a name's versions, or of all names for "", that have not lapsed, also such as were
// stopped; the oldest first. A record that cannot be read is left out and logged.
func (v *Vault) Tickets(name string) ([]Ticket, error) {
	var out []Ticket
	now := v.c.Clock.Now().Unix()
	for c, err := range v.c.Books.Scan(stateKey([]byte(ticket.RecordPrefix)), nil) {
		if err != nil {
			return nil, fmt.Errorf("read tickets: %w", err)
		}
		t, err := parseTicket(c)
		if err != nil {
			v.c.Log.Warn("a ticket's record is broken", "key", fmt.Sprintf("%q", c.Key), "err", err)
			continue
		}
		if t.Until > now && (name == "" || t.Name == name) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Ticket) int { return cmp.Compare(a.Time, b.Time) })
	return out, nil
}

func parseTicket(c core.Change) (Ticket, error) {
	id, err := ticket.ParseRecordKey(bytes.TrimPrefix(c.Key, statePrefix))
	if err != nil {
		return Ticket{}, err
	}
	r, err := ticket.DecodeRecord(c.Value)
	return Ticket{id, r}, err
}

// StopTickets stops those tickets of a name's versions that have not lapsed, and returns them. Holders let nobody in with
// them from when they have the next head. It is core.ErrPartly, with the tickets, if no partner could be told.
// Errors: core.ErrNotExist if there are none.
func (v *Vault) StopTickets(ctx context.Context, name string) ([]Ticket, error) {
	if err := manifest.CheckName(name); err != nil { // "" is all names
		return nil, err
	}
	v.removing.Lock()
	live, err := v.stopTickets(name)
	v.removing.Unlock()
	if err != nil {
		return nil, err
	}
	if len(live) == 0 {
		return nil, fmt.Errorf("tickets of %q: %w", name, core.ErrNotExist)
	}
	return live, v.publish(ctx)
}

func (v *Vault) stopTickets(name string) ([]Ticket, error) {
	all, err := v.Tickets(name)
	if err != nil {
		return nil, err
	}
	live := slices.DeleteFunc(all, func(t Ticket) bool { return t.Stopped })
	var changes []core.Change
	for i := range live {
		live[i].Stopped = true
		value, err := live[i].Marshal()
		if err != nil {
			return nil, err
		}
		changes = append(changes, core.Change{Key: stateKey(ticket.RecordKey(live[i].ID)), Value: value})
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return live, v.c.Books.Apply(changes...)
}

// ticketUses returns the segments that a ticket's table names, and those that hold it: from our books, or else from the
// table, which needs partners.
func (v *Vault) ticketUses(ctx context.Context, t Ticket) (segmentSet, error) {
	key := usesKey(ticket.RecordKey(t.ID))
	raw, err := v.c.Books.Get(key)
	if err == nil {
		if uses, err := decodeUses(t.Table, raw); err == nil {
			return uses, nil
		}
	} else if !errors.Is(err, core.ErrNotExist) {
		return nil, fmt.Errorf("segments of a ticket: %w", err)
	}
	r, done := v.reader()
	defer done()
	uses := segmentSet{}
	for _, id := range t.Segments {
		uses.add(id)
	}
	for rec, err := range page.Walk(t.Table, r.load(ctx), []byte(manifest.SegmentPrefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read a ticket's table: %w", err)
		}
		id, err := manifest.ParseSegmentKey(rec.Key)
		if err != nil {
			return nil, err
		}
		uses.add(id)
	}
	changes := []core.Change{{Key: key, Value: encodeUses(t.Table, uses)}}
	if v.c.Household.Alone() { // as after a recovery: nobody else can give up what it lies in
		mine, err := v.adopt(uses)
		if err != nil {
			return nil, err
		}
		changes = append(changes, mine...)
	}
	if err := v.c.Books.Apply(changes...); err != nil {
		return nil, fmt.Errorf("record what a ticket reads: %w", err)
	}
	return uses, nil
}

// ticketedBy returns the segments that the live tickets of a name read, or of all names for "". Of a ticket whose table cannot be
// read, which failed is told of, those are known that hold the table.
func (v *Vault) ticketedBy(ctx context.Context, name string, failed func(error)) (segmentSet, error) {
	tickets, err := v.Tickets(name)
	if err != nil {
		return nil, err
	}
	all := segmentSet{}
	for _, t := range tickets {
		if t.Stopped {
			continue
		}
		uses, err := v.ticketUses(ctx, t)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			failed(fmt.Errorf("a ticket of %q, version %d: %w", t.Name, t.Seq, err))
			for _, id := range t.Segments {
				all.add(id)
			}
		}
		maps.Copy(all, uses)
	}
	return all, nil
}

// ticket notes what a ticket's record says of what is in use.
func (m *marks) ticket(ctx context.Context, v *Vault, c core.Change) error {
	t, err := parseTicket(c)
	if err != nil {
		return fmt.Errorf("the record %q of a ticket: %w", c.Key, err)
	}
	lapsed := v.c.Clock.Now().Unix()-t.Until > lapsedAfter
	if lapsed {
		m.stale = append(m.stale, ticket.RecordKey(t.ID))
	}
	if lapsed || t.Stopped {
		for _, id := range t.Segments {
			m.dead.add(id)
		}
		return nil
	}
	uses, err := v.ticketUses(ctx, t)
	if err != nil {
		return fmt.Errorf("a ticket of %q, version %d: %w", t.Name, t.Seq, err)
	}
	maps.Copy(m.live, uses)
	maps.Copy(m.ticketed, uses)
	return nil
}
