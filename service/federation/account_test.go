package federation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/service/federation"
)

// shop is an account server's key: all that it takes to make tokens.
type shop struct {
	w   *world
	key identity.Key
}

// token is one of a household's account, for two days.
func (s shop) token(of *machine, id string) identity.Signed {
	s.w.t.Helper()
	now := s.w.clock.Now().Unix()
	out, err := account.SignToken(s.key, account.Token{
		Server: s.key.DID(), Account: id, Plan: "home", Grid: of.grid(), Bytes: 7_000, From: now, Until: now + 2*24*3600, Nonce: [16]byte{1, byte(now), byte(now >> 8), byte(now >> 16)},
	})
	if err != nil {
		s.w.t.Fatal(err)
	}
	return out
}

// trades is a shop, bo who trusts it, and anna, who has an account there: the name, and what is her newest token.
func trades(t *testing.T) (w *world, s shop, anna, bo *machine, name federation.AccountName, newest *identity.Signed) {
	w = newWorld(t)
	anna, bo = w.household("anna"), w.household("bo")
	s = shop{w, identity.KeyOf([32]byte{5})}
	bo.take = func(token identity.Signed, grid core.DID) (account.Right, error) {
		return account.Verify(token, func(server core.DID) bool { return server == s.key.DID() }, grid, w.clock.Now().Unix())
	}
	bo.restart()
	name, newest = federation.AccountName{Server: s.key.DID(), ID: "anna"}, new(identity.Signed)
	*newest = s.token(anna, "anna")
	anna.token = func(n federation.AccountName) (identity.Signed, account.Right, bool) {
		token, err := account.OpenToken(*newest)
		return *newest, account.Right{ID: newest.Score(), Token: token}, err == nil && n == name
	}
	anna.restart()
	return w, s, anna, bo, name, newest
}

func at(m *machine) federation.AgentAddrs {
	return federation.AgentAddrs{DID: m.did(), Addrs: m.peers.Addrs()}
}

func TestATokenLetsIn(t *testing.T) {
	w, s, anna, bo, name, newest := trades(t)
	want(t, "before", bo.classOf(anna), "stranger false")
	e, err := anna.f.UseAccount(t.Context(), at(bo), name)
	if err != nil {
		t.Fatal(err)
	}
	until := w.clock.Now().Unix() + 2*24*3600
	if e.Grid != bo.grid() || e.Account != name || e.Subject != s.key.DID() || e.Ref != newest.Score() || e.Amount != 7_000 || e.Until != until || e.LeaseDays != 30 || e.AsideDays != 14 || e.Leaving {
		t.Errorf("errand %+v", e)
	}
	check := func() {
		t.Helper()
		want(t, "anna", bo.classOf(anna), "guest true")
		g, ok := bo.f.Guest(anna.grid())
		if !ok || g.Account != name || g.Name != "anna" || g.Share != 7_000 || !slices.Equal(g.Refs[:1], []core.Score{newest.Score()}) || !slices.Equal(g.Agents, []core.DID{anna.did()}) {
			t.Errorf("guest %+v, %v", g, ok)
		}
	}
	check()
	bo.restart()
	anna.restart()
	check()
	if got, ok := anna.f.Errand(bo.grid()); !ok || got.Account != name || got.Ref != newest.Score() {
		t.Errorf("after a restart: %+v, %v", got, ok)
	}
	// The next token is shown by itself, before whatever is asked next.
	anna.f.Enter(t.Context(), bo.did(), false)
	w.clock.Advance(24 * time.Hour)
	*newest = s.token(anna, "anna")
	want(t, "the next one", anna.f.Enter(t.Context(), bo.did(), false), true)
	want(t, "once", anna.f.Enter(t.Context(), bo.did(), false), false)
	check()
	// When it has lapsed nothing is shown, and a week later what lies there should lie elsewhere.
	w.clock.Advance(3 * 24 * time.Hour)
	want(t, "a token that has lapsed", anna.f.Enter(t.Context(), bo.did(), true), false)
	if g, ok := bo.f.Guest(anna.grid()); !ok || len(g.Refs) != 0 || g.Account != name {
		t.Errorf("lapsed: %+v, %v", g, ok)
	}
	w.clock.Advance(7 * 24 * time.Hour)
	if e, _ := anna.f.Errand(bo.grid()); !e.Leaving {
		t.Error("not given up a week later")
	}
	name.ID = "other"
	_, err = anna.f.UseAccount(t.Context(), at(bo), name)
	wantError(t, "an account that is not used", err, core.ErrNotExist)
}

func TestHostileTokens(t *testing.T) {
	w, s, anna, bo, _, newest := trades(t)
	dan, cleo := w.household("dan"), w.household("cleo")
	good := *newest
	altered := good
	altered.Body = slices.Clone(good.Body)
	altered.Body[len(altered.Body)-1] ^= 1
	mallory := shop{w, identity.KeyOf([32]byte{6})}.token(anna, "anna")
	danish := s.token(dan, "dan")
	for name, c := range map[string]struct {
		change func(*credentialMessage)
		code   string
		reason string
	}{
		"another household's":           {func(m *credentialMessage) { m.Token = &danish }, wire.CodeRefused, "another household"},
		"of a server that is not named": {func(m *credentialMessage) { m.Token = &mallory }, wire.CodeRefused, "not trusted here"},
		"altered":                       {func(m *credentialMessage) { m.Token = &altered }, wire.CodeInvalid, ""},
		"with a voucher":                {func(m *credentialMessage) { m.Chain = []byte{1} }, wire.CodeInvalid, "a credential is a voucher, or the token of an account"},
		"none":                          {func(m *credentialMessage) { m.Token = nil }, wire.CodeInvalid, "a credential is a voucher, or the token of an account"},
		"with another's charter":        {func(m *credentialMessage) { m.Charter = chartersOf(t, dan)[0] }, wire.CodeRefused, "does not list the machine"},
		"a name that shows as others":   {func(m *credentialMessage) { m.Name = "\x1b[2J" }, wire.CodeInvalid, ""},
	} {
		w.clock.Advance(time.Minute)
		in := credentialMessage{Charter: chartersOf(t, anna)[0], Name: "anna", Token: &good}
		c.change(&in)
		code, err := anna.call(bo, "POST", "/credential", in)
		if code != c.code || err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %s, %v, want %s, %q", name, code, err, c.code, c.reason)
		}
		want(t, name, bo.classOf(anna), "stranger false")
	}
	// Replayed by another agent, as anna's and as its own; and where no account server is trusted.
	w.clock.Advance(time.Minute)
	for _, charter := range []identity.Signed{chartersOf(t, anna)[0], chartersOf(t, dan)[0]} {
		code, err := dan.call(bo, "POST", "/credential", credentialMessage{Charter: charter, Name: "dan", Token: &good})
		if code != wire.CodeRefused {
			t.Errorf("replayed: %s, %v", code, err)
		}
	}
	code, err := anna.call(cleo, "POST", "/credential", credentialMessage{Charter: chartersOf(t, anna)[0], Name: "anna", Token: &good})
	if code != wire.CodeRefused || !strings.Contains(err.Error(), "no account is honoured here") {
		t.Errorf("at another: %s, %v", code, err)
	}
	w.clock.Advance(48 * time.Hour)
	code, err = anna.call(bo, "POST", "/credential", credentialMessage{Charter: chartersOf(t, anna)[0], Name: "anna", Token: &good})
	if code != wire.CodeRefused || !strings.Contains(err.Error(), "has lapsed") {
		t.Errorf("expired: %s, %v", code, err)
	}
	want(t, "dan", bo.classOf(dan), "stranger false")
}
