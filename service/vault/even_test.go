package vault

import (
	"testing"

	"github.com/grange-grid/grange/core"
)

// TestMendingMovesWhatOneHoldsTooMuchOf leaves a segment at two households, one of which has so much
// of it that the other cannot do without it.
func TestMendingMovesWhatOneHoldsTooMuchOf(t *testing.T) {
	f := newFixture(t, 3)
	files := someTree()
	f.put(files)
	bo, cleo, dan := did(0), did(1), did(2)
	for piece, at := range f.m.leased { // what dan has is bo's as well, and then dan is no more
		if at[dan] {
			f.m.homes[bo].pieces[piece] = f.m.homes[dan].pieces[piece]
			at[bo] = true
			delete(at, dan)
		}
	}
	f.m.homes[dan].away = true
	before, err := f.v.Check(t.Context(), CheckOptions{})
	if err != nil || before.Worth.Survives != 0 || before.Unheld != 0 {
		t.Fatalf("before: %+v, %v: want all held, and no household to spare", before.Worth, err)
	}
	after, err := f.v.Check(t.Context(), CheckOptions{Mend: true})
	if err != nil || after.Bad() != nil {
		t.Fatal(err, after.Bad())
	}
	if after.Worth.Survives != 1 || after.Mended.Whole == 0 || after.Mended.Pieces == 0 {
		t.Errorf("mended: %+v, %+v", after.Worth, after.Mended)
	}
	for _, grid := range []core.DID{bo, cleo} {
		f.m.homes[grid].away = true
		f.sameTree(files)
		f.m.homes[grid].away = false
	}
	again, err := f.v.Check(t.Context(), CheckOptions{Mend: true})
	if err != nil || again.Mended.Segments != 0 || again.Worth.Survives != 1 {
		t.Errorf("again: %+v, %v", again.Mended, err)
	}
}

// TestMendingIsNotHinderedByCopies has each of two households hold half of a segment, and some pieces both.
func TestMendingIsNotHinderedByCopies(t *testing.T) {
	f := newFixture(t, 2)
	files := someTree()
	f.put(files)
	bo, cleo := f.m.homes[did(0)], f.m.homes[did(1)]
	given := map[core.Score]bool{}
	for piece, at := range f.m.leased {
		switch {
		case at[did(0)] && len(given) < 3: // in place of one of its own, bo has one of cleo's
			delete(at, did(0))
			delete(bo.pieces, piece)
			given[piece] = true
		case at[did(1)] && len(bo.pieces) < len(cleo.pieces):
			at[did(0)] = true
			bo.pieces[piece] = cleo.pieces[piece]
		}
	}
	checked, err := f.v.Check(t.Context(), CheckOptions{Mend: true})
	if err != nil || checked.Bad() != nil {
		t.Fatalf("%v, %v: mended %+v", err, checked.Bad(), checked.Mended)
	}
	if checked.Mended.Pieces < 3 || checked.Worth.Survives != 1 || checked.Worth.Pieces != checked.Worth.Wanted {
		t.Errorf("mended %+v, worth %+v", checked.Mended, checked.Worth)
	}
	for _, home := range []*fakeHome{bo, cleo} {
		home.away = true
		f.sameTree(files)
		home.away = false
	}
}
