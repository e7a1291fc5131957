package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/federation"
)

const dayTime = 24 * time.Hour

// joinFor makes b a's partner for so many days.
func (w *world) joinFor(a, b *machine, days uint) {
	w.t.Helper()
	terms := gives()
	terms.Days = days
	terms.InviterGives["potatoes"] = 5
	inv, err := a.f.Invite(w.t.Context(), terms, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	code, err := inv.Code()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := b.f.Accept(w.t.Context(), code, yes); err != nil {
		w.t.Fatal(err)
	}
}

// A pact for a year ends by itself: in its last 30 days nothing new goes there.
func TestAPactForAYear(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.joinFor(anna, bo, 365)
	begun := w.clock.Now()
	ends := begun.Add(365 * dayTime).Unix()
	check := func(what string, leaving bool) {
		t.Helper()
		for _, c := range []struct{ m, other *machine }{{anna, bo}, {bo, anna}} {
			p := c.m.with(c.other)
			want(t, what+": "+c.m.name+": it ends", p.Ends, ends)
			want(t, what+": "+c.m.name+": leaving", p.Leaving(), leaving)
			want(t, what+": "+c.m.name+": ending", p.Ending, false)
		}
	}
	check("new", false)
	want(t, "potatoes", bo.with(anna).Gives["potatoes"], 5)
	anna.restart()
	bo.restart()
	check("after a restart", false)
	w.clock.Advance(335*dayTime - time.Second)
	check("before the last 30 days", false)
	w.clock.Advance(time.Second)
	check("in the last 30 days", true)

	// What each gives can still be changed. To put the end off, the other must agree.
	bo.known.Learn(anna.did(), anna.peers.Addrs())
	anna.known.Learn(bo.did(), bo.peers.Addrs())
	if _, err := anna.f.Amend(t.Context(), bo.grid(), federation.Changes{Give: map[core.Resource]int64{"potatoes": 7}}); err != nil {
		t.Fatal(err)
	}
	want(t, "more potatoes", bo.with(anna).Gives["potatoes"], 7)
	want(t, "as much storage", bo.with(anna).Gives[core.Storage], 10*gb)
	check("amended", true)
	ends = begun.Add(700 * dayTime).Unix()
	p, err := anna.f.Amend(t.Context(), bo.grid(), federation.Changes{Until: ends})
	if err != nil || p.Mine == nil || p.Mine.Until != ends || p.Mine.Given["potatoes"] != 7 {
		t.Fatalf("asked to put it off: %+v, %v", p, err)
	}
	if p := bo.with(anna); p.Theirs == nil || p.Theirs.Until != ends || p.Ends == ends {
		t.Fatalf("he is asked: %+v", p)
	}
	if _, err := bo.f.Agree(t.Context(), anna.grid()); err != nil {
		t.Fatal(err)
	}
	check("put off", false)
	if _, err := bo.f.Amend(t.Context(), anna.grid(), federation.Changes{Want: map[core.Resource]int64{"potatoes": 0}}); err != nil {
		t.Fatal(err)
	}
	if got, there := anna.with(bo).Given["potatoes"]; there {
		t.Errorf("no more potatoes: %d", got)
	}
	check("amended again", false)

	// A notice ends it earlier.
	if _, err := bo.f.End(t.Context(), anna.grid()); err != nil {
		t.Fatal(err)
	}
	ends = w.clock.Now().Add(30 * dayTime).Unix()
	check("after a notice", true)
}

// One that ends before a notice would let it ends when it does, and can be begun again.
func TestANoticeNearTheEnd(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.joinFor(anna, bo, 20)
	ends := w.clock.Now().Add(20 * dayTime).Unix()
	want(t, "leaving at once", anna.with(bo).Leaving(), false)
	w.clock.Advance(15 * dayTime)
	want(t, "leaving in the last quarter", anna.with(bo).Leaving(), true)
	anna.known.Learn(bo.did(), bo.peers.Addrs())
	if _, err := anna.f.End(t.Context(), bo.grid()); err != nil {
		t.Fatal(err)
	}
	want(t, "it ends", anna.with(bo).Ends, ends)
	_, err := anna.f.Amend(t.Context(), bo.grid(), federation.Changes{Until: ends + 1000})
	wantError(t, "put off after a notice", err, core.ErrRefused)
}

// Nobody has a pact end earlier without the other, however much more it gives for that.
func TestAPactIsNotShortenedByOne(t *testing.T) {
	_, anna, bo := pair(t)
	first, id := anna.first(bo)
	shorter := first.Amend(id, 1, storage(10*gb), storage(90*gb))
	shorter.Until = first.From + 1000
	body, sig, err := pact.SignPact(bo.key, shorter)
	if err != nil {
		t.Fatal(err)
	}
	if _, code := bo.says(anna, termsMessage{Pact: body, Sig: &sig}); code != "" {
		t.Fatal(code)
	}
	want(t, "it ends", anna.with(bo).Ends, 0)
	want(t, "she is asked", anna.with(bo).Theirs.Until, shorter.Until)
}

// A guest keeps what it has where its club's pact ends some day; it leaves when that runs out.
func TestAGuestOfAPactThatEnds(t *testing.T) {
	w := newWorld(t)
	club, anna, bo := w.household("club"), w.household("anna"), w.household("bo")
	w.joinFor(bo, club, 100)
	ends := w.clock.Now().Add(100 * dayTime).Unix()
	e := anna.mustUse(bo, voucherOf(club, anna, 5_000))
	if e.Ends != ends || e.Leaving {
		t.Errorf("at first: %+v", e)
	}
	w.clock.Advance(80 * dayTime)
	if e = anna.mustUse(bo, voucherOf(club, anna, 5_000)); e.Ends != ends || !e.Leaving {
		t.Errorf("when it runs out: %+v", e)
	}
	anna.restart()
	if got := anna.f.Errands(); len(got) != 1 || !got[0].Leaving || got[0].Ends != ends {
		t.Errorf("after a restart: %+v", got)
	}
	w.clock.Advance(20 * dayTime)
	_, err := anna.uses(bo, voucherOf(club, anna, 5_000))
	wantError(t, "when it has ended", err, core.ErrRefused)
}
