package grange_test

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/ticket"
)

// what a peer may ask with: the messages of SPEC §7, as far as these tests look into them.
// peerWorld has anna, whom bo and cleo have as a partner, and what bo keeps with her. The
// machines of bo and cleo run no more.
type peerWorld struct {
	*world
	anna, lost *machine // lost is bo's
	friend     *machine // cleo's
	to         target
	bo, cleo   *raw
	own        *raw         // anna's second machine
	key        identity.Key // of bo's machine
	k          *kept
}

func newPeerWorld(w *world) *peerWorld {
	t := w.t
	homes := w.households("anna", "bo", "cleo")
	anna, bo, cleo := homes[0], homes[1], homes[2]
	second, _ := w.add(anna, anna, "second")
	second.stop()
	bo.put("tree", randomTree(1, 100_000))
	grid := bo.house
	bo.stop()
	cleo.stop()
	p := &peerWorld{
		world: w, anna: anna, lost: bo, friend: cleo, to: anna.target(), bo: w.raw("bo", bo.did), cleo: w.raw("cleo", cleo.did),
		own: w.raw("own", second.did), k: &kept{},
	}
	var err error
	if p.k.pact, err = core.ParseScore(anna.pact(bo).ID); err != nil {
		t.Fatal(err)
	}
	p.k.heads = message[headsOf](t, p.bo.do(p.to, "GET", "/heads", nil))
	p.k.charter, p.k.page = p.k.heads.Charters, p.k.heads.Heads[0].Pages[0]
	lease, err := pact.OpenLease(message[leasesOf](t, p.bo.do(p.to, "GET", "/leases", nil)).Leases[0])
	if err != nil {
		t.Fatal(err)
	}
	p.k.piece = lease.Pieces[0]
	raw, err := os.ReadFile(filepath.Join(bo.dir, "agent.key"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.ParseAgentKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	p.key = identity.KeyOf(keys.Seed)
	p.k.release, err = pact.SignRelease(p.key, pact.Release{Owner: grid, Agent: bo.did, Pieces: []core.Score{core.ScoreOf(spare)}, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.k.receipt, err = pact.SignReceipt(p.key, pact.Receipt{
		Pact: p.k.pact, Provider: p.to.did, Receiver: bo.did, Resource: core.Storage, Seq: 1, Until: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.k.grant = hex.EncodeToString(message[grantOf](t, p.bo.do(p.to, "POST", "/ask", p.k.ask())).Grant)
	return p
}

// admit lets a fresh machine in to what is bo's, by the phrase of bo's household.
func (p *peerWorld) admit() *raw {
	t := p.t
	entropy, err := identity.ParsePhrase(p.lost.phrase)
	if err != nil {
		t.Fatal(err)
	}
	root := identity.RootOf(entropy)
	r := p.raw("admitted", identity.KeyOf([32]byte{9}).DID())
	nonce := message[nonceOf](t, r.do(p.to, "POST", "/recover", fields{})).Nonce
	signed, err := pact.SignAdmission(root, pact.Admission{
		V: codec.Version, Grid: root.DID(), Agent: r.did, Partner: p.to.did, Nonce: [32]byte(nonce), Time: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := message[admittedTo](t, r.do(p.to, "POST", "/recover", fields{"admission": signed})); got.Grid != root.DID() {
		t.Fatalf("admitted to %s", got.Grid)
	}
	return r
}

// bear lets somebody in with a ticket of bo's.
func (p *peerWorld) bear() *raw {
	t := p.t
	seed := ticket.Secret{7}
	grid := p.k.charter[0].By
	right, err := ticket.SignRight(p.key, ticket.Right{Grid: grid, ID: ticket.ID{1}, Key: seed.Key().DID(), Until: time.Now().Unix() + 3600})
	if err != nil {
		t.Fatal(err)
	}
	r := p.raw("bearer", identity.KeyOf([32]byte{10}).DID())
	nonce := message[nonceOf](t, r.do(p.to, "POST", "/ticket", fields{})).Nonce
	proof, err := ticket.SignProof(seed.Key(), ticket.Proof{ID: ticket.ID{1}, Holder: p.to.did, Agent: r.did, Nonce: [32]byte(nonce)})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.do(p.to, "POST", "/ticket", fields{"right": right, "proof": proof}); got.String() != ok {
		t.Fatal(got, got.err.Message)
	}
	return r
}

// Every route that the running agent has is asked by every kind of caller.
func TestRoutesByCaller(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		p := newPeerWorld(w)
		stranger, admitted := w.raw("stranger", identity.KeyOf([32]byte{8}).DID()), p.admit()
		bearer, guest := p.bear(), p.guest()
		table := routeTable()
		checkTable(t, p.anna, table)
		for _, row := range table {
			fromGuest := row.stranger
			if row.guest {
				fromGuest = row.other
			} else if row.path == "/ticket" { // for it is somebody here
				fromGuest = invalid
			}
			for _, c := range []struct {
				who  *raw
				want string
				look func(tester, answer)
			}{{stranger, row.stranger, nil}, {bearer, cmp.Or(row.bearer, row.stranger), row.bo}, {guest, fromGuest, row.cleo}, {p.cleo, row.other, row.cleo}, {p.own, cmp.Or(row.own, unknown), nil}, {admitted, row.admitted, row.bo}, {p.bo, row.partner, row.bo}} {
				got := row.send(c.who, p.to, p.k)
				if got.String() != c.want {
					t.Errorf("%s %s by %s: %v (%s), want %s", row.method, row.path, c.who.name, got, got.err.Message, c.want)
				} else if c.look != nil && got.status == http.StatusOK {
					c.look(t, got)
				}
			}
		}

		// bo's household goes on from a new machine: the old one is let in nowhere.
		_ = p.bo.peers.Close()
		again, _ := w.recover(p.lost, p.anna, "bo again")
		revoked := w.raw("revoked", p.bo.did)
		for _, row := range table {
			got := row.send(revoked, p.to, p.k)
			if got.String() != "403 "+wire.CodeRevoked {
				t.Errorf("%s %s by a removed machine: %v", row.method, row.path, got)
			}
			newest, err := identity.ParseSigned(got.err.Evidence, 1<<20)
			if err != nil || newest.By != again.house || newest.Score() == p.k.charter[0].Score() {
				t.Errorf("%s %s: the evidence is no newer charter: %v", row.method, row.path, err)
			}
		}
	})
}

var specRoute = regexp.MustCompile("(?m)^\\| `([A-Z]+) (/[^?` ]*)[^`]*` \\| ([a-z, ]+) \\|")

// classNames is how SPEC writes who may call.
func classNames(who wire.Class) string {
	var names []string
	for _, c := range []struct {
		class wire.Class
		name  string
	}{{wire.Stranger, "stranger"}, {wire.Partner, "partner"}, {wire.Admitted, "admitted"}, {wire.Own, "own"}, {wire.Guest, "guest"}, {wire.Bearer, "bearer"}} {
		if who&c.class != 0 {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, ", ")
}

// checkTable fails unless the table, the agent and SPEC have the same routes.
func checkTable(t tester, m *machine, table []routeRow) {
	t.Helper()
	var have, want, spec []string
	for _, r := range m.Routes() {
		have = append(have, fmt.Sprintf("%s %s, %s", r.Method, r.Path, classNames(r.Who)))
		i := slices.IndexFunc(table, func(row routeRow) bool { return row.method == r.Method && row.path == r.Path })
		if i >= 0 && table[i].limit != r.Limit {
			t.Errorf("%s %s: the limit is %d, the table has %d", r.Method, r.Path, r.Limit, table[i].limit)
		}
	}
	for _, row := range table {
		who := "stranger"
		switch {
		case row.stranger == unknown && row.admitted == unknown:
			who = "partner"
		case row.stranger == unknown:
			who = "partner, admitted"
		}
		if row.stranger == unknown && row.own != "" {
			who += ", own"
		}
		if row.persons {
			who = "stranger, " + who
		}
		if row.guest {
			who += ", guest"
		}
		if row.bearer != "" {
			who += ", bearer"
		}
		want = append(want, fmt.Sprintf("%s %s, %s", row.method, row.path, who))
	}
	text, err := os.ReadFile("docs/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range specRoute.FindAllStringSubmatch(string(text), -1) {
		spec = append(spec, fmt.Sprintf("%s %s, %s", m[1], m[2], m[3]))
	}
	for _, list := range [][]string{have, want, spec} {
		slices.Sort(list)
	}
	if !slices.Equal(have, want) {
		t.Errorf("the agent has the routes %q, this table %q", have, want)
	}
	if !slices.Equal(have, spec) {
		t.Errorf("the agent has the routes %q, SPEC %q", have, spec)
	}
}

// What no route allows is refused before any is asked, also to a partner.
func TestRoutesRefuseBadRequests(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		p := newPeerWorld(w)
		host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
		with := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
		path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
		check := func(what string, got answer, want string) {
			t.Helper()
			if got.String() != want {
				t.Errorf("%s: %v (%s), want %s", what, got, got.err.Message, want)
			}
		}
		for _, row := range routeTable() {
			name := row.method + " " + row.path + ": "
			check(name+"another's Host", row.send(p.bo, p.to, p.k, host(p.bo.did.String())), "421 "+wire.CodeHostWrong)
			check(name+"Upgrade", row.send(p.bo, p.to, p.k, with("Upgrade", "h2c"), with("Connection", "Upgrade")), invalid)
			check(name+"a coding", row.send(p.bo, p.to, p.k, with("Content-Encoding", "gzip")), invalid)
			check(name+"a large header", row.send(p.bo, p.to, p.k, with("X-Large", strings.Repeat("x", 2*wire.HeaderSizeMax))), "431")
			p.tooLarge(row, name)
			p.otherMethods(row, name)
		}
		for _, v := range []string{"v2", "v0", "v10"} {
			check(v, p.bo.do(p.to, "GET", "/heads", nil, path("/grange/"+v+"/heads")), "404 "+wire.CodeVersion)
		}
		for _, at := range []string{"/", "/grange", "/grange/v1", "/grange/v1/", "/grange/v1/heads/", "/grange//v1/heads", "/grange/v1/x/../heads", "/grange/v1/nothing", "/heads", "/grange/v1/pieces/", "/grange/vx/heads"} {
			check(at, p.bo.do(p.to, "GET", "/heads", nil, path(at)), notFound)
		}
		check("no score", p.bo.do(p.to, "GET", "/pieces/xyz", nil), invalid)
		check("no score of a page", p.bo.do(p.to, "GET", "/state/xyz", nil), invalid)
		check("a proxy's target", p.bo.send(p.to, "GET", "GET http://elsewhere/grange/v1/heads HTTP/1.1\r\nHost: "+p.to.did.String()+"\r\n\r\n"), "421 "+wire.CodeHostWrong)
		check("no Host", p.bo.send(p.to, "GET", "GET /grange/v1/heads HTTP/1.0\r\n\r\n"), "421 "+wire.CodeHostWrong)
		check("not HTTP", p.bo.send(p.to, "GET", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), "400")
		check("and after it all", p.bo.do(p.to, "GET", "/heads", nil), ok)
	})
}

// tooLarge sends one byte more than a route takes, said and unsaid.
func (p *peerWorld) tooLarge(row routeRow, name string) {
	p.t.Helper()
	for _, said := range []bool{true, false} {
		size := row.limit + 1
		got := row.send(p.bo, p.to, p.k, func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", int(size)))), size
			if !said {
				r.ContentLength = -1
			}
		})
		want := "413 " + wire.CodeTooLarge
		if got.String() != want {
			p.t.Errorf("%sa body of %d bytes, length said %v: %v (%s), want %s", name, size, said, got, got.err.Message, want)
		}
	}
}

// otherMethods tries all that the path's routes do not have.
func (p *peerWorld) otherMethods(row routeRow, name string) {
	p.t.Helper()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"} {
		if slices.ContainsFunc(routeTable(), func(other routeRow) bool { return other.path == row.path && other.method == method }) {
			continue
		}
		got := row.send(p.bo, p.to, p.k, func(r *http.Request) { r.Method = method })
		want := notFound
		if method == "HEAD" {
			want = "404" // an answer to HEAD has no body
		}
		if got.String() != want {
			p.t.Errorf("%smethod %s: %v, want %s", name, method, got, want)
		}
	}
}

// A caller that stops half way, drips or hangs is cut off and costs its slot for a bounded time.
func TestRoutesCutOffSlowCallers(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		p := newPeerWorld(w)
		head := "PUT /grange/v1/state/" + core.ScoreOf(page).String() + " HTTP/1.1\r\nHost: " + p.to.did.String() + "\r\n"
		for name, text := range map[string]string{
			"half a header":   head[:40],
			"half a body":     head + "Content-Length: 100\r\n\r\nhalf",
			"half a chunk":    head + "Transfer-Encoding: chunked\r\n\r\n10\r\nhalf",
			"nothing at all":  "",
			"an idle channel": "GET /grange/v1/heads HTTP/1.1\r\nHost: " + p.to.did.String() + "\r\n\r\n",
		} {
			c := p.bo.dial(p.to)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c); err != nil { // it ends when anna closes, and never otherwise
				t.Errorf("%s: %v", name, err)
			}
			_ = c.Close()
		}
		// A partner's 64 streams are its own: with all of them stuck, others are served.
		for range wire.RequestsPartnerMax {
			c := p.bo.dial(p.to)
			defer func() { _ = c.Close() }()
			if _, err := io.WriteString(c, head+"Content-Length: 100\r\n\r\nhalf"); err != nil {
				t.Fatal(err)
			}
		}
		w.later(0)
		busy := p.bo.do(p.to, "GET", "/heads", nil)
		if busy.String() != "503 "+wire.CodeBusy || busy.header.Get("Retry-After") == "" {
			t.Errorf("one stream too many: %v, retry %q", busy, busy.header.Get("Retry-After"))
		}
		if got := p.cleo.do(p.to, "GET", "/heads", nil); got.String() != ok {
			t.Errorf("another partner meanwhile: %v", got)
		}
		w.later(time.Minute)
		if got := p.bo.do(p.to, "GET", "/heads", nil); got.String() != ok {
			t.Errorf("after they were cut off: %v", cmp.Or(got.err.Message, got.String()))
		}
	})
}
