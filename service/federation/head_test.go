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

func TestHeadHandler(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	anna.save() // seq 1
	_, cites := anna.f.Self(), anna.f.Self().Charter
	root := []byte("a sealed root, sixteen bytes and more")
	rootScore := core.ScoreOf(root)
	if err := anna.client.Send(t.Context(), bo.did(), "/state/"+rootScore.String(), root); err != nil {
		t.Fatal(err)
	}
	if err := anna.client.Send(t.Context(), bo.did(), "/state/"+rootScore.String(), []byte("other")); codeOf(err) != wire.CodeInvalid {
		t.Fatalf("other bytes: %v", err)
	}
	type request struct {
		Head identity.Signed `json:"head"`
		Base uint64          `json:"base"`
		Add  []core.Score    `json:"add"`
		Drop []core.Score    `json:"drop"`
	}
	sign := func(k identity.Key, change func(*charter.Head)) identity.Signed {
		h := charter.Head{
			Grid: anna.grid(), Charter: cites, Epoch: 1, Seq: 2,
			Root: rootScore, Size: uint64(len(root)), Salt: [32]byte{1}, Time: 1,
		}
		change(&h)
		s, err := charter.SignHead(k, h)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := func(*charter.Head) {}
	add := []core.Score{rootScore}
	forged := sign(anna.key, same)
	forged.Sig = make([]byte, 64)
	for _, c := range []struct {
		what, code string
		in         request
		amount     int64
	}{
		{"a forged signature", wire.CodeInvalid, request{Head: forged, Base: 1, Add: add}, 0},
		{"another machine's", wire.CodeInvalid, request{Head: sign(bo.key, same), Base: 1, Add: add}, 0},
		{"another household's", wire.CodeInvalid, request{Head: sign(anna.key, func(h *charter.Head) { h.Grid = bo.grid() }), Base: 1, Add: add}, 0},
		{"an unknown charter", wire.CodeInvalid, request{Head: sign(anna.key, func(h *charter.Head) { h.Charter[0] ^= 1 }), Base: 1, Add: add}, 0},
		{"a wrong base", wire.CodeHeadBase, request{Head: sign(anna.key, func(h *charter.Head) { h.Seq = 5 }), Base: 4, Add: add}, 1},
		{"a page that was not sent", wire.CodeNotFound, request{Head: sign(anna.key, same), Base: 1, Add: []core.Score{rootScore, {1}}}, 0},
		{"a root that is not added", wire.CodeInvalid, request{Head: sign(anna.key, same), Base: 1}, 0},
		{"as it should be", "", request{Head: sign(anna.key, same), Base: 1, Add: add, Drop: []core.Score{{9}}}, 0},
		{"the same again", "", request{Head: sign(anna.key, same), Base: 1, Add: add}, 0},
		{"another of the same seq", wire.CodeHeadStale, request{Head: sign(anna.key, func(h *charter.Head) { h.Time = 2 }), Base: 1, Add: add}, 2},
		{"an older one", wire.CodeHeadStale, request{Head: sign(anna.key, func(h *charter.Head) { h.Seq = 1 }), Add: add}, 2},
	} {
		code, err := anna.call(bo, "POST", "/head", c.in)
		if code != c.code {
			t.Errorf("%s: got %v, want %q", c.what, err, c.code)
		}
		if e := (*wire.Error)(nil); c.amount != 0 && asError(err, &e) && (e.Counter == nil || e.Counter.Amount != c.amount) {
			t.Errorf("%s: counter %v, want %d", c.what, e.Counter, c.amount)
		}
	}
	rivals := 0
	for range bo.disk.Books().Scan([]byte("f/rival/"), nil) {
		rivals++
	}
	want(t, "evidence of two heads with one seq", rivals, 1)
	if got := anna.heads(bo); got.Heads[0].Head.Score() != sign(anna.key, same).Score() {
		t.Error("the first of two heads with one seq is not the one that is kept")
	}
}

func asError(err error, e **wire.Error) bool {
	for ; err != nil; err = unwrap(err) {
		if got, ok := err.(*wire.Error); ok {
			*e = got
			return true
		}
	}
	return false
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func TestPagesOfAHouseholdAreItsOwn(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(bo, anna)
	w.befriend(bo, cleo)
	page := []byte("one and the same page")
	score := core.ScoreOf(page)
	path := "/state/" + score.String()
	put := func(m *machine) {
		t.Helper()
		if err := m.client.Send(t.Context(), bo.did(), path, page); err != nil {
			t.Fatal(err)
		}
	}
	get := func(m *machine) string {
		_, err := m.client.Fetch(t.Context(), bo.did(), path, nil, 1<<20)
		return codeOf(err)
	}
	put(anna)
	want(t, "cleo gets anna's page", get(cleo), wire.CodeNotFound)
	want(t, "anna gets her page", get(anna), "")
	put(cleo)
	want(t, "cleo gets the same page", get(cleo), "")

	// anna's is named by a head, cleo's never is: sweeping hers away must not hurt anna's.
	h, err := charter.SignHead(anna.key, charter.Head{
		Grid: anna.grid(), Charter: anna.f.Self().Charter, Epoch: 1, Seq: 1, Root: score, Size: uint64(len(page)), Salt: [32]byte{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := anna.call(bo, "POST", "/head", map[string]any{"head": h, "base": 0, "add": []core.Score{score}, "drop": []core.Score{}}); code != "" {
		t.Fatal(err)
	}
	bo.restart()
	if err := bo.f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "cleo's after the sweep", get(cleo), wire.CodeNotFound)
	want(t, "anna's after the sweep", get(anna), "")
	if needs, err := bo.f.NeedsBlob(score); err != nil || !needs {
		t.Fatalf("the blob is needed: %v, %v", needs, err)
	}

	other := []byte("a page that no head names")
	if err := anna.client.Send(t.Context(), bo.did(), "/state/"+core.ScoreOf(other).String(), other); err != nil {
		t.Fatal(err)
	}
	if err := bo.f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := bo.disk.Blobs().Stat(t.Context(), core.ScoreOf(other)); err != nil {
		t.Fatalf("swept within the hour: %v", err)
	}
	w.clock.Advance(3600e9)
	if err := bo.f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = bo.disk.Blobs().Stat(t.Context(), core.ScoreOf(other))
	wantError(t, "after the hour", err, core.ErrNotExist)
}

func TestPagesAreBounded(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	bo.f.SetShelf(anna.grid(), 65_536, 0)
	page := []byte("one too many")
	err := anna.client.Send(t.Context(), bo.did(), "/state/"+core.ScoreOf(page).String(), page)
	want(t, "65,537 pages", codeOf(err), wire.CodeRefused)
	limit := int64(64<<20 + 10_000_000_000/64)
	bo.f.SetShelf(anna.grid(), 0, limit-int64(len(page))+1)
	err = anna.client.Send(t.Context(), bo.did(), "/state/"+core.ScoreOf(page).String(), page)
	want(t, "a byte too many", codeOf(err), wire.CodeRefused)
	bo.f.SetShelf(anna.grid(), 0, limit-int64(len(page)))
	if err = anna.client.Send(t.Context(), bo.did(), "/state/"+core.ScoreOf(page).String(), page); err != nil {
		t.Fatal(err)
	}
	saved, err := anna.f.SaveHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "a head that does not fit", saved.Failed[bo.grid()], core.ErrRefused)
}

// A page that a later head drops is set aside, not deleted, and comes back.
func TestDroppedPagesAreSetAside(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(bo, anna)
	anna.fill(0, 5)
	anna.save()
	first := anna.heads(bo).Pages()
	anna.fill(5, 6)
	anna.save()
	for _, s := range first {
		if _, err := bo.disk.Blobs().Stat(t.Context(), s); err != nil {
			t.Fatalf("page %v: %v", s, err)
		}
	}
	live, aside := bo.f.Shelf(anna.grid())
	want(t, "pages of the head", live, int64(len(anna.f.OwnPages())))
	want(t, "pages set aside", aside, int64(len(first)))
	_ = anna.disk.Books().Apply(core.Change{Key: []byte("state/s/0000000000000005")})
	anna.save()
	anna.pagesAre(bo, 3)
	live, aside = bo.f.Shelf(anna.grid())
	bo.restart()
	liveAgain, asideAgain := bo.f.Shelf(anna.grid())
	want(t, "pages of the head after a restart", liveAgain, live)
	want(t, "pages set aside after a restart", asideAgain, aside)
}
