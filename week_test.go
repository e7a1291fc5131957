package grange_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

// week is what five households live through, four of them from the first day on.
type week struct {
	*world
	t                        tester
	begun                    time.Time
	anna, bo, cleo, dan, eve *machine
	dir                      string
	docs                     tree
	stored                   map[uint64]tree // what anna's docs were, by the version
	photos, thesis           tree            // dan's, anna's

	mu     sync.Mutex
	alarms []string
}

// TestSimWeek is a week of household life: everything is safe at its end, and each alarm was for something.
func TestSimWeek(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		x := &week{world: w, t: w.t, begun: time.Now(), stored: map[uint64]tree{}, photos: randomTree(100, 200_000), thesis: randomTree(101, 60_000)}
		x.found()
		for day, what := range []func(){x.newDisk, x.newFriend, x.away, x.leaves, x.removes, x.undoes, x.back} {
			x.day(day, what)
		}
		x.ends()
	})
}

// found makes the four partners of each other, and has anna keep a directory.
func (x *week) found() {
	homes := x.households("anna", "bo", "cleo", "dan")
	x.anna, x.bo, x.cleo, x.dan = homes[0], homes[1], homes[2], homes[3]
	x.befriend(x.bo, x.dan)
	x.befriend(x.cleo, x.dan)
	x.cleo.clock = &houseClock{}
	x.cleo.restart()
	x.anna.configure(alsoOnBattery)
	x.anna.run()
	for _, m := range homes {
		x.hear(m)
	}
	x.dan.put("photos", x.photos)
	x.dir, x.docs = filepath.Join(x.t.TempDir(), "docs"), tree{}
	must(x.t, os.Mkdir(x.dir, 0o755))
	for i := range 20 {
		x.write(fmt.Sprint("old/", i), randomTree(uint64(i), 10_000)["b/large"])
	}
	_, err := x.anna.Keep(x.t.Context(), grange.Keeping{Path: grange.Path(x.dir)})
	must(x.t, err)
}

// hear notes the alarms of a machine until it stops.
func (x *week) hear(m *machine) {
	events := m.Events(x.t.Context())
	go func() {
		for e := range events {
			if e.Kind == "alarm" {
				x.mu.Lock()
				x.alarms = append(x.alarms, fmt.Sprintf("day %d, %s: %s", time.Since(x.begun)/(24*time.Hour), m.name, e.Text))
				x.mu.Unlock()
			}
		}
	}()
}

func (x *week) reboot(m *machine) {
	m.restart()
	x.hear(m)
}

func (x *week) write(path, text string) {
	full := filepath.Join(x.dir, path)
	must(x.t, os.MkdirAll(filepath.Dir(full), 0o755))
	must(x.t, os.WriteFile(full, []byte(text), 0o644))
	x.docs[path] = text
}

// day is from midnight to midnight; what happens at noon differs.
func (x *week) day(day int, noon func()) {
	x.cleo.clock.sleep()
	x.net.Down(x.cleo.did)
	x.later(7 * time.Hour)
	x.cleo.clock.wake()
	x.net.Up(x.cleo.did)
	x.later(2 * time.Hour)
	x.write(fmt.Sprint("new/", day), randomTree(uint64(200+day), 30_000)["b/large"])
	x.write("old/3", fmt.Sprint("changed on day ", day))
	gone := fmt.Sprint("old/", 10+day)
	must(x.t, os.Remove(filepath.Join(x.dir, gone)))
	delete(x.docs, gone)
	x.later(3 * time.Hour)
	noon()
	x.later(3 * time.Hour)
	x.reboot([]*machine{x.anna, x.dan}[day%2])
	x.later(9 * time.Hour)
	k := x.anna.kept()
	if k.Trouble != "" || time.Since(k.Stored) > 2*time.Hour {
		x.t.Fatalf("at the end of day %d the docs are stored like this: %+v", day, k)
	}
	x.stored[k.Version] = maps.Clone(x.docs)
}

// newDisk is for dan, who has lost his.
func (x *week) newDisk() {
	x.dan.stop()
	must(x.t, os.RemoveAll(x.dan.dir))
	x.later(5 * time.Hour)
	next, rec := x.recover(x.dan, x.bo, "dan")
	if rec.Agree != 3 || len(rec.Versions) != 1 || len(rec.Failed) > 0 {
		x.t.Errorf("dan has recovered %+v", rec)
	}
	next.run()
	x.dan = next
	x.hear(next)
	next.mustHave("photos", x.photos)
}

func (x *week) newFriend() {
	x.eve = x.friend("eve")
	x.befriend(x.anna, x.eve)
	x.befriend(x.dan, x.eve)
}

func (x *week) friend(name string) *machine {
	m := x.world.found(name)
	m.run()
	x.hear(m)
	return m
}

func (x *week) away() { x.bo.stop() }

func (x *week) leaves() {
	p, err := x.cleo.End(x.t.Context(), "anna")
	if err != nil || p.Ends.IsZero() {
		x.t.Errorf("cleo gives notice: %+v, %v", p, err)
	}
}

func (x *week) removes() {
	x.anna.put("thesis", x.thesis)
	gone, err := x.anna.Remove(x.t.Context(), grange.Ref{Name: "thesis"})
	if err != nil || len(gone) != 1 {
		x.t.Errorf("anna removes her thesis: %+v, %v", gone, err)
	}
}

func (x *week) undoes() {
	out, err := x.anna.Undo(x.t.Context(), "")
	if err != nil || out.Name != "thesis" || len(out.Versions) != 1 || len(out.Lost) > 0 {
		x.t.Errorf("anna undoes that: %+v, %v", out, err)
	}
}

func (x *week) back() {
	x.bo.open()
	x.bo.run()
	x.hear(x.bo)
}

// ends holds everything against what it should be.
func (x *week) ends() {
	anna := x.anna
	for _, name := range []string{"docs", "thesis"} {
		if got := anna.worth(name); got.Survives < 1 || got.Pieces != got.Wanted {
			x.t.Errorf("%s is worth %+v", name, got)
		}
	}
	if got := x.dan.worth("photos"); got.Survives < 1 || got.Pieces != got.Wanted {
		x.t.Errorf("the photos are worth %+v", got)
	}
	if check, err := anna.Check(x.t.Context(), "", nil); err != nil {
		x.t.Errorf("a check finds %+v, %v", check, err)
	}
	if len(x.stored) != 7 {
		x.t.Errorf("%d versions of the docs in seven days", len(x.stored))
	}
	for version, want := range x.stored {
		if err := anna.hasVersion(grange.Ref{Name: "docs", Version: version}, want); err != nil {
			x.t.Errorf("version %d of the docs: %v", version, err)
		}
	}
	anna.mustHave("thesis", x.thesis)
	x.dan.mustHave("photos", x.photos)
	for _, m := range []*machine{x.bo, x.cleo, x.dan, x.eve} { // whichever one is lost
		x.without(m, func() {
			back := filepath.Join(x.t.TempDir(), "without "+m.name)
			out, err := anna.Restore(x.t.Context(), grange.Ref{Name: "docs"}, back, nil)
			if err != nil || len(out.Problems) > 0 {
				x.t.Errorf("restored without %s: %+v, %v", m.name, out, err)
			}
			sameTrees(x.t, x.dir, back)
		})
	}
	x.later(time.Hour)
	for _, p := range [][2]*machine{{anna, x.bo}, {anna, x.cleo}, {anna, x.dan}, {anna, x.eve}, {x.dan, x.bo}, {x.dan, x.cleo}, {x.dan, x.eve}} {
		x.evenBooks(p[0], p[1])
		x.evenBooks(p[1], p[0])
	}
	x.explained()
}

// explained looks at all alarms of the week: what moved, to a friend who joined, from one who left and for one who was
// away, did so over days, and is nothing to be alarmed at.
func (x *week) explained() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, alarm := range x.alarms {
		x.t.Errorf("nothing explains the alarm of %s", alarm)
	}
}

// ledger is what m's books say of a partner.
func (m *machine) ledger(of *machine) grange.Ledger {
	m.w.t.Helper()
	all, err := m.Ledgers(m.w.t.Context(), of.house.String())
	if err != nil || len(all) != 1 {
		m.w.t.Fatalf("%s has %d ledgers of %s, %v", m.name, len(all), of.name, err)
	}
	return all[0]
}

// evenBooks fails the test unless what owner has at holder is the same in the books of both, to the
// byte and to the hour.
func (w *world) evenBooks(owner, holder *machine) {
	w.t.Helper()
	w.evenLines(owner, holder)
	had, gave := owner.ledger(holder), holder.ledger(owner)
	if had.Has+had.Returns != gave.Keeps-gave.Aside {
		w.t.Errorf("%s has %d bytes at %s and gives %d back, who keeps %d, %d of them aside", owner.name, had.Has, holder.name, had.Returns, gave.Keeps, gave.Aside)
	}
}

// evenLines fails the test unless both count the same of what the owner's machine has had of the holder's.
func (w *world) evenLines(owner, holder *machine) {
	w.t.Helper()
	had, gave := owner.ledger(holder), holder.ledger(owner)
	line := func(lines []grange.LedgerLine, of *machine) (out grange.LedgerLine) {
		for _, l := range lines {
			if l.Differs {
				w.t.Errorf("%s and %s differ: %+v", owner.name, holder.name, l)
			}
			if l.Machine == of.did {
				out = l
			}
		}
		return out
	}
	if h, g := line(had.Had, holder), line(gave.Gave, owner); h.Live != g.Live || h.ByteHours != g.ByteHours {
		w.t.Errorf("%s counts %d bytes live at %s and %d byte-hours, which counts %d and %d",
			owner.name, h.Live, holder.name, h.ByteHours, g.Live, g.ByteHours)
	}
}
