//go:build unix

package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStolenMachine(t *testing.T) {
	rng := dice(t)
	v := village(t, "anna", "bo", "cleo")
	thief, bo, root := v[0], v[1], filepath.Dir(v[0].dir)
	tree := filepath.Join(root, "tree")
	plant(t, rng, tree)
	thief.put(0, tree, "--name", "tree")
	// Another copy of the disk, which never hears of anything.
	thief.stop()
	deaf := newHouse(t, root, "deaf")
	ok(t, os.CopyFS(deaf.dir, os.DirFS(thief.dir)))
	ok(t, os.Chmod(filepath.Join(deaf.dir, "agent.key"), 0o600))
	thief.start()

	anna := newHouse(t, root, "anna2")
	anna.must(0, "recover", "--phrase-file", thief.words, "--from", bo.addr)
	anna.start()

	refused := func(h *house, args ...string) {
		t.Helper()
		if e := h.complaint(h.must(1, args...)); e.Code != "agent.revoked" || e.Hint == "" {
			t.Errorf("%s %s: %+v", h.name, args[0], e)
		}
	}
	write(t, filepath.Join(root, "loot", "new"), noise(rng, 100_000))
	refused(thief, "put", filepath.Join(root, "loot"))
	// Its agent has heard the reason with that, if it did not by itself.
	if code := thief.awaitEnd(); code != 1 {
		t.Errorf("the stolen machine's agent ended with %d", code)
	}
	if last := tail(thief.log, 2); !strings.Contains(last, "removed") {
		t.Errorf("the stolen machine's agent did not say why it ended:\n%s", last)
	}
	refused(thief, "put", filepath.Join(root, "loot"))
	refused(thief, "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns")
	// The one that was off all the time reads and writes nothing either.
	refused(deaf, "put", filepath.Join(root, "loot"))
	if r := deaf.run("get", "tree", filepath.Join(root, "swag")); r.code == 0 {
		t.Errorf("partners still serve a machine that was removed\n%v", r)
	}

	anna.restores("tree", tree)
	anna.put(0, filepath.Join(root, "loot"))
	anna.restores("loot", filepath.Join(root, "loot"))
	anna.healthy()
	var status struct {
		Revoked    string
		Recoveries int
		Versions   []version
	}
	anna.value(&status, 0, "status")
	if status.Revoked != "" || status.Recoveries != 1 || len(status.Versions) != 2 {
		t.Errorf("the new machine: %+v", status)
	}
}

func TestTwoAgentsOnOneDirectory(t *testing.T) {
	h := found(t, room(t), "anna")
	// At once: one of them gets it.
	rival := *h
	rival.port = freePort(t)
	errs := make(chan error, 2)
	go func() { errs <- h.tryStart() }()
	go func() { errs <- rival.tryStart() }()
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Errorf("two agents began at once: %v; %v", a, b)
	}
	h.kill()
	rival.kill()

	h.start()
	if e := h.complaint(h.must(1, "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns")); e.Code != "locked" {
		t.Errorf("%+v", e)
	}
	if e := h.complaint(h.must(1, "recover", "--phrase-file", h.words, "--from", h.addr)); e.Code != "locked" {
		t.Errorf("%+v", e)
	}
	h.must(1, "init", "--name", "again", "--phrase-file", filepath.Join(filepath.Dir(h.dir), "other.words"))
	h.alive()
	h.must(0, "status")
	h.kill() // the lock dies with the process
	h.start()
}

func TestWrongWords(t *testing.T) {
	rng := dice(t)
	v := village(t, "anna", "bo")
	anna, bo, root := v[0], v[1], filepath.Dir(v[0].dir)
	tree := filepath.Join(root, "tree")
	plant(t, rng, tree)
	anna.put(0, tree, "--name", "tree")
	anna.kill()

	raw, err := os.ReadFile(anna.words)
	ok(t, err)
	words := strings.Fields(string(raw))
	with := func(edit func([]string) []string) string {
		name := filepath.Join(root, fmt.Sprintf("words%x", rng.Uint64()))
		ok(t, os.WriteFile(name, []byte(strings.Join(edit(append([]string{}, words...)), " ")), 0o600))
		return name
	}
	other := found(t, root, "other")
	back := newHouse(t, root, "back")
	for name, tc := range map[string]struct {
		file string
		code int
	}{
		"another household's": {other.words, 1},
		"one word less":       {with(func(w []string) []string { return w[1:] }), 2},
		"no such word":        {with(func(w []string) []string { w[3] = "grange"; return w }), 2},
		"one word repeated":   {with(func(w []string) []string { return append(w, w[0]) }), 2},
		"nothing":             {with(func(w []string) []string { return nil }), 2},
	} {
		r := back.run("recover", "--phrase-file", tc.file, "--from", bo.addr)
		if r.code != tc.code {
			t.Errorf("%s: want exit %d\n%v", name, tc.code, r)
		} else if e := back.complaint(r); e.Message == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// The right ones do, on the directory that the wrong ones were tried on.
	back.must(0, "recover", "--phrase-file", anna.words, "--from", bo.addr)
	back.restores("tree", tree)
}

func TestInvitationsThatAreNone(t *testing.T) {
	rng := dice(t)
	root := room(t)
	var v []*house
	for _, name := range []string{"anna", "bo", "cleo"} {
		v = append(v, found(t, root, name))
	}
	anna, bo, cleo := v[0], v[1], v[2]
	anna.start()
	refused := func(h *house, code int, kind, invitation string) {
		t.Helper()
		r := h.must(code, "accept", "--yes", invitation)
		if e := h.complaint(r); e.Code != kind {
			t.Errorf("%+v\n%v", e, r)
		}
	}
	// One character changed: found without asking anybody.
	code := anna.invite()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	tried := 0
	for tried < 24 {
		at := len(code) - 1 - tried
		if tried >= 4 {
			at = rng.IntN(len(code))
		}
		c := alphabet[rng.IntN(len(alphabet))]
		if code[at] == c || code[at] == ':' {
			continue
		}
		tried++
		changed := code[:at] + string(c) + code[at+1:]
		refused(bo, 2, "request.invalid", changed)
	}
	refused(bo, 2, "request.invalid", code[:len(code)-1])
	refused(bo, 2, "request.invalid", code+"A")
	refused(bo, 2, "request.invalid", code[1:])
	if n := len(bo.pacts()) + len(anna.pacts()); n != 0 {
		t.Fatalf("%d pacts have come of that", n)
	}
	// Twice.
	bo.must(0, "accept", "--yes", code)
	refused(cleo, 3, "invitation.used", code)
	bo.must(0, "accept", "--yes", code)
	agreeExactly(anna, bo)
	if n := len(anna.pacts()); n != 1 {
		t.Errorf("anna has %d pacts", n)
	}
	// Too late.
	var inv struct {
		Code    string
		Expires time.Time
	}
	anna.value(&inv, 0, "invite", "--expires", "1s")
	<-time.After(time.Until(inv.Expires.Add(time.Second))) // the event is the clock's
	refused(cleo, 3, "invitation.expired", inv.Code)
	if n := len(cleo.pacts()); n != 0 {
		t.Errorf("cleo has %d pacts", n)
	}
	// And a good one goes on being good.
	cleo.must(0, "accept", "--yes", anna.invite())
	agreeExactly(anna, cleo)
}
