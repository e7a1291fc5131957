package keep

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/retain"
)

// bubble is the real clock, which is fake in a synctest bubble; its date is off by ahead.
type bubble struct{ ahead atomic.Int64 }

func (b *bubble) Now() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }

func (*bubble) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (*bubble) AfterFunc(d time.Duration, f func()) core.Timer { return time.AfterFunc(d, f) }

// house is a keeper, and a world in which its puts go as they are told to.
type house struct {
	*Keeper
	t     *testing.T
	clock bubble
	books *sim.Books
	begun time.Time

	mu     sync.Mutex    // of what follows
	err    error         // of each put
	takes  time.Duration // each put
	wait   string
	puts   []string // "name minute", as they ended
	thins  []string
	alarms []Report
	end    func()
}

func inBubble(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, books: sim.NewBooks(), begun: time.Now()}
		h.open()
		f(h)
		h.end()
	})
}

// open begins anew, on the same books.
func (h *house) open() {
	if h.end != nil {
		h.end()
	}
	k, err := New(Config{
		Books: h.books, Clock: &h.clock,
		Put: func(ctx context.Context, task Task) (Result, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			takes := h.takes
			h.mu.Unlock()
			err := h.clock.Sleep(ctx, takes)
			h.mu.Lock()
			if err != nil {
				h.puts = append(h.puts, task.Name+" broken off")
				return Result{}, err
			}
			h.puts = append(h.puts, task.Name+" "+time.Since(h.begun).String())
			return Result{Version: uint64(len(h.puts)), Unchanged: len(h.puts) > 1}, h.err
		},
		Thin: func(_ context.Context, task Task) error {
			h.now(func() { h.thins = append(h.thins, task.Name) })
			return nil
		},
		Wait: func() (why string) {
			h.now(func() { why = h.wait })
			return why
		},
		Alarm: func(r Report) { h.now(func() { h.alarms = append(h.alarms, r) }) },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Keeper = k
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() {
		if err := k.Run(ctx); err != nil {
			h.t.Errorf("run: %v", err)
		}
		close(done)
	}()
	h.end = func() { cancel(); <-done }
}

// now changes the world.
func (h *house) now(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *house) start(name string, every time.Duration) {
	h.t.Helper()
	if err := h.Start(Task{Name: name, Path: []byte("/" + name), Every: every, Rule: retain.Default}); err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
}

// later lets d go by. Taking mu puts what the test did before what the keeper does then.
func (h *house) later(d time.Duration) {
	h.now(func() {})
	time.Sleep(d)
	synctest.Wait()
}

// did checks which puts ended since the last call.
func (h *house) did(want ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.puts, want) {
		h.t.Errorf("puts %q, want %q", h.puts, want)
	}
	h.puts = nil
}

func (h *house) task(name string) Report {
	h.t.Helper()
	for _, r := range h.Tasks() {
		if r.Name == name {
			return r
		}
	}
	h.t.Fatalf("%q is not kept", name)
	return Report{}
}

func TestStoredAtOnceAndThenEveryHour(t *testing.T) {
	inBubble(t, func(h *house) {
		h.start("docs", time.Hour)
		h.did("docs 0s")
		h.later(2*time.Hour + time.Minute)
		h.did("docs 1h0m0s", "docs 2h0m0s")
		if len(h.thins) != 3 || len(h.alarms) != 0 {
			t.Errorf("thinned %v, alarms %v", h.thins, h.alarms)
		}
		r := h.task("docs")
		if r.Trouble != "" || r.Version == 0 || !r.Unchanged || !r.Stored.Equal(h.begun.Add(2*time.Hour)) || !r.Next.Equal(h.begun.Add(3*time.Hour)) {
			t.Errorf("%+v", r)
		}
		h.start("docs", 2*time.Hour) // changed: at once
		h.did("docs 2h1m0s")
		h.start("pics", time.Hour)
		h.did("pics 2h1m0s")
	})
}

func TestKeptAcrossARestart(t *testing.T) {
	inBubble(t, func(h *house) {
		task := Task{
			Name: "docs", Path: []byte("/d\xff"), Every: time.Hour, Rule: retain.Rule{Last: 1, Daily: 2, Monthly: 3},
			Exclude: []string{"*.o", "\xff"}, OneFileSystem: true,
		}
		if err := h.Start(task); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.did("docs 0s")
		before := h.task("docs")
		h.open()
		synctest.Wait()
		h.did()
		after := h.task("docs")
		if string(after.Path) != "/d\xff" || after.Rule != task.Rule || !slices.Equal(after.Exclude, task.Exclude) || !after.OneFileSystem || !after.Stored.Equal(before.Stored.Truncate(time.Second)) {
			t.Errorf("after a restart %+v, before %+v", after, before)
		}
		h.later(time.Hour)
		h.did("docs 1h0m0s")
		if err := h.Stop("docs"); err != nil {
			t.Fatal(err)
		}
		h.open()
		h.later(3 * time.Hour)
		h.did()
		if err := h.Stop("docs"); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("stopped twice: %v", err)
		}
	})
}

func TestTroubleIsTriedAgainLessAndLess(t *testing.T) {
	inBubble(t, func(h *house) {
		h.now(func() { h.err = errors.New("no partner") })
		h.start("docs", 24*time.Hour)
		h.later(8 * time.Minute)
		h.did("docs 0s", "docs 1m0s", "docs 3m0s", "docs 7m0s")
		h.later(23 * time.Hour)
		if got := len(h.puts); got > 30 || got < 20 {
			t.Errorf("tried %d times in 23 hours", got)
		}
		if len(h.alarms) != 0 || len(h.thins) != 0 {
			t.Errorf("alarms %v, thinned %v", h.alarms, h.thins)
		}
		h.later(3 * time.Hour)
		if len(h.alarms) != 1 || h.alarms[0].Trouble != "no partner" || !h.alarms[0].Since.Equal(h.begun) {
			t.Errorf("alarms %+v", h.alarms)
		}
		h.now(func() { h.puts, h.err = nil, nil })
		h.Retry()
		synctest.Wait()
		if r := h.task("docs"); len(h.puts) != 1 || r.Trouble != "" || r.Alarm || r.Stored.IsZero() {
			t.Errorf("after it went well: %q, %+v", h.puts, r)
		}
	})
}

// A partner that comes while a put is under way may have come too late for it.
func TestRetryDuringAPut(t *testing.T) {
	for why, want := range map[error][]string{
		nil:                      {"docs 10m0s"},
		errors.New("no partner"): {"docs 10m0s", "docs 20m0s"},
	} {
		inBubble(t, func(h *house) {
			h.now(func() { h.takes, h.err = 10*time.Minute, why })
			h.start("docs", 24*time.Hour)
			h.Retry()
			h.later(20 * time.Minute)
			h.did(want...)
		})
	}
}

func TestWhatIsGoneIsAnAlarmAtOnce(t *testing.T) {
	inBubble(t, func(h *house) {
		h.start("docs", time.Hour)
		h.now(func() { h.err = ErrGone })
		h.later(3 * time.Hour)
		if len(h.alarms) != 1 || len(h.thins) != 1 {
			t.Errorf("alarms %+v, thinned %v", h.alarms, h.thins)
		}
		if r := h.task("docs"); !r.Alarm || r.Version == 0 || !r.Stored.Equal(h.begun) {
			t.Errorf("%+v", r)
		}
		h.now(func() { h.err = core.ErrPartly }) // a file could not be read: there is a version
		h.later(2 * time.Hour)
		if len(h.thins) < 2 {
			t.Error("a version with a problem thins out nothing")
		}
	})
}

func TestNothingIsStoredWhileItHasToWait(t *testing.T) {
	inBubble(t, func(h *house) {
		h.now(func() { h.wait = "quiet" })
		h.start("docs", time.Hour)
		h.later(2 * time.Hour)
		h.did()
		h.now(func() { h.wait, h.takes = "", 10*time.Minute })
		h.later(5 * time.Minute)
		h.now(func() { h.wait = "quiet" })
		h.later(2 * time.Minute)
		h.did("docs broken off")
		if r := h.task("docs"); r.Trouble != "" || r.Busy {
			t.Errorf("broken off to wait: %+v", r)
		}
		h.now(func() { h.wait = "" })
		h.later(11 * time.Minute)
		if len(h.puts) != 1 || h.puts[0] == "docs broken off" {
			t.Errorf("after the wait %q", h.puts)
		}
	})
}

// What a path is called may be no text; what is written down is.
func TestTroubleIsText(t *testing.T) {
	inBubble(t, func(h *house) {
		h.now(func() { h.err = errors.New("\xff" + strings.Repeat("ä", troubleSizeMax)) })
		h.start("docs", time.Hour)
		h.open()
		if got := h.task("docs").Trouble; !strings.HasPrefix(got, "?ä") || len(got) > troubleSizeMax || !utf8.ValidString(got) {
			t.Errorf("after a restart %.20q, %d bytes", got, len(got))
		}
	})
}

func TestStopBreaksOffAPut(t *testing.T) {
	inBubble(t, func(h *house) {
		h.now(func() { h.takes = time.Hour })
		h.start("docs", time.Hour)
		if !h.task("docs").Busy {
			t.Error("not busy")
		}
		if err := h.Stop("docs"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.did("docs broken off")
		if tasks := h.Tasks(); len(tasks) != 0 {
			t.Errorf("still kept: %+v", tasks)
		}
		h.later(3 * time.Hour)
		h.did()
		for c, err := range h.books.Scan([]byte("k/"), nil) {
			t.Errorf("left in the books: %q, %v", c.Key, err)
		}
	})
}

// A clock that was a year ahead for a while must not stop a task for a year.
func TestAClockThatJumps(t *testing.T) {
	inBubble(t, func(h *house) {
		h.clock.ahead.Store(int64(365 * 24 * time.Hour))
		h.start("docs", time.Hour)
		h.clock.ahead.Store(0)
		h.now(func() { h.puts = nil })
		h.later(2 * time.Minute)
		if len(h.puts) != 1 {
			t.Errorf("after the jump back %q", h.puts)
		}
		h.later(2 * time.Hour)
		if len(h.puts) != 3 {
			t.Errorf("and then %q", h.puts)
		}
	})
}

func TestTasksThatCannotBe(t *testing.T) {
	inBubble(t, func(h *house) {
		h.start("docs", time.Hour)
		for name, c := range map[string]struct {
			task Task
			want error
		}{
			"too often":  {Task{Name: "a", Path: []byte("/a"), Every: time.Second}, core.ErrInvalid},
			"too seldom": {Task{Name: "a", Path: []byte("/a"), Every: EveryMax + 1}, core.ErrInvalid},
			"relative":   {Task{Name: "a", Path: []byte("a"), Every: time.Hour}, core.ErrInvalid},
			"no path":    {Task{Name: "a", Every: time.Hour}, core.ErrInvalid},
			"rule":       {Task{Name: "a", Path: []byte("/a"), Every: time.Hour, Rule: retain.Rule{Last: -1}}, core.ErrInvalid},
			"another's":  {Task{Name: "docs", Path: []byte("/other"), Every: time.Hour}, fs.ErrExist},
		} {
			if err := h.Start(c.task); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if tasks := h.Tasks(); len(tasks) != 1 {
			t.Errorf("kept: %+v", tasks)
		}
		if err := h.books.Apply(core.Change{Key: []byte(taskPrefix + "x"), Value: []byte{0xa1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := New(h.c); err == nil {
			t.Error("a task that cannot be read is not missed")
		}
	})
}
