package grange

import (
	"context"
	"errors"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/service/barter"
	"github.com/grange-grid/grange/service/vault"
)

// TakeInOptions say how a disk is taken in. A zero value works.
type TakeInOptions struct {
	// Progress is called now and then, from one goroutine at a time.
	Progress func(Progress)
}

// TakenFrom is what a disk has, or what was taken in of it, of one machine of a partner.
type TakenFrom struct {
	Partner string `json:"partner"`
	Machine DID    `json:"machine"`
	// Bytes is what its files on the disk come to.
	Bytes int64 `json:"bytes"`
	// Pieces with Stored bytes were taken in, Known ones were here before.
	Pieces int   `json:"pieces"`
	Stored int64 `json:"stored"`
	Known  int   `json:"known,omitempty"`
	// Left bytes of the files were not looked at, because of Refused.
	Left    int64  `json:"left,omitempty"`
	Refused string `json:"refused,omitempty"`
	// Until is when they are set aside, unless the partner's next put has asked for more.
	Until time.Time `json:"until,omitzero"`
}

// TakeInResult is what a disk has for this machine, or what was taken in of it.
type TakeInResult struct {
	From []TakenFrom `json:"from"`
	// Others are folders of the disk that are for other machines.
	Others []Path `json:"others,omitempty"`
	// Problems are files, and places in them, that cannot be taken in: the first of ProblemCount.
	Problems     []Problem `json:"problems,omitempty"`
	ProblemCount int       `json:"problem_count,omitempty"`
}

// Carried looks at a disk that a partner has written with PutOptions.Seed: what it has for this machine.
func (a *Agent) Carried(ctx context.Context, dir string) (TakeInResult, error) {
	disk, err := files.OpenCarried(dir)
	if err != nil {
		return TakeInResult{}, err
	}
	defer disk.Close()
	c, err := a.barter.Look(ctx, disk)
	if err != nil {
		return TakeInResult{}, err
	}
	out := a.takeInOf(c.Others, c.Faults)
	for _, p := range c.Parcels {
		out.From = append(out.From, TakenFrom{Partner: p.Partner.Name, Machine: p.Agent, Bytes: p.Bytes})
	}
	return out, nil
}

// TakeIn takes in what a disk has for this machine, as far as capacity, pacts and policies allow, and promises to
// keep it for 30 days; the partner's next put asks for longer. It may be called again. With ErrPartly the result says
// what was not taken in; without an error and From there was nothing for this machine. Errors: ErrRefused if nothing was taken in.
func (a *Agent) TakeIn(ctx context.Context, dir string, o *TakeInOptions) (TakeInResult, error) {
	if err := a.federation.Revoked(); err != nil {
		return TakeInResult{}, err
	}
	tell := func(Progress) {}
	if o != nil && o.Progress != nil {
		tell = o.Progress
	}
	disk, err := files.OpenCarried(dir)
	if err != nil {
		return TakeInResult{}, err
	}
	defer disk.Close()
	took, err := a.barter.TakeIn(ctx, disk, func(done, of int64) { tell(Progress{Stage: "taking in", Bytes: done, Of: of}) })
	out := a.takeInOf(took.Others, took.Faults)
	out.ProblemCount = took.FaultCount
	some, refused := false, error(nil)
	for _, from := range took.From {
		t := TakenFrom{
			Partner: from.Partner.Name, Machine: from.Agent, Bytes: from.Size, Pieces: from.Pieces, Stored: from.Bytes, Known: from.Known, Left: from.Left,
		}
		if from.Until > 0 {
			t.Until = time.Unix(from.Until, 0)
		}
		if from.Refused != nil {
			t.Refused, refused = wire.Plain(from.Refused), from.Refused
			if d, ok := errors.AsType[*Denial](from.Refused); ok {
				t.Refused = d.Reason
			}
		}
		some = some || from.Pieces+from.Known > 0
		out.From = append(out.From, t)
	}
	switch {
	case err != nil:
	case refused != nil && !some:
		err = refused
	case refused != nil || out.ProblemCount > 0:
		err = ErrPartly
	}
	return out, err
}

func (a *Agent) takeInOf(others []string, faults []barter.Fault) TakeInResult {
	out := TakeInResult{From: []TakenFrom{}, ProblemCount: len(faults)}
	for _, folder := range others {
		out.Others = append(out.Others, Path(folder))
	}
	for _, f := range faults {
		out.Problems = append(out.Problems, problemOf([]byte(f.File), f.Err))
	}
	return out
}

// carried opens a disk to write to.
func (a *Agent) carried(dir string) (*files.Carried, error) {
	if err := a.outside(dir); err != nil {
		return nil, err
	}
	return files.OpenCarried(dir)
}

// avoid returns what is never stored: this agent's own directory, whose keys are no data and whose pieces
// grow with every put, and what is being written to.
func (a *Agent) avoid(seed string) []string {
	out := []string{a.c.Dir}
	if seed != "" {
		out = append(out, seed)
	}
	return out
}

// seeder writes onto a disk.
func (a *Agent) seeder(disk *files.Carried) vault.Seeder {
	return func(waiting map[core.DID]int64) (vault.Seeding, error) {
		s, err := a.barter.Seed(disk, waiting)
		if err != nil {
			return nil, err // not s: a nil *Seeding is not a nil Seeding
		}
		return s, nil
	}
}

// seeded is the result of a put onto a disk.
func (a *Agent) seeded(name string, put *vault.Put) PutResult {
	out := PutResult{
		Version: Version{Name: name}, Same: put.Same, Carried: a.bytesByName(put.Carried), Refused: a.byName(put.Refused), Full: a.full(put.Refused),
	}
	if len(out.Carried) == 0 {
		out.Carried = nil
	}
	for _, p := range put.Problems {
		out.Problems = append(out.Problems, problemOf(p.Path, p.Err))
	}
	return out
}

// beingCarried is what a person still carries, of a name or of all.
func (a *Agent) beingCarried(name string) (map[string]map[string]int64, error) {
	carried, err := a.vault.Carried()
	var out map[string]map[string]int64
	for of, to := range carried {
		if name != "" && of != name {
			continue
		}
		if out == nil {
			out = map[string]map[string]int64{}
		}
		out[of] = a.bytesByName(to)
	}
	return out, err
}

func (a *Agent) bytesByName(of map[core.DID]int64) map[string]int64 {
	out := map[string]int64{}
	for grid, n := range of {
		out[a.nameOf(grid)] += n
	}
	return out
}
