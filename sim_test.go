package grange_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange"
)

// simSeedsFew is how many lives are simulated unless GRANGE_SIM_SEEDS says otherwise.
const simSeedsFew = 8

// days skips a story of days or weeks where the race detector makes minutes of it: make test tells
// it without.
func days(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: make sim tells it")
	}
}

func simSeeds(t tester) int {
	t.Helper()
	text := os.Getenv("GRANGE_SIM_SEEDS")
	if text == "" {
		return simSeedsFew
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GRANGE_SIM_SEEDS is %q, which is no number of seeds", text)
	}
	return n
}

// Of some lives it is waited for all that somebody keeps for nobody to be gone: a lease that nobody knows of ends,
// and what looked like a theft is kept for 60 days.
const (
	oldShare = 200 // lives for each of them
	oldDays  = leaseDays + 60 + 2
)

// spareMax is how many bytes a holder may have besides pieces: leases, and the pages of states.
const spareMax = 1 << 20

// The terms of a life's pacts.
const (
	leaseDays = 10
	asideDays = 14
)

// TestSimLife lets a household live through good days and bad ones, and holds what it says against what was put. Of
// a life that goes wrong rapid finds a short story.
func TestSimLife(t *testing.T) {
	inMemory(t)
	set := func(t *testing.T, name, value string) {
		was := flag.Lookup(name).Value.String()
		must(t, flag.Set(name, value))
		t.Cleanup(func() { must(t, flag.Set(name, was)) })
	}
	set(t, "rapid.checks", "1")
	if testing.Short() {
		set(t, "rapid.checks", "5") // of which it takes a fifth
	}
	set(t, "rapid.shrinktime", "1m")
	for i := range simSeeds(t) {
		old := i%oldShare == 0 && !testing.Short()
		t.Run(fmt.Sprint("seed=", i), func(t *testing.T) {
			set(t, "rapid.seed", fmt.Sprint(i+1))
			var first []string
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the first time: %s", strings.Join(first, "\n"))
				}
			})
			tries := 1
			rapid.Check(t, func(r *rapid.T) {
				partners := rapid.IntRange(2, 5).Draw(r, "partners")
				moves := rapid.SliceOfN(rapid.Custom(drawMove), lifeSteps, lifeSteps).Draw(r, "life")
				for range tries {
					cryptotest.SetGlobalRandom(t, 1)
					tries = 3 // once one has gone wrong: which goroutine runs first differs each time
					rapid.SyncTest(r, func(r *rapid.T) { newLife(lifeT{r, &first}, partners).live(moves, old) })
				}
			})
		})
	}
}

const lifeSteps = 20

// move is a step, and the number by which it chooses what is left to choice.
type move struct{ step, by int }

// GoString is what rapid shows.
func (m move) GoString() string {
	if m.step == 0 {
		return "-"
	}
	return fmt.Sprintf("%s %d", steps[m.step].name, m.by)
}

// drawMove comes down to nothing where nothing matters.
func drawMove(r *rapid.T) move {
	var bag []int
	for i, s := range steps {
		bag = append(bag, slices.Repeat([]int{i}, s.weight)...)
	}
	return move{rapid.SampledFrom(bag).Draw(r, "step"), rapid.IntRange(0, 999).Draw(r, "by")}
}

// lifeT is a rapid.T that has directories.
type lifeT struct {
	*rapid.T
	first *[]string // what went wrong before rapid tried to make it shorter, at most a few
}

func (t lifeT) Errorf(format string, args ...any) {
	t.Helper()
	if len(*t.first) < 5 {
		*t.first = append(*t.first, fmt.Sprintf(format, args...))
	}
	t.T.Errorf(format, args...)
}

func (t lifeT) TempDir() string {
	dir, err := os.MkdirTemp("", "grange-life-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

type removal struct {
	tree tree
	at   time.Time
}

// life is one household's, seen from outside.
type life struct {
	*world
	ram      *ramDisks
	anna     *machine
	partners []*machine
	gone     []*machine // partners that will not be back
	down     map[*machine]bool
	// acked has the newest tree of each name whose put has succeeded, maybe those of later puts
	// that have not, quite.
	acked map[string]tree
	maybe map[string][]tree
	// removed has what was the newest tree of a name when it was removed, the last removal last.
	removed map[string][]removal
	// dying says that anna's power is about to be cut; unsure is a name whose removal was cut short by that.
	dying  bool
	unsure string
	// full takes nothing; the leases of who was wild, with a clock that is days ahead, the owner does not count.
	full, wild map[*machine]bool
	// docs are kept; they were changed at docsAt.
	docs   tree
	docsAt time.Time
	dir    string
	// loose says that holders may keep more than anna knows of: an answer was lost, a
	// holder given up, or a machine recovered.
	loose bool
	// recovered says that a machine was: it takes what had been given up before for held, as leases do not tell that.
	recovered bool
	made, by  int
	told      string // what happens now
}

func newLife(t lifeT, partners int) *life {
	w := newWorld(t)
	t.Cleanup(func() { time.Sleep(time.Hour) }) // timers that nobody stops run out
	l := &life{
		world: w, ram: newRAMDisks(alsoOnBattery), down: map[*machine]bool{}, acked: map[string]tree{}, maybe: map[string][]tree{},
		removed: map[string][]removal{}, full: map[*machine]bool{}, wild: map[*machine]bool{}, dir: w.t.TempDir(),
	}
	w.disks = l.ram
	for _, name := range []string{"anna", "bo", "cleo", "dan", "eve", "fay"}[:1+partners] {
		m := w.machine(name)
		m.clock = &houseClock{}
		m.create()
		m.run()
		l.partners = append(l.partners, m)
	}
	l.anna, l.partners = l.partners[0], l.partners[1:]
	for _, p := range l.partners {
		w.befriendOn(l.anna, p, grange.Terms{Give: 1e9, Want: 1e9, AsideDays: asideDays, LeaseDays: leaseDays})
	}
	w.later(time.Minute) // the head that names the last of them is brought to all
	return l
}

func (l *life) live(moves []move, old bool) {
	for _, m := range moves {
		if s := steps[m.step]; s.can == nil || s.can(l) {
			l.by, l.told = m.by, m.GoString()
			s.do(l)
			l.lookAtDocs()
			l.stopIfFailed()
		}
	}
	l.told = "settle"
	l.settle(old)
	l.stopIfFailed()
}

func (l *life) stopIfFailed() {
	if l.t.Failed() {
		l.t.Logf("that was at: %s", l.told)
		l.t.Fatalf("a life has gone wrong")
	}
}

// choose is the next of the move's choices of n.
func (l *life) choose(n int) int {
	i := l.by % n
	l.by /= n
	return i
}

func (l *life) partner() *machine { return l.partners[l.choose(len(l.partners))] }

func (l *life) disk(m *machine) *ramDisk { return l.ram.at(m.dir) }

// losses is how many households are away, or gone.
func (l *life) losses() int { return len(l.down) + len(l.gone) }

// safe says that all that was promised can be read though n more households are lost.
func (l *life) safe(n int) bool {
	for name := range l.acked {
		if l.worth(name).Survives < l.losses()+n {
			return false
		}
	}
	return true
}

// worth is what anna says of a name.
func (l *life) worth(name string) grange.Worth {
	status, err := l.anna.Status(l.t.Context(), name)
	if err != nil || len(status.Versions) != 1 {
		l.t.Fatalf("status of %s: %+v, %v", name, status.Versions, err)
	}
	return status.Versions[0].Worth
}

// has tells what is wrong with a name as anna reads it.
func (l *life) has(name string) error {
	err := l.anna.hasTree(name, l.acked[name])
	for _, other := range l.maybe[name] {
		if err != nil && l.anna.hasTree(name, other) == nil {
			return nil
		}
	}
	return err
}

// get reads everything that can be read by what anna says.
func (l *life) get() {
	if l.dying {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.acked)) {
		w := l.worth(name)
		if w.Survives >= l.losses() {
			if err := l.has(name); err != nil {
				l.t.Errorf("%s survives %d, %d are lost: %v", name, w.Survives, l.losses(), err)
			}
		}
	}
}

// audit has the holders prove what they keep.
func (l *life) audit(o grange.CheckOptions) grange.CheckResult {
	out, err := l.anna.Check(l.t.Context(), "", &o)
	if err != nil && !errors.Is(err, grange.ErrPartly) && !l.dying {
		l.t.Errorf("check: %v", err)
	}
	for _, f := range out.Findings {
		if f.Missing+f.Corrupt+f.Gone > 0 {
			l.t.Errorf("found at a partner who lost nothing: %+v", f)
		}
		for m := range l.down {
			if m.name == f.Partner && f.OK > 0 {
				l.t.Errorf("proven by one who is down: %+v", f)
			}
		}
	}
	return out
}

// settle brings all partners up, and holds every number against the truth.
func (l *life) settle(old bool) {
	for len(l.down) > 0 {
		l.bringUp()
	}
	l.anna.clock.set(0)
	for _, p := range l.partners {
		p.clock.set(0)
		l.makeRoom(p)
	}
	l.later(15 * time.Minute)
	for range l.removed { // what was removed comes back
		l.undo()
	}
	l.get()
	if len(l.acked) == 0 {
		return
	}
	out := l.audit(grange.CheckOptions{Mend: true, Now: len(l.gone) > 0})
	if out.Worth.Pieces < out.Worth.Wanted || out.Mended.Whole != out.Mended.Segments {
		l.t.Errorf("all are up, and a mending leaves %+v, %+v", out.Worth, out.Mended)
	}
	l.get()
	l.later(20 * time.Minute) // what the mending gave up is told to who had it
	l.evenAll(false)
	if old {
		l.later(oldDays * 24 * time.Hour)
		l.evenAll(true)
	}
	for _, name := range slices.Sorted(maps.Keys(l.acked)) {
		l.withoutAny(name, l.worth(name).Survives)
	}
}

// evenAll holds both sides' books against each other.
func (l *life) evenAll(exactly bool) {
	for _, p := range l.partners {
		had, gave := l.anna.ledger(p), p.ledger(l.anna)
		if !l.wild[p] {
			l.evenLines(l.anna, p)
		}
		has, keeps := had.Has+had.Returns, gave.Keeps-gave.Aside
		if over := l.disk(p).Disk.Blobs().Used() - gave.Keeps; exactly && (gave.Aside > 0 || over > spareMax) {
			l.t.Errorf("%s keeps %d bytes aside still, and %d of other things", p.name, gave.Aside, over)
		}
		if has > keeps && (exactly || !l.recovered) || has < keeps && (exactly || !l.loose) {
			l.t.Errorf("%d bytes are at %s, who keeps %d", has, p.name, keeps)
		}
	}
}

// withoutAny takes n partners down, whichever they are, and reads a name.
func (l *life) withoutAny(name string, n int) {
	if n < 0 || n >= len(l.partners) {
		l.t.Errorf("%s survives %d of %d partners", name, n, len(l.partners))
		return
	}
	for range 3 {
		l.partners = append(l.partners[1:], l.partners[0])
		for _, p := range l.partners[:n] {
			l.net.Down(p.did)
		}
		if err := l.has(name); err != nil {
			l.t.Errorf("%s survives %d, and without %s: %v", name, n, l.partners[0].name, err)
		}
		for _, p := range l.partners[:n] {
			l.net.Up(p.did)
		}
		l.later(5 * time.Minute)
	}
}
