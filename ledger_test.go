package grange_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestLedgerOfBothSides(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		all := w.households("anna", "bo")
		anna, bo := all[0], all[1]
		anna.put("tree", randomTree(1, 1<<20))
		w.later(26 * time.Hour)
		of, err := anna.Ledgers(t.Context(), "bo")
		must(t, err)
		by, err := bo.Ledgers(t.Context(), anna.house.String())
		must(t, err)
		if len(of) != 1 || len(by) != 1 || of[0].Name != "bo" || by[0].Name != "anna" {
			t.Fatalf("%+v and %+v", of, by)
		}
		had, gave := of[0], by[0]
		if had.Has == 0 || had.Has != gave.Keeps || had.Gives != gave.Given || had.Keeps != 0 || len(had.Gave) != 0 || len(gave.Had) != 0 {
			t.Errorf("anna has %+v, bo gave %+v", had, gave)
		}
		if len(had.Had) != 1 || len(gave.Gave) != 1 {
			t.Fatalf("lines %+v and %+v", had.Had, gave.Gave)
		}
		mine, theirs := had.Had[0], gave.Gave[0]
		if mine.Machine != bo.did || theirs.Machine != anna.did || mine.Live != had.Has || mine.ByteHours != theirs.ByteHours || mine.ByteHours < uint64(26*had.Has)*9/10 {
			t.Errorf("anna counts %+v, bo %+v, of %d bytes for 26 hours", mine, theirs, had.Has)
		}
		if mine.Receipts < 1 || mine.Receipts != theirs.Receipts || mine.Signed != theirs.Signed || mine.Signed == 0 || !mine.Until.Equal(theirs.Until) || mine.Differs || theirs.Differs || theirs.Overdue {
			t.Errorf("receipts: anna %+v, bo %+v", mine, theirs)
		}
		if len(gave.Decisions) == 0 || !gave.Decisions[0].Granted || gave.Decisions[0].Partner != "anna" || gave.Decisions[0].Amount == 0 {
			t.Fatalf("decisions %+v", gave.Decisions)
		}
		d, err := bo.Decision(t.Context(), gave.Decisions[0].ID)
		if err != nil || d.Reason != gave.Decisions[0].Reason || d.Facts.Offered != gave.Given {
			t.Errorf("%+v, %v", d, err)
		}
		if all, err := anna.Ledgers(t.Context(), ""); err != nil || len(all) != 1 {
			t.Errorf("of all: %+v, %v", all, err)
		}
		_, err = anna.Remove(t.Context(), grange.Ref{Name: "tree"})
		must(t, err)
		w.later(time.Minute)
		of, err = anna.Ledgers(t.Context(), "")
		must(t, err)
		by, err = bo.Ledgers(t.Context(), "")
		must(t, err)
		if of[0].Has != 0 || by[0].Keeps != had.Has || by[0].Aside == 0 || by[0].Aside > had.Has/4 || of[0].Returns != had.Has-by[0].Aside {
			t.Errorf("released: anna has %+v, bo keeps %+v", of[0], by[0])
		}
		if _, err := anna.Ledgers(t.Context(), "dan"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of nobody: %v", err)
		}
		if _, err := bo.Decision(t.Context(), 1<<40); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("none: %v", err)
		}
	})
}
