package grange

import (
	"context"
	"time"

	"github.com/grange-grid/grange/core"
)

// learnEvery is how long after a look at partners whose lists were never read the next is.
const learnEvery = time.Minute

// learn asks those partners what they hold of ours who could not be asked when
// this machine was recovered. Until all have answered, pieces may seem to have no holder.
func (a *Agent) learn(ctx context.Context) error {
	for {
		for _, p := range a.places() {
			learned, err := a.barter.Learned(p.Grid)
			if err == nil && !learned {
				err = a.learnFrom(ctx, p.Grid)
			}
			if err != nil && ctx.Err() == nil {
				a.c.Log.Info("what a partner holds is not known yet", "partner", p.Name, "err", err)
			}
		}
		if err := a.c.Clock.Sleep(ctx, learnEvery); err != nil {
			return err
		}
	}
}

func (a *Agent) learnFrom(ctx context.Context, grid core.DID) error {
	sizeOf, err := a.pieceSizes()
	if err != nil {
		return err
	}
	_, _, err = a.barter.Learn(ctx, grid, sizeOf)
	return err
}

// pieceSizes returns what gives the size of each piece that our segment tables know.
func (a *Agent) pieceSizes() (func(core.Score) (int64, bool), error) {
	sizes, err := a.vault.PieceSizes()
	return func(piece core.Score) (int64, bool) { size, ok := sizes[piece]; return size, ok }, err
}
