package api

import (
	"path/filepath"
	"testing"

	"github.com/grange-grid/grange"
)

// A disk with nothing for this machine is no error, and one that is not there is.
func TestTakeInOfNothing(t *testing.T) {
	both(t, func(t *testing.T, anna, _ *home) {
		dir := t.TempDir()
		out, err := anna.TakeIn(t.Context(), grange.Path(dir), nil)
		if err != nil || out.From == nil || len(out.From) > 0 {
			t.Errorf("nothing: %+v, %v", out, err)
		}
		_, err = anna.TakeIn(t.Context(), grange.Path(filepath.Join(dir, "gone")), nil)
		if e := ErrorOf(err); e.Code != CodeNotFound || e.Hint != "is the disk mounted?" {
			t.Errorf("not there: %+v", e)
		}
	})
}
