package grange_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestWorkIsSeenWhileItGoesOn(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		anna := w.households("anna", "bo")[0]
		var seen []grange.Work
		_, err := anna.Put(t.Context(), "tree", randomTree(1, 1<<20).fs(), &grange.PutOptions{Progress: func(p grange.Progress) {
			s, err := anna.Status(t.Context(), "")
			must(t, err)
			if len(s.Work) != 1 || s.Work[0].What != "put" || s.Work[0].Name != "tree" || !reflect.DeepEqual(s.Work[0].Progress, p) || time.Since(s.Work[0].Since) > time.Minute {
				t.Errorf("at %+v the status has %+v", p, s.Work)
			}
			if p.Stage == "storing" && p.Bytes > 0 && (!slices.Equal(p.To, []string{"bo"}) || p.Survives != 0 || p.FilesOf == 0 || p.Of < 1<<20) {
				t.Errorf("over whom it is spread: %+v", p)
			}
			seen = append(seen, s.Work...)
		}})
		must(t, err)
		if s, err := anna.Status(t.Context(), ""); err != nil || len(s.Work) != 0 || len(seen) == 0 {
			t.Errorf("after %d looks %+v, %v", len(seen), s.Work, err)
		}
	})
}
