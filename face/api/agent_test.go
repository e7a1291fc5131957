package api

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
)

// home is a household of one machine on a simulated network, which runs.
type home struct {
	dir   string
	agent *grange.Agent
	*Client
}

// newHome founds a household and runs its agent. Its client goes over a socket, or straight into the handler.
func newHome(t *testing.T, net *sim.Network, name string, socket bool) *home {
	t.Helper()
	h := &home{dir: filepath.Join(t.TempDir(), name)}
	conf := grange.Config{
		Dir: h.dir, Listen: []string{"sim"},
		Peers: func(c grange.PeersConfig) (core.Peers, error) {
			did := core.DID(c.Key.Public().(ed25519.PublicKey))
			if len(c.Listen) == 0 {
				return net.JoinDialing(did), nil
			}
			return net.Join(did), nil
		},
	}
	if err := grange.Create(t.Context(), conf, name, nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.agent, err = grange.Open(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- h.agent.Run(ctx, func([]string) { close(ready) }) }()
	<-ready
	end := func() {}
	if socket {
		h.Client, end = overSocket(t, ctx, h.dir, Handler(h.agent))
	} else {
		h.Client = Local(Handler(h.agent))
	}
	t.Cleanup(func() {
		cancel()
		h.Close()
		end()
		if err := errors.Join(<-ended, h.agent.Close()); err != nil {
			t.Errorf("end of %s: %v", name, err)
		}
	})
	return h
}

func overSocket(t *testing.T, ctx context.Context, dir string, handler http.Handler) (c *Client, end func()) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(l) }()
	if c, err = Dial(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return c, func() { _ = server.Shutdown(context.Background()) }
}

// both runs a test over a socket and without one: the same must come of it.
func both(t *testing.T, test func(t *testing.T, anna, bo *home)) {
	for name, socket := range map[string]bool{"socket": true, "in process": false} {
		t.Run(name, func(t *testing.T) {
			net := sim.NewNetwork(1)
			test(t, newHome(t, net, "anna", socket), newHome(t, net, "bo", socket))
		})
	}
}

func tree(t *testing.T) grange.Path {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, text := range map[string]string{"a.txt": "first", "sub/b.txt": "second one", "sub/deep/c": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return grange.Path(dir)
}

// befriend makes a pact, and returns it as each side sees it.
func befriend(t *testing.T, anna, bo *home) {
	t.Helper()
	inv, err := anna.Invite(t.Context(), InviteRequest{Give: "3GB", Want: "2GB", ExpiresSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	terms, err := bo.Terms(t.Context(), inv.Code)
	if err != nil || terms.From != "anna" || terms.Give != 2e9 || terms.Want != 3e9 {
		t.Errorf("terms %+v, %v", terms, err)
	}
	joined := make(chan grange.Pact, 1)
	go func() {
		p, err := anna.Joined(t.Context(), inv.ID)
		if err != nil {
			t.Errorf("joined: %v", err)
		}
		joined <- p
	}()
	p, err := bo.Accept(t.Context(), inv.Code)
	if err != nil || p.Name != "anna" || p.Given != 2e9 || p.Gives != 3e9 {
		t.Fatalf("accepted %+v, %v", p, err)
	}
	if p := <-joined; p.Name != "bo" || p.Given != 3e9 || p.Gives != 2e9 {
		t.Errorf("joined %+v", p)
	}
}

func TestPutAndGet(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		src := tree(t)
		_, err := anna.Put(t.Context(), PutRequest{Path: src}, nil)
		if !errors.Is(err, grange.ErrNoPartner) || ErrorOf(err).Hint != "grange invite" {
			t.Fatalf("put without a partner: %v", err)
		}
		befriend(t, anna, bo)
		var stages []string
		put, err := anna.Put(t.Context(), PutRequest{Path: src}, func(p grange.Progress) { stages = append(stages, p.Stage) })
		if err != nil || put.Name != "tree" || put.Number != 1 || put.Files != 3 || put.Bytes != 15 || !put.Worth.Readable {
			t.Fatalf("put %+v, %v", put, err)
		}
		if len(stages) == 0 {
			t.Error("no progress")
		}
		versions, err := anna.Versions(t.Context(), "")
		if err != nil || len(versions) != 1 || versions[0].Number != 1 {
			t.Errorf("versions %+v, %v", versions, err)
		}
		status, err := anna.Status(t.Context(), "tree")
		if err != nil || !status.Running || len(status.Versions) != 1 || len(status.Pacts) != 1 || status.Versions[0].Worth.At["bo"] == 0 {
			t.Errorf("status %+v, %v", status, err)
		}
		if pacts, err := bo.Pacts(t.Context()); err != nil || len(pacts) != 1 || pacts[0].Keeps == 0 {
			t.Errorf("pacts of bo: %+v, %v", pacts, err)
		}
		getBack(t, anna)
		if check, err := anna.Check(t.Context(), CheckRequest{Name: "tree", Mend: true}, nil); err != nil || check.Mended == nil || check.Findings[0].OK == 0 {
			t.Errorf("check %+v, %v", check, err)
		}
	})
}

func getBack(t *testing.T, anna *home) {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "back")
	get, err := anna.Get(t.Context(), GetRequest{Name: "tree", Path: "sub", Dest: grange.Path(dest)}, nil)
	if err != nil || get.Files != 2 || get.Bytes != 10 {
		t.Fatalf("get %+v, %v", get, err)
	}
	if text, err := os.ReadFile(filepath.Join(dest, "b.txt")); err != nil || string(text) != "second one" {
		t.Errorf("restored %q, %v", text, err)
	}
	for _, c := range []struct {
		in   GetRequest
		code string
		say  string
	}{
		{GetRequest{Name: "tree", Dest: grange.Path(dest)}, CodeExists, dest + " exists: nothing was written"},
		{GetRequest{Name: "treee", Dest: "/x"}, CodeNotFound, `nothing is stored under "treee"`},
		{GetRequest{Name: "tree", Version: 2, Dest: "/x"}, CodeNotFound, `"tree" has no version 2; there are versions 1 to 1`},
		{GetRequest{Name: "tree", Path: "sub/x", Dest: grange.Path(dest + "2")}, CodeNotFound, `no "sub/x" in version 1 of "tree"`},
		{GetRequest{Name: "tree", Path: "sub\xff", Dest: grange.Path(dest + "2")}, CodeNotFound, `no "sub?" in version 1 of "tree"`},
	} {
		_, err := anna.Get(t.Context(), c.in, nil)
		if e := ErrorOf(err); e == nil || e.Code != c.code || e.Message != c.say {
			t.Errorf("get %+v: %v", c.in, err)
		}
	}
}

func TestListing(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		befriend(t, anna, bo)
		if _, err := anna.Put(t.Context(), PutRequest{Path: tree(t), Name: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"": "a.txt file 5 rw-r-----\nlink link 0 a.txt\nsub dir 0 rwxr-xr-x", "sub": "b.txt file 10 rw-r-----\ndeep dir 0 rwxr-xr-x", "sub/b.txt": "b.txt file 10 rw-r-----",
		} {
			var got []string
			out, err := anna.List(t.Context(), grange.Ref{Name: "x", Path: path}, func(e Entry) error {
				mode := e.Mode
				if e.Kind == KindLink {
					mode, e.Size = string(e.Target), 0
				}
				got = append(got, strings.Join([]string{string(e.Name), e.Kind, core0(e.Size), mode}, " "))
				return nil
			})
			slices.Sort(got)
			if err != nil || strings.Join(got, "\n") != want || out.Count != len(got) || out.Version.Number != 1 {
				t.Errorf("ls %q: %q, %+v, %v", path, got, out, err)
			}
		}
		var one Listing
		if err := anna.get(t.Context(), "ls", map[string][]string{"name": {"x"}}, &one); err != nil || len(one.Entries) != 3 || one.Count != 3 {
			t.Errorf("ls as one value: %+v, %v", one, err)
		}
		_, err := anna.List(t.Context(), grange.Ref{Name: "x", Path: "nope"}, nil)
		if e := ErrorOf(err); e == nil || e.Code != CodeNotFound || e.Message != `no "nope" in version 1 of "x"` {
			t.Errorf("ls of nothing: %v", err)
		}
	})
}

func core0(n int64) string { raw, _ := json.Marshal(n); return string(raw) }

func TestOffer(t *testing.T) {
	both(t, func(t *testing.T, anna, _ *home) {
		was, err := anna.Offer(t.Context())
		if err != nil || was.Reserve < 1<<30 || was.Reserve < was.Disk/20 || was.Most > was.Free {
			t.Fatalf("offer %+v, %v", was, err)
		}
		for _, c := range []struct {
			in   OfferRequest
			want int64
		}{
			{OfferRequest{Bytes: new(int64(12345))}, 12345}, {OfferRequest{Percent: new(int64(0))}, 0},
		} {
			if now, err := anna.SetOffer(t.Context(), c.in); err != nil || now.Total != c.want {
				t.Errorf("offer %+v, %v; want %d", now, err, c.want)
			}
			if now, err := anna.Offer(t.Context()); err != nil || now.Total != c.want {
				t.Errorf("offer is %+v, %v; want %d", now, err, c.want)
			}
		}
		for _, in := range []OfferRequest{{Bytes: new(was.Most + 1<<40)}, {Percent: new(int64(100))}} {
			if _, err := anna.SetOffer(t.Context(), in); ErrorOf(err).Code != CodeFull || !strings.HasPrefix(ErrorOf(err).Hint, "at most: grange offer ") {
				t.Errorf("too much: %v", err)
			}
		}
		if _, err := anna.SetOffer(t.Context(), OfferRequest{On: grange.Path(t.TempDir())}); ErrorOf(err).Code != CodeLocked {
			t.Errorf("another disk under an agent that runs: %v", err)
		}
	})
}

func TestInvitationsThatAreNone(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		if _, err := anna.Joined(t.Context(), make([]byte, 16)); ErrorOf(err).Code != CodeNotFound {
			t.Errorf("an invitation that there never was: %v", err)
		}
		inv, err := anna.Invite(t.Context(), InviteRequest{})
		if err != nil || inv.Terms.Give != grange.DefaultAmount {
			t.Fatalf("%+v, %v", inv, err)
		}
		at := len(inv.Code) / 2
		wrong := inv.Code[:at] + map[bool]string{true: "B", false: "A"}[inv.Code[at] == 'A'] + inv.Code[at+1:]
		if _, err := bo.Terms(t.Context(), wrong); ErrorOf(err).Code != CodeInvalid {
			t.Errorf("a wrong letter: %v", err)
		}
		if _, err := bo.Accept(t.Context(), wrong); ErrorOf(err).Code != CodeInvalid {
			t.Errorf("a wrong letter: %v", err)
		}
	})
}

func TestEventsStream(t *testing.T) {
	both(t, func(t *testing.T, anna, _ *home) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range anna.Events(ctx) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("events that nobody waits for: %v", err)
			}
		}
	})
}

func TestPlainAnswers(t *testing.T) {
	both(t, func(t *testing.T, anna, _ *home) {
		req, err := request(t.Context(), "POST", "put", nil, PutRequest{Path: tree(t)})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := anna.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 409 || resp.Header.Get("Content-Type") != typeJSON {
			t.Errorf("%d %v, %v", resp.StatusCode, resp.Header, err)
		}
		want := "{\n  \"error\": {\n    \"code\": \"no.partner\",\n    \"message\": \"no partner\",\n    \"hint\": \"grange invite\"\n  }\n}\n"
		if string(body) != want {
			t.Errorf("body %s", body)
		}
	})
}
