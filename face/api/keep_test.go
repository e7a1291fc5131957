package api

import (
	"os"
	"testing"

	"github.com/grange-grid/grange"
)

func TestKeep(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		src := tree(t)
		out, err := anna.Keep(t.Context(), KeepRequest{Keeping: grange.Keeping{Path: src, Last: 3, Exclude: []grange.Path{"\xff"}}})
		if err != nil || out.Name != "tree" || out.EverySeconds != 3600 || out.Last != 3 || out.Daily != 0 || out.Exclude[0] != "\xff" {
			t.Fatalf("kept as %+v, %v", out, err)
		}
		other := grange.Path(string(src) + "/sub")
		for _, c := range []struct {
			why  string
			in   KeepRequest
			code string
			hint bool
		}{
			{"another path's name", KeepRequest{Keeping: grange.Keeping{Path: other, Name: "tree"}}, CodeExists, true},
			{"kept already", KeepRequest{Keeping: grange.Keeping{Path: src, Name: "other"}}, CodeExists, true},
			{"not absolute", KeepRequest{Keeping: grange.Keeping{Path: "tree"}}, CodeInvalid, true},
			{"no such path", KeepRequest{Keeping: grange.Keeping{Path: src + "x"}}, CodeNotFound, false},
			{"no name", KeepRequest{Keeping: grange.Keeping{Path: "/tmp/\xff"}}, CodeInvalid, true},
			{"too often", KeepRequest{Keeping: grange.Keeping{Path: src, EverySeconds: 1}}, CodeInvalid, false},
			{"not kept", KeepRequest{Keeping: grange.Keeping{Path: other}, Stop: true}, CodeNotFound, true},
		} {
			_, err := anna.Keep(t.Context(), c.in)
			if e := ErrorOf(err); err == nil || e.Code != c.code || (e.Hint != "") != c.hint {
				t.Errorf("%s: %+v", c.why, e)
			}
		}
		kept, err := anna.Kept(t.Context())
		if err != nil || len(kept.Kept) != 1 || kept.Kept[0].Path != src || kept.Kept[0].Last != 3 {
			t.Errorf("kept %+v, %v", kept, err)
		}
		if err := os.RemoveAll(string(src)); err != nil { // what is gone can still be stopped
			t.Fatal(err)
		}
		if out, err = anna.Keep(t.Context(), KeepRequest{Keeping: grange.Keeping{Path: src}, Stop: true}); err != nil || out.Name != "tree" {
			t.Errorf("stopped %+v, %v", out, err)
		}
		if kept, err := anna.Kept(t.Context()); err != nil || len(kept.Kept) != 0 {
			t.Errorf("after the end %+v, %v", kept, err)
		}
	})
}
