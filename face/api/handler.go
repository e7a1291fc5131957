package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/grange-grid/grange"
)

// Media types of answers.
const (
	typeJSON   = "application/json"
	typeStream = "application/x-ndjson"
)

// bodySizeMax bounds a request's body in bytes, but for those that bring much.
const bodySizeMax = 256 << 10

func bodyMax(path string) int64 {
	switch path {
	case "/v1/table-rows":
		return TableBodyMax
	case "/v1/table-verify":
		return verifyBodyMax
	}
	return bodySizeMax
}

// route is one resource and what is done to it. GET reads, POST does.
type route struct {
	method string
	path   string
	// query has the parameters that a GET takes.
	query []string
	what  string
	serve func(*owner, *http.Request) answer
}

// answer runs a request and writes what came of it.
type answer func(http.ResponseWriter)

// owner serves the owner of one agent.
type owner struct {
	agent  *grange.Agent
	routes []route
}

// Handler returns the owner's API of an agent. Whoever reaches it may do
// everything: the caller of Handler sees to it that nobody else does. Long work ends
// when its request's context does.
func Handler(a *grange.Agent) http.Handler {
	return &owner{agent: a, routes: []route{
		{"GET", "/v1", nil, "what there is", (*owner).index},
		{"GET", "/v1/status", []string{"name"}, "what this machine knows without asking anybody", (*owner).status},
		{"GET", "/v1/versions", []string{"name"}, "the versions of one name, or of all", (*owner).versions},
		{"GET", "/v1/ls", []string{"name", "version", "path"}, "one directory of a version", (*owner).list},
		{"GET", "/v1/cat", []string{"name", "version", "path", "from", "length"}, "the bytes of a file of a version", (*owner).cat},
		{"GET", "/v1/keep", nil, "what is stored by itself, and how that goes", (*owner).kept},
		{"GET", "/v1/pacts", nil, "what there is with each partner", (*owner).pacts},
		{"GET", "/v1/tickets", []string{"name"}, "who may read what without a pact, and until when", (*owner).tickets},
		{"GET", "/v1/machines", nil, "the machines of this household", (*owner).machines},
		{"GET", "/v1/accounts", []string{"after"}, "plans, storage servers and accounts of this account server", (*owner).accounts},
		{"GET", "/v1/account", []string{"id"}, "one account of this account server", (*owner).account},
		{"GET", "/v1/account-use", nil, "the accounts that this household uses", (*owner).usedAccounts},
		{"GET", "/v1/ledger", []string{"who"}, "what was given to a partner and had, or of all", (*owner).ledger},
		{"GET", "/v1/decision", []string{"id"}, "one answer to what a partner has asked for, and its facts", (*owner).decision},
		{"GET", "/v1/policy", nil, "who is answered how", (*owner).policy},
		{"GET", "/v1/grids", nil, "the clubs that this machine hosts", (*owner).grids},
		{"GET", "/v1/clubs", nil, "the clubs among the partners, who belongs to them and what they have for this machine", (*owner).clubs},
		{"GET", "/v1/doctor", nil, "what may be wrong with this machine, and what helps", (*owner).doctor},
		{"GET", "/v1/offer", nil, "what this machine gives", (*owner).offer},
		{"GET", "/v1/joined", []string{"id"}, "wait until an invitation is accepted", (*owner).joined},
		{"GET", "/v1/events", nil, "what happens from now on", (*owner).events},
		{"GET", "/v1/tables", nil, "the tables that are kept here", (*owner).tables},
		{"GET", "/v1/table", []string{"name"}, "one of them", (*owner).table},
		{"GET", "/v1/table-query", []string{"name", "query", "after", "from", "trust", "proof"}, "ask a table, here or at another machine, whose answer is checked", (*owner).queryTable},
		{"GET", "/v1/table-history", []string{"name", "key"}, "who has written what to a row", (*owner).tableHistory},
		{"GET", "/v1/table-watch", []string{"name", "query"}, "which rows change from now on", (*owner).watchTable},
		{"GET", "/v1/table-forks", []string{"name"}, "writers that have signed two operations with one number, and machines that have left some out", (*owner).tableForks},
		{"POST", "/v1/put", nil, "store a file or directory as a new version", (*owner).put},
		{"POST", "/v1/carried", nil, "what a carried disk has for this machine", (*owner).carried},
		{"POST", "/v1/take-in", nil, "take in what a carried disk has for this machine", (*owner).takeIn},
		{"POST", "/v1/keep", nil, "store a path by itself from now on, or no more", (*owner).keep},
		{"POST", "/v1/get", nil, "restore a version, or a part of one", (*owner).get},
		{"POST", "/v1/ticket", nil, "make a line that lets anybody read a version, or stop those of a name", (*owner).ticket},
		{"POST", "/v1/account-plan", nil, "make or change a plan of this account server", (*owner).accountPlan},
		{"POST", "/v1/account", nil, "make an account for a household, or prolong it", (*owner).addAccount},
		{"POST", "/v1/account-revoke", nil, "end an account, or restore it", (*owner).revokeAccount},
		{"POST", "/v1/account-server", nil, "list a machine as a storage server, or no more", (*owner).accountServer},
		{"POST", "/v1/account-use", nil, "use an account that this household has, or no more", (*owner).useAccount},
		{"POST", "/v1/rm", nil, "forget a version, or all of a name", (*owner).remove},
		{"POST", "/v1/undo", nil, "bring back what was removed last", (*owner).undo},
		{"POST", "/v1/check", nil, "have every holder prove what it keeps; mend", (*owner).check},
		{"POST", "/v1/offer", nil, "set what this machine gives", (*owner).setOffer},
		{"POST", "/v1/invite", nil, "make a code for one friend", (*owner).invite},
		{"POST", "/v1/terms", nil, "read what a code offers", (*owner).terms},
		{"POST", "/v1/accept", nil, "agree to a code's terms", (*owner).accept},
		{"POST", "/v1/ask", nil, "ask a partner for something", (*owner).ask},
		{"POST", "/v1/sign", nil, "sign for what was had of a partner", (*owner).sign},
		{"POST", "/v1/amend", nil, "change what you and a partner give, or agree to it", (*owner).amend},
		{"POST", "/v1/end", nil, "give a partner notice", (*owner).end},
		{"POST", "/v1/policy-trial", nil, "what a policy means, and what it would have answered lately", (*owner).tryPolicy},
		{"POST", "/v1/policy", nil, "put a policy in force", (*owner).setPolicy},
		{"POST", "/v1/grids", nil, "host a club whose directory is there", (*owner).host},
		{"POST", "/v1/clubs", nil, "ask a club now for what it has for this machine", (*owner).visitClub},
		{"POST", "/v1/admit", nil, "say what a member of a club may do; admit a person", (*owner).admit},
		{"POST", "/v1/expel", nil, "strike a member off a club's roll", (*owner).expel},
		{"POST", "/v1/voucher", nil, "give some of what a club has for this machine to another's", (*owner).voucher},
		{"POST", "/v1/voucher-use", nil, "use a voucher that is for this machine", (*owner).useVoucher},
		{"POST", "/v1/table", nil, "make a table", (*owner).createTable},
		{"POST", "/v1/table-rows", nil, "write rows of a table", (*owner).putRows},
		{"POST", "/v1/table-delete", nil, "delete rows of a table", (*owner).deleteRows},
		{"POST", "/v1/table-erase", nil, "delete for good what was written to a row", (*owner).eraseRow},
		{"POST", "/v1/table-verify", nil, "check an answer that was saved", (*owner).verifyTable},
		{"POST", "/v1/table-join", nil, "begin to keep a table that another machine has", (*owner).joinTable},
		{"POST", "/v1/table-load", nil, "begin to keep a table out of a file", (*owner).loadTable},
		{"POST", "/v1/table-export", nil, "write a table to a file", (*owner).exportTable},
		{"POST", "/v1/table-part", nil, "begin to keep some rows of a table", (*owner).joinTablePart},
		{"POST", "/v1/table-leave", nil, "drop a table that is kept here", (*owner).leaveTable},
		{"POST", "/v1/table-share", nil, "say what somebody may do with a table", (*owner).shareTable},
		{"POST", "/v1/table-index", nil, "add an index to a table, or drop one", (*owner).indexTable},
		{"POST", "/v1/table-attest", nil, "sign what a table is here", (*owner).attestTable},
		{"POST", "/v1/table-sync", nil, "bring a table level with the machines that have it", (*owner).syncTable},
		{"POST", "/v1/revoke", nil, "shut a machine out of this household", (*owner).revoke},
	}}
}

// ServeHTTP answers one request.
func (o *owner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, bodyMax(r.URL.Path))
	o, r, err := o.of(r)
	if err != nil {
		failure(nil, err)(w)
		return
	}
	o.route(r)(w)
}

// route finds what a request is for.
func (o *owner) route(r *http.Request) answer {
	var methods []string
	for _, route := range o.routes {
		if route.path != r.URL.Path {
			continue
		}
		if route.method != r.Method {
			methods = append(methods, route.method)
			continue
		}
		if err := route.check(r); err != nil {
			return failure(nil, err)
		}
		return route.serve(o, r)
	}
	if len(methods) > 0 {
		fail := failure(nil, &Error{Code: CodeMethod, Message: fmt.Sprintf("%s takes %s", r.URL.Path, strings.Join(methods, " and "))})
		return func(w http.ResponseWriter) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			fail(w)
		}
	}
	return failure(nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("no resource %.100q", r.URL.Path), Hint: "GET /v1 lists them"})
}

// check refuses parameters that the resource does not have: one that is misspelt
// would otherwise do something else than was meant.
func (r route) check(req *http.Request) error {
	query, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return invalid("the query is not well formed", "")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(r.query, name):
			return invalid(fmt.Sprintf("%s has no parameter %.40q", r.path, name), "")
		case len(values) > 1:
			return invalid(fmt.Sprintf("parameter %q stands twice", name), "")
		}
	}
	if r.method != http.MethodPost {
		return nil
	}
	kind, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || kind != typeJSON || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return invalid("a POST needs Content-Type: "+typeJSON, "with curl: --json '{…}'")
	}
	return nil
}

// read decodes a request's body, and checks what has a check.
func read(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("a body of over %d bytes", large.Limit)}
	}
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	if err := strict(body, into); err != nil {
		return invalid("the body: "+strings.TrimPrefix(err.Error(), "json: "), "")
	}
	if in, ok := into.(interface{ check() error }); ok {
		return in.check()
	}
	return nil
}

// strict decodes one JSON value and refuses unknown fields, whatever follows, and
// text that would be altered.
func strict(b []byte, into any) error {
	if !wellFormed(b) {
		return errors.New("text that is not Unicode; a path that is not is an object with base64")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// wellFormed tells whether JSON is UTF-8 without half surrogates: encoding/json
// puts U+FFFD in the place of either. Outside of strings it has no backslash.
func wellFormed(b []byte) bool {
	for i := bytes.IndexByte(b, '\\'); i >= 0 && i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		r := escaped(b[i:])
		if i++; !utf16.IsSurrogate(r) {
			continue
		}
		if i += 5; utf16.DecodeRune(r, escaped(b[i:])) == unicode.ReplacementChar {
			return false
		}
		i += 5
	}
	return utf8.Valid(b)
}

// escaped returns the code unit of the \uXXXX that b begins with, or 0.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// value answers with one JSON value, or with err.
func value(v any, err error) answer {
	if err != nil {
		return failure(nil, err)
	}
	return func(w http.ResponseWriter) { write(w, http.StatusOK, v) }
}

// failure answers with err, and with what was done nevertheless unless result is nil.
func failure(result any, err error) answer {
	e := ErrorOf(err)
	status := http.StatusInternalServerError
	if row, ok := rowOf(e.Code); ok {
		status = row.status
	}
	return func(w http.ResponseWriter) { write(w, status, line{Error: e, Result: result}) }
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", typeJSON)
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// All that is answered is made of types that marshal.
		status = http.StatusInternalServerError
		body.Reset()
		body.WriteString(`{"error":{"code":"failed","message":"the answer cannot be written"}}` + "\n")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // whoever does not read has gone
}
