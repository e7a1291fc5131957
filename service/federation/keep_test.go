package federation_test

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
)

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
		if e, ok := errors.AsType[*wire.Error](err); ok && c.amount != 0 && (e.Counter == nil || e.Counter.Amount != c.amount) {
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
