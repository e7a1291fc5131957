package federation_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

const day = 24 * 60 * 60

// greetedAt lets a partner greet m and say that its clock is off by so many seconds.
func (m *machine) greetedAt(by *machine, off int64) {
	m.w.t.Helper()
	m.greeted(by, m.w.clock.Now().Unix()+off)
}

func (m *machine) greeted(by *machine, clock int64) {
	m.w.t.Helper()
	in := map[string]any{"charters": by.f.Charters(), "addrs": []string{}, "name": by.name, "heads": []any{}, "time": clock}
	if code, err := by.call(m, "POST", "/greet", in); code != "" {
		m.w.t.Fatal(err)
	}
}

func TestClockTrusted(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo, dan := w.household("anna"), w.household("bo"), w.household("cleo"), w.household("dan")
	want(t, "trusted without partners", anna.f.ClockTrusted(), false)
	for _, m := range []*machine{bo, cleo, dan} {
		w.befriend(anna, m)
	}
	want(t, "trusted before anybody was heard", anna.f.ClockTrusted(), false)
	check := func(what string, trusted bool) {
		t.Helper()
		if got := anna.f.ClockTrusted(); got != trusted {
			t.Errorf("%s: trusted %v", what, got)
		}
	}
	anna.greeted(bo, 0)
	anna.greeted(cleo, -5)
	anna.greeted(dan, 1<<62)
	check("nobody says a date", false)
	anna.greetedAt(bo, day)
	check("one, a day ahead", true)
	anna.greetedAt(bo, day+1)
	check("one, more than a day ahead", false)
	anna.greetedAt(bo, -day)
	check("one, a day behind", true)
	anna.greetedAt(cleo, 365*day)
	check("one of two", true)
	anna.greetedAt(dan, -365*day)
	check("one of three", false)
	anna.greetedAt(dan, 0)
	check("two of three", true)

	// The wall clock jumps, and nobody is heard again.
	w.clock.Jump(2 * day * time.Second)
	check("our clock jumps by two days", false)
	w.clock.Jump(-2 * day * time.Second)
	check("and back", true)
	// Time goes by on both sides.
	w.clock.Jump(6 * day * time.Second)
	anna.f.AddRan(6 * day)
	check("six days later", true)
	w.clock.Jump((day + 1) * time.Second)
	anna.f.AddRan(day + 1)
	check("more than a week later", false)
	anna.restart()
	check("after a restart", false)
	if err := anna.f.Visit(t.Context(), bo.grid()); err != nil {
		t.Fatal(err)
	}
	check("a greeting is answered", true)
	check("a stranger's time", anna.f.ClockTrusted())
	stranger := w.household("zoe")
	if code, _ := stranger.call(anna, "POST", "/greet", map[string]any{"time": 1}); code != wire.CodeUnknown {
		t.Errorf("a stranger greets: %q", code)
	}
}

func TestRunningTimeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		anna := w.household("anna")
		ctx, stop := cancelable(t)
		done := make(chan error, 1)
		go func() { done <- anna.f.Run(ctx) }()
		synctest.Wait()
		for range 10 {
			w.clock.Advance(time.Minute)
			synctest.Wait()
		}
		bo := w.household("bo")
		w.befriend(anna, bo)
		anna.greetedAt(bo, 0)
		want(t, "trusted", anna.f.ClockTrusted(), true)
		synctest.Wait()
		bo.off() // or it would be heard again at once
		w.clock.Jump(2 * time.Hour)
		want(t, "trusted after a jump", anna.f.ClockTrusted(), false)
		w.clock.Advance(time.Minute)
		synctest.Wait()
		want(t, "trusted until somebody is heard again", anna.f.ClockTrusted(), false)
		bo.on()
		anna.greetedAt(bo, 0)
		want(t, "trusted when somebody is", anna.f.ClockTrusted(), true)
		want(t, "seconds", anna.f.Ran(), 661)
		stop()
		<-done
		anna.restart()
		want(t, "seconds after a restart", anna.f.Ran(), 661)
		anna.off()
		bo.off()
	})
}

// Pages that were set aside go after so many days of running time, and no clock brings that nearer.
func TestPagesAsideAreReclaimed(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	anna.fill(0, 10)
	anna.save()
	first := anna.f.OwnPages()
	anna.fill(10, 2000)
	anna.save()
	second := anna.f.OwnPages()
	_, aside := bo.f.Shelf(anna.grid())
	if aside == 0 {
		t.Fatal("nothing is set aside")
	}
	sweep := func(want int64) {
		t.Helper()
		if err := bo.f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, got := bo.f.Shelf(anna.grid()); got != want {
			t.Errorf("%d pages are set aside, want %d", got, want)
		}
	}
	sweep(aside)
	w.clock.Jump(365 * day * time.Second)
	sweep(aside)
	bo.f.AddRan(14*day - 1)
	sweep(aside)
	bo.f.AddRan(1)
	sweep(0)
	for _, score := range first {
		if _, err := bo.disk.Blobs().Stat(t.Context(), score); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("page %s: %v, want it gone", score.Short(), err)
		}
	}
	for _, score := range second {
		if _, err := bo.disk.Blobs().Stat(t.Context(), score); err != nil {
			t.Errorf("page %s: %v", score.Short(), err)
		}
	}
	bo.restart()
	live, aside := bo.f.Shelf(anna.grid())
	want(t, "live after a restart", live, int64(len(second)))
	want(t, "aside after a restart", aside, 0)

	// The count is lost with the books: what is aside waits its time anew.
	bo.f.AddRan(20 * day)
	anna.write("s/more", "x")
	anna.save()
	_, aside = bo.f.Shelf(anna.grid())
	if aside == 0 {
		t.Fatal("nothing is set aside")
	}
	bo.restart()
	want(t, "seconds counted", bo.f.Ran(), 1)
	sweep(aside)
	bo.f.AddRan(14*day - 1)
	sweep(aside)
	bo.f.AddRan(1)
	sweep(0)
}
