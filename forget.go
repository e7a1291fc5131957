package grange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// Undone is what an undoing came to.
type Undone struct {
	Name string `json:"name"`
	// Versions are back. Lost are those that stay removed, because too little of them is kept
	// any more, or can be reached now; the next undoing tries them again.
	Versions []Version     `json:"versions"`
	Lost     []LostVersion `json:"lost,omitempty"`
}

// LostVersion is a version that could not be brought back, and why.
type LostVersion struct {
	Version
	Err string `json:"error"`
}

// Remove forgets the version that a Ref names, or for number 0 all versions of the name,
// and returns them, the newest first. What nothing else uses is given up, and its holders set it aside
// for as long as the pacts say, 14 days unless agreed otherwise: until then Undo brings it back.
// With ErrPartly they are removed, but no partner could be told: a recovery would bring
// them back. Errors: fs.ErrNotExist, ErrInvalid of a Ref with a path, ErrRevoked.
func (a *Agent) Remove(ctx context.Context, r Ref) ([]Version, error) {
	if err := a.federation.Revoked(); err != nil {
		return nil, err
	}
	if r.Path != "" {
		return nil, fmt.Errorf("%s/%s: only whole versions can be removed: %w", r.Name, r.Path, ErrInvalid)
	}
	gone, err := a.vault.Remove(ctx, r.Name, r.Version)
	a.tidySoon(len(gone))
	return versionsOf(gone), err
}

// Undo brings back what the newest removal of a name, or of all names for "", took away:
// one act of a person or, where there is none left, of what Keep thins out. With
// ErrPartly not all of it is back. Errors: fs.ErrNotExist if nothing was removed.
func (a *Agent) Undo(ctx context.Context, name string) (Undone, error) {
	if err := a.federation.Revoked(); err != nil {
		return Undone{}, err
	}
	if name == "" {
		var err error
		if name, err = a.vault.LastRemoved(); err != nil {
			return Undone{}, err
		}
	}
	undone, err := a.vault.Undo(ctx, name)
	if undone == nil {
		return Undone{}, err
	}
	out := Undone{Name: name, Versions: versionsOf(undone.Versions)}
	for _, l := range undone.Lost {
		why := "too little of it is kept any more"
		if errors.Is(l.Err, core.ErrUnreachable) {
			why = "too few of its holders are within reach"
		}
		a.c.Log.Info("a version cannot be brought back", "name", name, "version", l.Seq, "err", l.Err)
		out.Lost = append(out.Lost, LostVersion{versionOf(l.Version), why})
	}
	return out, err
}

func versionsOf(versions []manifest.Version) []Version {
	out := make([]Version, len(versions))
	for i, v := range versions {
		out[i] = versionOf(v)
	}
	return out
}

// tidyEvery is how long after one collection the next is made, if nothing is removed.
const tidyEvery = 12 * time.Hour

// tidySoon has what was removed given up, where anything was.
func (a *Agent) tidySoon(removed int) {
	if removed > 0 {
		leave(a.removed)
	}
}

// compactBudget is how many bytes of pieces are placed anew in one tidyEvery at most, so that
// segments of which little is used can be given up.
const compactBudget = 2 << 30

// tidy gives up what no version uses any more; now and then it rewrites versions first, out of
// segments of which they use less than half.
func (a *Agent) tidy(ctx context.Context) error {
	for {
		woken, err := a.pause(ctx, a.removed, tidyEvery)
		if err != nil {
			return err
		}
		if !woken {
			a.compact(ctx)
		}
		out, err := a.vault.Collect(ctx)
		if err != nil && ctx.Err() == nil {
			a.c.Log.Info("what no version uses is given up later", "err", err)
		}
		if out != nil && out.Released > 0 {
			a.c.Log.Info("what no version uses is given up", "segments", out.Released, "bytes", out.Bytes)
		}
	}
}

func (a *Agent) compact(ctx context.Context) {
	out, err := a.vault.Compact(ctx, compactBudget, nil)
	if err != nil && ctx.Err() == nil {
		a.c.Log.Info("versions are rewritten later", "err", err)
	}
	if out != nil && out.Versions > 0 {
		a.c.Log.Info("versions were rewritten out of segments that were less than half used", "versions", out.Versions, "bytes", out.Bytes)
	}
}
