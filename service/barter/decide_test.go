package barter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

func (h *home) decisions(t *testing.T, of *home) []Decision {
	t.Helper()
	out, err := h.now().Decisions(of.grid, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEachDecisionIsWrittenDown(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	holder.given = 1_000
	if err := holder.now().SetOffer(1_500); err != nil {
		t.Fatal(err)
	}
	start := clock.Now().Unix()
	_ = owner.mustAsk(t, holder, 600)
	for range 3 { // of which the second and third say nothing new
		_, err := owner.ask(t, holder, 500)
		wantDenial(t, err, 400, "400 B left")
	}
	_ = other.mustAsk(t, holder, 100)
	_, _ = owner.ask(t, holder, 501)
	clock.Advance(time.Hour)
	_, _ = owner.ask(t, holder, 501)
	partner, _ := holder.Of(owner.grid)
	facts := policy.Facts{Now: start, Grid: owner.grid, Pact: partner.Pact, Room: 1_500, Offered: 1_000, Partner: "home 0", Total: 1_500, Others: []policy.Other{{Offered: 1_000}}}
	got := holder.decisions(t, owner)
	if len(got) != 4 {
		t.Fatalf("%d decisions", len(got))
	}
	first := got[3]
	if first.ID != 1 || first.Time != start || first.Grid != owner.grid || first.Agent != owner.agent() || !first.Grant || first.Policy != "open" ||
		first.Reason != "home 0 is a friend; 400 B left of 1 kB after this" || first.Ask.Amount != 600 || first.Ask.Seconds != 180*daySeconds ||
		fmt.Sprint(first.Facts) != fmt.Sprint(facts) {
		t.Errorf("%+v\nwant the facts %+v", first, facts)
	}
	if d := got[2]; d.ID != 2 || d.Grant || d.Policy != "capacity" || d.Counter == nil || d.Counter.Amount != 400 || d.Facts.Used != 600 || d.Facts.Room != 900 {
		t.Errorf("%+v", d)
	}
	if got[1].ID != 4 || got[0].ID != 5 || got[0].Facts.Others[0] != (policy.Other{Offered: 1_000, Asks: true}) {
		t.Errorf("%+v", got[:2])
	}
	// They outlive a restart, and are found by their number.
	holder.open()
	_ = owner.mustAsk(t, holder, 1)
	if d, err := holder.now().Decision(6); err != nil || d.Ask.Amount != 1 || d.Grid != owner.grid || len(d.Facts.Others) != 1 || !d.Facts.Others[0].Asks {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := holder.now().Decision(3); err != nil || d.Grid != other.grid {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := holder.now().Decision(7); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a decision that was not made: %v", err)
	}
	if l := holder.ledger(t, owner); len(l.Decisions) != 5 || l.Decisions[0].ID != 6 {
		t.Errorf("the ledger has %+v", l.Decisions)
	}
	if some, err := holder.now().Decisions(owner.grid, 2); err != nil || len(some) != 2 || some[1].ID != 5 {
		t.Errorf("%+v, %v", some, err)
	}
	// Full books forget none of it, and a decision is a decision all the same.
	holder.disk.Books().SetFull(true)
	_ = owner.mustAsk(t, holder, 2)
	holder.disk.Books().SetFull(false)
	if n := len(holder.decisions(t, owner)); n != 5 {
		t.Errorf("%d decisions", n)
	}
}

// So many are kept; whoever asks most loses the oldest, and nobody else does. What an asker
// sends takes no more room than it should.
func TestAFloodOfAsks(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	b := holder.now()
	ask := func(n int) core.Ask {
		long := strings.Repeat("ä", 4_000)
		return core.Ask{Resource: core.Resource("x" + long), Amount: int64(n), Quality: core.Quality(long), Why: core.Why{Kind: core.WhyKind(long), Ref: bytes.Repeat([]byte{1}, 4_000)}}
	}
	count := func() (n int) {
		for c := range holder.books.Scan(whyPrefix, nil) {
			if n++; len(c.Value) > 2_000 {
				t.Fatalf("a decision of %d bytes", len(c.Value))
			}
		}
		return n
	}
	for n := range 3 {
		if _, err := b.ask(other.grid, other.agent(), askRequest{Ask: ask(n)}); !errors.Is(err, core.ErrRefused) {
			t.Fatal(err)
		}
	}
	for n := range decisionsMax + 100 {
		if n == decisionsMax/2 { // also over a restart
			holder.open()
			b = holder.now()
		}
		if _, err := b.ask(owner.grid, owner.agent(), askRequest{Ask: ask(n)}); !errors.Is(err, core.ErrRefused) {
			t.Fatal(err)
		}
	}
	if n := count(); n != decisionsMax {
		t.Errorf("%d decisions are kept", n)
	}
	if got := holder.decisions(t, other); len(got) != 3 {
		t.Errorf("%d of another are kept", len(got))
	}
	if got := holder.decisions(t, owner); len(got) != decisionsMax-3 || got[0].Ask.Amount != decisionsMax+99 || got[len(got)-1].Ask.Amount != 103 {
		t.Errorf("%d decisions, from %+v to %+v", len(got), got[len(got)-1], got[0])
	}
}

func (h *home) setRules(t *testing.T, text string) {
	t.Helper()
	rules, err := table().Parse(text)
	if err == nil {
		err = h.now().SetRules(rules)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Rules are in force from the next ask on, and each decision is replayed by those of its time.
func TestRulesInForce(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	holder.given = 1_000
	if err := holder.now().SetOffer(1_000); err != nil {
		t.Fatal(err)
	}
	ask := func(of *home, amount int64, reason string) {
		t.Helper()
		out, err := of.ask(t, holder, amount)
		if denial, ok := errors.AsType[*core.Denial](err); (reason != "") != ok || ok && denial.Reason != reason {
			t.Errorf("%v, want %q", err, reason)
		}
		if _, err := of.lease(t, holder, [][]byte{out.Grant}); err != nil {
			t.Fatal(err)
		}
	}
	ask(owner, 400, "")
	start := clock.Now().Unix()
	clock.Advance(time.Minute)
	holder.setRules(t, `pact from "home 0" deny reason="not today"`+"\npact even")
	ask(owner, 400, "not today")
	ask(other, 400, "")
	holder.open() // they stay in force
	clock.Advance(time.Hour)
	ask(owner, 400, "not today")
	if rules, since := holder.now().Rules(); len(rules.All()) != 2 || since != start+60 {
		t.Errorf("%s, since %d", rules, since)
	}
	clock.Advance(time.Hour)
	holder.setRules(t, openRules().String()) // as at first
	holder.setRules(t, openRules().String())
	ask(owner, 400, "")
	all, err := holder.now().Newest(100)
	if err != nil || len(all) != 5 {
		t.Fatalf("%d decisions, %v", len(all), err)
	}
	for i, want := range []string{openRules().String(), "", "", "", openRules().String()} {
		if want == "" {
			want = "pact from \"home 0\" deny reason=\"not today\"\npact even\n"
		}
		again, rules, err := holder.now().Replay(all[i])
		if err != nil || !again.Equal(all[i].Decision) || rules.String() != want || all[i].ID != uint64(5-i) {
			t.Errorf("decision %d: %+v and then %+v, by %q, %v", all[i].ID, all[i].Decision, again, rules, err)
		}
	}
	if all[0].Rules != all[4].Rules || all[0].Rules == all[1].Rules || all[1].Policy != "deny" || all[2].Policy != "even" {
		t.Errorf("%+v", all)
	}
	if some, err := holder.now().Newest(2); err != nil || len(some) != 2 || some[1].ID != 4 {
		t.Errorf("%+v, %v", some, err)
	}
	if rules, since := holder.now().Rules(); since != clock.Now().Unix() || len(rules.All()) != 3 {
		t.Errorf("%s, since %d", rules, since)
	}
	// What cannot be written down is not in force; what is not kept is not replayed.
	holder.disk.Books().SetFull(true)
	none, _ := table().Parse("")
	if err := holder.now().SetRules(none); !errors.Is(err, core.ErrFull) {
		t.Errorf("full books: %v", err)
	}
	holder.disk.Books().SetFull(false)
	ask(owner, 1, "")
	all[0].Rules = core.Score{1}
	if _, _, err := holder.now().Replay(all[0]); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("rules that are not kept: %v", err)
	}
}

// So many texts of rules are kept; what was last in force longest ago goes.
func TestManyRules(t *testing.T) {
	w, _ := simWorld(t, 2)
	holder := w.homes[1]
	ids := func() (out []string) {
		for c, err := range holder.books.Scan(rulesPrefix, nil) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(c.Key))
		}
		return out
	}
	first := ids()
	if len(first) != 1 {
		t.Fatalf("%d rules", len(first))
	}
	for n := range rulesKept - 1 {
		holder.setRules(t, fmt.Sprintf("pact from p%d deny", n))
	}
	holder.open()
	if all := ids(); len(all) != rulesKept || !slices.Contains(all, first[0]) {
		t.Errorf("%d rules", len(all))
	}
	holder.setRules(t, "pact from p0 deny") // comes back
	holder.setRules(t, "pact deny")
	if all := ids(); len(all) != rulesKept || slices.Contains(all, first[0]) {
		t.Errorf("%d rules, the first among them: %v", len(all), slices.Contains(all, first[0]))
	}
	holder.setRules(t, "pact even")
	holder.setRules(t, "pact from p0 deny")
	holder.open()
	if rules, _ := holder.now().Rules(); rules.String() != "pact from p0 deny\n" || len(ids()) != rulesKept {
		t.Errorf("%s", rules)
	}
}

// Shared evenly: each has half. Once the other has asked, its half is kept for it, for a week.
func TestSharedEvenly(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	holder.given = 1_000
	if err := holder.now().SetOffer(1_000); err != nil {
		t.Fatal(err)
	}
	holder.setRules(t, "pact even")
	grant := other.mustAsk(t, holder, 10)
	_, err := owner.ask(t, holder, 511)
	wantDenial(t, err, 500, "your even share is 500 B")
	if _, err := other.lease(t, holder, [][]byte{grant}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(7 * 24 * time.Hour)
	_ = owner.mustAsk(t, holder, 900)
	// What is lent stays lent.
	_, err = other.ask(t, holder, 101)
	wantDenial(t, err, 100, "100 B free")
	_ = other.mustAsk(t, holder, 100)
}
