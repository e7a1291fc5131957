package federation_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/service/federation"
)

// lost is a household that had partners and a state, and whose machine is gone.
type lost struct {
	*world
	anna          *machine // off
	bo, cleo, dan *machine
	state         map[string]string
}

func loseAnna(t *testing.T) lost {
	w := newWorld(t)
	l := lost{world: w, anna: w.household("anna"), bo: w.household("bo"), cleo: w.household("cleo"), dan: w.household("dan")}
	for _, p := range []*machine{l.bo, l.cleo, l.dan} {
		w.befriend(p, l.anna)
	}
	l.anna.fill(0, 300)
	l.anna.save()
	l.state = l.anna.state()
	l.anna.off()
	return l
}

func (l lost) fresh(name string) *machine { return l.machine(name, "anna") }

// agree is how many partners agree, of how many.
func agree(r federation.Report) string { return fmt.Sprintf("%d of %d", r.Agree, len(r.Partners)) }

// answers are the partners' answers, by name.
func answers(r federation.Report) string {
	var out []string
	for _, p := range r.Partners {
		out = append(out, p.Name+" "+string(p.Answer))
	}
	return strings.Join(out, ", ")
}

// isAnna checks that m is the one machine of anna's household, with its state and partners.
func (l lost) isAnna(m *machine, recoveries, epoch uint64) {
	l.t.Helper()
	self := m.f.Self()
	want(l.t, "name", self.Name, "anna")
	want(l.t, "recoveries", self.Recoveries, recoveries)
	want(l.t, "epoch", self.Epoch, epoch)
	want(l.t, "epoch of the newest secret", m.f.Secrets().Newest().Epoch, epoch)
	if got := m.state(); !maps.Equal(got, l.state) {
		l.t.Fatalf("the state has %d records, want %d", len(got), len(l.state))
	}
	wantList(l.t, "partners", m.partners(), "bo", "cleo", "dan")
}

func TestRecover(t *testing.T) {
	l := loseAnna(t)
	l.clock.Advance(2 * time.Hour)
	m := l.fresh("new")
	var steps []federation.Step
	r, err := m.recover(l.bo, federation.RecoverOptions{Progress: func(p federation.Progress) {
		if len(steps) == 0 || steps[len(steps)-1] != p.Step {
			steps = append(steps, p.Step)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "agreement", agree(r), "3 of 3")
	want(t, "answers", answers(r), "bo agrees, cleo agrees, dan agrees")
	want(t, "newest", l.clock.Now().Sub(r.Newest).Truncate(time.Second), 2*time.Hour)
	want(t, "heads", len(r.Heads), 1)
	want(t, "head's holders", r.Heads[0].Holders, 3)
	want(t, "records", r.Records, len(l.state)+3)
	want(t, "households that have the new head", len(r.Saved.Done), 3)
	want(t, "first step", steps[0], federation.StepAsk)
	want(t, "last step", steps[len(steps)-1], federation.StepSave)
	m.on()
	l.isAnna(m, 1, 2)
	for _, p := range []*machine{l.bo, l.cleo, l.dan} {
		m.pagesAreOf(p)
		if !p.f.ListsAgent(l.anna.grid(), m.did()) || p.f.ListsAgent(l.anna.grid(), l.anna.did()) {
			t.Errorf("%s does not go by the new charter", p.name)
		}
	}
	newest, err := charter.Open(m.f.Charters()[1])
	if err != nil {
		t.Fatal(err)
	}
	old, ok := newest.RemovedAgent(l.anna.did())
	if !ok || old.Seq != r.Heads[0].Seq || old.Head.IsZero() {
		t.Fatalf("the lost machine is removed as %+v", old)
	}

	// The thief's machine, with all that was on it.
	l.anna.on()
	l.anna.write("s/thief", "x")
	_, err = l.anna.f.SaveHead(t.Context())
	wantError(t, "the stolen machine", err, core.ErrRevoked)
	want(t, "its error", err.Error(), "this machine was removed from household anna by its charter 2 (recovery 1)")

	code, _ := l.anna.call(m, "POST", "/recover", nil)
	want(t, "the stolen machine at the new one", code, wire.CodeRevoked)

	_, err = m.recover(l.bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatalf("again on the recovered machine: %v", err)
	}
	other := l.machine("other", "zoe")
	other.connect()
	other.disk = m.disk
	_, err = other.recover(l.bo, federation.RecoverOptions{})
	if err == nil || !strings.Contains(err.Error(), "household anna is on this machine already") {
		t.Fatalf("another household on this machine: %v", err)
	}
}

// pagesAreOf checks that a holder has m's newest head; it may hold heads of earlier machines.
func (m *machine) pagesAreOf(to *machine) {
	m.w.t.Helper()
	for _, h := range m.heads(to).Heads {
		head, err := charter.OpenHead(h.Head)
		if err != nil {
			m.w.t.Fatal(err)
		}
		if head.Agent == m.did() {
			want(m.w.t, "pages of the head at "+to.name, len(h.Pages), len(m.f.OwnPages()))
			return
		}
	}
	m.w.t.Fatalf("%s holds no head of %s", to.name, m.name)
}

func TestRecoverWithAWrongPhrase(t *testing.T) {
	l := loseAnna(t)
	m := l.machine("new", "nobody")
	_, err := m.recover(l.bo, federation.RecoverOptions{})
	wantError(t, "a wrong phrase", err, core.ErrForbidden)
	if !strings.Contains(err.Error(), "no partner knows a household with this phrase") {
		t.Fatal(err)
	}
	l.bo.off()
	m = l.fresh("new too")
	m.connect()
	_, err = federation.Recover(t.Context(), m.config(), m.entropy, federation.From{Agent: l.bo.did(), Addrs: []string{"/memory/9"}}, federation.RecoverOptions{})
	wantError(t, "nobody there", err, core.ErrUnreachable)
}

// One partner has an old head, for whatever reason: it is outvoted, and it is said.
func TestRecoverFromAPartnerWithAnOldHead(t *testing.T) {
	w := newWorld(t)
	l := lost{world: w, anna: w.household("anna"), bo: w.household("bo"), cleo: w.household("cleo"), dan: w.household("dan")}
	w.befriend(l.bo, l.anna)
	w.befriend(l.cleo, l.anna)
	l.anna.fill(0, 100)
	l.anna.save()
	l.bo.off() // and never hears of dan
	w.befriend(l.dan, l.anna)
	l.anna.fill(100, 200)
	if _, err := l.anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.state = l.anna.state()
	l.anna.off()
	l.bo.on()
	m := l.fresh("new")
	r, err := m.recover(l.bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "agreement", agree(r), "2 of 3")
	want(t, "answers", answers(r), "bo behind, cleo agrees, dan agrees")
	m.on()
	l.isAnna(m, 1, 2)
}

func TestRecoverWithAPartnerOffline(t *testing.T) {
	l := loseAnna(t)
	l.dan.off()
	m := l.fresh("new")
	r, err := m.recover(l.bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "answers", answers(r), "bo agrees, cleo agrees, dan away")
	wantError(t, "dan's head", r.Saved.Failed[l.dan.grid()], core.ErrUnreachable)
	m.on()
	l.isAnna(m, 1, 2)

	// dan comes back long after; nobody types the phrase again.
	l.clock.Advance(100 * time.Hour)
	l.dan.on()
	if err := m.f.Visit(t.Context(), l.dan.grid()); err != nil {
		t.Fatal(err)
	}
	m.pagesAreOf(l.dan)
	l.anna.on()
	code, _ := l.anna.call(l.dan, "GET", "/heads", nil)
	want(t, "the lost machine at dan's", code, wire.CodeRevoked)
}

func TestTwoRecoveriesAtOnce(t *testing.T) {
	for round := range 4 {
		l := loseAnna(t)
		x, y := l.fresh(fmt.Sprint("x", round)), l.fresh(fmt.Sprint("y", round))
		var gate sync.WaitGroup // both have collected before either hands over
		gate.Add(2)
		meet := func(p federation.Progress) {
			if p.Step == federation.StepHandOver {
				gate.Done()
				gate.Wait()
			}
		}
		errs := make([]error, 2)
		var group sync.WaitGroup
		for i, m := range []*machine{x, y} {
			group.Go(func() { _, errs[i] = m.recover([]*machine{l.bo, l.cleo}[i], federation.RecoverOptions{Progress: meet}) })
		}
		group.Wait()
		winner, loser := x, y
		if errs[0] != nil {
			winner, loser = y, x
		}
		// Whoever handed over first may have been done before the other's charter came.
		for _, m := range []*machine{x, y} {
			_ = m.tryOn()
			if m.f != nil {
				for _, p := range []*machine{l.bo, l.cleo, l.dan} {
					_ = m.f.Visit(t.Context(), p.grid())
				}
			}
		}
		if winner.f == nil || winner.f.Revoked() != nil {
			winner, loser = loser, winner
		}
		if winner.f == nil || winner.f.Revoked() != nil {
			t.Fatalf("both lost: %v, %v", errs[0], errs[1])
		}
		l.isAnna(winner, 1, 2)
		loser.off()
		err := loser.tryOn()
		wantError(t, "the loser", err, core.ErrRevoked)
		if !strings.Contains(err.Error(), "by its charter 2 (recovery 1)") {
			t.Fatal(err)
		}
		for _, p := range []*machine{l.bo, l.cleo, l.dan} {
			if !p.f.ListsAgent(l.anna.grid(), winner.did()) || p.f.ListsAgent(l.anna.grid(), loser.did()) {
				t.Fatalf("%s goes by the other charter", p.name)
			}
		}
	}
}

// Cut at any write, a recovery is run again, on what is left of the machine or with its key alone.
func TestRecoverSurvivesACrashAtEveryWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for _, emptied := range []bool{false, true} {
			if testing.Short() && kept != emptied {
				continue
			}
			for n := 0; ; n++ {
				l := loseAnna(t)
				m := l.fresh("new")
				m.disk.CrashAfter(n, kept)
				_, err := m.recover(l.bo, federation.RecoverOptions{})
				if !m.disk.Crashed() {
					if err != nil {
						t.Fatal(err)
					}
					if n < 5 {
						t.Fatalf("only %d writes", n)
					}
					break
				}
				m.off()
				m.disk.Restart()
				if emptied {
					m.disk = sim.NewDisk(0)
				}
				if _, err := m.recover(l.cleo, federation.RecoverOptions{}); err != nil {
					t.Fatalf("write %d, kept %v, emptied %v: %v", n, kept, emptied, err)
				}
				m.on()
				l.isAnna(m, 1, 2)
				for _, p := range []*machine{l.bo, l.cleo, l.dan} {
					m.pagesAreOf(p)
				}
			}
		}
	}
}

// After a recovery that was cut before any partner heard of it, Run alone finishes it.
func TestACutRecoveryIsFinishedWithoutThePhrase(t *testing.T) {
	l := loseAnna(t)
	m := l.fresh("new")
	m.disk.CrashAfter(0, true)
	if _, err := m.recover(l.bo, federation.RecoverOptions{}); err == nil {
		t.Fatal("no crash")
	}
	m.restart()
	l.clock.Advance(48 * time.Hour) // the admission is long over
	for _, p := range []*machine{l.bo, l.cleo, l.dan} {
		if err := m.f.Visit(t.Context(), p.grid()); err != nil {
			t.Fatal(err)
		}
	}
	m.save()
	l.isAnna(m, 1, 2)
}
