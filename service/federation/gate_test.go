package federation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
)

// amend signs a charter that follows m's newest, with a new secret.
func (m *machine) amend(change func(*charter.Charter)) identity.Signed {
	m.w.t.Helper()
	root := identity.RootOf(m.entropy)
	k, err := seal.NewPrivateKey(identity.RecoverySeed(m.entropy))
	if err != nil {
		m.w.t.Fatal(err)
	}
	all := m.f.Charters()
	last := all[len(all)-1]
	c, err := charter.Open(last)
	if err != nil {
		m.w.t.Fatal(err)
	}
	secrets, err := c.Secrets(core.DID{}, k)
	if err != nil {
		m.w.t.Fatal(err)
	}
	next := c.Next(last.Score(), m.w.clock.Now().Unix())
	change(&next)
	secrets = secrets.With(next.Epoch, seed(fmt.Sprint("secret", next.Epoch)))
	for i, a := range next.Agents {
		if len(a.Name) == 0 {
			next.Agents[i].Name, _ = charter.SealName(secrets, "added")
		}
	}
	signed, err := charter.Seal(root, next, secrets)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return signed
}

// agent is what a charter says of a machine.
func (m *machine) agent() charter.Agent { return charter.Agent{DID: m.did(), Seal: m.seal.Public()} }

type charters struct {
	Charters []identity.Signed `json:"charters"`
}

// routes are all of federation's, with what a well-meaning caller sends.
var routes = []struct {
	method, path string
	// stranger says what a stranger gets; "" is a 2xx.
	stranger string
}{
	{"POST", "/accept", wire.CodeNotFound},
	{"POST", "/recover", ""},
	{"POST", "/ticket", ""},
	{"POST", "/credential", wire.CodeInvalid},
	{"GET", "/club", wire.CodeUnknown},
	{"POST", "/amend", wire.CodeUnknown},
	{"POST", "/greet", wire.CodeUnknown},
	{"POST", "/charter", wire.CodeUnknown},
	{"PUT", "/state/" + core.ScoreOf([]byte("bytes")).String(), wire.CodeUnknown},
	{"GET", "/state/" + core.ScoreOf([]byte("bytes")).String(), wire.CodeUnknown},
	{"POST", "/head", wire.CodeUnknown},
	{"GET", "/heads", wire.CodeUnknown},
}

func TestEveryRouteIsHere(t *testing.T) {
	w := newWorld(t)
	var have, want []string
	for _, r := range w.household("anna").f.Routes() {
		have = append(have, r.Method+" "+strings.TrimSuffix(r.Path, "/{score}"))
	}
	for _, r := range routes {
		path := r.path
		if strings.HasPrefix(path, "/state/") {
			path = "/state"
		}
		want = append(want, r.method+" "+path)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Fatalf("routes are %q, the tests know %q", have, want)
	}
}

func TestStrangersOnEveryRoute(t *testing.T) {
	w := newWorld(t)
	anna, stranger := w.household("anna"), w.household("stranger")
	for _, r := range routes {
		code, err := stranger.call(anna, r.method, r.path, nil)
		if code != r.stranger {
			t.Errorf("%s %s: got %v, want %q", r.method, r.path, err, r.stranger)
		}
	}
}

func TestRevokedOnEveryRoute(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	fresh := w.machine("bo's new machine", "bo")
	w.befriend(anna, bo)
	bo.save()
	before := map[string]string{}
	for _, r := range routes { // over connections that stay open
		code, _ := bo.call(anna, r.method, r.path, nil)
		before[r.path+r.method] = code
	}
	want(t, "a page, before", before["/state/"+core.ScoreOf([]byte("bytes")).String()+"PUT"], "")

	removed := bo.amend(func(c *charter.Charter) {
		if err := c.Remove(bo.did(), 0, core.Score{}); err != nil {
			t.Fatal(err)
		}
		c.Agents = append(c.Agents, fresh.agent())
	})
	if code, err := bo.call(anna, "POST", "/charter", charters{[]identity.Signed{removed}}); code != "" {
		t.Fatal(err)
	}
	for _, r := range routes {
		code, err := bo.call(anna, r.method, r.path, nil)
		if code != wire.CodeRevoked {
			t.Errorf("%s %s: got %v, want %s", r.method, r.path, err, wire.CodeRevoked)
			continue
		}
		e, _ := errors.AsType[*wire.Error](err)
		if evidence, err := identity.ParseSigned(e.Evidence, 1<<20); err != nil || evidence.Score() != removed.Score() {
			t.Errorf("%s %s: the evidence is not the charter: %v", r.method, r.path, err)
		}
	}
	if anna.f.ListsAgent(bo.grid(), bo.did()) || !anna.f.ListsAgent(bo.grid(), fresh.did()) {
		t.Error("the newest charter is not what counts")
	}
	if _, ok := anna.f.ByAgent(bo.did()); ok {
		t.Error("a removed machine is still a partner's")
	}
	anna.restart()
	code, _ := bo.call(anna, "GET", "/heads", nil)
	want(t, "after a restart", code, wire.CodeRevoked)

	// bo's machine believes the evidence, stops, and stays so.
	const text = "this machine was removed from household bo by its charter 2 (recovery 0)"
	_, err := bo.f.SaveHead(t.Context())
	if err != nil {
		t.Fatalf("nothing has been said yet: %v", err)
	}
	bo.write("s/x", "x")
	_, err = bo.f.SaveHead(t.Context())
	wantError(t, "save", err, core.ErrRevoked)
	want(t, "the error", err.Error(), text)
	_, err = bo.f.Invite(t.Context(), gives(), time.Hour)
	wantError(t, "invite", err, core.ErrRevoked)
	wantError(t, "run", bo.f.Run(t.Context()), core.ErrRevoked)
	bo.off()
	err = bo.tryOn()
	wantError(t, "open again", err, core.ErrRevoked)
	want(t, "the error", err.Error(), text)
}

// A partner can say that we were removed, but not prove it.
func TestFalseEvidence(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	ours := anna.f.Charters()[0]
	others, _ := bo.f.Charters()[0].Marshal()
	ours.Sig = make([]byte, 64)
	forged, _ := ours.Marshal()
	for _, evidence := range [][]byte{nil, {1, 2, 3}, others, forged} {
		err := anna.f.Heed(t.Context(), fmt.Errorf("call: %w", &wire.Error{Code: wire.CodeRevoked, Evidence: evidence}))
		wantError(t, "false evidence", err, core.ErrForbidden)
	}
	if err := anna.f.Revoked(); err != nil {
		t.Fatal(err)
	}
}

// Of two charters for one place the lower score stands, whatever the order in which they come.
func TestRivalCharters(t *testing.T) {
	w := newWorld(t)
	x, y := w.machine("x", "bo"), w.machine("y", "bo")
	for _, lowerFirst := range []bool{true, false} {
		anna, bo := w.household(fmt.Sprint("anna", lowerFirst)), w.household("bo")
		w.befriend(anna, bo)
		listed := map[core.Score]core.DID{}
		var rivals []identity.Signed
		for _, m := range []*machine{x, y} {
			s := bo.amend(func(c *charter.Charter) { c.Agents = append(c.Agents, m.agent()) })
			listed[s.Score()] = m.did()
			rivals = append(rivals, s)
		}
		slices.SortFunc(rivals, func(a, b identity.Signed) int {
			sa, sb := a.Score(), b.Score()
			return slices.Compare(sa[:], sb[:])
		})
		stands := rivals[0]
		if !lowerFirst {
			slices.Reverse(rivals)
		}
		for i, s := range rivals {
			code, err := bo.call(anna, "POST", "/charter", charters{[]identity.Signed{s}})
			wanted := ""
			if lowerFirst && i == 1 {
				wanted = wire.CodeCharterStale
			}
			if code != wanted {
				t.Fatalf("lower first %v, charter %d: %v", lowerFirst, i, err)
			}
		}
		for score, agent := range listed {
			if got := anna.f.ListsAgent(bo.grid(), agent); got != (score == stands.Score()) {
				t.Fatalf("lower first %v: listed %v", lowerFirst, got)
			}
		}
		bo.off()
		anna.off()
	}
}

// A partner cannot claim another partner's machine by listing it in its own charter.
func TestAMachineInTwoCharters(t *testing.T) {
	w := newWorld(t)
	anna, bo, thief := w.household("anna"), w.household("bo"), w.household("thief")
	w.befriend(anna, thief)
	w.clock.Advance(time.Hour)
	w.befriend(anna, bo)
	stolen := thief.amend(func(c *charter.Charter) { c.Agents = append(c.Agents, bo.agent()) })
	if code, err := thief.call(anna, "POST", "/charter", charters{[]identity.Signed{stolen}}); code != "" {
		t.Fatal(err)
	}
	if p, ok := anna.f.ByAgent(bo.did()); !ok || p.Grid != bo.grid() {
		t.Fatalf("bo's machine counts as %v's", p.Name)
	}
	// Nor does listing and removing make it a machine that was removed.
	all := []identity.Signed{stolen}
	root := identity.RootOf(thief.entropy)
	k, _ := seal.NewPrivateKey(identity.RecoverySeed(thief.entropy))
	c, _ := charter.Open(stolen)
	secrets, _ := c.Secrets(core.DID{}, k)
	next := c.Next(stolen.Score(), 1)
	_ = next.Remove(bo.did(), 0, core.Score{})
	gone, err := charter.Seal(root, next, secrets.With(next.Epoch, seed("more")))
	if err != nil {
		t.Fatal(err)
	}
	if code, err := thief.call(anna, "POST", "/charter", charters{append(all, gone)}); code != "" {
		t.Fatal(err)
	}
	caller, err := anna.f.Classify(t.Context(), bo.did())
	if err != nil || caller.Grid != bo.grid() || caller.Class != wire.Partner {
		t.Fatalf("bo's machine is %+v, %v", caller, err)
	}
}

type recoverMessage struct {
	Admission *identity.Signed `json:"admission,omitempty"`
	Charter   *identity.Signed `json:"charter,omitempty"`
	Nonce     []byte           `json:"nonce,omitempty"`
}

func TestAdmission(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(anna, bo)
	w.befriend(cleo, bo)
	fresh, other := w.machine("fresh", "bo"), w.machine("other", "bo")
	fresh.connect()
	other.connect()
	nonce := func(m, at *machine) []byte {
		t.Helper()
		m.known.Learn(at.did(), at.peers.Addrs())
		var out recoverMessage
		if err := m.client.Call(t.Context(), at.did(), "POST", "/recover", recoverMessage{}, &out); err != nil {
			t.Fatal(err)
		}
		return out.Nonce
	}
	prove := func(m, at *machine, change func(*pact.Admission, *identity.Key)) string {
		t.Helper()
		root := identity.RootOf(bo.entropy)
		a := pact.Admission{Grid: bo.grid(), Agent: m.did(), Partner: at.did(), Nonce: [32]byte(nonce(m, at)), Time: 1}
		change(&a, &root)
		a.Grid = root.DID()
		signed, err := pact.SignAdmission(root, a)
		if err != nil {
			t.Fatal(err)
		}
		code, _ := m.call(at, "POST", "/recover", recoverMessage{Admission: &signed})
		return code
	}
	same := func(*pact.Admission, *identity.Key) {}
	for _, c := range []struct {
		what   string
		change func(*pact.Admission, *identity.Key)
	}{
		{"another household's root", func(_ *pact.Admission, k *identity.Key) { *k = identity.RootOf(seed("phrase nobody")) }},
		{"another machine", func(a *pact.Admission, _ *identity.Key) { a.Agent = other.did() }},
		{"another partner", func(a *pact.Admission, _ *identity.Key) { a.Partner = cleo.did() }},
		{"a nonce that was not given", func(a *pact.Admission, _ *identity.Key) { a.Nonce[0] ^= 1 }},
		{"another's nonce", func(a *pact.Admission, _ *identity.Key) { a.Nonce = [32]byte(nonce(other, anna)) }},
		{"a nonce of two minutes ago", func(*pact.Admission, *identity.Key) { w.clock.Advance(2 * time.Minute) }},
	} {
		want(t, c.what, prove(fresh, anna, c.change), wire.CodeUnknown)
	}
	code, _ := fresh.call(anna, "GET", "/heads", nil)
	want(t, "heads before", code, wire.CodeUnknown)
	var used pact.Admission
	want(t, "a true one", prove(fresh, anna, func(a *pact.Admission, _ *identity.Key) { used = *a }), "")
	signed, _ := pact.SignAdmission(identity.RootOf(bo.entropy), used)
	code, _ = fresh.call(anna, "POST", "/recover", recoverMessage{Admission: &signed})
	want(t, "the same again", code, wire.CodeUnknown)
	for path, wanted := range map[string]string{"GET /heads": "", "POST /greet": wire.CodeUnknown, "POST /head": wire.CodeUnknown} {
		method, route, _ := strings.Cut(path, " ")
		code, _ = fresh.call(anna, method, route, nil)
		want(t, path+" when admitted", code, wanted)
	}
	w.clock.Advance(time.Hour)
	code, _ = fresh.call(anna, "GET", "/heads", nil)
	want(t, "heads after an hour", code, wire.CodeUnknown)

	for i := range 64 { // as many nonces as there are, each of another machine
		m := w.machine(fmt.Sprint("m", i), "bo")
		m.connect()
		nonce(m, anna)
		m.off()
	}
	want(t, "after many nonces", prove(fresh, anna, same), "")
	for i := range 16 {
		m := w.machine(fmt.Sprint("m", i), "bo")
		m.connect()
		want(t, "admit many", prove(m, anna, same), "")
		m.off()
	}
	code, _ = fresh.call(anna, "GET", "/heads", nil)
	want(t, "the oldest admission goes", code, wire.CodeUnknown)
}

// A charter that a partner does not know yet, and that lists the caller, introduces it.
func TestIntroduction(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	second, third := w.machine("second", "bo"), w.machine("third", "bo")
	second.connect()
	third.connect()
	added := bo.amend(func(c *charter.Charter) { c.Agents = append(c.Agents, second.agent()) })
	forged := added
	forged.Sig = make([]byte, 64)
	stranger := w.household("stranger").f.Charters()[0]
	for _, c := range []struct {
		what, code string
		m          *machine
		charter    identity.Signed
	}{
		{"a forged one", wire.CodeUnknown, second, forged},
		{"of a household without a pact", wire.CodeUnknown, second, stranger},
		{"that does not list the caller", wire.CodeUnknown, third, added},
		{"a true one", "", second, added},
		{"a true one again", "", second, added},
	} {
		code, err := c.m.call(anna, "POST", "/recover", recoverMessage{Charter: &c.charter})
		if code != c.code {
			t.Errorf("%s: got %v, want %q", c.what, err, c.code)
		}
	}
	code, _ := second.call(anna, "GET", "/heads", nil)
	want(t, "heads for the new machine", code, "")
}
