package federation_test

import (
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

type termsMessage struct {
	Amendment *pact.SignedPact `json:"amendment,omitempty"`
	Notice    *identity.Signed `json:"notice,omitempty"`
	Pact      []byte           `json:"pact,omitempty"`
	Sig       *pact.Signature  `json:"sig,omitempty"`
}

// says sends what m says of the pact to another, and returns what it answers.
func (m *machine) says(to *machine, in termsMessage) (out termsMessage, code string) {
	m.w.t.Helper()
	m.known.Learn(to.did(), to.peers.Addrs())
	return out, codeOf(m.client.Call(m.w.t.Context(), to.did(), "POST", "/amend", in, &out))
}

// first is the pact as it was made.
func (m *machine) first(other *machine) (pact.Pact, core.Score) {
	m.w.t.Helper()
	s := m.f.FirstPact(other.grid())
	opened, err := pact.OpenPact(s.Body)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return opened, s.ID()
}

func storage(amount int64) map[core.Resource]int64 {
	return map[core.Resource]int64{core.Storage: amount}
}

func TestHostileAmendments(t *testing.T) {
	w, anna, bo := pair(t)
	zoe := w.household("zoe")
	w.befriend(zoe, anna)
	first, id := anna.first(bo)
	_, zoes := anna.first(zoe)
	propose := func(by *machine, p pact.Pact) termsMessage {
		t.Helper()
		body, sig, err := pact.SignPact(by.key, p)
		if err != nil {
			t.Fatal(err)
		}
		return termsMessage{Pact: body, Sig: &sig}
	}
	_, code := bo.says(anna, propose(bo, first.Amend(id, 1, storage(10*gb), storage(12*gb))))
	want(t, "generous", code, "")
	out, _ := bo.says(anna, termsMessage{})
	one := out.Amendment
	_, code = bo.says(anna, propose(bo, first.Amend(id, 2, storage(10*gb), storage(14*gb))))
	want(t, "generous again", code, "")

	out, code = bo.says(anna, termsMessage{Amendment: one})
	want(t, "replayed", code, "")
	if next, err := out.Amendment.Verify(); err != nil || next.N != 2 {
		t.Fatalf("an older amendment is answered with %+v, %v", next, err)
	}
	half := *one
	half.Inviter = half.Acceptor
	changed := first.Amend(id, 3, storage(90*gb), storage(14*gb))
	for _, c := range []struct {
		what string
		by   *machine
		in   termsMessage
	}{
		{"of another pact", bo, propose(bo, first.Amend(zoes, 3, storage(1), storage(15*gb)))},
		{"of another's pact", zoe, propose(zoe, first.Amend(id, 3, storage(1), storage(15*gb)))},
		{"two on", bo, propose(bo, first.Amend(id, 4, storage(10*gb), storage(15*gb)))},
		{"signed by another machine", bo, propose(zoe, first.Amend(id, 3, storage(10*gb), storage(15*gb)))},
		{"without a signature", bo, termsMessage{Pact: propose(bo, changed).Pact}},
		{"with a broken one", bo, func() termsMessage { m := propose(bo, changed); m.Sig.Sig[3] ^= 1; return m }()},
		{"one side signs for both", bo, termsMessage{Amendment: &half}},
		{"one's own for hers", bo, termsMessage{Amendment: signedBoth(t, zoe.key, bo.key, changed)}},
		{"no pact at all", bo, termsMessage{Pact: []byte{1, 2}, Sig: &one.Acceptor}},
		{"other days", bo, func() termsMessage {
			p := first.Amend(id, 3, storage(10*gb), storage(15*gb))
			p.Terms.NoticeDays = 1
			return propose(bo, p)
		}()},
	} {
		if _, code := c.by.says(anna, c.in); code != wire.CodeInvalid {
			t.Errorf("%s: %q", c.what, code)
		}
	}
	p := anna.with(bo)
	if p.Amended != 2 || p.Theirs != nil || p.Gives[core.Storage] != 14*gb || p.Given[core.Storage] != 10*gb {
		t.Errorf("anna has %+v", p)
	}
	if _, code := bo.says(anna, propose(bo, changed)); code != "" || anna.with(bo).Given[core.Storage] != 10*gb {
		t.Errorf("what costs her something: %q, %+v", code, anna.with(bo))
	}
	if _, code := bo.says(anna, propose(bo, first.Amend(id, 2, storage(90*gb), storage(0)))); code != "" || anna.with(bo).Amended != 2 {
		t.Errorf("a number that is taken: %q", code)
	}
}

func signedBoth(t *testing.T, inviter, acceptor identity.Key, p pact.Pact) *pact.SignedPact {
	t.Helper()
	body, sig, err := pact.SignPact(acceptor, p)
	if err != nil {
		t.Fatal(err)
	}
	s, err := pact.Countersign(inviter, body, sig)
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestHostileNotices(t *testing.T) {
	w, anna, bo := pair(t)
	zoe := w.household("zoe")
	w.befriend(zoe, anna)
	_, id := anna.first(bo)
	now := w.clock.Now().Unix()
	const day = 24 * 60 * 60
	notice := func(by *machine, change func(*pact.Notice)) termsMessage {
		t.Helper()
		n := pact.Notice{Pact: id, By: bo.grid(), Agent: by.did(), Time: now, Until: now + 30*day}
		change(&n)
		s, err := pact.SignNotice(by.key, n)
		if err != nil {
			t.Fatal(err)
		}
		return termsMessage{Notice: &s}
	}
	for _, c := range []struct {
		what   string
		by, to *machine
		in     termsMessage
	}{
		{"by a stranger in his name", bo, anna, notice(zoe, func(*pact.Notice) {})},
		{"by another partner in his name", zoe, anna, notice(zoe, func(*pact.Notice) {})},
		{"by him in hers", bo, anna, notice(bo, func(n *pact.Notice) { n.By = anna.grid() })},
		{"of another pact", bo, anna, notice(bo, func(n *pact.Notice) { n.Pact = core.Score{1} })},
		{"with a day less", bo, anna, notice(bo, func(n *pact.Notice) { n.Until -= day })},
		{"dated back", bo, anna, notice(bo, func(n *pact.Notice) { n.Time -= 20 * day; n.Until -= 20 * day })},
		{"dated a week ahead", bo, anna, notice(bo, func(n *pact.Notice) { n.Time += 7 * day; n.Until += 7 * day })},
	} {
		if _, code := c.by.says(c.to, c.in); code != wire.CodeInvalid {
			t.Errorf("%s: %q", c.what, code)
		}
	}
	want(t, "it ends", anna.with(bo).Ends, 0)

	// Clocks that are a day apart are no reason for not hearing it. The first date stands.
	_, code := bo.says(anna, notice(bo, func(n *pact.Notice) { n.Time += day; n.Until += day }))
	want(t, "a day apart", code, "")
	want(t, "it ends", anna.with(bo).Ends, now+31*day)
	_, code = bo.says(anna, notice(bo, func(n *pact.Notice) { n.Until += 60 * day }))
	want(t, "put off", code, "")
	want(t, "it ends then", anna.with(bo).Ends, now+31*day)
}

// A machine that was removed ends nothing, and changes nothing.
func TestARemovedMachineEndsNothing(t *testing.T) {
	w, anna, bo := pair(t)
	second := w.machine("second", "bo")
	second.add(anna)
	second.meet(bo)
	bo.known.Learn(second.did(), second.peers.Addrs())
	if _, err := bo.f.RemoveMachine(t.Context(), bo.entropy, second.did()); err != nil {
		t.Fatal(err)
	}
	for _, in := range []termsMessage{{}, {Pact: []byte{1}}} {
		if _, code := second.says(anna, in); code != wire.CodeRevoked {
			t.Errorf("%q", code)
		}
	}
	want(t, "it ends", anna.with(bo).Ends, 0)
}
