package keep

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

const (
	lookEvery      = time.Minute // at the least: the date may jump, and a disk come back
	retryFirst     = time.Minute // after the first failure; twice that after the second, and so on
	retryMax       = time.Hour   // or Every, whichever is less
	troubleSizeMax = 2 << 10     // bytes of its text

	alarmAfter = 24 * time.Hour // of trouble: whoever relies on it should know
)

// Run stores what is due, one task at a time, until ctx ends. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if why := k.c.Wait(); why != "" {
			k.c.Log.Debug("nothing is stored now", "why", why)
		} else if j := k.next(); j != nil {
			k.one(ctx, j)
			continue
		}
		k.sleep(ctx)
	}
	return nil
}

// sleep waits until something may be due.
func (k *Keeper) sleep(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := k.c.Clock.AfterFunc(lookEvery, cancel)
	defer timer.Stop()
	select {
	case <-k.kick:
	case <-ctx.Done():
	}
}

// due returns when a task is to be done.
func (j *job) due(now time.Time) time.Time {
	s := j.state
	tried := date(s.Tried)
	if j.now || j.retry && s.Fails > 0 || tried.IsZero() || tried.After(now) { // a date that is not yet was a clock's fault
		return now
	}
	wait := j.task.Every
	if s.Fails > 0 {
		wait = min(wait, retryMax, retryFirst<<min(s.Fails-1, 10))
	}
	return tried.Add(wait)
}

// next returns the task that has been due for longest; nil if none is.
func (k *Keeper) next() *job {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.c.Clock.Now()
	var first *job
	for _, j := range k.jobs {
		due := j.due(now)
		if due.After(now) {
			continue
		}
		if first == nil || due.Before(first.due(now)) || due.Equal(first.due(now)) && j.task.Name < first.task.Name {
			first = j
		}
	}
	return first
}

// one does a task, and writes down how it went.
func (k *Keeper) one(ctx context.Context, j *job) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	k.mu.Lock()
	task := j.task
	j.stop, j.now, j.retry = cancel, false, false
	k.mu.Unlock()
	watch := k.watch(cancel)
	result, err := k.c.Put(inner, task)
	paused := watch()
	if err == nil || errors.Is(err, core.ErrPartly) && result.Version > 0 {
		if err := k.c.Thin(inner, task); err != nil && inner.Err() == nil {
			k.c.Log.Warn("thin out versions", "name", task.Name, "err", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	j.stop = nil
	if paused && err != nil {
		j.now = true // it goes on where it was broken off
		return
	}
	if ctx.Err() != nil || k.jobs[task.Name] != j { // it is begun again, or was stopped
		return
	}
	alarmed := j.state.Alarm
	j.note(k.c.Clock.Now(), result, err)
	if err == nil {
		k.c.Log.Info("stored", "name", task.Name, "version", result.Version, "unchanged", result.Unchanged)
	} else {
		k.c.Log.Info("not stored", "name", task.Name, "trouble", j.state.Trouble)
	}
	if err := k.save(statePrefix, task.Name, j.state); err != nil {
		k.c.Log.Error("write down how it went", "err", err)
	}
	if j.state.Alarm && !alarmed {
		k.c.Alarm(j.report(k.c.Clock.Now()))
	}
}

// watch breaks a put off when the time comes to wait. The returned function ends the
// watch, and tells whether it did.
func (k *Keeper) watch(breakOff func()) (end func() bool) {
	var mu sync.Mutex
	var timer core.Timer
	paused, ended := false, false
	var look func()
	look = func() {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		if k.c.Wait() != "" {
			paused = true
			breakOff()
			return
		}
		timer = k.c.Clock.AfterFunc(lookEvery, look)
	}
	look()
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		if timer != nil {
			timer.Stop()
		}
		return paused
	}
}

// note changes the state by an outcome.
func (j *job) note(now time.Time, result Result, err error) {
	s := &j.state
	s.V, s.Tried = codec.Version, now.Unix()
	if result.Version > 0 {
		s.Version, s.Unchanged = result.Version, result.Unchanged
	}
	if err == nil {
		s.Stored, s.Fails, s.Failed, s.Trouble, s.Full, s.Alarm = now.Unix(), 0, 0, "", nil, false
		return
	}
	if s.Fails++; s.Fails == 1 || s.Failed > now.Unix() {
		s.Failed = now.Unix()
	}
	s.Full = result.Full
	s.Trouble = strings.ToValidUTF8(err.Error(), "?")
	if len(s.Trouble) > troubleSizeMax {
		s.Trouble = strings.ToValidUTF8(s.Trouble[:troubleSizeMax], "")
	}
	s.Alarm = s.Alarm || errors.Is(err, ErrGone) || now.Sub(date(s.Failed)) >= alarmAfter
}
