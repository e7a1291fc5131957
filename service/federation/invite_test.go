package federation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/federation"
)

func TestFoundThenInviteThenAccept(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	self := anna.f.Self()
	want(t, "name", self.Name, "anna")
	want(t, "grid", self.Grid, anna.grid())
	want(t, "agent", self.Agent, anna.did())
	want(t, "epoch", self.Epoch, 1)
	want(t, "recoveries", self.Recoveries, 0)
	if err := federation.Found(anna.config(), seed("another"), "other"); err == nil || !strings.Contains(err.Error(), "household anna is on this machine already") {
		t.Fatalf("a second household on one machine: %v", err)
	}

	inv, code := anna.invite()
	want(t, "policy of an invitation", inv.Terms.InviterPolicy+inv.Terms.AcceptorPolicy, "openopen")
	var shown pact.Invitation
	got, err := bo.f.Accept(t.Context(), code, func(i pact.Invitation) bool { shown = i; return true })
	if err != nil {
		t.Fatal(err)
	}
	if shown.Name != "anna" || !shown.Terms.Equal(inv.Terms) {
		t.Fatalf("agree was asked about %+v", shown)
	}
	joined, err := anna.f.WaitJoined(t.Context(), inv.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who         string
		p           federation.Partner
		name        string
		grid, agent core.DID
		inviter     bool
		gives       int64
		given       int64
	}{
		{"bo", got, "anna", anna.grid(), anna.did(), false, 10_000_000_000, 9_000_000_000},
		{"anna", joined, "bo", bo.grid(), bo.did(), true, 9_000_000_000, 10_000_000_000},
	} {
		want(t, c.who+"'s partner", c.p.Name, c.name)
		want(t, c.who+"'s partner's grid", c.p.Grid, c.grid)
		want(t, c.who+": inviter", c.p.Inviter, c.inviter)
		want(t, c.who+" has", c.p.Gives[core.Storage], c.gives)
		want(t, c.who+" gives", c.p.Given[core.Storage], c.given)
		want(t, c.who+": from", c.p.From, w.clock.Now().Unix())
		if len(c.p.Agents) != 1 || c.p.Agents[0].DID != c.agent || len(c.p.Agents[0].Addrs) != 1 {
			t.Fatalf("%s's partner's machines: %+v", c.who, c.p.Agents)
		}
	}
	want(t, "the pact", got.Pact, joined.Pact)

	anna.restart()
	again, ok := anna.f.Partner(bo.grid())
	if !ok || again.Pact != joined.Pact || again.Agents[0].Addrs[0] != joined.Agents[0].Addrs[0] {
		t.Fatalf("after a restart: %+v", again)
	}
	if p, ok := anna.f.ByAgent(bo.did()); !ok || p.Grid != bo.grid() || !anna.f.ListsAgent(bo.grid(), bo.did()) {
		t.Fatal("bo's machine is not known as bo's")
	}
}

func TestInvitationsThatCannotBeAccepted(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	_, code := anna.invite()
	never := func(pact.Invitation) bool { t.Fatal("agree was asked"); return false }

	_, err := anna.f.Accept(t.Context(), code, never)
	wantError(t, "one's own", err, core.ErrInvalid)

	changed := []byte(code)
	at := len(changed) / 2
	changed[at] = "AB"[b2i(changed[at] == 'A')]
	_, err = bo.f.Accept(t.Context(), string(changed), never)
	wantError(t, "one character changed", err, core.ErrCorrupt)

	_, err = bo.f.Accept(t.Context(), code, func(pact.Invitation) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "not agreed") {
		t.Fatalf("declined: %v", err)
	}
	if _, err := bo.f.Accept(t.Context(), code, yes); err != nil {
		t.Fatal(err)
	}
	first, _ := bo.f.Partner(anna.grid())

	again, err := bo.f.Accept(t.Context(), code, never)
	if err != nil || again.Pact != first.Pact {
		t.Fatalf("the same code again: %v, %v", again.Pact, err)
	}
	_, err = cleo.f.Accept(t.Context(), code, yes)
	wantError(t, "used by another", err, federation.ErrUsed)
	wantError(t, "used by another", err, core.ErrRefused)
	if len(cleo.f.Partners()) != 0 || len(anna.f.Partners()) != 1 {
		t.Fatal("a used invitation made a partner")
	}

	_, second := anna.invite()
	_, err = bo.f.Accept(t.Context(), second, never)
	wantError(t, "a second pact", err, federation.ErrAlready)

	_, late := anna.invite()
	w.clock.Advance(24 * time.Hour)
	_, err = cleo.f.Accept(t.Context(), late, never)
	wantError(t, "expired here", err, federation.ErrExpired)
	w.clock.Jump(-time.Second) // cleo's clock is right, anna's a second ahead
	if _, err := cleo.f.Accept(t.Context(), late, func(pact.Invitation) bool { w.clock.Jump(time.Second); return true }); err == nil {
		t.Fatal("an expired invitation was accepted")
	} else {
		wantError(t, "expired there", err, federation.ErrExpired)
	}
	_, err = bo.f.WaitJoined(t.Context(), [16]byte{1})
	wantError(t, "wait for an unknown invitation", err, core.ErrNotExist)
	last, _ := anna.invite()
	joined := make(chan error, 1)
	go func() {
		_, err := anna.f.WaitJoined(t.Context(), last.ID())
		joined <- err
	}()
	if err := w.clock.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(25 * time.Hour)
	wantError(t, "wait for one that expires", <-joined, federation.ErrExpired)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAnInvitationForSeveral(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, cleo, dan := w.household("club"), w.household("anna"), w.household("bo"), w.household("cleo"), w.household("dan")
	for _, uses := range []int{0, -1, federation.UsesMax + 1} {
		_, err := club.f.InviteSeveral(t.Context(), gives(), time.Hour, uses)
		wantError(t, "for nobody, or too many", err, core.ErrInvalid)
	}
	inv, err := club.f.InviteSeveral(t.Context(), gives(), time.Hour, 3)
	if err != nil {
		t.Fatal(err)
	}
	code, err := inv.Code()
	if err != nil {
		t.Fatal(err)
	}
	first, err := anna.f.Accept(t.Context(), code, yes)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := club.f.WaitJoined(t.Context(), inv.ID())
	if err != nil || joined.Grid != anna.grid() {
		t.Fatalf("joined first: %+v, %v", joined, err)
	}
	// The answer to bo is lost. When he asks again it is the same, though the invitation is past its date, cleo came after him and dan was one
	// too many.
	w.net.StopAfter(club.did(), bo.did(), 10)
	if _, err := bo.f.Accept(t.Context(), code, yes); err == nil {
		t.Fatal("accepted without an answer")
	}
	w.net.Heal(club.did(), bo.did())
	if _, err := cleo.f.Accept(t.Context(), code, yes); err != nil {
		t.Fatal(err)
	}
	_, err = dan.f.Accept(t.Context(), code, yes)
	wantError(t, "one too many", err, federation.ErrUsed)
	club.restart()
	w.clock.Advance(2 * time.Hour)
	second, err := bo.f.Accept(t.Context(), code, yes)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := club.f.Partner(bo.grid())
	if !ok || second.Pact != at.Pact || second.Pact == first.Pact || len(club.f.Partners()) != 3 {
		t.Fatalf("pacts %v and %v, at the club %v; partners %v", first.Pact, second.Pact, at.Pact, club.partners())
	}
}

func TestInviteNeedsAListener(t *testing.T) {
	w := newWorld(t)
	m := w.machine("anna", "anna")
	m.connect()
	m.peers = w.net.JoinDialing(m.did())
	if err := federation.Found(m.config(), m.entropy, "anna"); err != nil {
		t.Fatal(err)
	}
	m.on()
	_, err := m.f.Invite(t.Context(), gives(), time.Hour)
	wantError(t, "invite without a listener", err, core.ErrNotHere)
	_, err = m.f.Invite(t.Context(), gives(), 100*24*time.Hour)
	wantError(t, "invite for a hundred days", err, core.ErrInvalid)
}

func TestNewWithoutAHousehold(t *testing.T) {
	m := newWorld(t).machine("anna", "anna")
	m.connect()
	_, err := federation.New(m.config())
	wantError(t, "no household", err, core.ErrNotExist)
	err = federation.Found(m.config(), m.entropy, "an\x1bna")
	wantError(t, "a name that steers terminals", err, core.ErrInvalid)
}

// Whatever write either side is cut at, kept or not, both end with one and the same pact.
func TestAcceptSurvivesACrashAtEveryWrite(t *testing.T) {
	for _, side := range []string{"inviter", "acceptor"} {
		for _, kept := range []bool{false, true} {
			crashes := 0
			for n := 0; ; n++ {
				w := newWorld(t)
				anna, bo := w.household("anna"), w.household("bo")
				inv, code := anna.invite()
				broken := anna
				if side == "acceptor" {
					broken = bo
				}
				broken.disk.CrashAfter(n, kept)
				_, err := bo.f.Accept(t.Context(), code, yes)
				if !broken.disk.Crashed() {
					if err != nil {
						t.Fatalf("%s, write %d: %v", side, n, err)
					}
					break
				}
				crashes++
				if err == nil && side == "acceptor" && n < 2 { // proposal, pact; and when it was seen
					t.Fatalf("acceptor, write %d: a pact that is not on the disk", n)
				}
				broken.restart()
				p, err := bo.f.Accept(t.Context(), code, yes)
				if err != nil {
					t.Fatalf("%s, write %d, kept %v: again: %v", side, n, kept, err)
				}
				q, err := anna.f.WaitJoined(t.Context(), inv.ID())
				if err != nil || q.Pact != p.Pact {
					t.Fatalf("%s, write %d, kept %v: pacts %v and %v, %v", side, n, kept, p.Pact, q.Pact, err)
				}
				anna.restart()
				bo.restart()
				p, _ = bo.f.Partner(anna.grid())
				if q, _ = anna.f.Partner(bo.grid()); q.Pact != p.Pact || p.Pact.IsZero() {
					t.Fatalf("%s, write %d, kept %v: after restarts %v and %v", side, n, kept, p.Pact, q.Pact)
				}
			}
			if wantCrashes := map[string]int{"inviter": 2, "acceptor": 3}[side]; crashes != wantCrashes {
				t.Fatalf("%s: %d crashes, want %d", side, crashes, wantCrashes)
			}
		}
	}
}

// The answer is lost on the way; the acceptor sends what it sent before.
func TestAcceptSurvivesALostAnswer(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	inv, code := anna.invite()
	w.net.StopAfter(anna.did(), bo.did(), 10)
	if _, err := bo.f.Accept(t.Context(), code, yes); err == nil {
		t.Fatal("accepted without an answer")
	}
	q, err := anna.f.WaitJoined(t.Context(), inv.ID())
	if err != nil {
		t.Fatal(err)
	}
	w.net.Heal(anna.did(), bo.did())
	w.clock.Advance(48 * time.Hour) // past the invitation's date: it is bound
	p, err := bo.f.Accept(t.Context(), code, yes)
	if err != nil || p.Pact != q.Pact {
		t.Fatalf("again: %v, %v, want %v", p.Pact, err, q.Pact)
	}
}

func TestTwoAcceptEachOther(t *testing.T) {
	w := newWorld(t)
	low, high := w.household("anna"), w.household("bo")
	if low.grid().Compare(high.grid()) > 0 {
		low, high = high, low
	}
	_, ofLow := low.invite()
	_, ofHigh := high.invite()

	// low has signed high's invitation, but high has not heard of it.
	w.net.Cut(low.did(), high.did())
	_, err := low.f.Accept(t.Context(), ofHigh, yes)
	wantError(t, "cut off", err, core.ErrUnreachable)
	w.net.Heal(low.did(), high.did())

	_, err = high.f.Accept(t.Context(), ofLow, yes)
	wantError(t, "the higher waits for the lower", err, core.ErrBusy)
	p, err := low.f.Accept(t.Context(), ofHigh, yes)
	if err != nil {
		t.Fatal(err)
	}
	q, ok := high.f.Partner(low.grid())
	if !ok || q.Pact != p.Pact {
		t.Fatalf("pacts %v and %v", p.Pact, q.Pact)
	}
	_, err = high.f.Accept(t.Context(), ofLow, yes)
	wantError(t, "the other invitation", err, federation.ErrAlready)
}

func TestAcceptHandlerRefuses(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	inv, _ := anna.invite()
	id := inv.ID()
	proof := pact.InvitationProof(inv.Secret, inv.Agent, bo.did())
	type message map[string]any
	now := w.clock.Now().Unix()
	request := func(change func(*pact.Pact, message)) message {
		p := inv.Pact(bo.grid(), now)
		m := message{"invitation": id[:], "proof": proof[:], "name": "bo", "addrs": []string{}, "charters": chartersOf(t, bo)}
		change(&p, m)
		body, sig, err := pact.SignPact(bo.key, p)
		if err != nil {
			t.Fatal(err)
		}
		if m["pact"] == nil {
			m["pact"] = body
		}
		if m["sig"] == nil {
			m["sig"] = sig
		}
		return m
	}
	stranger := w.machine("dan", "dan")
	_, wrongSig, _ := pact.SignPact(stranger.key, inv.Pact(bo.grid(), now))
	for _, c := range []struct {
		what   string
		code   string
		change func(*pact.Pact, message)
	}{
		{"an unknown id", wire.CodeNotFound, func(_ *pact.Pact, m message) { m["invitation"] = make([]byte, 16) }},
		{"a short id", wire.CodeNotFound, func(_ *pact.Pact, m message) { m["invitation"] = id[:15] }},
		{"a wrong proof", wire.CodeNotFound, func(_ *pact.Pact, m message) { m["proof"] = make([]byte, 32) }},
		{"no proof", wire.CodeNotFound, func(_ *pact.Pact, m message) { m["proof"] = []byte{} }},
		{"better terms", wire.CodeInvalid, func(p *pact.Pact, _ message) {
			p.Terms.InviterGives = map[core.Resource]int64{core.Storage: 1 << 50}
		}},
		{"another invitation in the pact", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.Invitation[0] ^= 1 }},
		{"another inviter", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.Inviter = stranger.grid() }},
		{"another's household", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.Acceptor = stranger.grid() }},
		{"a pact with an end", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.Until = now + 1 }},
		{"a pact of long ago", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.From = now - 100*24*3600 }},
		{"a pact of the future", wire.CodeInvalid, func(p *pact.Pact, _ message) { p.From = now + 2*24*3600 }},
		{"another machine's signature", wire.CodeInvalid, func(_ *pact.Pact, m message) { m["sig"] = wrongSig }},
		{"a signature of other bytes", wire.CodeInvalid, func(_ *pact.Pact, m message) {
			m["sig"] = pact.Signature{By: bo.did(), Sig: make([]byte, 64)}
		}},
		{"no charter", wire.CodeInvalid, func(_ *pact.Pact, m message) { m["charters"] = []any{} }},
		{"another's charter", wire.CodeInvalid, func(_ *pact.Pact, m message) { m["charters"] = chartersOf(t, anna) }},
		{"a name with control characters", wire.CodeInvalid, func(_ *pact.Pact, m message) { m["name"] = "bo\n" }},
	} {
		code, err := bo.call(anna, "POST", "/accept", request(c.change))
		if code != c.code {
			t.Errorf("%s: got %v, want %s", c.what, err, c.code)
		}
	}
	if len(anna.f.Partners()) != 0 {
		t.Fatal("one of them made a partner")
	}
	if code, err := bo.call(anna, "POST", "/accept", request(func(*pact.Pact, message) {})); code != "" {
		t.Fatalf("and unchanged it is accepted: %v", err)
	}
}
