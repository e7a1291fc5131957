package main

import (
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestVerdict(t *testing.T) {
	bare := grange.Worth{Readable: true, Vital: []string{"bo", "cleo"}, At: map[string]int64{"bo": 9e8, "cleo": 9e8}}
	safe := bare
	safe.Survives = 1
	lone := grange.Worth{Readable: true, At: map[string]int64{"bo": 5}}
	dan := grange.Pact{Name: "dan", Has: 1, Away: true}
	a, _, _, _ := testApp()
	spread := grange.Work{What: "spread", Since: a.now().Add(-time.Minute), Progress: grange.Progress{Placed: 10, Of: 65}}
	for _, c := range []struct {
		worth  grange.Worth
		status grange.Status
		want   string
	}{
		{safe, grange.Status{Pacts: []grange.Pact{dan}}, "Safe. Version 2 uses 0.9 GB at each."},
		{lone, grange.Status{}, "Version 2 uses 5 B at bo."},
		{bare, grange.Status{}, "Version 2 has NO SPARE: lose bo or cleo and it is lost."},
		{bare, grange.Status{Pacts: []grange.Pact{dan}}, "dan is away. Version 2 has NO SPARE: lose bo or cleo and it is lost."},
		{bare, grange.Status{Work: []grange.Work{spread}}, "Readable without this machine. Spare: 6 min more."},
		{bare, grange.Status{Work: []grange.Work{{What: "spread"}}}, "Version 2 has NO SPARE: lose bo or cleo and it is lost."},
		{grange.Worth{Survives: -1, Text: "not readable"}, grange.Status{Work: []grange.Work{spread}}, "Version 2 is NOT SAFE: not readable."},
	} {
		if got := a.verdict(grange.Version{Number: 2, Worth: c.worth}, c.status); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}

func TestPatience(t *testing.T) {
	a, _, _, _ := testApp()
	dan := grange.Pact{Name: "dan", Has: 1, Away: true, PatienceSeconds: 72 * 3600}
	bo, cleo, eve := grange.Pact{Name: "bo", Has: 1}, grange.Pact{Name: "cleo", Has: 1}, grange.Pact{Name: "eve"}
	gone, leaves := dan, eve
	gone.PatienceSeconds, leaves.Leaving = 0, true
	for _, c := range []struct {
		pacts []grange.Pact
		want  string
	}{
		{[]grange.Pact{dan, bo, cleo, eve}, "Dan's pieces wait 72 h, then go to a fourth household."},
		{[]grange.Pact{dan, bo, cleo, leaves}, "Dan's pieces wait 72 h, then go to bo and cleo, or to a fourth household."},
		{[]grange.Pact{dan}, "Dan's pieces wait 72 h, then go to a second household."},
		{[]grange.Pact{gone, eve}, "Dan's pieces go to a second household."},
		{[]grange.Pact{dan, bo, bo, bo, bo, bo, bo, eve}, "Dan's pieces wait 72 h, then go to another household."},
	} {
		if got := a.patience(c.pacts[0], c.pacts); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestArrow(t *testing.T) {
	for n, want := range map[int]string{-1: "", 0: "", 1: " (any one may vanish)", 6: " (any six may vanish)", 7: " (any 7 may vanish)"} {
		if got := arrow([]string{"bo", "c\x1b"}, n); got != "-> bo, c?"+want {
			t.Errorf("%d: %q", n, got)
		}
	}
	if got := arrow([]string{"bo"}, 0) + arrow(nil, -1); got != "-> bo (one copy)" {
		t.Errorf("%q", got)
	}
	if got := uses(map[string]int64{"a": 10, "b": 7}); got != "7 B to 10 B at each" {
		t.Errorf("%q", got)
	}
}
