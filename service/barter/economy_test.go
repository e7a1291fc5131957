package barter

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// The households of a month among eight. The others give as they get.
const (
	economyAway = iota + 4
	economyGenerous
	economySelfish
	economyLiar
)

// economy is eight households, each with a pact with each other one, that gives 60 kB and wants 90.
type economy struct {
	*world
	placed map[*home][]core.Piece
	// sent are the segments that were, kept those of which more than half was proven once.
	sent map[*home][]manifest.Segment
	kept map[*home]map[string]bool
}

func newEconomy(t *testing.T) economy {
	t.Helper()
	w, _ := simWorld(t, economyLiar+1)
	for i, h := range w.homes {
		h.given, h.days = 30_000, 12
		rules, offer := "pact reciprocal newcomer=1kB", int64(60_000)
		switch i {
		case economyGenerous:
			rules = "pact open"
		case economySelfish:
			rules, offer = "pact deny", 0
		case economyLiar:
			rules, offer = "pact open", 1_000_000
		}
		h.mustRules(t, rules)
		if err := h.now().SetOffer(offer); err != nil {
			t.Fatal(err)
		}
	}
	return economy{w, map[*home][]core.Piece{}, map[*home][]manifest.Segment{}, map[*home]map[string]bool{}}
}

// day is one of a household: it has proven what it has, gives up what is lost, renews, and sends at most two segments.
func (e economy) day(t *testing.T, i int) {
	t.Helper()
	h, want := e.homes[i], 90
	if i == economyGenerous {
		want = 30
	}
	var lost []core.Holding
	proven := map[core.Score]bool{}
	err := h.now().Audit(t.Context(), e.placed[h], func(f core.Finding) {
		switch f.State {
		case core.PieceMissing:
			lost = append(lost, f.Holding)
		case core.PieceOK:
			proven[f.Holding.Score] = true
		}
	})
	if err := errors.Join(err, h.now().Forget(lost...), h.now().renewDue(t.Context())); err != nil {
		t.Fatal(err)
	}
	e.keeps(h, proven)
	has := 0
	for _, p := range e.placed[h] {
		held, err := h.now().Held(p.Score)
		if err != nil {
			t.Fatal(err)
		}
		has += len(held)
	}
	for range min(2, (want-has)/7) {
		p := mustPlace(t, h, 7_000)
		s, pieces := segmentOf(1_000*(i+1)+len(e.placed[h]), 2, 5, 1_000)
		if _, err := p.Segment(t.Context(), s, pieces, upTo(7), nil); err != nil {
			t.Fatal(err)
		}
		_ = p.Commit(t.Context(), true) // what a holder refuses is sent another day
		e.sent[h] = append(e.sent[h], s)
		for i := range 7 {
			e.placed[h] = append(e.placed[h], core.Piece{Score: s.Piece(i), Size: 1_000})
		}
	}
}

func (e economy) keeps(h *home, proven map[core.Score]bool) {
	if e.kept[h] == nil {
		e.kept[h] = map[string]bool{}
	}
	for _, s := range e.sent[h] {
		n := 0
		for i := range 7 {
			if proven[s.Piece(i)] {
				n++
			}
		}
		if n > 3 {
			e.kept[h][string(s.ID)] = true
		}
	}
}

// night has the liar throw away what it was given, and a day pass.
func (e economy) night(t *testing.T) {
	t.Helper()
	for _, h := range e.homes {
		for _, p := range e.placed[h] {
			if err := e.homes[economyLiar].disk.Blobs().Delete(t.Context(), p.Score); err != nil && !errors.Is(err, core.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	e.live(t, 1)
}

// trade returns what a household keeps for others and what they keep for it, in bytes. What lies with the liar is not kept, and presents are
// not counted.
func (e economy) trade(i int) (given, had int64) {
	for j, o := range e.homes {
		if j == economyGenerous {
			continue
		}
		n, _ := e.homes[i].now().Used(o.grid)
		given += n
		if j != economyLiar {
			n, _ = o.now().Used(e.homes[i].grid)
			had += n
		}
	}
	return given, had
}

// A month by the real books, over the wire: those who cooperate have together what they give, within a tenth, and each within 15 in 100, the one
// that is offline for a week among them; who gives nothing ends with what the generous one gives it, and the liar
// with a third of the others' at most; no segment that was kept is lost; and both sides of each line have the same books.
func TestSimEconomyOfEight(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long: make sim tells it")
	}
	e := newEconomy(t)
	for day := range 30 {
		for n := range e.homes {
			if i := (n*3 + day) % len(e.homes); i != economyAway || day < 10 || day >= 17 {
				e.day(t, i)
			}
		}
		e.night(t)
	}
	var gave, have int64
	for i, h := range e.homes {
		given, had := e.trade(i)
		t.Logf("household %d gives %d and has %d", i, given, had)
		if i <= economyAway {
			gave, have = gave+given, have+had
			if given*100 > had*115 || given*100 < had*85 { // a piece is two of these
				t.Errorf("household %d gives %d and has %d", i, given, had)
			}
		}
		for j, o := range e.homes {
			used, _ := o.now().Used(h.grid)
			if most := map[int]int64{economySelfish: 600, economyLiar: 4_000}; i >= economySelfish && j <= economyAway && used > most[i] {
				t.Errorf("household %d has %d bytes with household %d", i, used, j)
			}
			if i != j && j != economyLiar {
				h.checkLine(t, o)
			}
		}
		for _, s := range e.sent[h] {
			if i < economySelfish && e.kept[h][string(s.ID)] {
				e.readable(t, h, s)
			}
		}
	}
	if gave*10 > have*11 || gave*10 < have*9 {
		t.Errorf("those who cooperate give %d and have %d", gave, have)
	}
}

func (e economy) readable(t *testing.T, h *home, s manifest.Segment) {
	t.Helper()
	n, buf := 0, make([]byte, 1_000)
	for i := range 7 {
		if _, err := h.now().Fetch(t.Context(), core.Piece{Score: s.Piece(i), Size: 1_000}, buf, true); err == nil {
			n++
		}
	}
	if n < 2 {
		t.Errorf("%d pieces of a segment can be had back", n)
	}
}
