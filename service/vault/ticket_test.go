package vault

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/ticket"
)

// in returns the moment so many days from now.
func (f *fixture) in(days int) int64 {
	return f.clock.Now().Add(time.Duration(days) * 24 * time.Hour).Unix()
}

// unwritten is for a ticket of which no line is wanted.
func unwritten(*Ticketed) error { return nil }

func (f *fixture) ticket(seq uint64, days int) *Ticketed {
	f.t.Helper()
	out, err := f.v.MakeTicket(f.t.Context(), "docs", seq, f.in(days), unwritten)
	if err != nil {
		f.t.Fatalf("make a ticket: %v", err)
	}
	return out
}

// guest reads with a ticket: it has nothing of the fixture but its holders.
func (f *fixture) guest(t ticket.Ticket) (*Guest, error) {
	return NewGuest(f.t.Context(), f.m, core.DID.Short, slog.New(slog.DiscardHandler), t)
}

func lineOf(t *Ticketed) ticket.Ticket { return ticket.Ticket{Table: t.Table, Segments: t.Tables} }

// reads returns what is read with a ticket.
func (f *fixture) reads(t *Ticketed) (tree, error) {
	f.t.Helper()
	g, err := f.guest(lineOf(t))
	if err != nil {
		return nil, err
	}
	s := &shelf{got: tree{}}
	_, err = g.Restore(f.t.Context(), RestoreOptions{}, func(bool, core.Score) (Sink, error) { return s, nil })
	return s.got, err
}

// wantRead fails the test unless the ticket reads that tree.
func (f *fixture) wantRead(what string, t *Ticketed, want tree) {
	f.t.Helper()
	got, err := f.reads(t)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	if diff := diffTrees(want, got); diff != "" {
		f.t.Fatalf("%s: %s", what, diff)
	}
}

func TestTicketReadsItsVersion(t *testing.T) {
	f := newFixture(t, 4)
	first := f.put(someTree())
	changed := someTree()
	changed["new"] = noise(99, 300<<10)
	f.put(changed)
	one, two := f.ticket(first.Version.Seq, 30), f.ticket(0, 30)
	f.wantRead("the first version", one, someTree())
	f.wantRead("the newest", two, changed)
	if len(one.Segments) != 1 || len(one.Holders) != 4 || one.Name != "docs" || one.Seq != 1 {
		t.Errorf("%+v", one)
	}
	g, err := f.guest(lineOf(two))
	if err != nil || g.Version().Seq != 2 || g.Version().Bytes != two.Version.Bytes {
		t.Errorf("%+v, %v", g, err)
	}
	// Half of the households are enough, and of less it says whom it takes.
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
	f.wantRead("with half of the households", one, someTree())
	f.m.homes[did(2)].away = true
	few := &TooFew{}
	if _, err := f.reads(one); !errors.As(err, &few) || !errors.Is(err, core.ErrUnreachable) || !strings.Contains(err.Error(), did(2).Short()) {
		t.Errorf("with a quarter: %v", err)
	}
}

func TestALiveTicketKeepsItsBytes(t *testing.T) {
	f := newFixture(t, 3)
	before, after := sparseTrees()
	for _, tr := range []tree{before, after} {
		if _, err := f.v.Put(t.Context(), "docs", tr, middling); err != nil {
			t.Fatal(err)
		}
	}
	x := f.ticket(1, 200)
	f.remove(1)
	if out := f.compact(1 << 40); out.Sparse != 0 {
		t.Errorf("segments that a ticket uses are emptied: %+v", out)
	}
	pieces := f.m.held()
	for range 3 { // also after the version's own record is forgotten
		f.collect()
		f.m.reclaim()
		f.days(60)
	}
	if got := f.m.held(); got != pieces {
		t.Errorf("%d pieces of %d are left", got, pieces)
	}
	f.wantRead("after its version was removed", x, before)
	// A machine that knows the state alone finds in the table what to keep.
	f.forgetAllButState()
	f.open()
	f.collect()
	f.m.reclaim()
	f.wantRead("after a recovery", x, before)
	f.sameTree(after)

	f.days(19)
	if left, err := f.v.Tickets(""); err != nil || len(left) != 1 {
		t.Fatalf("before it lapses: %v, %v", left, err)
	}
	f.days(3)
	f.collect()
	if left, err := f.v.Tickets(""); err != nil || len(left) != 0 {
		t.Errorf("after it has lapsed: %v, %v", left, err)
	}
	for key := range f.books.Scan([]byte("state/t/"), nil) {
		t.Errorf("%q is left", key.Key)
	}
	f.days(15)
	f.collect()
	f.m.reclaim()
	if got := f.m.held(); got >= pieces {
		t.Errorf("%d pieces of %d are left of what nothing reads any more", got, pieces)
	}
	f.sameTree(after)
}

func TestTicketsAreStopped(t *testing.T) {
	f := newFixture(t, 3)
	f.put(someTree())
	if _, err := f.v.Put(t.Context(), "other", tree{"a": noise(5, 1000)}, PutOptions{}); err != nil {
		t.Fatal(err)
	}
	first := f.ticket(0, 30)
	f.days(1)
	second := f.ticket(0, 10)
	other, err := f.v.MakeTicket(t.Context(), "other", 0, f.in(5), unwritten)
	if err != nil {
		t.Fatal(err)
	}
	saves := f.home.saves
	stopped, err := f.v.StopTickets(t.Context(), "docs")
	if err != nil || len(stopped) != 2 || stopped[0].ID != first.ID || stopped[1].ID != second.ID || !stopped[0].Stopped {
		t.Fatalf("%+v, %v", stopped, err)
	}
	if f.home.saves != saves+1 {
		t.Error("nobody was told")
	}
	if _, err := f.v.StopTickets(t.Context(), "docs"); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("stopped again: %v", err)
	}
	if _, err := f.v.StopTickets(t.Context(), ""); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("of no name: %v", err)
	}
	all, err := f.v.Tickets("")
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, x := range all {
		if x.Stopped != (x.Name == "docs") {
			t.Errorf("%+v", x)
		}
	}
	f.collect()
	f.m.reclaim()
	if _, err := f.reads(first); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("its table is given up: %v", err)
	}
	f.wantRead("another's", other, tree{"a": noise(5, 1000)})
	f.sameTree(someTree())
	f.home.deaf = true
	if out, err := f.v.StopTickets(t.Context(), "other"); !errors.Is(err, core.ErrPartly) || len(out) != 1 {
		t.Errorf("with nobody to tell: %v, %v", out, err)
	}
}

func TestTicketsThatCannotBe(t *testing.T) {
	f := newFixture(t, 3)
	f.putSmall(tree{"a": noise(1, 1000)})
	for name, c := range map[string]struct {
		name  string
		seq   uint64
		until int64
		want  error
	}{
		"no such name":    {"letters", 0, f.in(1), core.ErrNotExist},
		"no such version": {"docs", 7, f.in(1), core.ErrNotExist},
		"from the past":   {"docs", 0, f.in(0), core.ErrInvalid},
		"for over a year": {"docs", 0, f.in(367), core.ErrInvalid},
	} {
		if out, err := f.v.MakeTicket(t.Context(), c.name, c.seq, c.until, unwritten); !errors.Is(err, c.want) || out != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.home.deaf = true
	if _, err := f.v.MakeTicket(t.Context(), "docs", 0, f.in(1), unwritten); !errors.Is(err, core.ErrPartly) {
		t.Errorf("that nobody hears of: %v", err)
	}
	f.home.deaf = false
	long := errors.New("too long")
	if out, err := f.v.MakeTicket(t.Context(), "docs", 0, f.in(1), func(*Ticketed) error { return long }); !errors.Is(err, long) || out != nil {
		t.Errorf("that cannot be written: %v", err)
	}
	if all, err := f.v.Tickets(""); err != nil || len(all) != 0 {
		t.Errorf("that nobody has: %v, %v", all, err)
	}
	for range ticketsMax {
		f.ticket(0, 1)
	}
	if _, err := f.v.MakeTicket(t.Context(), "docs", 0, f.in(1), unwritten); !errors.Is(err, ErrTickets) {
		t.Errorf("one too many: %v", err)
	}
	f.days(1)
	f.ticket(0, 1)
	for grid := range f.m.homes {
		f.m.homes[grid].away = true
	}
	if _, err := f.v.MakeTicket(t.Context(), "docs", 0, f.in(1), unwritten); err == nil {
		t.Error("a ticket with nobody there")
	}
}

func TestCheckLooksAfterTables(t *testing.T) {
	f := newFixture(t, 3)
	f.put(someTree())
	x := f.ticket(0, 30)
	lost := 0
	f.m.each(func(h *fakeHome, piece core.Score, _ []byte) {
		if x.Tables[0].Index(piece) >= 0 && lost < 5 {
			delete(h.pieces, piece)
			lost++
		}
	})
	out, err := f.v.Check(t.Context(), CheckOptions{Name: "docs", Mend: true})
	if err != nil || out.Mended.Pieces != lost || lost != 5 {
		t.Errorf("%+v, %v", out.Mended, err)
	}
	f.wantRead("mended", x, someTree())
}

// What is in a table is not believed: neither what stands under another's key, nor two versions, nor none.
func TestTablesThatLie(t *testing.T) {
	f := newFixture(t, 3)
	f.put(someTree())
	good := f.ticket(0, 30)
	v := good.Version
	version := page.Record{Key: v.Key(), Value: must1(v.Marshal())}
	other := v
	other.Seq++
	table := func(records ...page.Record) (ticket.Ticket, error) {
		t.Helper()
		p := must1(f.v.newPut("docs", good.Tables[0].Shape(), newMeter("", nil)))
		p.apartFrom, p.oldUpTo = 0, 0
		p.placing = must1(f.m.Place(t.Context(), core.Normal, 0))
		tr, err := p.pipe(t.Context(), func() error { return nil }, func() (page.Tree, error) {
			for range p.events { // none come
			}
			b := page.NewBuilder(p.storePage)
			for _, r := range records {
				if err := b.Add(r.Key, r.Value); err != nil {
					return page.Tree{}, err
				}
			}
			return b.Finish()
		})
		x := ticket.Ticket{Table: tr}
		for _, id := range p.treeSegs.sorted() {
			x.Segments = append(x.Segments, must1(f.v.segment(id)))
		}
		return x, err
	}
	s := good.Tables[0]
	segment := page.Record{Key: manifest.SegmentKey(v.Segments[0]), Value: must1(s.Marshal())} // another's
	for name, c := range map[string]struct {
		records []page.Record
		opens   bool // what is wrong shows when it is read
	}{
		"no version":               {[]page.Record{segment}, false},
		"no segments":              {[]page.Record{version}, true},
		"another's segment":        {[]page.Record{segment, version}, true},
		"two versions":             {[]page.Record{segment, version, {Key: other.Key(), Value: must1(other.Marshal())}}, false},
		"under another's key":      {[]page.Record{{Key: other.Key(), Value: version.Value}}, false},
		"a version that is none":   {[]page.Record{{Key: version.Key, Value: []byte{1}}}, false},
		"a segment that is none":   {[]page.Record{{Key: segment.Key, Value: []byte{1}}, version}, true},
		"records of another kind":  {[]page.Record{{Key: []byte("p/x"), Value: []byte{1}}, {Key: []byte("x"), Value: nil}}, false},
		"nothing at all, but keys": {[]page.Record{{Key: nil, Value: nil}}, false},
	} {
		x, err := table(c.records...)
		if err != nil {
			t.Fatal(name, err)
		}
		g, err := f.guest(x)
		if (err == nil) != c.opens {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		sink := &shelf{got: tree{}}
		_, err = g.Restore(t.Context(), RestoreOptions{}, func(bool, core.Score) (Sink, error) { return sink, nil })
		if !errors.Is(err, core.ErrCorrupt) || len(sink.got) > 0 {
			t.Errorf("%s: restored %d, %v", name, len(sink.got), err)
		}
	}
	// A table whose pages lie where the ticket does not say.
	x := lineOf(good)
	x.Segments = []manifest.Segment{must1(f.v.segment(v.Segments[0]))}
	if _, err := f.guest(x); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a table elsewhere: %v", err)
	}
}
