package accounts

import (
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// TestCrashAtEachWrite stops the server at each write in turn, with that write done or not, and starts it again:
// what was answered holds, and doing all of it again comes to the same.
func TestCrashAtEachWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for n := 0; ; n++ {
			ended := false
			t.Run(fmt.Sprintf("%d %v", n, kept), func(t *testing.T) { ended = crashAt(t, n, kept) })
			if ended {
				if n != 11 {
					t.Fatalf("the story has %d writes", n)
				}
				break
			}
			if t.Failed() {
				return
			}
		}
	}
}

// crashAt returns true if the story ended before the crash.
func crashAt(t *testing.T, n int, kept bool) (ended bool) {
	w := newWorld(t)
	anna := newCustomer(t, "anna")
	first, next := anna.charter(t, 1, "laptop", "nas"), anna.charter(t, 2, "nas")
	rival := w.usage(one, "anna", 2, 0, 9)
	steps := []struct {
		do func() error
		// holds checks what was true when the step was done, and stays so.
		holds func() bool
	}{
		{func() error { return w.s.SetPlan(Plan{"open", 10 * gb, 0}) }, func() bool { return len(w.s.Plans()) == 1 }},
		{func() error { return w.s.Add("anna", "open", anna.grid()) }, func() bool {
			ids, err := w.s.accountsOf(anna.grid())
			return err == nil && len(ids) == 1 && w.state("anna") != StateUnknown
		}},
		{func() error { return errOf(w.s.SetHolder(one.DID(), true)) }, func() bool { return w.s.Lists(one.DID()) }},
		{func() error { return w.take(w.usage(one, "anna", 1, 3*gb, 1)) }, func() bool { return w.used("anna") >= 3*gb }},
		{func() error { return w.take(w.usage(one, "anna", 2, 4*gb, 9)) }, func() bool { return w.used("anna") == 4*gb }},
		{func() error { return w.take(rival) }, func() bool {
			a, err := w.s.Show("anna")
			return err == nil && a.At[0].Rival != nil
		}},
		{func() error { return errOf(w.s.token(keyOf("laptop").DID(), tokenRequest{Charter: first})) }, func() bool { return true }},
		{func() error { return errOf(w.s.token(keyOf("nas").DID(), tokenRequest{Charter: next})) }, func() bool {
			_, err := w.s.token(keyOf("laptop").DID(), tokenRequest{Charter: first})
			return err != nil
		}},
		{func() error { return errOf(w.s.Revoke("anna", false)) }, func() bool { return w.s.count.Last >= 1 }},
		{func() error { return errOf(w.s.Revoke("anna", true)) }, func() bool { return w.s.count.Last >= 2 }},
		{func() error { return errOf(w.s.Revoke("anna", false)) }, func() bool { return w.s.count.Last == 3 && w.state("anna") == StateRevoked }},
	}
	w.disk.CrashAfter(n, kept)
	done := 0
	for ; done < len(steps); done++ {
		if err := steps[done].do(); err != nil {
			break
		}
	}
	if ended = done == len(steps); !ended && !w.disk.Crashed() {
		t.Fatalf("step %d failed without a crash", done)
	}
	w.disk.Restart()
	w.open()
	for i := range done {
		if !steps[i].holds() {
			t.Errorf("after a crash in step %d: what step %d did does not hold", done, i)
		}
	}
	w.agree()
	for ; done < len(steps); done++ {
		before := w.s.count.Last
		// A revocation that had reached the disk is not made twice.
		if done >= 8 && before >= uint64(done-7) {
			continue
		}
		if err := steps[done].do(); err != nil {
			t.Errorf("step %d again: %v", done, err)
		}
	}
	for i, step := range steps {
		if !step.holds() {
			t.Errorf("in the end step %d does not hold", i)
		}
	}
	w.agree()
	return ended
}

func (w *world) take(report identity.Signed) error {
	_, err := w.s.take(report.By, []identity.Signed{report})
	return err
}

func (w *world) state(id string) string {
	w.t.Helper()
	out, err := w.s.standingOf(id)
	w.must(err)
	return out.State
}

func (w *world) used(id string) int64 {
	w.t.Helper()
	out, err := w.s.standingOf(id)
	w.must(err)
	return out.Used
}

// agree checks that records which say the same do: the list's last entry and the account, its household and it.
func (w *world) agree() {
	w.t.Helper()
	state := map[string]string{}
	last := uint64(0)
	for c, err := range w.disk.Books().Scan([]byte(revokedPrefix), nil) {
		w.must(err)
		r, err := parse[revokedRecord](c.Key, c.Value)
		w.must(err)
		last++
		if state[r.Account] = StateRevoked; r.Restored {
			state[r.Account] = StateGood
		}
	}
	if last != w.s.count.Last {
		w.t.Errorf("%d entries, and the last is %d", last, w.s.count.Last)
	}
	for id, want := range state {
		if got := w.state(id); got != want {
			w.t.Errorf("%s is %s, and by the list %s", id, got, want)
		}
	}
	for c, err := range w.disk.Books().Scan([]byte(gridPrefix), nil) {
		w.must(err)
		id := string(c.Key[len(gridPrefix)+len(core.DID{}):])
		if w.state(id) == StateUnknown {
			w.t.Errorf("a household's account %s is not there", id)
		}
	}
}
