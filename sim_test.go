package grange_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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

func simSeeds(t *testing.T) int {
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

// TestSimLife lets a household put, read, check, mend, restart and recover while its partners come
// and go and connections break, and holds what it says against what was put.
func TestSimLife(t *testing.T) {
	for seed := range simSeeds(t) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			bubble(t, func(w *world) { newLife(w, uint64(seed)).live() })
		})
	}
}

// life is one household's, seen from outside.
type life struct {
	*world
	t        *testing.T
	r        *rand.Rand
	anna     *machine
	partners []*machine
	down     map[*machine]bool
	// acked has the newest tree of each name whose put has succeeded, maybe those of later puts
	// that have not, quite.
	acked map[string]tree
	maybe map[string][]tree
	// removed has what was the newest tree of a name when it was removed, the last removal last.
	removed map[string][]tree
	// full takes nothing.
	full map[*machine]bool
	// loose says that holders may keep more than anna knows of: an answer was lost, a
	// holder given up, or a machine recovered.
	loose bool
	// recovered says that a machine was: it takes what had been given up before for held, as leases do not tell that.
	recovered bool
	made      int
	story     []string
}

const lifeSteps = 20

func newLife(w *world, seed uint64) *life {
	r := rand.New(rand.NewPCG(seed, 1))
	names := []string{"anna", "bo", "cleo", "dan", "eve", "fay"}[:3+r.IntN(4)]
	homes := w.households(names...)
	for _, m := range homes {
		m.clock = &houseClock{}
		m.restart()
	}
	w.later(time.Minute) // the head that names the last of them is brought to all
	return &life{
		world: w, t: w.t, r: r, anna: homes[0], partners: homes[1:], down: map[*machine]bool{},
		acked: map[string]tree{}, maybe: map[string][]tree{}, removed: map[string][]tree{},
		full: map[*machine]bool{},
	}
}

func (l *life) live() {
	steps := []struct {
		name   string
		weight int
		do     func()
	}{
		{"put", 6, l.put},
		{"cut put", 2, l.cutPut},
		{"get", 3, l.get},
		{"check", 2, l.check},
		{"mend", 2, l.mend},
		{"mend now", 1, l.mendNow},
		{"down", 4, l.takeDown},
		{"up", 4, l.bringUp},
		{"restart", 1, l.restart},
		{"restart anna", 1, l.restartAnna},
		{"recover", 2, l.loseAnna},
		{"remove", 3, l.remove},
		{"undo", 3, l.undo},
		{"full", 1, l.fill},
		{"wrong clock", 1, l.setClock},
		{"wait", 2, func() { l.later(time.Duration(l.r.IntN(60)) * time.Minute) }},
	}
	var bag []int
	for i, s := range steps {
		bag = append(bag, slices.Repeat([]int{i}, s.weight)...)
	}
	for range lifeSteps {
		s := steps[bag[l.r.IntN(len(bag))]]
		l.story = append(l.story, s.name)
		s.do()
		if l.t.Failed() {
			l.t.Fatalf("after %s", strings.Join(l.story, ", "))
		}
	}
	l.settle()
	if l.t.Failed() {
		l.t.Fatalf("after %s", strings.Join(l.story, ", "))
	}
}

// tree makes one that shares its large file with others of the same kind.
func (l *life) tree() tree {
	l.made++
	l.later(time.Second) // of two versions in one second, by two machines, none is the newer
	t := randomTree(uint64(l.r.IntN(4)), []int{0, 3000, 40_000, 300_000}[l.r.IntN(4)])
	t["own"] = fmt.Sprint("put ", l.made)
	return t
}

func (l *life) put() {
	name, tree := fmt.Sprint("tree", l.r.IntN(3)), l.tree()
	out, err := l.anna.Put(l.t.Context(), name, tree.fs(), nil)
	up, takers := len(l.partners)-len(l.down), 0
	for _, p := range l.partners {
		if !l.down[p] && !l.full[p] {
			takers++
		}
	}
	switch {
	case err == nil:
		l.acked[name], l.maybe[name] = tree, nil
		if out.Worth.Households > up {
			l.t.Errorf("put over %d households, and %d are up", out.Worth.Households, up)
		}
	case out.Number > 0:
		l.maybe[name] = append(l.maybe[name], tree)
	case takers > 0 && !l.loose:
		l.t.Errorf("put, with %d partners up who take something: %v", takers, err)
	}
}

// cutPut lets a path break in the middle of a put.
func (l *life) cutPut() {
	p := l.partners[l.r.IntN(len(l.partners))]
	from, to := l.anna.did, p.did
	if l.r.IntN(2) == 0 {
		from, to = to, from
	}
	l.loose = true
	l.net.StopAfter(from, to, l.r.Int64N(40_000))
	l.put()
	l.net.Heal(from, to)
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
	for _, name := range slices.Sorted(maps.Keys(l.acked)) {
		w := l.worth(name)
		if w.Survives >= len(l.down) {
			if err := l.has(name); err != nil {
				l.t.Errorf("%s survives %d, %d are down: %v", name, w.Survives, len(l.down), err)
			}
		}
	}
}

func (l *life) audit(o grange.CheckOptions) grange.CheckResult {
	out, err := l.anna.Check(l.t.Context(), "", &o)
	if err != nil && !errors.Is(err, grange.ErrPartly) {
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

func (l *life) check() { l.audit(grange.CheckOptions{}) }
func (l *life) mend()  { l.audit(grange.CheckOptions{Mend: true}) }

func (l *life) mendNow() {
	l.loose = l.loose || len(l.down) > 0
	l.audit(grange.CheckOptions{Mend: true, Now: true})
	l.get()
}

func (l *life) takeDown() {
	p := l.partners[l.r.IntN(len(l.partners))]
	l.net.Down(p.did)
	l.down[p] = true
}

func (l *life) bringUp() {
	for _, p := range l.partners {
		if l.down[p] {
			l.net.Up(p.did)
			delete(l.down, p)
			l.later(time.Minute)
			return
		}
	}
}

func (l *life) restart()     { l.partners[l.r.IntN(len(l.partners))].restart() }
func (l *life) restartAnna() { l.anna.restart() }

// loseAnna recovers on a new machine, if enough partners are up for all that was promised.
func (l *life) loseAnna() {
	for name := range l.acked {
		if l.worth(name).Survives < len(l.down) {
			return
		}
	}
	for _, p := range l.partners {
		if l.down[p] {
			continue
		}
		l.anna.stop()
		next, rec := l.recover(l.anna, p, fmt.Sprint("anna", len(l.story)))
		if len(rec.Versions) < len(l.acked) {
			l.t.Errorf("recovered %d names of %d: %+v", len(rec.Versions), len(l.acked), rec)
		}
		l.anna, l.loose, l.recovered = next, true, true
		l.anna.run()
		l.get()
		return
	}
}

// remove forgets a name; undo brings the last one that was forgotten back.
func (l *life) remove() {
	names := slices.Sorted(maps.Keys(l.acked))
	if len(names) == 0 {
		return
	}
	name := names[l.r.IntN(len(names))]
	l.later(time.Second) // of two removals in one second, none is the newer
	_, err := l.anna.Remove(l.t.Context(), grange.Ref{Name: name})
	if err != nil && !errors.Is(err, grange.ErrPartly) {
		l.t.Errorf("remove %s: %v", name, err)
	}
	if err == nil && len(l.maybe[name]) == 0 {
		l.removed[name] = append(l.removed[name], l.acked[name])
	} else { // a recovery may bring it back, or it is not known what was the newest
		l.removed[name] = nil
	}
	delete(l.acked, name)
	delete(l.maybe, name)
	if l.anna.versionCount(name) > 0 {
		l.t.Errorf("%s is removed, and there", name)
	}
}

func (l *life) undo() {
	for _, name := range slices.Sorted(maps.Keys(l.removed)) {
		was := l.removed[name]
		if len(was) == 0 {
			continue
		}
		out, err := l.anna.Undo(l.t.Context(), name)
		switch {
		case err == nil, len(out.Versions) > 0 && len(out.Lost) == 0: // not all may have heard of it
			l.removed[name] = was[:len(was)-1]
			if l.acked[name] == nil {
				l.acked[name] = was[len(was)-1]
			}
			l.get()
		case len(l.down) == 0:
			l.t.Errorf("undo the removal of %s, and all are up: %+v, %v", name, out, err)
		}
		return
	}
}

// fill has a partner take nothing more.
func (l *life) fill() {
	p := l.partners[l.r.IntN(len(l.partners))]
	_, used := p.Offer(l.t.Context())
	must(l.t, p.SetOffer(l.t.Context(), used))
	l.full[p] = true
}

// setClock has a partner's clock be wrong from now on.
func (l *life) setClock() {
	p := l.partners[l.r.IntN(len(l.partners))]
	p.clock.set([]time.Duration{-24 * time.Hour, 0, 24 * time.Hour, 365 * 24 * time.Hour}[l.r.IntN(4)])
}

// settle brings all partners up, and holds every number against the truth.
func (l *life) settle() {
	for len(l.down) > 0 {
		l.bringUp()
	}
	for _, p := range l.partners {
		p.clock.set(0)
		must(l.t, p.SetOffer(l.t.Context(), 1e12))
	}
	l.later(15 * time.Minute)
	for range l.removed { // what was removed comes back
		l.undo()
	}
	if len(l.acked) == 0 {
		return
	}
	out := l.audit(grange.CheckOptions{Mend: true})
	if out.Worth.Pieces < out.Worth.Wanted || out.Mended.Whole != out.Mended.Segments {
		l.t.Errorf("all are up, and a mending leaves %+v, %+v", out.Worth, out.Mended)
	}
	l.get()
	l.later(20 * time.Minute) // what the mending gave up is told to who had it
	for _, p := range l.partners {
		has, at := l.anna.pact(p).Has, p.ledger(l.anna)
		keeps := at.Keeps - at.Aside
		if has > keeps && !l.recovered || has < keeps && !l.loose {
			l.t.Errorf("%d bytes are at %s, who keeps %d", has, p.name, keeps)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.acked)) {
		l.withoutAny(name, l.worth(name).Survives)
	}
}

// withoutAny takes n partners down, whichever they are, and reads a name.
func (l *life) withoutAny(name string, n int) {
	if n < 0 || n >= len(l.partners) {
		l.t.Errorf("%s survives %d of %d partners", name, n, len(l.partners))
		return
	}
	for range 3 {
		l.r.Shuffle(len(l.partners), func(i, j int) { l.partners[i], l.partners[j] = l.partners[j], l.partners[i] })
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
