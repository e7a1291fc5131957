package grange_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/grange-grid/grange"
)

// step is one thing that happens in a life, as often as its weight says.
type step struct {
	name   string
	weight int
	can    func(*life) bool // nil: always
	do     func(*life)
}

// steps are good days first; the first is none.
var steps = []step{
	{"nothing", 4, nil, func(*life) {}},
	{"put", 40, nil, (*life).put},
	{"get", 20, nil, (*life).get},
	{"check", 12, nil, func(l *life) { l.audit(grange.CheckOptions{}) }},
	{"mend", 12, nil, func(l *life) { l.audit(grange.CheckOptions{Mend: true}) }},
	{"mend now", 8, nil, (*life).mendNow},
	{"wait", 12, nil, func(l *life) { l.later(time.Duration(l.choose(60)) * time.Minute) }},
	{"keep", 12, func(l *life) bool { return l.docs == nil }, (*life).keep},
	{"write", 12, (*life).mayWrite, (*life).write},
	{"tick", 16, func(l *life) bool { return l.docs != nil }, func(l *life) { l.later(time.Hour) }},
	{"remove", 20, func(l *life) bool { return len(l.acked) > 0 }, func(l *life) { l.remove() }},
	{"undo", 20, nil, (*life).undo},

	{"down", 30, nil, (*life).takeDown},
	{"up", 30, func(l *life) bool { return len(l.down) > 0 }, (*life).bringUp},
	{"restart", 6, nil, func(l *life) { l.partner().restart() }},
	{"restart anna", 6, nil, func(l *life) { l.anna.restart() }},
	{"cut put", 12, nil, (*life).cutPut},
	{"kill", 12, nil, func(l *life) { l.kill(l.partner()) }},
	{"kill anna", 6, nil, func(l *life) { l.kill(l.anna) }},
	{"put, killed", 20, nil, func(l *life) { l.killIn(l.put) }},
	{"mend, killed", 6, nil, func(l *life) { l.killIn(l.mendNow) }},
	{"remove, killed", 6, func(l *life) bool { return len(l.acked) > 0 }, func(l *life) { l.killIn(func() { l.remove() }) }},
	{"full", 8, nil, (*life).fill},
	{"put, disk full", 12, nil, (*life).putFull},
	{"put, anna's disk full", 6, nil, (*life).putFullHere},
	{"wrong clock", 8, nil, (*life).setClock},
	{"days", 2, nil, func(l *life) { l.later(time.Duration(1+l.choose(3)) * 24 * time.Hour) }},
	{"undo on day 13", 1, func(l *life) bool { return len(l.acked) > 0 && l.losses() == 0 }, (*life).undoLate},
	{"recover", 12, func(l *life) bool { return len(l.down) < len(l.partners) && l.safe(0) }, (*life).loseAnna},
	{"loss", 4, (*life).mayLose, (*life).lose},
}

// tree makes one that shares its large file with others of the same kind.
func (l *life) tree() tree {
	l.made++
	l.later(time.Second) // of two versions in one second, by two machines, none is the newer
	t := randomTree(uint64(l.choose(4)), []int{0, 3000, 40_000, 300_000}[l.choose(4)])
	t["own"] = fmt.Sprint("put ", l.made)
	return t
}

func (l *life) put() {
	name, tree := fmt.Sprint("tree", l.choose(3)), l.tree()
	out, err := l.anna.Put(l.t.Context(), name, tree.fs(), nil)
	takers := 0
	for _, p := range l.partners {
		if !l.down[p] && !l.full[p] {
			takers++
		}
	}
	switch {
	case err == nil:
		l.acked[name], l.maybe[name] = tree, nil
		if up := len(l.partners) - len(l.down); out.Worth.Households > up {
			l.t.Errorf("put over %d households, and %d are up", out.Worth.Households, up)
		}
	case out.Number > 0, l.dying:
		l.maybe[name] = append(l.maybe[name], tree)
	case takers > 0 && !l.loose:
		l.t.Errorf("put, with %d partners up who take something: %v", takers, err)
	}
}

// cutPut lets a path break in the middle of a put.
func (l *life) cutPut() {
	p := l.partner()
	from, to := l.anna.did, p.did
	if l.choose(2) == 0 {
		from, to = to, from
	}
	l.loose = true
	l.net.StopAfter(from, to, int64(l.by)*40)
	l.put()
	l.net.Heal(from, to)
}

// killIn cuts the power of a machine in the middle of something, at a write that may have reached its disk.
func (l *life) killIn(do func()) {
	m := slices.Concat([]*machine{l.anna, l.anna}, l.partners)[l.choose(2+len(l.partners))]
	l.disk(m).OnCrash(func() { l.net.Down(m.did) })
	l.disk(m).CrashAfter(l.choose(30), l.choose(2) == 0)
	l.loose, l.dying = true, m == l.anna
	do()
	l.kill(m)
	l.dying = false
	if name := l.unsure; name != "" && l.anna.versionCount(name) == 0 {
		delete(l.acked, name)
		delete(l.maybe, name)
		l.removed[name] = nil // a recovery may bring it back
	}
	l.unsure = ""
}

// kill has a machine come back as after a power cut.
func (l *life) kill(m *machine) {
	l.net.Down(m.did)
	l.disk(m).Crash()
	m.restart()
	if !l.down[m] {
		l.net.Up(m.did)
	}
	l.later(time.Minute)
}

// putFull has a partner's disk run full in the middle of a put.
func (l *life) putFull() {
	p := l.partner()
	l.full[p] = true
	blobs := l.disk(p).Disk.Blobs()
	blobs.SetCapacity(blobs.Used() + int64(l.choose(10))*20_000)
	l.put()
	if l.choose(2) == 0 {
		l.makeRoom(p)
	}
}

func (l *life) makeRoom(p *machine) {
	l.disk(p).Disk.Blobs().SetCapacity(0)
	must(l.t, p.SetOffer(l.t.Context(), 9e11))
	delete(l.full, p)
}

// putFullHere has anna's own disk run full in the middle of a put.
func (l *life) putFullHere() {
	l.loose = true
	books := l.disk(l.anna).Disk.Books()
	books.FullAfter(l.choose(50))
	l.put()
	books.SetFull(false)
	l.later(time.Minute)
}

// keep has anna keep a directory of real files.
func (l *life) keep() {
	if l.docs == nil {
		l.docs = tree{}
	}
	l.write()
	_, err := l.anna.Keep(l.t.Context(), grange.Keeping{Path: grange.Path(l.dir), Name: "docs"})
	must(l.t, err)
	l.later(time.Second)
}

// mayWrite: what is read while it is written is one or the other.
func (l *life) mayWrite() bool {
	for _, k := range l.anna.Kept(l.t.Context()) {
		return !k.Busy
	}
	return false
}

func (l *life) write() {
	name := fmt.Sprint(l.choose(4))
	l.docs = maps.Clone(l.docs)
	l.docs[name] = randomTree(uint64(l.by), l.choose(100_000))["b/large"]
	must(l.t, os.WriteFile(filepath.Join(l.dir, name), []byte(l.docs[name]), 0o644))
	l.docsAt = l.anna.clock.Now()
	l.later(time.Second)
	if l.acked["docs"] != nil {
		l.maybe["docs"] = append(l.maybe["docs"], l.docs)
	}
}

// lookAtDocs sees whether what is kept is stored as it is.
func (l *life) lookAtDocs() {
	if l.docs == nil {
		return
	}
	for _, k := range l.anna.Kept(l.t.Context()) {
		if k.Trouble == "" && k.Stored.After(l.docsAt) && l.anna.versionCount("docs") > 0 {
			l.acked["docs"], l.maybe["docs"] = l.docs, nil
		}
	}
}

func (l *life) mendNow() {
	l.loose = l.loose || l.losses() > 0
	l.audit(grange.CheckOptions{Mend: true, Now: true})
	l.get()
}

func (l *life) takeDown() {
	p := l.partner()
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

// loseAnna recovers on a new machine.
func (l *life) loseAnna() {
	for _, p := range l.partners {
		if l.down[p] {
			continue
		}
		l.anna.stop()
		l.made++
		next, rec := l.recover(l.anna, p, fmt.Sprint("anna", l.made))
		if len(rec.Versions) < len(l.acked) {
			l.t.Errorf("recovered %d names of %d: %+v", len(rec.Versions), len(l.acked), rec)
		}
		next.clock = l.anna.clock
		l.anna, l.loose, l.recovered = next, true, true
		l.anna.run()
		l.get()
		if l.docs != nil {
			l.keep()
		}
		return
	}
}

// mayLose: what was promised outlives the loss, and two are left.
func (l *life) mayLose() bool { return len(l.partners) > 2 && len(l.down) == 0 && l.safe(1) }

// lose has a partner's machine end for ever.
func (l *life) lose() {
	i := l.choose(len(l.partners))
	p := l.partners[i]
	l.net.Down(p.did)
	p.stop()
	l.gone, l.loose = append(l.gone, p), true
	l.partners = slices.Delete(slices.Clone(l.partners), i, i+1)
	l.get()
}

// remove forgets a name, which it returns; undo brings the last one that was forgotten back.
func (l *life) remove() string {
	names := slices.Sorted(maps.Keys(l.acked))
	name := names[l.choose(len(names))]
	l.later(time.Second) // of two removals in one second, none is the newer
	_, err := l.anna.Remove(l.t.Context(), grange.Ref{Name: name})
	if err != nil && l.dying {
		l.unsure = name
		return name
	}
	if err != nil && !errors.Is(err, grange.ErrPartly) {
		l.t.Errorf("remove %s: %v", name, err)
	}
	if err == nil && len(l.maybe[name]) == 0 {
		l.removed[name] = append(l.removed[name], removal{l.acked[name], time.Now()})
	} else { // a recovery may bring it back, or it is not known what was the newest
		l.removed[name] = nil
	}
	delete(l.acked, name)
	delete(l.maybe, name)
	if !l.dying && l.anna.versionCount(name) > 0 {
		l.t.Errorf("%s is removed, and there", name)
	}
	return name
}

func (l *life) undo() {
	for _, name := range slices.Sorted(maps.Keys(l.removed)) {
		if len(l.removed[name]) > 0 {
			l.undoOf(name)
			return
		}
	}
}

// undoOf brings back what was removed last of a name. Holders may have dropped it after a fortnight.
func (l *life) undoOf(name string) {
	rest, was := l.removed[name][:len(l.removed[name])-1], l.removed[name][len(l.removed[name])-1]
	out, err := l.anna.Undo(l.t.Context(), name)
	switch {
	case err == nil, len(out.Versions) > 0 && len(out.Lost) == 0: // not all may have heard of it
		l.removed[name] = rest
		if l.acked[name] == nil {
			l.acked[name] = was.tree
		}
		l.get()
	case time.Since(was.at) > asideDays*24*time.Hour:
		l.removed[name] = nil
	case l.losses() == 0:
		l.t.Errorf("undo the removal of %s after %v, and all are up: %+v, %v", name, time.Since(was.at), out, err)
	}
}

// undoLate undoes a removal just before its fortnight is over.
func (l *life) undoLate() {
	name := l.remove()
	l.later(asideDays*24*time.Hour - time.Hour)
	if len(l.removed[name]) > 0 {
		l.undoOf(name)
	}
}

// fill has a partner take nothing more.
func (l *life) fill() {
	p := l.partner()
	_, used := p.Offer(l.t.Context())
	must(l.t, p.SetOffer(l.t.Context(), used))
	l.full[p] = true
}

// setClock has a clock be wrong from now on. To a machine that is a year ahead every promise has lapsed: not anna's.
func (l *life) setClock() {
	const day = 24 * time.Hour
	p, wrong := l.partner(), []time.Duration{-day, 0, day, 365 * day}[l.choose(4)]
	switch {
	case wrong > day:
		l.wild[p] = true
	case l.choose(3) == 0:
		p = l.anna
	}
	p.clock.set(wrong)
}
