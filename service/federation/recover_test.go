package federation_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
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
	wantError(t, "a wrong phrase", err, core.ErrNotExist)
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

func TestRecoverKeepsMachines(t *testing.T) {
	l := loseAnna(t)
	l.anna.on() // it was not lost
	m := l.fresh("second")
	if _, err := m.recover(l.bo, federation.RecoverOptions{KeepMachines: true}); err != nil {
		t.Fatal(err)
	}
	m.on()
	l.isAnna(m, 1, 2)
	if !m.f.ListsAgent(m.grid(), l.anna.did()) || !m.f.ListsAgent(m.grid(), m.did()) {
		t.Fatal("the charter does not list both")
	}
	if err := l.anna.f.Visit(t.Context(), l.bo.grid()); err != nil { // hears of its household's new charter
		t.Fatal(err)
	}
	want(t, "epoch", l.anna.f.Self().Epoch, 2)
	want(t, "the secret", l.anna.f.Secrets().Newest().Key, m.f.Secrets().Newest().Key)

	// Both write; whoever recovers next has both.
	tombstone := func(at int64, undone bool) string {
		b, err := manifest.Tombstone{V: 1, Time: at, Undone: undone}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	l.anna.write("s/of-the-first", "1")
	l.anna.write("x/removed", tombstone(200, false)) // later than the other's, in the earlier head
	l.anna.write("s/of-both", "first")
	l.anna.save()
	l.clock.Advance(time.Minute)
	m.write("s/of-the-second", "2")
	m.write("x/removed", tombstone(100, true))
	m.write("s/of-both", "second")
	m.save()
	l.anna.off()
	m.off()
	third := l.fresh("third")
	r, err := third.recover(l.cleo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "heads", len(r.Heads), 2)
	third.on()
	l.state["s/of-the-first"], l.state["s/of-the-second"] = "1", "2"
	l.state["x/removed"] = tombstone(200, false)
	l.state["s/of-both"] = "second"
	l.isAnna(third, 2, 3)

	// And a fourth, after the third, though the third never wrote anything new.
	third.off()
	fourth := l.fresh("fourth")
	if _, err := fourth.recover(l.dan, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	fourth.on()
	l.isAnna(fourth, 3, 4)
	newest, _ := charter.Open(fourth.f.Charters()[len(fourth.f.Charters())-1])
	want(t, "removed machines", len(newest.Removed), 3)
}

// A machine that was removed cannot come back under its key.
func TestRecoverOnARemovedMachine(t *testing.T) {
	l := loseAnna(t)
	m := l.fresh("new")
	if _, err := m.recover(l.bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	l.anna.disk = sim.NewDisk(0)
	_, err := l.anna.recover(l.bo, federation.RecoverOptions{})
	wantError(t, "its own key", err, core.ErrRevoked)
}

// The first partner has replaced its machine since anna's last head.
func TestRecoverFromAPartnersNewMachine(t *testing.T) {
	l := loseAnna(t)
	l.bo.off()
	bo := l.machine("bo's new", "bo")
	bo.connect()
	// bo has one partner, anna, who is away: so it is from its own books that it knows her.
	bo.disk = l.bo.disk
	next := charterFor(t, l.bo, bo)
	if err := l.bo.disk.Books().Apply(
		core.Change{Key: append(append([]byte("f/charter/"), scoreKey(l.bo.grid())...), scoreKey(next.Score())...), Value: record(t, map[string]any{"v": 1, "signed": next})},
		core.Change{Key: []byte("f/self"), Value: record(t, map[string]any{"v": 1, "grid": l.bo.grid(), "agent": bo.did(), "name": "bo", "time": 1})},
	); err != nil {
		t.Fatal(err)
	}
	bo.on()
	m := l.fresh("new")
	r, err := m.recover(bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !m.handed(bo, l.anna.grid()) {
		t.Fatalf("bo's new machine has not heard of the charter: %s", answers(r))
	}
	m.on()
	l.isAnna(m, 1, 2)
	if p, ok := m.f.ByAgent(bo.did()); !ok || p.Name != "bo" {
		t.Fatal("bo's new machine is not known as bo's")
	}
}

func (m *machine) handed(to *machine, grid core.DID) bool { return to.f.ListsAgent(grid, m.did()) }

func scoreKey[T ~[32]byte](k T) []byte { return k[:] }

func record(t *testing.T, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// charterFor signs a charter that puts a new machine in an old one's place. The old one is off.
func charterFor(t *testing.T, old, fresh *machine) identity.Signed {
	t.Helper()
	old.on()
	defer old.off()
	return old.amend(func(c *charter.Charter) {
		if err := c.Remove(old.did(), 0, core.Score{}); err != nil {
			t.Fatal(err)
		}
		c.Agents = append(c.Agents, fresh.agent())
	})
}

// lie makes a machine change its answers. change gets the path below the prefix, and the answer.
func (m *machine) lie(change func(path string, code int, body []byte) (int, []byte)) {
	m.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			code, body := change(strings.TrimPrefix(r.URL.Path, wire.Prefix), rec.Code, rec.Body.Bytes())
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(code)
			_, _ = w.Write(body)
		})
	}
	m.restart()
}

// edited changes the answer to GET /heads.
func edited(t *testing.T, edit func(*headsAnswer)) func(string, int, []byte) (int, []byte) {
	return func(path string, code int, body []byte) (int, []byte) {
		if path != "/heads" || code != 200 {
			return code, body
		}
		var a headsAnswer
		if err := codec.UnmarshalMessage(body, &a, 8<<20); err != nil {
			t.Error(err)
		}
		edit(&a)
		return code, record(t, a)
	}
}

// Whatever one partner lies about, the household is recovered from the others, and
// who lied is named; alone, it stops the recovery or is seen through.
func TestRecoverPastALiar(t *testing.T) {
	var stolenHead, strange identity.Signed
	for _, c := range []struct {
		what string
		lie  func(t *testing.T) func(string, int, []byte) (int, []byte)
		// asked is what is said of the liar where the others are honest (its pages are not
		// needed then); alone, whether the liar alone is enough.
		asked federation.Answer
		alone bool
	}{
		{"a forged head", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Head.Sig[3] ^= 1 })
		}, federation.False, false},
		{"another household's head", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Head = stolenHead })
		}, federation.False, false},
		{"a forged charter", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Charters[0].Sig[3] ^= 1 })
		}, federation.False, false},
		{"another household's charter besides", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Charters = append(a.Charters, strange) })
		}, federation.False, true},
		{"a root that is not among the pages", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Pages = nil })
		}, federation.False, false},
		{"no heads", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads = nil })
		}, federation.Behind, false},
		{"pages of other bytes", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					body = append(bytes.Clone(body[1:]), 0)
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"pages that are too long", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					body = make([]byte, 1<<20)
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"no pages", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					return 404, record(t, wire.Error{Code: wire.CodeNotFound, Message: "gone"})
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"an answer that is none", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if path == "/heads" && code == 200 {
					return 200, []byte{0xff}
				}
				return code, body
			}
		}, federation.Away, false},
		{"that it knows no such household", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, _ int, body []byte) (int, []byte) {
				if path == "/recover" {
					return 403, record(t, wire.Error{Code: wire.CodeUnknown, Message: "who?"})
				}
				return 200, body
			}
		}, federation.Unknown, false},
		{"that the new machine was removed", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if path == "/recover" && len(body) < 60 {
					return code, body // the nonce
				}
				return 403, record(t, wire.Error{Code: wire.CodeRevoked, Message: "removed", Evidence: record(t, strange)})
			}
		}, federation.Unknown, false},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			l := loseAnna(t)
			var err error
			if stolenHead, err = charter.SignHead(l.dan.key, charter.Head{
				Grid: l.dan.grid(), Charter: core.Score{1}, Epoch: 1, Seq: 99, Root: core.Score{1}, Size: 100, Salt: [32]byte{1},
			}); err != nil {
				t.Fatal(err)
			}
			strange = l.dan.f.Charters()[0]
			l.cleo.lie(c.lie(t))
			m := l.fresh("new")
			r, err := m.recover(l.bo, federation.RecoverOptions{})
			if err != nil {
				t.Fatalf("from an honest partner: %v", err)
			}
			want(t, "answers", answers(r), "bo agrees, cleo "+string(c.asked)+", dan agrees")
			m.on()
			l.isAnna(m, 1, 2)

			l = loseAnna(t)
			l.cleo.lie(c.lie(t))
			m = l.fresh("new")
			_, err = m.recover(l.cleo, federation.RecoverOptions{})
			if (err == nil) != c.alone {
				t.Fatalf("from the liar: %v", err)
			}
			if err != nil {
				m.off()
				if on := m.tryOn(); on == nil {
					t.Fatal("a recovery that failed left a household behind")
				}
				if _, err := m.recover(l.dan, federation.RecoverOptions{}); err != nil {
					t.Fatalf("and then from an honest one: %v", err)
				}
			}
		})
	}
}

// One page has rotted at one partner, another at another: together they have the state.
// Only the pages with the partners must be whole at the first, else it names no others.
func TestRecoverFromRottenPartners(t *testing.T) {
	l := loseAnna(t)
	l.anna.on()
	first := l.anna.f.PagesFor("p/")
	var rest []core.Score
	for _, s := range l.anna.f.OwnPages() {
		if !first[s] {
			rest = append(rest, s)
		}
	}
	l.anna.off()
	if len(rest) < 3 {
		t.Fatalf("%d pages", len(rest))
	}
	rot := func(m *machine, s core.Score) {
		if !m.disk.Blobs().Rot(s) {
			t.Fatal("it is not there")
		}
	}
	for i, p := range []*machine{l.bo, l.cleo, l.dan} {
		rot(p, rest[i])
	}
	m := l.fresh("new")
	r, err := m.recover(l.bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.on()
	l.isAnna(m, 1, 2)
	if !strings.Contains(answers(r), "bo false") {
		t.Errorf("nothing is said of the rot: %s", answers(r))
	}

	l = loseAnna(t)
	l.anna.on()
	for s := range l.anna.f.PagesFor("p/") {
		rot(l.bo, s)
	}
	l.anna.off()
	m = l.fresh("newer")
	_, err = m.recover(l.bo, federation.RecoverOptions{})
	wantError(t, "the first names no partners", err, core.ErrCorrupt)
	if _, err = m.recover(l.dan, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
}
