package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

func who(ctx context.Context, in words) (words, error) {
	c := wire.CallerOf(ctx)
	in.Text += fmt.Sprintf(" from %d of %d as %d", c.Agent[0], c.Grid[0], c.Class)
	return in, nil
}

func TestHandleSpeaksCBORAndJSON(t *testing.T) {
	w := serve(t, wire.Route{Method: "POST", Path: "/who", Who: wire.Partner | wire.Admitted, Limit: 1 << 10, Handler: wire.Handle(who)})
	in := words{Text: "hello", Bytes: []byte{1, 2}, Score: core.ScoreOf(nil)}
	asCBOR, err := codec.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	asJSON := fmt.Sprintf(`{"text":"hello","bytes":"AQI=","score":%q,"later":true}`, in.Score)
	want := words{Text: "hello from 2 of 99 as 2", Bytes: in.Bytes, Score: in.Score}
	outCBOR, err := codec.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	outJSON := fmt.Sprintf(`{"text":"hello from 2 of 99 as 2","bytes":"AQI=","score":%q}`, in.Score)
	c := w.dial(partner) // one connection serves all
	for _, test := range []struct{ kind, accept, body, wantKind, want string }{
		{"", "", string(asCBOR), wire.TypeCBOR, string(outCBOR)},
		{wire.TypeCBOR, "text/html, */*", string(asCBOR), wire.TypeCBOR, string(outCBOR)},
		{wire.TypeCBOR, "application/json", string(asCBOR), wire.TypeJSON, outJSON},
		{"application/json; charset=utf-8", "text/plain, Application/JSON;q=0.5", asJSON, wire.TypeJSON, outJSON},
		{wire.TypeJSON, wire.TypeCBOR, asJSON, wire.TypeCBOR, string(outCBOR)},
	} {
		resp, body := exchange(t, c, request("POST /grange/v1/who", "Content-Type: "+test.kind, "Accept: "+test.accept, fmt.Sprintf("Content-Length: %d", len(test.body)))+test.body)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != test.wantKind || string(body) != test.want || resp.Close {
			t.Errorf("%q for %q: %d %s %q (closes: %v), want %q", test.kind, test.accept, resp.StatusCode, resp.Header.Get("Content-Type"), body, resp.Close, test.want)
		}
	}
	resp, body := exchange(t, w.dial(admitted), request("POST /grange/v1/who", "Accept: application/json"))
	if want := fmt.Sprintf(`{"text":" from 3 of 99 as 4","score":%q}`, core.Score{}); resp.StatusCode != 200 || string(body) != want {
		t.Errorf("an empty body: %d %s, want %s", resp.StatusCode, body, want)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { wire.WriteBytes(w, []byte("ok")) }

func TestWhatNoRouteAllows(t *testing.T) {
	w := serve(t,
		wire.Route{Method: "GET", Path: "/pieces/{score}", Who: wire.Partner, Handler: http.HandlerFunc(ok)},
		wire.Route{Method: "POST", Path: "/ask", Who: wire.Partner, Limit: 64, Handler: wire.Handle(who)},
		wire.Route{Method: "POST", Path: "/accept", Who: wire.Stranger, Limit: 64, Handler: wire.Handle(who)},
	)
	const get = "GET /grange/v1/pieces/a"
	for name, c := range map[string]struct {
		from    core.DID
		raw     string
		status  int
		code    string
		message string
	}{
		"another host":       {partner, strings.Replace(request(get), self.String(), partner.String(), 1), 421, "host.wrong", self.String()},
		"host in capitals":   {partner, strings.Replace(request(get), "did:", "DID:", 1), 421, "host.wrong", ""},
		"empty host":         {partner, strings.Replace(request(get), self.String(), "", 1), 421, "host.wrong", ""},
		"upgrade":            {partner, request(get, "Connection: upgrade", "Upgrade: websocket"), 400, "request.invalid", "upgrade"},
		"h2c":                {partner, request(get, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"), 400, "request.invalid", "upgrade"},
		"content coding":     {partner, request("POST /grange/v1/ask", "Content-Encoding: gzip", "Content-Length: 1") + "x", 400, "request.invalid", "coding"},
		"proxy":              {partner, request("GET http://example.org/grange/v1/pieces/a"), 421, "host.wrong", ""},
		"options":            {partner, request("OPTIONS *"), 400, "request.invalid", "proxy"},
		"version 2":          {partner, request("GET /grange/v2/pieces/a"), 404, "version.unknown", "v2"},
		"version 17, bare":   {partner, request("GET /grange/v17"), 404, "version.unknown", "v17"},
		"not a version":      {partner, request("GET /grange/vast/x"), 404, "not.found", "/grange/vast/x"},
		"no route":           {partner, request("GET /grange/v1/nothing"), 404, "not.found", "GET /grange/v1/nothing"},
		"outside":            {partner, request("GET /"), 404, "not.found", ""},
		"another method":     {partner, request("GET /grange/v1/ask"), 404, "not.found", "GET /grange/v1/ask"},
		"HEAD":               {partner, request("DELETE /grange/v1/pieces/a"), 404, "not.found", "DELETE"},
		"slash at the end":   {partner, request("GET /grange/v1/pieces/a/"), 404, "not.found", ""},
		"two slashes":        {partner, request("GET /grange/v1//pieces/a"), 404, "not.found", ""},
		"dots":               {partner, request("GET /grange/v1/x/../pieces/a"), 404, "not.found", ""},
		"coded slash":        {partner, request("GET /grange/v1/pieces/a%2fb"), 404, "not.found", ""},
		"stranger":           {stranger, request(get), 403, "agent.unknown", "partners"},
		"admitted":           {admitted, request(get), 403, "agent.unknown", "partners"},
		"revoked":            {revoked, request(get), 403, "agent.revoked", "charter 7"},
		"revoked, anywhere":  {revoked, request("POST /grange/v1/accept"), 403, "agent.revoked", "charter 7"},
		"gate fails":         {broken, request(get), 500, "internal", "internal error"},
		"declared too large": {partner, request("POST /grange/v1/ask", "Content-Length: 65") + strings.Repeat("x", 65), 413, "too.large", "64 bytes"},
		"too large":          {partner, request("POST /grange/v1/ask", "Transfer-Encoding: chunked") + "41\r\n" + strings.Repeat("x", 65) + "\r\n0\r\n\r\n", 413, "too.large", "64 bytes"},
		"17 MiB":             {partner, request("POST /grange/v1/ask", "Content-Length: 17825792") + strings.Repeat("x", 17<<20), 413, "too.large", "64 bytes"},
		"17 MiB, undeclared": {partner, request("POST /grange/v1/ask", "Transfer-Encoding: chunked") + "1100000\r\n" + strings.Repeat("x", 17<<20) + "\r\n0\r\n\r\n", 413, "too.large", "64 bytes"},
		"a body for GET":     {partner, request(get, "Content-Length: 1") + "x", 413, "too.large", "0 bytes"},
		"chunks for GET":     {partner, request(get, "Transfer-Encoding: chunked") + "0\r\n\r\n", 413, "too.large", "0 bytes"},
		"not CBOR":           {partner, request("POST /grange/v1/ask", "Content-Length: 1") + "\xff", 400, "request.invalid", "byte 0"},
		"not JSON":           {partner, request("POST /grange/v1/ask", "Content-Type: application/json", "Content-Length: 1") + "{", 400, "request.invalid", "JSON"},
		"a form":             {partner, request("POST /grange/v1/ask", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1") + "x", 400, "request.invalid", "multipart/form-data"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := exchange(t, w.dial(c.from), c.raw)
			e := wantError(t, resp, body, c.status, c.code, c.message)
			if c.from == revoked && string(e.Evidence) != "charter 7" {
				t.Errorf("evidence %q", e.Evidence)
			}
		})
	}
	resp, body := exchange(t, w.dial(stranger), request("POST /grange/v1/accept", "Accept: application/json"))
	if want := fmt.Sprintf(`{"text":" from 4 of 0 as 1","score":%q}`, core.Score{}); resp.StatusCode != 200 || string(body) != want {
		t.Errorf("a stranger where strangers may: %d %q, want %q", resp.StatusCode, body, want)
	}
	resp, body = exchange(t, w.dial(revoked), request(get, "Accept: application/json"))
	if want := `{"code":"agent.revoked","message":"charter 7 does not list you","evidence":"Y2hhcnRlciA3"}`; resp.StatusCode != 403 || string(body) != want {
		t.Errorf("an error as JSON: %d %s, want %s", resp.StatusCode, body, want)
	}
}

func TestHeadIsNoGet(t *testing.T) {
	w := serve(t, wire.Route{Method: "GET", Path: "/x", Who: wire.Stranger, Handler: http.HandlerFunc(ok)})
	c := w.dial(stranger)
	if _, err := io.WriteString(c, request("HEAD /grange/v1/x", "Connection: close")); err != nil {
		t.Fatal(err)
	}
	if got := wantClosed(t, c); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("answered %q", got)
	}
}

func TestWhatIsNoHTTPIsClosed(t *testing.T) {
	w := serve(t)
	for name, c := range map[string]struct{ raw, want string }{
		"garbage":       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "HTTP/1.1 400 "},
		"HTTP/2":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 "},
		"no host":       {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"proxy":         {request("GET http://" + self.String() + "/grange/v1/x"), "HTTP/1.1 400 "},
		"connect":       {"CONNECT " + self.String() + " HTTP/1.1\r\nHost: " + self.String() + "\r\n\r\n", "HTTP/1.1 400 "},
		"two lengths":   {request("POST /", "Content-Length: 1", "Content-Length: 2"), "HTTP/1.1 400 "},
		"large header":  {request("GET /", "X: "+strings.Repeat("x", 2*wire.HeaderSizeMax)), "HTTP/1.1 431 "},
		"other codings": {request("POST /", "Transfer-Encoding: gzip, chunked"), "HTTP/1.1 501 "},
	} {
		conn := w.dial(stranger)
		go func() { _, _ = io.WriteString(conn, c.raw) }()
		if got := wantClosed(t, conn); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: answered %.60q, want %q", name, got, c.want)
		}
	}
}

func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	w := serve(t,
		wire.Route{Method: "GET", Path: "/early", Who: wire.Stranger, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic("secret words")
		})},
		wire.Route{Method: "GET", Path: "/late", Who: wire.Stranger, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
			panic("later words")
		})},
	)
	c := w.dial(stranger)
	for range 2 * wire.RequestsOtherMax { // each gives its place back
		resp, body := exchange(t, c, request("GET /grange/v1/early"))
		wantError(t, resp, body, 500, "internal", "internal error")
	}
	if _, err := io.WriteString(c, request("GET /grange/v1/late")); err != nil {
		t.Fatal(err)
	}
	if got := wantClosed(t, c); strings.Contains(got, "words") {
		t.Errorf("answered %q", got)
	}
	w.end()
	for _, want := range []string{"secret words", "later words", "TestPanicsAreAnsweredAndLogged"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestWriteErrorFindsTheCode(t *testing.T) {
	var err error
	w := serve(t, wire.Route{Method: "POST", Path: "/x", Who: wire.Stranger, Handler: wire.Handle(func(context.Context, struct{}) (words, error) { return words{}, err })})
	c := w.dial(stranger)
	path := &fs.PathError{Op: "open", Path: "/home/ana/secret", Err: fs.ErrNotExist}
	for _, test := range []struct {
		err           error
		status        int
		code, message string
	}{
		{fmt.Errorf("read: %w: field 3", core.ErrInvalid), 400, "request.invalid", "read: invalid: field 3"},
		{core.ErrForbidden, 403, "agent.unknown", "this is for partners"},
		{core.ErrRevoked, 403, "agent.revoked", "this machine was removed from its household"},
		{fmt.Errorf("x: %w", &core.Denial{Reason: "4 GB are left", Counter: &core.Counter{Amount: 4}}), 403, "refused", "4 GB are left"},
		{&core.Denial{Reason: "busy", Counter: &core.Counter{}, Retry: 1 << 40}, 403, "refused", "busy"},
		{path, 404, "not.found", "not here"},
		{core.ErrVersion, 404, "version.unknown", "unknown version"},
		{core.ErrStale, 409, "head.stale", "stale"},
		{&wire.Error{Code: wire.CodeHeadBase, Message: "7 is newest", Counter: &core.Counter{Amount: 7}}, 409, "head.base", "7 is newest"},
		{fmt.Errorf("a: %w", &wire.Error{Code: wire.CodeInvitationUsed, Message: "bound\x1b[2J\nnow"}), 403, "invitation.used", "bound [2J now"},
		{core.ErrTooLarge, 413, "too.large", "too large"},
		{core.ErrCorrupt, 410, "piece.corrupt", "the bytes have rotted"},
		{core.ErrBusy, 503, "busy", "at a limit; ask again later"},
		{core.ErrFull, 507, "disk.full", "no room on the disk"},
		{core.ErrAway, 503, "disk.away", "the disk is not mounted"},
		{errors.New("/home/ana/secret is broken"), 500, "internal", "internal error"},
		{&wire.Error{Code: "no.such.code", Message: "x"}, 500, "internal", "internal error"},
		{core.ErrUnreachable, 500, "internal", "internal error"},
		{fmt.Errorf("%s%w", strings.Repeat("é", 1000), core.ErrInvalid), 400, "request.invalid", strings.Repeat("é", 256)},
	} {
		err = test.err
		resp, body := exchange(t, c, request("POST /grange/v1/x"))
		e := wantError(t, resp, body, test.status, test.code, test.message)
		if e.Message != test.message {
			t.Errorf("message %q, want %q", e.Message, test.message)
		}
		if d, ok := errors.AsType[*core.Denial](test.err); ok && (e.Counter == nil || *e.Counter != *d.Counter) {
			t.Errorf("counter %v, want %v", e.Counter, d.Counter)
		}
		want := ""
		switch test.message {
		case "at a limit; ask again later":
			want = "2"
		case "busy":
			want = "3600"
		}
		if retry := resp.Header.Get("Retry-After"); retry != want {
			t.Errorf("%s: Retry-After %q", test.code, retry)
		}
	}
	w.end()
	if log := w.log.String(); !strings.Contains(log, "/home/ana/secret is broken") || strings.Contains(log, "4 GB") {
		t.Errorf("the log: %s", log)
	}
}
