package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/retain"
)

// Task is one directory that is kept.
type Task struct {
	// Name is under which it is stored; one task has it.
	Name string
	// Path is absolute.
	Path []byte
	// Every is how long after one version the next is made: EveryMin to EveryMax, whole seconds.
	Every time.Duration
	// Rule says which versions stay.
	Rule          retain.Rule
	Exclude       []string
	OneFileSystem bool
}

// The limits of Every.
const (
	EveryMin = time.Minute
	EveryMax = 366 * 24 * time.Hour

	second = time.Second
)

func seconds(n int64) time.Duration { return time.Duration(n) * second }

// Report is how a task stands.
type Report struct {
	Task
	// Stored is when it was last found to be stored as it is on the disk, Version the one that it
	// then was; zero for never.
	Stored  time.Time
	Version uint64
	// Unchanged says that the version was there before.
	Unchanged bool
	// Tried is when that was last tried, Next when it will be.
	Tried, Next time.Time
	// Trouble says what keeps it from being stored, "" if nothing does; Since when.
	Trouble string
	Since   time.Time
	// Full is the Result's that the trouble came with.
	Full map[string]int64
	// Alarm says that a person has to look.
	Alarm bool
	// Busy says that it is being stored just now.
	Busy bool
}

// Result is what storing a path came to.
type Result struct {
	// Version is the newest, zero for none; Unchanged says that it was there before.
	Version   uint64
	Unchanged bool
	// Full are partners, by name, who have no more room by the pact, with its bytes.
	Full map[string]int64
}

// ErrGone says that what is to be kept is not there, or empty where something was.
var ErrGone = errors.New("what is to be kept is gone")

// Config is what a Keeper needs; all but Thin, Wait, Alarm and Log is required.
type Config struct {
	Books core.Books
	Clock core.Clock
	// Put stores a task's path. Errors: ErrGone; core.ErrPartly where there is a version,
	// but not of all.
	Put func(context.Context, Task) (Result, error)
	// Thin removes the versions that the rule does not keep; nil is none.
	Thin func(context.Context, Task) error
	// Wait says why nothing is to be stored just now, such as "quiet until 07:00"; "" is go on.
	Wait func() string
	// Alarm is told of a task that has got into trouble, once.
	Alarm func(Report)
	Log   *slog.Logger
}

// Keeper keeps directories. Its methods may be called at once.
type Keeper struct {
	c    Config
	kick chan struct{} // something may be due

	mu   sync.Mutex
	jobs map[string]*job
}

// job is a task and how it stands.
type job struct {
	task  Task
	state stateRecord
	// stop ends the put under way; nil while there is none.
	stop context.CancelFunc
	// now says that it is due whatever the date; retry the same, while it is in trouble.
	now, retry bool
}

// New reads the books. It starts nothing.
func New(c Config) (*Keeper, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Thin == nil {
		c.Thin = func(context.Context, Task) error { return nil }
	}
	if c.Wait == nil {
		c.Wait = func() string { return "" }
	}
	if c.Alarm == nil {
		c.Alarm = func(Report) {}
	}
	k := &Keeper{c: c, kick: make(chan struct{}, 1), jobs: map[string]*job{}}
	return k, k.load()
}

// Start keeps a path from now on, or changes how it is kept. Errors: core.ErrInvalid;
// fs.ErrExist if another path is kept under the name.
func (k *Keeper) Start(t Task) error {
	switch {
	case t.Every < EveryMin || t.Every > EveryMax:
		return fmt.Errorf("every %v: it is a minute to 366 days: %w", t.Every, core.ErrInvalid)
	case len(t.Path) == 0 || t.Path[0] != '/':
		return fmt.Errorf("the path %q is not absolute: %w", t.Path, core.ErrInvalid)
	}
	if err := t.Rule.Valid(); err != nil {
		return err
	}
	t.Every = t.Every.Truncate(second)
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.jobs[t.Name]
	if old != nil && !bytes.Equal(old.task.Path, t.Path) {
		return fmt.Errorf("%q is what %q is kept as: %w", t.Name, old.task.Path, fs.ErrExist)
	}
	if err := k.save(taskPrefix, t.Name, t.record()); err != nil {
		return err
	}
	if old == nil {
		old = &job{}
		k.jobs[t.Name] = old
	}
	old.task, old.now = t, true
	k.wake()
	return nil
}

// Stop keeps a name no more; its versions stay. A put of it that is under way is broken off.
// Errors: core.ErrNotExist.
func (k *Keeper) Stop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	j := k.jobs[name]
	if j == nil {
		return fmt.Errorf("nothing is kept as %q: %w", name, core.ErrNotExist)
	}
	err := k.c.Books.Apply(core.Change{Key: []byte(taskPrefix + name)}, core.Change{Key: []byte(statePrefix + name)})
	if err != nil {
		return fmt.Errorf("stop keeping %q: %w", name, err)
	}
	if j.stop != nil {
		j.stop()
	}
	delete(k.jobs, name)
	return nil
}

// Tasks returns all tasks, by name.
func (k *Keeper) Tasks() []Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Report, 0, len(k.jobs))
	for _, name := range slices.Sorted(maps.Keys(k.jobs)) {
		out = append(out, k.jobs[name].report(k.c.Clock.Now()))
	}
	return out
}

// Retry has what is in trouble tried again at once, because a partner has come, or a disk.
func (k *Keeper) Retry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, j := range k.jobs {
		j.retry = true
	}
	k.wake()
}

func (k *Keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default: // it is awake
	}
}

func (j *job) report(now time.Time) Report {
	s := j.state
	return Report{
		Task: j.task, Version: s.Version, Unchanged: s.Unchanged, Stored: date(s.Stored), Tried: date(s.Tried), Next: j.due(now),
		Trouble: s.Trouble, Full: maps.Clone(s.Full), Since: date(s.Failed), Alarm: s.Alarm, Busy: j.stop != nil,
	}
}

// date returns a date of the books; 0 is none.
func date(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}
