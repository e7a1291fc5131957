package grange_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
)

// what a peer may ask with: the messages of SPEC §7, as far as these tests look into them.
type (
	fields  = map[string]any
	nonceOf struct {
		Nonce []byte `json:"nonce"`
	}
	admittedTo struct {
		Grid core.DID `json:"grid"`
	}
	headsOf struct {
		Charters []identity.Signed `json:"charters"`
		Heads    []struct {
			Head  identity.Signed `json:"head"`
			Pages []core.Score    `json:"pages"`
		} `json:"heads"`
	}
	leasesOf struct {
		Leases []identity.Signed `json:"leases"`
	}
	leaseOf struct {
		Lease   *identity.Signed `json:"lease"`
		Missing []core.Score     `json:"missing"`
	}
	grantOf struct {
		Grant []byte `json:"grant"`
	}
	receiptOf struct {
		Total uint64           `json:"total"`
		Last  *identity.Signed `json:"last"`
	}
	releasedOf struct {
		Aside int  `json:"aside"`
		Alarm bool `json:"alarm"`
	}
	proofsOf struct {
		Proofs []struct {
			State core.PieceState `json:"state"`
		} `json:"proofs"`
	}
	greetingOf struct {
		Name string `json:"name"`
	}
)

// kept is what bo's household has at anna's, as bo knows it.
type kept struct {
	pact    core.Score
	charter []identity.Signed
	heads   headsOf
	page    core.Score
	piece   core.Score
	grant   string
	release identity.Signed // of a piece that is not there
	receipt identity.Signed // for nothing, from long ago
}

// spare is a piece that nobody has, and page one of a state.
var spare, page = []byte(strings.Repeat("a spare piece ", 300)), []byte("a page that no head names")

// routeRow is one route, with what each kind of caller is answered. All of them send
// what is right for bo's household.
type routeRow struct {
	method, path string
	limit        int64
	body         func(k *kept) any
	query        func(k *kept) string

	stranger, partner, other, admitted string
	// own is another machine of the household that is asked; empty is unknown.
	own string
	// persons says that strangers may call who turn out to be a club's persons; others get what a route that is not for them answers.
	persons bool
	// guest says that guests may call: one who has nothing here gets what another partner does.
	guest bool
	// bearer is one who has a ticket of bo's household; empty is what a stranger gets.
	bearer string
	// bo and cleo look into what the partner and the other one got.
	bo, cleo func(t tester, a answer)
}

const (
	ok       = "200"
	unknown  = "403 " + wire.CodeUnknown
	notFound = "404 " + wire.CodeNotFound
	invalid  = "400 " + wire.CodeInvalid
)

func (k *kept) score() string { return k.piece.String() }

// routeTable has a row for each route of SPEC §7.
func routeTable() []routeRow {
	return append(tableRoutes(), []routeRow{
		{
			method: "POST", path: "/accept", limit: 256 << 10,
			body: func(k *kept) any {
				return fields{
					"invitation": make([]byte, 16), "proof": make([]byte, 32), "pact": []byte{1}, "name": "x", "addrs": []string{},
					"sig": fields{"by": make([]byte, 32), "sig": make([]byte, 64)}, "charters": k.charter,
				}
			},
			own:      notFound,
			stranger: notFound, partner: notFound, other: notFound, admitted: notFound,
		},
		{
			method: "POST", path: "/recover", limit: 384 << 10,
			body:     func(*kept) any { return fields{} },
			own:      ok,
			stranger: ok, partner: ok, other: ok, admitted: ok,
		},
		{
			method: "POST", path: "/ticket", limit: 4 << 10,
			body:     func(*kept) any { return fields{} },
			own:      invalid,
			stranger: ok, partner: invalid, other: invalid, admitted: invalid,
		},
		{
			method: "POST", path: "/credential", limit: 64 << 10,
			body:     func(*kept) any { return fields{} },
			own:      invalid,
			stranger: invalid, partner: invalid, other: invalid, admitted: invalid,
		},
		{
			method: "POST", path: "/greet", limit: 1 << 20,
			body: func(k *kept) any {
				return fields{"charters": k.charter, "addrs": []string{}, "name": "bo", "heads": []fields{}}
			},
			own:      invalid,
			stranger: unknown, partner: ok, other: invalid, admitted: unknown,
			bo: func(t tester, a answer) {
				if got := message[greetingOf](t, a).Name; got != "anna" {
					t.Errorf("the greeting is of %q", got)
				}
			},
		},
		{
			method: "GET", path: "/club",
			persons:  true,
			stranger: unknown, partner: notFound, other: notFound, admitted: unknown,
		},
		{
			method: "POST", path: "/amend", limit: 16 << 10,
			body:     func(*kept) any { return fields{} },
			stranger: unknown, partner: ok, other: ok, admitted: unknown,
		},
		{
			method: "POST", path: "/charter", limit: 1 << 20,
			guest:    true,
			body:     func(k *kept) any { return fields{"charters": k.charter} },
			own:      invalid,
			stranger: unknown, partner: ok, other: invalid, admitted: ok,
		},
		{
			method: "PUT", path: "/state/{score}", limit: 64 << 10,
			guest:    true,
			body:     func(*kept) any { return page },
			query:    func(*kept) string { return core.ScoreOf(page).String() },
			own:      "201",
			stranger: unknown, partner: "201", other: "201", admitted: unknown,
		},
		{
			method: "GET", path: "/state/{score}",
			guest:    true,
			query:    func(k *kept) string { return k.page.String() },
			own:      notFound,
			stranger: unknown, partner: ok, other: notFound, admitted: ok,
			bo: func(t tester, a answer) {
				if len(a.body) == 0 {
					t.Error("an empty page")
				}
			},
		},
		{
			method: "POST", path: "/head", limit: 4 << 20,
			guest: true,
			body: func(k *kept) any {
				return fields{"head": k.heads.Heads[0].Head, "base": 0, "add": k.heads.Heads[0].Pages, "drop": []core.Score{}}
			},
			own:      invalid,
			stranger: unknown, partner: ok, other: invalid, admitted: unknown,
		},
		{
			method: "GET", path: "/heads",
			guest:    true,
			own:      ok,
			stranger: unknown, partner: ok, other: ok, admitted: ok,
			bo: func(t tester, a answer) {
				if h := message[headsOf](t, a); len(h.Heads) != 1 || len(h.Charters) != 1 || len(h.Heads[0].Pages) < 2 {
					t.Errorf("bo's heads: %+v", h)
				}
			},
			cleo: func(t tester, a answer) {
				h := message[headsOf](t, a)
				for _, c := range h.Charters {
					if len(h.Heads) > 1 || c.By != h.Charters[0].By {
						t.Errorf("the other's heads: %+v", h)
					}
				}
			},
		},
		{
			method: "POST", path: "/ask", limit: 16 << 10,
			guest:    true,
			body:     func(k *kept) any { return k.ask() },
			own:      "403 " + wire.CodeRefused,
			stranger: unknown, partner: ok, other: "403 " + wire.CodeRefused, admitted: unknown,
		},
		{
			method: "PUT", path: "/pieces/{score}", limit: 1 << 20,
			guest:    true,
			body:     func(*kept) any { return spare },
			query:    func(k *kept) string { return core.ScoreOf(spare).String() + k.under() },
			own:      notFound,
			stranger: unknown, partner: "201", other: notFound, admitted: unknown,
		},
		{
			method: "POST", path: "/leases", limit: 1 << 20,
			guest: true,
			body: func(k *kept) any {
				return fields{"pieces": []fields{{"score": k.piece, "size": 0}}, "seconds": 1000}
			},
			own:      ok,
			stranger: unknown, partner: ok, other: ok, admitted: unknown,
			bo: func(t tester, a answer) {
				if l := message[leaseOf](t, a); l.Lease == nil || len(l.Missing) > 0 {
					t.Errorf("bo's lease: %+v", l)
				}
			},
			cleo: func(t tester, a answer) {
				if l := message[leaseOf](t, a); l.Lease != nil || len(l.Missing) != 1 {
					t.Errorf("a lease over bo's piece for another: %+v", l)
				}
			},
		},
		{ // cleo's release is by another than the caller, and so is bo's of a machine that is not bo's
			method: "POST", path: "/release", limit: 256 << 10,
			guest:    true,
			body:     func(k *kept) any { return fields{"release": k.release} },
			own:      invalid,
			stranger: unknown, partner: ok, other: invalid, admitted: unknown,
			bo: func(t tester, a answer) {
				if r := message[releasedOf](t, a); r.Aside != 0 || r.Alarm {
					t.Errorf("bo released a piece that anna never had: %+v", r)
				}
			},
		},
		{ // likewise
			method: "POST", path: "/receipt", limit: 4 << 10,
			guest:    true,
			body:     func(k *kept) any { return fields{"receipt": k.receipt} },
			stranger: unknown, partner: ok, other: invalid, admitted: unknown,
			bo: func(t tester, a answer) {
				if r := message[receiptOf](t, a); r.Last != nil {
					t.Errorf("bo's first receipt: %+v", r)
				}
			},
		},
		{
			method: "GET", path: "/leases",
			guest:    true,
			own:      ok,
			stranger: unknown, partner: ok, other: ok, admitted: ok,
			bo: func(t tester, a answer) {
				if l := message[leasesOf](t, a); len(l.Leases) == 0 {
					t.Error("bo has no leases")
				}
			},
			cleo: func(t tester, a answer) {
				if l := message[leasesOf](t, a); len(l.Leases) > 0 {
					t.Errorf("the other sees %d leases", len(l.Leases))
				}
			},
		},
		{
			method: "GET", path: "/pieces/{score}",
			guest:    true,
			query:    (*kept).score,
			own:      notFound,
			bearer:   ok,
			stranger: unknown, partner: ok, other: notFound, admitted: ok,
			bo: func(t tester, a answer) {
				if len(a.body) == 0 {
					t.Error("an empty piece")
				}
			},
		},
		{
			method: "POST", path: "/prove", limit: 64 << 10,
			guest:    true,
			body:     func(k *kept) any { return fields{"challenges": []fields{{"score": k.piece, "block": 0}}} },
			own:      ok,
			stranger: unknown, partner: ok, other: ok, admitted: unknown,
			bo: func(t tester, a answer) {
				if p := message[proofsOf](t, a).Proofs; len(p) != 1 || p[0].State != core.PieceOK {
					t.Errorf("bo's proofs: %+v", p)
				}
			},
			cleo: func(t tester, a answer) {
				if p := message[proofsOf](t, a).Proofs; len(p) != 1 || p[0].State != core.PieceMissing {
					t.Errorf("proofs of bo's piece for another: %+v", p)
				}
			},
		},
	}...)
}

// tableRoutes have a row for each route about tables, of which anna has none: who may read one is for the table to say.
func tableRoutes() (out []routeRow) {
	limits := map[string]int64{
		"/table/query": 16 << 10, "/table/show": 8 << 10, "/table/attest": 8 << 20,
		"/feeds/frontier": 1 << 20, "/feeds/operations": 1 << 20, "/feeds/news": 64 << 10,
	}
	for path, limit := range limits {
		out = append(out, routeRow{
			method: "POST", path: path, limit: limit,
			body:     func(*kept) any { return fields{"table": make([]byte, 32), "topic": make([]byte, 32)} },
			own:      notFound,
			stranger: notFound, partner: notFound, other: notFound, admitted: notFound,
		})
	}
	return out
}

func (k *kept) ask() fields {
	return fields{
		"resource": "storage", "amount": 1 << 20, "seconds": 1000, "quality": "normal",
		"why": fields{"kind": "pact", "ref": k.pact[:]},
	}
}

// under names bo's grant for a piece.
func (k *kept) under() string {
	return fmt.Sprintf("?grant=%s&segment=%032x&index=0", k.grant, 7)
}

func (row routeRow) send(r *raw, to target, k *kept, edit ...func(*http.Request)) answer {
	path := row.path
	if row.query != nil {
		path = strings.Replace(path, "{score}", row.query(k), 1)
	}
	var body any
	if row.body != nil {
		body = row.body(k)
	}
	return r.do(to, row.method, path, body, edit...)
}
