package federation_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/service/federation"
)

func TestOlderChartersAreRefusedWithTheNewer(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	second := w.machine("bo's second machine", "bo")
	w.befriend(anna, bo)
	first := bo.f.Charters()
	added := bo.amend(func(c *charter.Charter) { c.Agents = append(c.Agents, second.agent()) })
	for _, c := range []struct {
		what, code string
		given      []identity.Signed
	}{
		{"none", wire.CodeInvalid, nil},
		{"another household's", wire.CodeInvalid, anna.f.Charters()},
		{"the newer", "", []identity.Signed{added}},
		{"the older", wire.CodeCharterStale, first},
		{"both", "", []identity.Signed{added, first[0]}},
	} {
		code, err := bo.call(anna, "POST", "/charter", charters{c.given})
		if code != c.code {
			t.Errorf("%s: got %v, want %q", c.what, err, c.code)
		}
	}
	// bo's machine does not know of its household's newer charter until a partner shows it.
	want(t, "epoch before", bo.f.Self().Epoch, 1)
	bo.write("s/x", "x")
	if err := bo.f.Visit(t.Context(), anna.grid()); err != nil {
		t.Fatal(err)
	}
	want(t, "epoch after", bo.f.Self().Epoch, 2)
	want(t, "the newest secret's epoch", bo.f.Secrets().Newest().Epoch, 2)
}

func TestRunGreetsAndBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		anna, bo := w.household("anna"), w.household("bo")
		w.befriend(anna, bo)
		anna.fill(0, 10)
		bo.off()
		ctx, stop := cancelable(t)
		done := make(chan error, 1)
		go func() { done <- anna.f.Run(ctx) }()
		synctest.Wait()
		if p, _ := anna.f.Partner(bo.grid()); p.Seen.IsZero() == false && p.Seen.After(w.clock.Now()) {
			t.Fatal("bo was seen in the future")
		}
		bo.on()
		held := func() int {
			n := 0
			for range bo.disk.Books().Scan([]byte("f/held/"), nil) {
				n++
			}
			return n
		}
		want(t, "heads that bo holds", held(), 0)
		w.clock.Advance(8 * time.Second) // 5 s, and a quarter more
		synctest.Wait()
		want(t, "heads that bo holds after a greeting", held(), 1)
		if p, _ := anna.f.Partner(bo.grid()); !p.Seen.Equal(w.clock.Now().Truncate(time.Second)) && p.Seen.IsZero() {
			t.Fatalf("bo was last seen %v", p.Seen)
		}
		anna.pagesAre(bo, 1)

		// A nudge does not wait for the five minutes.
		anna.fill(10, 20)
		bo.off()
		if saved, err := anna.f.SaveHead(ctx); err != nil || len(saved.Failed) != 1 {
			t.Fatalf("%v %v", saved, err)
		}
		bo.on()
		anna.f.Nudge(bo.grid())
		synctest.Wait()
		anna.pagesAre(bo, 2)

		// bo's removal of anna's machine ends nothing; anna's own does.
		gone := anna.amend(func(c *charter.Charter) {
			_ = c.Remove(anna.did(), 0, core.Score{})
			c.Agents = append(c.Agents, w.machine("x", "anna").agent())
		})
		if code, err := anna.call(bo, "POST", "/charter", charters{[]identity.Signed{gone}}); code != "" {
			t.Fatal(err)
		}
		anna.f.Nudge(bo.grid())
		err := <-done
		wantError(t, "run", err, core.ErrRevoked)
		stop()
		anna.off()
		bo.off()
	})
}

// An acceptance whose answer was lost is finished by Run.
func TestRunFinishesAnAcceptance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		anna, bo := w.household("anna"), w.household("bo")
		_, code := anna.invite()
		w.net.StopAfter(anna.did(), bo.did(), 10)
		if _, err := bo.f.Accept(t.Context(), code, yes); err == nil {
			t.Fatal("accepted without an answer")
		}
		w.net.Heal(anna.did(), bo.did())
		bo.restart()
		ctx, stop := cancelable(t)
		done := make(chan error, 1)
		go func() { done <- bo.f.Run(ctx) }()
		synctest.Wait()
		wantList(t, "bo's partners", bo.partners(), "anna")
		stop()
		wantError(t, "run", <-done, ctx.Err())
		anna.off()
		bo.off()
	})
}

func TestPartnersOfOneName(t *testing.T) {
	w := newWorld(t)
	anna := w.household("anna")
	for i := range 3 {
		m := w.machine(fmt.Sprint("bo", i), fmt.Sprint("bo", i))
		m.connect()
		if err := federation.Found(m.config(), m.entropy, "bo"); err != nil {
			t.Fatal(err)
		}
		m.on()
		w.befriend(anna, m)
	}
	wantList(t, "partners", anna.partners(), "bo", "bo-2", "bo-3")
	anna.restart()
	wantList(t, "partners after a restart", anna.partners(), "bo", "bo-2", "bo-3")
}

func TestSaw(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	w.clock.Advance(time.Hour)
	seen := w.clock.Now().Truncate(time.Second)
	anna.f.Saw(bo.did())
	anna.f.Saw(anna.did())
	w.clock.Advance(time.Minute)
	anna.f.Saw(bo.did())
	p, _ := anna.f.Partner(bo.grid())
	want(t, "seen in memory", p.Seen.Unix(), seen.Add(time.Minute).Unix())
	anna.restart()
	p, _ = anna.f.Partner(bo.grid())
	want(t, "seen in the books", p.Seen.Unix(), seen.Unix())
}

func TestGreetingTeachesAddresses(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	type greeting struct {
		Charters []identity.Signed `json:"charters"`
		Addrs    []string          `json:"addrs"`
		Name     string            `json:"name"`
		Heads    []struct{}        `json:"heads"`
	}
	var out struct {
		greeting
		Name string `json:"name"`
	}
	in := greeting{Charters: bo.f.Charters(), Addrs: []string{"/memory/77", "no address", "/memory/77", "/\n", "/memory/78"}, Name: "impostor"}
	if err := bo.client.Call(t.Context(), anna.did(), "POST", "/greet", in, &out); err != nil {
		t.Fatal(err)
	}
	want(t, "who answers", out.Name, "anna")
	wantList(t, "bo's addresses", anna.f.AddrsOf(bo.did()), "/memory/77", "/memory/78")
	anna.restart()
	p, _ := anna.f.Partner(bo.grid())
	wantList(t, "bo's addresses after a restart", p.Agents[0].Addrs, "/memory/77", "/memory/78")
	want(t, "bo's name", p.Name, "bo")
	in.Charters = nil
	err := bo.client.Call(t.Context(), anna.did(), "POST", "/greet", in, nil)
	want(t, "a greeting without charters", codeOf(err), wire.CodeInvalid)
}
