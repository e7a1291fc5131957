package federation_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
)

// heads returns what to holds of the household of m's: the answer that m gets.
func (m *machine) heads(to *machine) headsAnswer {
	m.w.t.Helper()
	var out headsAnswer
	if err := m.client.CallLimit(m.w.t.Context(), to.did(), http.MethodGet, "/heads", nil, &out, 8<<20); err != nil {
		m.w.t.Fatal(err)
	}
	return out
}

type headsAnswer struct {
	Charters []identity.Signed `json:"charters"`
	Heads    []struct {
		Head  identity.Signed `json:"head"`
		Pages []core.Score    `json:"pages"`
	} `json:"heads"`
	Roll *identity.Signed `json:"roll,omitempty"`
}

// pagesAre checks that the pages that a holder lists for m's head are m's own, and are there.
func (m *machine) pagesAre(to *machine, seq uint64) {
	m.w.t.Helper()
	got := m.heads(to)
	if len(got.Heads) != 1 {
		m.w.t.Fatalf("%s holds %d heads of %s", to.name, len(got.Heads), m.name)
	}
	h, err := charter.OpenHead(got.Heads[0].Head)
	if err != nil || h.Seq != seq {
		m.w.t.Fatalf("%s holds head %d of %s, %v; want %d", to.name, h.Seq, m.name, err, seq)
	}
	listed := map[core.Score]bool{}
	for _, s := range got.Pages() {
		listed[s] = true
		if _, err := m.client.Fetch(m.w.t.Context(), to.did(), "/state/"+s.String(), nil, 1<<20); err != nil {
			m.w.t.Fatal(err)
		}
	}
	own := m.f.OwnPages()
	if len(own) != len(listed) {
		m.w.t.Fatalf("%s lists %d pages of %s, which has %d", to.name, len(listed), m.name, len(own))
	}
	for _, s := range own {
		if !listed[s] {
			m.w.t.Fatalf("%s lacks a page of %s", to.name, m.name)
		}
	}
}

func (a headsAnswer) Pages() []core.Score { return a.Heads[0].Pages }

// fill writes n records of the vault's into the state.
func (m *machine) fill(from, to int) {
	for i := from; i < to; i++ {
		m.write(fmt.Sprintf("s/%016d", i), strings.Repeat("x", 700))
	}
}

// count counts the requests of one kind that a machine gets.
func (m *machine) count(method, prefix string) *atomic.Int64 {
	var n atomic.Int64
	m.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method && strings.HasPrefix(r.URL.Path, wire.Prefix+prefix) {
				n.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}
	m.restart()
	return &n
}

func TestSaveHeadBringsWhatChanged(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	sent := bo.count(http.MethodPut, "/state/")
	w.befriend(bo, anna)
	anna.fill(0, 1000)
	want(t, "first seq", anna.save().Seq, 1)
	anna.pagesAre(bo, 1)
	first := sent.Load()
	if first < 10 {
		t.Fatalf("%d pages for a thousand records", first)
	}
	saved := anna.save()
	want(t, "seq without a change", saved.Seq, 1)
	if len(saved.Done) != 1 || saved.Done[0] != bo.grid() {
		t.Fatalf("done: %v", saved.Done)
	}
	want(t, "pages sent without a change", sent.Load(), first)

	anna.write("s/0000000000000500", strings.Repeat("y", 700))
	want(t, "seq with a change", anna.save().Seq, 2)
	anna.pagesAre(bo, 2)
	if n := sent.Load() - first; n < 2 || n > 4 {
		t.Fatalf("%d pages sent for one record", n)
	}

	first = sent.Load()
	anna.restart() // nothing is known of how pages were sealed: they are made anew, and are the same
	anna.write("s/0000000000000501", strings.Repeat("y", 700))
	want(t, "seq after a restart", anna.save().Seq, 3)
	anna.pagesAre(bo, 3)
	if n := sent.Load() - first; n < 2 || n > 4 {
		t.Fatalf("%d pages sent for one record after a restart", n)
	}
}

func TestSaveHeadWithPartnersAway(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(bo, anna)
	w.befriend(cleo, anna)
	anna.fill(0, 50)
	cleo.off()
	saved, err := anna.f.SaveHead(t.Context())
	if err != nil || len(saved.Done) != 1 || saved.Done[0] != bo.grid() {
		t.Fatalf("%+v, %v", saved, err)
	}
	wantError(t, "cleo is away", saved.Failed[cleo.grid()], core.ErrUnreachable)
	anna.write("s/0000000000000007", "y")
	_, _ = anna.f.SaveHead(t.Context())
	cleo.on()
	if err := anna.f.PushHead(t.Context(), cleo.grid()); err != nil {
		t.Fatal(err)
	}
	anna.pagesAre(cleo, 2)
	anna.pagesAre(bo, 2)
	wantError(t, "push to a stranger", anna.f.PushHead(t.Context(), anna.grid()), core.ErrNotExist)
}

// A crash at any write, and a head is never signed twice under one seq: the holder
// would refuse the second, and here it never does.
func TestSaveHeadSurvivesACrashAtEveryWrite(t *testing.T) {
	for _, side := range []string{"owner", "holder"} {
		for _, kept := range []bool{false, true} {
			for n := 0; ; n++ {
				w := newWorld(t)
				anna, bo := w.household("anna"), w.household("bo")
				w.befriend(bo, anna)
				anna.fill(0, 20)
				anna.save()
				anna.fill(20, 40)
				broken := anna
				if side == "holder" {
					broken = bo
				}
				broken.disk.CrashAfter(n, kept)
				saved, err := anna.f.SaveHead(t.Context())
				if !broken.disk.Crashed() {
					if err != nil || len(saved.Failed) > 0 {
						t.Fatalf("%s, write %d: %v %v", side, n, err, saved.Failed)
					}
					if n < 3 {
						t.Fatalf("%s: only %d writes", side, n)
					}
					break
				}
				broken.restart()
				anna.write("s/0000000000000001", fmt.Sprint("after crash ", n))
				saved = anna.save()
				anna.pagesAre(bo, saved.Seq)
			}
		}
	}
}

func TestConcurrentSavesNeverCross(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(bo, anna)
	w.befriend(cleo, anna)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			anna.fill(i*10, i*10+10)
			if saved, err := anna.f.SaveHead(context.WithoutCancel(t.Context())); err != nil || len(saved.Failed) > 0 {
				t.Errorf("save %d: %v, %v", i, err, saved.Failed)
			}
		})
	}
	group.Wait()
	saved := anna.save()
	if saved.Seq > 17 {
		t.Errorf("seq %d after 17 saves", saved.Seq)
	}
	anna.pagesAre(bo, saved.Seq)
	anna.pagesAre(cleo, saved.Seq)
}

func TestLostPagesOfOurOwnAreMadeAnew(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	anna.fill(0, 500)
	_, _ = anna.f.SaveHead(t.Context())
	var pages []core.Score // those that the partner's record will not change
	for _, s := range anna.f.OwnPages() {
		if !anna.f.PagesFor("p/")[s] {
			pages = append(pages, s)
		}
	}
	if !anna.disk.Blobs().Lose(pages[0]) || !anna.disk.Blobs().Rot(pages[1]) {
		t.Fatal("they are not there")
	}
	w.befriend(bo, anna)
	want(t, "the head whose pages were lost", anna.save().Seq, 2)
	anna.pagesAre(bo, 3)
}

// A holder that lost its books, or was restored from an old copy, gets everything anew.
func TestHolderForgets(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	anna.fill(0, 100)
	anna.save()
	for c, err := range bo.disk.Books().Scan([]byte("f/held/"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		_ = bo.disk.Books().Apply(core.Change{Key: c.Key})
	}
	bo.restart()
	anna.fill(100, 110)
	want(t, "seq", anna.save().Seq, 2) // head.base, then the whole list
	anna.pagesAre(bo, 2)
	for _, prefix := range []string{"f/held/", "f/page/"} {
		for c := range bo.disk.Books().Scan([]byte(prefix), nil) {
			_ = bo.disk.Books().Apply(core.Change{Key: c.Key})
		}
	}
	bo.restart()
	anna.fill(110, 120)
	want(t, "seq", anna.save().Seq, 3) // and then every page
	anna.pagesAre(bo, 3)
}

// A partner that was away for so long that nobody remembers what it has is told the whole list.
func TestAPartnerAwayForLong(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	anna.fill(0, 50)
	anna.save()
	bo.off()
	anna.fill(50, 60)
	if _, err := anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	var many []core.Change // as many pages of the second head as are remembered
	for i := range 4096 {
		score := core.ScoreOf(fmt.Append(nil, i))
		many = append(many, core.Change{
			Key:   append([]byte("f/own/"), score[:]...),
			Value: record(t, map[string]any{"v": 1, "size": 1, "born": 2, "died": 2}),
		})
	}
	if err := anna.disk.Books().Apply(many...); err != nil {
		t.Fatal(err)
	}
	anna.fill(60, 70)
	if _, err := anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := 0
	for range anna.disk.Books().Scan([]byte("f/own/"), nil) {
		left++
	}
	if left > 100 {
		t.Fatalf("%d pages are remembered", left)
	}
	bo.on()
	if err := anna.f.PushHead(t.Context(), bo.grid()); err != nil {
		t.Fatal(err)
	}
	anna.pagesAre(bo, 3)
}

// A directory that is an old copy does not overwrite what is newer at a partner.
func TestAnOldCopyOfADirectory(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	anna.save()
	old, err := anna.disk.Books().Get([]byte("f/head"))
	if err != nil {
		t.Fatal(err)
	}
	anna.fill(0, 10)
	anna.save()
	anna.fill(10, 20)
	anna.save()
	_ = anna.disk.Books().Apply(core.Change{Key: []byte("f/head"), Value: old})
	anna.restart()
	anna.fill(20, 30)
	saved, err := anna.f.SaveHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "an old copy", saved.Failed[bo.grid()], core.ErrStale)
}
