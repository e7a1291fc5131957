package grange_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange"
)

// configure has a machine, which does not run, read other settings from now on.
func (m *machine) configure(settings string) {
	m.w.t.Helper()
	m.stop()
	if err := os.WriteFile(filepath.Join(m.dir, "config.toml"), []byte(settings), 0o600); err != nil {
		m.w.t.Fatal(err)
	}
	m.open()
}

const alsoOnBattery = "[limits]\non_battery = true\n" // else a test on a laptop waits for its plug

// kept returns how the one thing stands that is kept.
func (m *machine) kept() grange.Kept {
	m.w.t.Helper()
	all := m.Kept(m.w.t.Context())
	if len(all) != 1 {
		m.w.t.Fatalf("%s keeps %+v", m.name, all)
	}
	return all[0]
}

// versions counts the versions of a name.
func (m *machine) versionCount(name string) (n int) {
	m.w.t.Helper()
	for _, err := range m.Versions(m.w.t.Context(), name) {
		if err == nil {
			n++
		} else if !errors.Is(err, fs.ErrNotExist) {
			m.w.t.Fatal(err)
		}
	}
	return n
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeepWaitsForTheFirstPartner(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644))
		anna := w.found("anna")
		anna.configure(alsoOnBattery)
		k, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir + "/.")})
		if err != nil || k.Name != "docs" || string(k.Path) != dir || k.EverySeconds != 3600 || k.Last != 7 || k.Daily != 30 || k.Monthly != 12 {
			t.Fatalf("%+v, %v", k, err)
		}
		anna.run()
		w.later(time.Hour)
		if k := anna.kept(); k.Trouble != "no partner" || !k.Stored.IsZero() || k.Alarm {
			t.Errorf("alone: %+v", k)
		}
		bo := w.found("bo")
		bo.run()
		w.befriend(anna, bo)
		w.later(time.Second) // and not the minutes until the next try
		if k := anna.kept(); k.Trouble != "" || k.Version != 1 || k.Unchanged {
			t.Errorf("with a partner: %+v", k)
		}
		w.later(time.Hour)
		if k := anna.kept(); k.Version != 1 || !k.Unchanged || time.Since(k.Stored) > time.Minute || anna.versionCount("docs") != 1 {
			t.Errorf("unchanged: %+v", k)
		}
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("two"), 0o644))
		w.later(time.Hour)
		if k := anna.kept(); k.Version != 2 || k.Unchanged || anna.versionCount("docs") != 2 {
			t.Errorf("changed: %+v", k)
		}

		// Whoever accepts is a partner at once.
		cleo := w.found("cleo")
		cleo.configure(alsoOnBattery)
		_, err = cleo.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir)})
		must(t, err)
		cleo.run()
		w.later(time.Hour)
		w.befriend(bo, cleo)
		w.later(time.Second)
		if k := cleo.kept(); k.Trouble != "" || k.Version != 1 {
			t.Errorf("of who has accepted: %+v", k)
		}
	})
}

func TestWhatIsGoneIsNoVersion(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644))
		anna := w.households("anna", "bo")[0]
		anna.configure(alsoOnBattery)
		anna.run()
		var alarms []string
		go func() {
			for e := range anna.Events(t.Context()) {
				if e.Kind == "alarm" {
					alarms = append(alarms, e.Text)
				}
			}
		}()
		synctest.Wait()
		_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir)})
		must(t, err)
		w.later(time.Minute)

		must(t, os.Rename(dir, dir+".away"))
		w.later(3 * time.Hour)
		if k := anna.kept(); !k.Alarm || k.Trouble != dir+" is not there" || k.Version != 1 || anna.versionCount("docs") != 1 {
			t.Errorf("without the directory: %+v", k)
		}
		must(t, os.Mkdir(dir, 0o755)) // as where a disk is mounted
		must(t, os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755))
		w.later(3 * time.Hour)
		if k := anna.kept(); !k.Alarm || !strings.HasPrefix(k.Trouble, dir+" is empty, and had 1 file: ") || anna.versionCount("docs") != 1 {
			t.Errorf("with an empty one: %+v", k)
		}
		if len(alarms) != 1 || alarms[0] != "docs is not stored: "+dir+" is not there" {
			t.Errorf("alarms %q, want one of all that time", alarms)
		}
		must(t, os.RemoveAll(dir))
		must(t, os.Rename(dir+".away", dir))
		w.later(time.Hour)
		if k := anna.kept(); k.Alarm || k.Trouble != "" || k.Version != 1 || !k.Unchanged {
			t.Errorf("back again: %+v", k)
		}
	})
}

func TestKeepGoesOnWhenAPartnerIsBack(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		all := w.households("anna", "bo")
		anna, bo := all[0], all[1]
		anna.configure(alsoOnBattery)
		anna.run()
		_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir), EverySeconds: 3600})
		must(t, err)
		w.later(time.Minute)
		bo.stop()
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("new"), 0o644))
		w.later(26 * time.Hour)
		if k := anna.kept(); !strings.Contains(k.Trouble, "bo could not be reached") || !k.Alarm || k.Version != 1 {
			t.Errorf("while bo is away: %+v", k)
		}
		anna.restart()
		if k := anna.kept(); !k.Alarm || k.Version != 1 {
			t.Errorf("after a restart: %+v", k)
		}
		bo.open()
		bo.run()
		w.later(10 * time.Minute) // he greets, or is greeted; the next try were in an hour
		if k := anna.kept(); k.Trouble != "" || k.Alarm || k.Version != 2 {
			t.Errorf("when bo is back: %+v", k)
		}
		if out, err := anna.StopKeeping(t.Context(), grange.Path(dir)); err != nil || out.Name != "docs" || len(anna.Kept(t.Context())) != 0 {
			t.Errorf("stopped: %+v, %v", out, err)
		}
		if _, err := anna.StopKeeping(t.Context(), grange.Path(dir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stopped twice: %v", err)
		}
	})
}

// What is whole without a friend who is away is stored, though that one has not heard of it.
func TestKeepWhileAFriendIsAway(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644))
		homes := w.households("anna", "bo", "cleo", "dan")
		anna := homes[0]
		anna.configure(alsoOnBattery)
		anna.run()
		_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir)})
		must(t, err)
		w.later(time.Minute)
		homes[1].stop()
		w.later(26 * time.Hour)
		if k := anna.kept(); k.Trouble != "" || k.Alarm || k.Version != 1 || !k.Unchanged || time.Since(k.Stored) > time.Hour {
			t.Errorf("while bo is away: %+v", k)
		}
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("two"), 0o644))
		w.later(time.Hour)
		if k := anna.kept(); k.Trouble != "" || k.Version != 2 || k.Unchanged {
			t.Errorf("changed while bo is away: %+v", k)
		}
	})
}

func TestWhatCannotBeKept(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	dir := filepath.Join(t.TempDir(), "docs")
	must(t, os.MkdirAll(filepath.Join(dir, "docs"), 0o755))
	_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir)})
	must(t, err)
	for why, c := range map[string]struct {
		k    grange.Keeping
		want error
	}{
		"nothing there":  {grange.Keeping{Path: grange.Path(dir + "x")}, fs.ErrNotExist},
		"our own":        {grange.Keeping{Path: grange.Path(anna.dir)}, grange.ErrInvalid},
		"another's name": {grange.Keeping{Path: grange.Path(dir + "/docs")}, fs.ErrExist},
		"two names":      {grange.Keeping{Path: grange.Path(dir), Name: "papers"}, fs.ErrExist},
		"no name":        {grange.Keeping{Path: grange.Path(dir + "/docs"), Name: "a/b"}, grange.ErrInvalid},
		"a pattern":      {grange.Keeping{Path: grange.Path(dir), Exclude: []grange.Path{"["}}, grange.ErrInvalid},
		"too often":      {grange.Keeping{Path: grange.Path(dir), EverySeconds: 59}, grange.ErrInvalid},
		"before now":     {grange.Keeping{Path: grange.Path(dir), EverySeconds: -1}, grange.ErrInvalid},
		"never":          {grange.Keeping{Path: grange.Path(dir), EverySeconds: 1 << 62}, grange.ErrInvalid},
		"below nothing":  {grange.Keeping{Path: grange.Path(dir), Last: -1}, grange.ErrInvalid},
	} {
		if k, err := anna.Keep(t.Context(), c.k); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", why, k, err)
		}
	}
	if k := anna.kept(); k.EverySeconds != 3600 || k.Last != 7 {
		t.Errorf("what was kept has become %+v", k)
	}
}

func TestKeepThinsOut(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		anna := w.households("anna", "bo")[0]
		anna.configure(alsoOnBattery)
		anna.run()
		_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir), Last: 2})
		must(t, err)
		for i := range 5 {
			must(t, os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte{byte(i)}, 1000+i), 0o644))
			w.later(time.Hour)
		}
		var numbers []uint64
		for v, err := range anna.Versions(t.Context(), "docs") {
			must(t, err)
			numbers = append(numbers, v.Number)
		}
		if newest := anna.kept().Version; len(numbers) != 2 || numbers[0] != newest || numbers[1] != newest-1 || newest < 5 {
			t.Errorf("versions %d are left, the newest is %d", numbers, newest)
		}
		out, err := anna.Undo(t.Context(), "")
		if err != nil || out.Name != "docs" || len(out.Versions) != 1 || out.Versions[0].Number != numbers[1]-1 {
			t.Errorf("what a rule removed comes back as %+v, %v", out, err)
		}
	})
}
