package api

import (
	"testing"

	"github.com/grange-grid/grange"
)

func TestRemoveAndUndo(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		befriend(t, anna, bo)
		for range 2 {
			if _, err := anna.Put(t.Context(), PutRequest{Path: tree(t)}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for why, c := range map[string]struct {
			in   RemoveRequest
			code string
		}{
			"no name":         {RemoveRequest{}, CodeInvalid},
			"a path":          {RemoveRequest{Name: "tree/a.txt"}, CodeInvalid},
			"nothing":         {RemoveRequest{Name: "none"}, CodeNotFound},
			"no such version": {RemoveRequest{Name: "tree", Version: 7}, CodeNotFound},
		} {
			if out, err := anna.Remove(t.Context(), c.in); err == nil || ErrorOf(err).Code != c.code {
				t.Errorf("%s: %+v, %v", why, out, err)
			}
		}
		if _, err := anna.Undo(t.Context(), ""); err == nil || ErrorOf(err).Code != CodeNotFound {
			t.Errorf("nothing to undo: %v", err)
		}
		gone, err := anna.Remove(t.Context(), RemoveRequest{Name: "tree"})
		if err != nil || len(gone) != 2 || gone[0].Number != 2 || gone[1].Number != 1 {
			t.Fatalf("removed %+v, %v", gone, err)
		}
		if left, err := anna.Versions(t.Context(), ""); err != nil || len(left) != 0 {
			t.Errorf("left %+v, %v", left, err)
		}
		back, err := anna.Undo(t.Context(), "tree")
		if err != nil || back.Name != "tree" || len(back.Versions) != 2 || len(back.Lost) != 0 {
			t.Errorf("back %+v, %v", back, err)
		}
		out, err := anna.Get(t.Context(), GetRequest{Name: "tree", Dest: grange.Path(t.TempDir())}, nil)
		if err != nil || out.Files != 3 {
			t.Errorf("restored %+v, %v", out, err)
		}
	})
}
