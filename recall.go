package grange

import (
	"context"
	"time"
)

// recallEvery is between looks at what holders have set aside of ours, and nobody here knows why.
const recallEvery = time.Hour

// recall takes back what our versions need of what was given up by whoever has had our key, or by a
// machine that is lost; the rest is left to its holders.
func (a *Agent) recall(ctx context.Context) error {
	for {
		found, err := a.barter.Found()
		if found {
			if err = a.vault.Recall(ctx); err == nil {
				err = a.barter.GiveUpFound()
			}
		}
		if err != nil && ctx.Err() == nil {
			a.c.Log.Info("what holders have set aside is looked at again later", "err", err)
		}
		if err := a.c.Clock.Sleep(ctx, recallEvery); err != nil {
			return err
		}
	}
}
