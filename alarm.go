package grange

import (
	"context"
	"time"

	"github.com/grange-grid/grange/edge/hook"
	"github.com/grange-grid/grange/edge/metered"
	"github.com/grange-grid/grange/edge/power"
)

// callOutMax is how long the command for alarms may take.
const callOutMax = time.Minute

// callOut runs the command for each alarm, one after the other.
func (a *Agent) callOut(ctx context.Context, command string, events <-chan Event) error {
	for {
		select {
		case e, more := <-events:
			if !more {
				return nil
			}
			if e.Kind == "alarm" {
				a.callOne(ctx, command, e)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Agent) callOne(ctx context.Context, command string, e Event) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.c.Clock.AfterFunc(callOutMax, cancel).Stop()
	err := hook.Run(ctx, command, "GRANGE_ALARM="+e.Text, "GRANGE_PARTNER="+e.Partner, "GRANGE_TIME="+e.Time.Format(time.RFC3339))
	if err != nil {
		a.c.Log.Warn("the command for alarms has failed", "err", err)
		return
	}
	a.c.Log.Info("the command for alarms has run", "alarm", e.Text)
}

// Waits says why nothing is stored by itself just now, such as "quiet until 07:00"; ""
// is nothing does. What a person asks for is done all the same.
func (a *Agent) Waits() string {
	if quiet := a.settings.Limits.Quiet; quiet.now(a.c.Clock.Now()) {
		return "quiet until " + clockTime(quiet.to)
	}
	if !a.settings.Limits.OnBattery && power.OnBattery() {
		return "on battery"
	}
	if a.metered.Load() {
		return "on a metered network"
	}
	return ""
}

// meteredEvery is how long after one look at whether the network is metered the next is;
// meteredMax is how long a look may take.
const (
	meteredEvery = time.Minute
	meteredMax   = 5 * time.Second
)

// watchMetered looks whether the network is metered, now and then.
func (a *Agent) watchMetered(ctx context.Context) error {
	for {
		look, cancel := context.WithTimeout(ctx, meteredMax)
		a.metered.Store(metered.Network(look))
		cancel()
		if err := a.c.Clock.Sleep(ctx, meteredEvery); err != nil {
			return err
		}
	}
}
