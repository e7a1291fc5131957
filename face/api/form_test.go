package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func TestErrorOf(t *testing.T) {
	counter := &core.Counter{Amount: 7}
	for _, c := range []struct {
		err    error
		code   string
		status int
		hint   bool
	}{
		{fmt.Errorf("put: %w", grange.ErrPartly), CodePartly, 207, false},
		{fmt.Errorf("%w: %w", grange.ErrPartly, grange.ErrRefused), CodePartly, 207, false},
		{grange.ErrNoPartner, CodeNoPartner, 409, true},
		{fmt.Errorf("x: %w: %w", grange.ErrNoHousehold, core.ErrNotExist), CodeNoHousehold, 409, true},
		{grange.ErrLocked, CodeLocked, 409, true},
		{grange.ErrNotHere, CodeNotRunning, 409, true},
		{grange.ErrRevoked, CodeRevoked, 403, true},
		{&core.Denial{Reason: "no", Counter: counter}, CodeRefused, 403, false},
		{&wire.Error{Code: wire.CodeInvitationUsed, Message: "used"}, CodeInvitationUsed, 403, true},
		{&wire.Error{Code: wire.CodeInvitationExpired}, CodeInvitationExpired, 403, true},
		{&wire.Error{Code: wire.CodeNotFound, Message: "no such invitation"}, CodeNotFound, 404, false},
		{&wire.Error{Code: wire.CodeInvalid, Message: "a partner finds our request wrong"}, CodeFailed, 500, false},
		{&wire.Error{Code: wire.CodeCorrupt}, CodeFailed, 500, false},
		{fmt.Errorf("%w: %w", grange.ErrUsed, grange.ErrRefused), CodeInvitationUsed, 403, true},
		{grange.ErrExpired, CodeInvitationExpired, 403, true},
		{grange.ErrFull, CodeFull, 507, true},
		{core.ErrAway, CodeAway, 503, true},
		{fs.ErrExist, CodeExists, 409, false},
		{errors.Join(fs.ErrNotExist, grange.ErrUnreachable), CodeUnreachable, 502, true},
		{core.ErrForbidden, CodeUnknown, 403, true},
		{grange.ErrVersion, CodeVersion, 404, true},
		{core.ErrTooLarge, CodeTooLarge, 413, false},
		{core.ErrBusy, CodeBusy, 503, true},
		{grange.ErrCorrupt, CodeCorrupt, 500, false},
		{fs.ErrNotExist, CodeNotFound, 404, false},
		{grange.ErrInvalid, CodeInvalid, 400, false},
		{context.Canceled, CodeInterrupted, 499, false},
		{errors.New("?"), CodeFailed, 500, false},
		{fmt.Errorf("listen: %w", syscall.EADDRINUSE), CodeFailed, 500, true},
	} {
		e := ErrorOf(fmt.Errorf("do: %w", c.err))
		if e.Code != c.code || (e.Hint != "") != c.hint {
			t.Errorf("%v: code %s, hint %q; want code %s, a hint: %v", c.err, e.Code, e.Hint, c.code, c.hint)
		}
		if row, ok := rowOf(e.Code); !ok || row.status != c.status {
			t.Errorf("%v: status %d, want %d", c.err, row.status, c.status)
		}
	}
	if e := ErrorOf(&core.Denial{Reason: "no", Counter: counter}); e.Counter != counter || e.Message != "refused: no" {
		t.Errorf("a denial: %+v", e)
	}
	if ErrorOf(nil) != nil {
		t.Error("no error has become one")
	}
	if e := invalid("text", ""); ErrorOf(fmt.Errorf("outer: %w", e)) != e {
		t.Error("an error with a code was made into another")
	}
}

func TestErrorIs(t *testing.T) {
	e := error(&Error{Code: CodePartly})
	if !errors.Is(e, grange.ErrPartly) || errors.Is(e, grange.ErrRefused) {
		t.Error("partly is of the wrong kind")
	}
	if errors.Is(&Error{Code: CodeFailed}, nil) || errors.Is(&Error{Code: "new.code"}, grange.ErrInvalid) {
		t.Error("a code without a kind has one")
	}
}

func TestMessage(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("recovery phrase: %w: 23 words, want 24", core.ErrInvalid), "recovery phrase: 23 words, want 24"},
		{fmt.Errorf("a name: %w", core.ErrInvalid), "a name"},
		{errors.Join(errors.New("one"), errors.New("two")), "one; two"},
		{errors.New("evil \x1b[2J\u202ename\x9b\xff\r"), "evil ?[2J?name???"},
		{errors.New(strings.Repeat("é", 2000)), strings.Repeat("é", 1024) + "…"},
	} {
		if got := message(c.err); got != c.want {
			t.Errorf("message %.60q, want %.60q", got, c.want)
		}
	}
	if got := Clean("family 👨‍👩‍👧 Ünïcode"); got != "family 👨‍👩‍👧 Ünïcode" {
		t.Errorf("what prints became %q", got)
	}
}

// ask sends a request to a handler that has no agent, and returns status, code and message.
func ask(t *testing.T, r *http.Request) (*http.Response, *Error) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, r)
	var l line
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || l.Error == nil {
		t.Fatalf("%s %s is answered %d %s", r.Method, r.URL, w.Code, w.Body)
	}
	return w.Result(), l.Error
}

func TestFormOfRequests(t *testing.T) {
	for _, c := range []struct {
		method, target, kind, body string
		status                     int
		code, message              string
	}{
		{"GET", "/", "", "", 404, CodeNotFound, `no resource "/"`},
		{"GET", "/v2/status", "", "", 404, CodeNotFound, `no resource "/v2/status"`},
		{"POST", "/v1/status", "", "", 405, CodeMethod, "/v1/status takes GET"},
		{"GET", "/v1/put", "", "", 405, CodeMethod, "/v1/put takes POST"},
		{"DELETE", "/v1/offer", "", "", 405, CodeMethod, "/v1/offer takes GET and POST"},
		{"GET", "/v1/status?nam=x", "", "", 400, CodeInvalid, `/v1/status has no parameter "nam"`},
		{"GET", "/v1/status?name=x&name=y", "", "", 400, CodeInvalid, `parameter "name" stands twice`},
		{"GET", "/v1/status?%zz", "", "", 400, CodeInvalid, "the query is not well formed"},
		{"GET", "/v1/joined?id=!!", "", "", 400, CodeInvalid, "id is an invitation's, in base64"},
		{"GET", "/v1/ls?name=x&version=-1", "", "", 400, CodeInvalid, `version "-1" is no number`},
		{"GET", "/v1/ls", "", "", 400, CodeInvalid, "no name is given"},
		{"POST", "/v1/put", "", `{}`, 400, CodeInvalid, "a POST needs Content-Type: application/json"},
		{"POST", "/v1/put", "text/plain", `{}`, 400, CodeInvalid, "a POST needs Content-Type: application/json"},
		{"POST", "/v1/put", "application/json; charset=latin1", `{}`, 400, CodeInvalid, "a POST needs Content-Type: application/json"},
		{"POST", "/v1/put", "application/json", `{"path":"/a","nmae":"x"}`, 400, CodeInvalid, `the body: unknown field "nmae"`},
		{"POST", "/v1/put", "application/json", `{"path":"/a"}{}`, 400, CodeInvalid, "the body: more than one value"},
		{"POST", "/v1/put", "application/json", `[]`, 400, CodeInvalid, "the body: cannot unmarshal array into Go value of type api.PutRequest"},
		{"POST", "/v1/put", "application/json", `{"path":{"base64":""}}`, 400, CodeInvalid, `the body: a path as an object has "base64"`},
		{"POST", "/v1/put", "application/json", ``, 400, CodeInvalid, `path "" is not absolute`},
		{"POST", "/v1/put", "application/json", `{"path":"a"}`, 400, CodeInvalid, `path "a" is not absolute`},
		{"POST", "/v1/put", "application/json", `{"path":"/a","name":"x/y"}`, 400, CodeInvalid, `name: '/' in "x/y"`},
		{"POST", "/v1/put", "application/json", `{"path":"/a","data":11}`, 400, CodeInvalid, "spread 11+0: data and parity pieces are 1 to 10 and 0 to 10"},
		{"POST", "/v1/put", "application/json", `{"path":"/a","quality":"soon"}`, 400, CodeInvalid, `quality "soon": it is idle, normal or prompt`},
		{"POST", "/v1/put", "application/json", `{"path":{"base64":"L2H/"}}`, 400, CodeInvalid, `name: "a\xff" is not UTF-8`},
		{"POST", "/v1/put", "application/json", `{"path":"/a/\u0007"}`, 400, CodeInvalid, `name: '\a' in "\a"`},
		{"POST", "/v1/put", "application/json", `{"path":"/a","name":"\ud83d"}`, 400, CodeInvalid, "the body: text that is not Unicode; a path that is not is an object with base64"},
		{"POST", "/v1/put", "application/json", "{\"path\":\"/a\xff\"}", 400, CodeInvalid, "the body: text that is not Unicode; a path that is not is an object with base64"},
		{"POST", "/v1/get", "application/json", `{"name":"x","dest":"y"}`, 400, CodeInvalid, `dest "y" is not absolute`},
		{"POST", "/v1/get", "application/json", `{"dest":"/y"}`, 400, CodeInvalid, "no name is given"},
		{"POST", "/v1/check", "application/json", `{"now":true}`, 400, CodeInvalid, `"now" is for mending`},
		{"POST", "/v1/offer", "application/json", `{}`, 400, CodeInvalid, `an offer is "bytes", "percent" or both, or "on"`},
		{"POST", "/v1/offer", "application/json", `{"bytes":1,"on":"/disk"}`, 400, CodeInvalid, `an offer is "bytes", "percent" or both, or "on"`},
		{"POST", "/v1/invite", "application/json", `{"give":"10"}`, 400, CodeInvalid, `the body: "10" has no unit; sizes are like 50GB or 512MiB`},
		{"POST", "/v1/amend", "application/json", `{"partner":"bo"}`, 400, CodeInvalid, `an amendment is of "give", "want" and "days", or "agree"`},
		{"POST", "/v1/amend", "application/json", `{"partner":"bo","days":1,"agree":true}`, 400, CodeInvalid, `an amendment is of "give", "want" and "days", or "agree"`},
		{"POST", "/v1/offer", "application/json", `{"percent":101}`, 400, CodeInvalid, "percent is 0 to 100"},
		{"POST", "/v1/offer", "application/json", `{"bytes":-1}`, 400, CodeInvalid, "bytes are not below 0"},
		{"POST", "/v1/offer", "application/json", `{"on":"disk"}`, 400, CodeInvalid, `on "disk" is not absolute`},
		{"POST", "/v1/account", "application/json", `{"id":"a","plan":"b"}`, 400, CodeInvalid, `an account is "for" a household`},
		{"POST", "/v1/account", "application/json", `{"id":"a","plan":"b","for":"anna"}`, 400, CodeInvalid, `the body: DID "anna": not a did:key of base58`},
		{"POST", "/v1/account-server", "application/json", `{}`, 400, CodeInvalid, `"machine" is the DID of a storage server`},
		{"POST", "/v1/account-use", "application/json", `{}`, 400, CodeInvalid, "the account server's address is missing"},
		{"POST", "/v1/account-use", "application/json", `{"stop":true}`, 400, CodeInvalid, "what is stopped is named by its ID alone"},
		{"POST", "/v1/account-use", "application/json", `{"stop":true,"id":"a","address":"/b"}`, 400, CodeInvalid, "what is stopped is named by its ID alone"},
		{"POST", "/v1/invite", "application/json", `{"expires_seconds":-1}`, 400, CodeInvalid, "expires_seconds is out of range"},
		{"POST", "/v1/terms", "application/json", `{"code":"hello"}`, 400, CodeInvalid, "invitation: not an invitation code; one begins with GRANGE:"},
		{"POST", "/v1/accept", "application/json; charset=UTF-8", `{"code":"GRANGE:AAAA"}`, 400, CodeInvalid, ""},
		{"POST", "/v1/put", "application/json", strings.Repeat(" ", bodySizeMax+1), 413, CodeTooLarge, "a body of over 262144 bytes"},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		resp, e := ask(t, r)
		if resp.StatusCode != c.status || e.Code != c.code || c.message != "" && e.Message != c.message {
			t.Errorf("%s %s %.40s: %d %s %q; want %d %s %q", c.method, c.target, c.body, resp.StatusCode, e.Code, e.Message, c.status, c.code, c.message)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.target)
		}
	}
}

func TestIndexNamesEveryResource(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, httptest.NewRequest("GET", "/v1", nil))
	var out struct{ Resources []resource }
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if len(out.Resources) != len(Handler(nil).(*owner).routes) || out.Resources[1].Path != "/v1/status" || out.Resources[1].Method != "GET" {
		t.Errorf("index %+v", out.Resources)
	}
}

func TestTextThatWouldBeAltered(t *testing.T) {
	for text, want := range map[string]bool{
		``: true, `{"a": "é 😀 \u00e9 \ud83d\ude00 \uD83D\uDE00 \\ud83d \" \ufffd"}`: true, "\uFFFD": true, `"\\\ud83d\ude00"`: true,
		"\xff": false, "\xed\xa0\x80": false, `"\ud83d"`: false, `"\ude00"`: false, `"\ud83d\ud83d"`: false, `"\\\ud83d"`: false,
		`"\ud83d\\ude00"`: false, `"\ud83d\ude00\ude00"`: false, `"\ud83d\u00e9"`: false, `\ud83d`: false, `\ud83`: true, `\`: true,
	} {
		if got := wellFormed([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"path":"/a","name":"b","data":10,"parity":10,"exclude":["*.o"],"one_file_system":true}`))
	f.Add([]byte(`{"path":{"base64":"L2H/"}}`))
	f.Add([]byte(`{"path":{"base64":{}}}`))
	f.Add([]byte(`{"path":"/a"} {}`))
	f.Add([]byte(`{"path":"/a","name":"\ud83d\ude00","exclude":["\ud83d\u00e9",{"base64":"/w=="}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var in PutRequest
		if strict(body, &in) != nil {
			return
		}
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatalf("%s was read and cannot be written: %v", body, err)
		}
		var again PutRequest
		if err := strict(raw, &again); err != nil || again.Path != in.Path || again.Name != in.Name || !slices.Equal(again.Exclude, in.Exclude) {
			t.Fatalf("%s was read as %+v and again as %+v, %v", body, in, again, err)
		}
		const altered = "\uFFFD"
		if strings.Contains(in.Name, altered) && !bytes.Contains(body, []byte(altered)) && !bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)) {
			t.Fatalf("%q: name %q", body, in.Name)
		}
		if in.check() == nil && !strings.HasPrefix(string(in.Path), "/") {
			t.Fatalf("%s: path %q passes", body, in.Path)
		}
	})
}

func TestGuard(t *testing.T) {
	inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	guard := Guard("s3cret", inner, "nas.lan")
	arrived := &net.TCPAddr{IP: netip.MustParseAddr("192.168.1.9").AsSlice(), Port: 80}
	for _, c := range []struct {
		why, host, auth, origin string
		status                  int
	}{
		{"all is right", "localhost:4727", "Bearer s3cret", "", 204},
		{"loopback, IPv4", "127.0.0.1:4727", "bearer s3cret", "", 204},
		{"loopback, IPv6", "[::1]:4727", "Bearer s3cret", "", 204},
		{"without a port", "[::1]", "Bearer s3cret", "", 204},
		{"a listed name", "NAS.lan:80", "Bearer s3cret", "", 204},
		{"the address it arrived at", "192.168.1.9:80", "Bearer s3cret", "", 204},
		{"its own page", "localhost:4727", "Bearer s3cret", "http://localhost:4727", 204},
		{"no token", "localhost", "", "", 401},
		{"a wrong token", "localhost", "Bearer s3cres", "", 401},
		{"a longer token", "localhost", "Bearer s3cret2", "", 401},
		{"another scheme", "localhost", "Basic s3cret", "", 401},
		{"a foreign name", "evil.example", "Bearer s3cret", "", 401},
		{"a foreign address", "192.168.1.8", "Bearer s3cret", "", 401},
		{"no host", "", "Bearer s3cret", "", 401},
		{"another site's page", "localhost:4727", "Bearer s3cret", "http://evil.example", 401},
		{"another port's page", "localhost:4727", "Bearer s3cret", "http://localhost:80", 401},
		{"a page of no site", "localhost:4727", "Bearer s3cret", "null", 401},
	} {
		r := httptest.NewRequest("GET", "/v1/status", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, arrived))
		r.Host = c.host
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", c.why, w.Code, c.status, w.Body)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "localhost"
	r.Header.Set("Authorization", "Bearer ")
	w := httptest.NewRecorder()
	if Guard("", inner).ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("an empty token lets in: %d", w.Code)
	}
}

// TestDocNamesEverything holds docs/API.md against the handler.
func TestDocNamesEverything(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "API.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	for _, r := range Handler(nil).(*owner).routes {
		if !strings.Contains(doc, "\n**`"+r.method+" "+r.path) {
			t.Errorf("docs/API.md does not say what %s %s does", r.method, r.path)
		}
	}
	for _, r := range rows {
		if !strings.Contains(doc, "`"+r.code+"`") || r.code != CodeGone && !strings.Contains(doc, fmt.Sprint(r.status)) {
			t.Errorf("docs/API.md does not explain %s, %d", r.code, r.status)
		}
	}
}
