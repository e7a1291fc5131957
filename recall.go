package grange

import (
	"context"
	"time"
)

// recallEvery is between looks at what holders have set aside of ours, and nobody here knows why. While it cannot all
// be looked at, as when a holder is away, the wait doubles up to recallMost: each look reads every table.
const (
	recallEvery = time.Hour
	recallMost  = 24 * time.Hour
)

// recall takes back what our versions need of what was given up by whoever has had our key, or by a
// machine that is lost; the rest is left to its holders.
func (a *Agent) recall(ctx context.Context) error {
	for wait := recallEvery; ; {
		found, err := a.barter.Found()
		if found {
			if err = a.vault.Recall(ctx); err == nil {
				err = a.barter.GiveUpFound()
			}
		}
		next := recallEvery
		if err != nil && ctx.Err() == nil {
			a.c.Log.Info("what holders have set aside is looked at again later", "err", err)
			next = min(2*wait, recallMost)
		}
		if err := a.c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = next
	}
}
