package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
)

// testApp returns an app that writes into buffers, at a fixed time that ticks by hand.
func testApp() (a *app, out, errs *bytes.Buffer, tick func(time.Duration)) {
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	now := time.Date(2026, 2, 14, 15, 4, 5, 0, time.Local)
	a = &app{in: strings.NewReader(""), out: &checked{w: out}, err: errs, width: widthDefault, now: func() time.Time { return now }}
	return a, out, errs, func(d time.Duration) { now = now.Add(d) }
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("?"), 1},
		{grange.ErrNoPartner, 1},
		{grange.ErrNoHousehold, 1},
		{grange.ErrLocked, 1},
		{grange.ErrNotHere, 1},
		{grange.ErrRevoked, 1},
		{grange.ErrFull, 1},
		{grange.ErrCorrupt, 1},
		{grange.ErrVersion, 1},
		{os.ErrExist, 1},
		{core.ErrForbidden, 1},
		{usage("no", ""), 2},
		{grange.ErrInvalid, 2},
		{&core.Denial{Reason: "no"}, 3},
		{grange.ErrRefused, 3},
		{&api.Error{Code: api.CodeInvitationUsed}, 3},
		{&api.Error{Code: api.CodeInvitationExpired}, 3},
		{os.ErrNotExist, 4},
		{grange.ErrPartly, 5},
		{fmt.Errorf("%w: %w", grange.ErrPartly, grange.ErrUnreachable), 5},
		{grange.ErrUnreachable, 6},
		{context.Canceled, 130},
		{reported(5), 5},
		{fmt.Errorf("outer: %w", reported(0)), 0},
	} {
		a, _, _, _ := testApp()
		if got := a.report(c.err); got != c.want {
			t.Errorf("%v exits with %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorsOnScreen(t *testing.T) {
	a, _, errs, _ := testApp()
	a.report(&api.Error{Code: api.CodeFailed, Message: "bad \x1b[31mname", Hint: "do\nthis"})
	if errs.String() != "grange: bad ?[31mname\nhint: do?this\n" {
		t.Errorf("%q", errs)
	}
	errs.Reset()
	a.json = true
	a.report(context.Canceled)
	if errs.String() != `{"error":{"code":"interrupted","message":"context canceled"}}`+"\n" {
		t.Errorf("%q", errs)
	}
}

// full is a disk that takes nothing.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestWhatCannotBeWrittenIsNoSuccess(t *testing.T) {
	a, _, errs, _ := testApp()
	a.out = &checked{w: full{syscall.ENOSPC}}
	a.say("the only copy of the words")
	if code := a.report(nil); code != 1 || errs.String() != "grange: write to stdout: no space left on device\n" {
		t.Errorf("exit code %d, %q", code, errs)
	}
	a.out = &checked{w: full{syscall.EPIPE}}
	a.say("more than head wants")
	if code := a.report(nil); code != 0 {
		t.Errorf("a closed pipe: exit code %d", code)
	}
}

func TestJSONPrints(t *testing.T) {
	text := "é<&>\x1b[2J\u009b\u202e\u2028\U000e0001😀\"\\"
	raw := encode(map[string]string{"name": text})
	if want := `{"name":"é<&>\u001b[2J\u009b\u202e\u2028\udb40\udc01😀\"\\"}` + "\n"; string(raw) != want {
		t.Errorf("%s, want %s", raw, want)
	}
	var back map[string]string
	if err := json.Unmarshal(raw, &back); err != nil || back["name"] != text {
		t.Errorf("%q comes back as %q, %v", text, back["name"], err)
	}
}

func TestProgress(t *testing.T) {
	a, _, errs, tick := testApp()
	run := func() string {
		errs.Reset()
		p := a.progress()
		for i := range int64(4) {
			p.tell(grange.Progress{Stage: "reading", Bytes: i, Of: 4})
			tick(drawEvery / 2)
		}
		p.tell(grange.Progress{Stage: "checking"})
		p.end()
		return errs.String()
	}
	if got := run(); got != "" {
		t.Errorf("without a terminal: %q", got)
	}
	a.errTerminal = true
	want := "\r\x1b[K[------------------]   0%  reading\r\x1b[K[#########---------]  50%  2 B  reading\r\x1b[Kchecking\r\x1b[K"
	if got := run(); got != want {
		t.Errorf("on a terminal: %q, want %q", got, want)
	}
	a.json = true
	if got := run(); strings.Count(got, "\n") != 5 || !strings.HasPrefix(got, `{"progress":{"stage":"reading","of":4}}`+"\n") {
		t.Errorf("as JSON: %q", got)
	}
	a.quiet = true
	if got := run(); got != "" {
		t.Errorf("quiet: %q", got)
	}
}

func TestWorth(t *testing.T) {
	one, two := map[string]int64{"bo": 1}, map[string]int64{"bo": 1, "cleo": 1}
	for _, c := range []struct {
		w    grange.Worth
		want string
	}{
		{grange.Worth{Readable: true, Survives: 1, Pieces: 20, Wanted: 20, At: two, Text: "survives it"}, "Safe now: survives it."},
		{grange.Worth{Readable: true, Survives: 1, Pieces: 1900, Wanted: 2000, At: two, Text: "survives it"}, "Safe now: survives it. 1,900 of 2,000 pieces."},
		{grange.Worth{Readable: true, Pieces: 10, Wanted: 10, At: one, Vital: []string{"bo"}, Text: "survives it"}, "Safe now: survives it. One copy, at bo."},
		{grange.Worth{Readable: true, Pieces: 12, Wanted: 20, At: two, Vital: []string{"bo", "cleo"}, Text: "survives it"}, "NO SPARE: survives it, but lose bo or cleo and it is lost."},
		{grange.Worth{Survives: -1, Pieces: 8, Wanted: 20, At: two, Text: "not readable"}, "NOT SAFE: not readable."},
	} {
		a, _, _, _ := testApp()
		if got := a.worth(c.w); got != c.want {
			t.Errorf("%+v: %q, want %q", c.w, got, c.want)
		}
		a.color = true
		if got := a.worth(c.w); !strings.HasPrefix(got, "\x1b[3") || !strings.Contains(got, "\x1b[0m") {
			t.Errorf("without colour: %q", got)
		}
	}
}

func TestStatusGroupsWhatIsWorthTheSame(t *testing.T) {
	a, out, _, _ := testApp()
	safe := grange.Worth{Readable: true, Survives: 1, Pieces: 20, Wanted: 20, Text: "survives it", At: map[string]int64{"cleo": 1, "bo\x1b": 2}}
	lost := grange.Worth{Survives: -1, Wanted: 20, Text: "not readable", At: map[string]int64{}}
	a.status(grange.Status{
		Household: "anna\x07", Running: true, Addrs: []string{"/ip4/192.0.2.1/tcp/4726"}, Offer: 41e9, Used: 2e9, Free: 371e9,
		Pacts: []grange.Pact{
			{Name: "bo\x1b", Has: 12e8, Gives: 10e9, Given: 5e9, Here: true},
			{Name: "cleo", Has: 1, Gives: 10e9, Given: 10e9, Seen: a.now().Add(-3 * time.Hour), Away: true, PatienceSeconds: 71*3600 + 1},
			{Name: "dan"},
			{Name: "eva", Away: true},
			{Name: "flo", Seen: a.now().Add(-3 * time.Hour)},
		},
		Work: []grange.Work{
			{What: "put", Name: "b", Since: a.now().Add(-11 * time.Minute), Progress: grange.Progress{Stage: "storing", Bytes: 13e8, Of: 209e7}},
			{What: "put", Name: "d", Since: a.now(), Progress: grange.Progress{Stage: "counting", Of: 40, FilesOf: 7, To: []string{"bo\x1b", "flo"}, Survives: 2}},
			{What: "spread"},
		},
		Versions: []grange.Version{
			{Name: "a", Number: 3, Files: 14210, Bytes: 18e8, Worth: safe}, {Name: "b", Number: 1, Worth: safe}, {Name: "c\x1b[2J", Number: 2, Worth: lost},
		},
	})
	want := `Household anna?. Giving 41 GB, 2 GB of it used; 371 GB free.

PARTNER  KEEPS FOR YOU    YOU KEEP      SEEN
bo?      1.2 GB of 10 GB  0 B of 5 GB   here
cleo     1 B of 10 GB     0 B of 10 GB  away (seen 3 h ago)
dan      0 B of 0 B       0 B of 0 B    never
eva      0 B of 0 B       0 B of 0 B    away
flo      0 B of 0 B       0 B of 0 B    3 h ago

a      14,210 files  1.8 GB  -> bo?, cleo (any one may vanish)
Safe. Version 3 uses 1 B to 2 B at each.
b      0 files       0 B     -> bo?, cleo (any one may vanish)
[###########-------]  62%  1.3 GB  2 MB/s  readable in 7 min
Safe. Version 1 uses 1 B to 2 B at each.
c?[2J  0 files       0 B
cleo is away (seen 3 h ago). Version 2 is NOT SAFE: not readable.
d      7 files       40 B    -> bo?, flo (any two may vanish)
[------------------]   0%  counting
Cleo's pieces wait 72 h, then go to a third household.

a and b: Safe now: survives it.
`
	if out.String() != want {
		t.Errorf("status\n%s\nwant\n%s", out, want)
	}
}

func TestStatusWrapsNames(t *testing.T) {
	a, out, _, _ := testApp()
	var s grange.Status
	for i := range 12 {
		s.Versions = append(s.Versions, grange.Version{Name: fmt.Sprintf("documents-%02d", i), Worth: grange.Worth{Readable: true, Survives: 1, Text: "survives it"}})
	}
	a.status(s)
	_, got, _ := strings.Cut(out.String(), "documents-11  0")
	_, got, _ = strings.Cut(got, "\n\n")
	want := `documents-00, documents-01, documents-02, documents-03, documents-04,
  documents-05, documents-06, documents-07, documents-08, documents-09,
  documents-10 and documents-11:
  Safe now: survives it.
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestTroubles(t *testing.T) {
	a, _, errs, _ := testApp()
	troubles(map[string]string{"cleo": "could not be reached", "bo\n": "said no: no\x1b room"}, a.warn)
	if want := "bo? said no: no? room.\ncleo could not be reached.\n"; errs.String() != want {
		t.Errorf("%q, want %q", errs, want)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	a, _, errs, _ := testApp()
	problems := make([]grange.Problem, problemsShown+7)
	for i := range problems {
		problems[i] = grange.Problem{Path: "a", Err: "no\x1b"}
	}
	a.problems(problems, a.warn)
	if got := errs.String(); strings.Count(got, "\"a\": no?\n") != problemsShown || !strings.HasSuffix(got, "and 7 more\n") {
		t.Errorf("%q", got)
	}
}

func TestPhraseFromTheTerminal(t *testing.T) {
	a, _, _, _ := testApp()
	a.inTerminal = true
	var typed strings.Builder
	for i := range phraseWords {
		fmt.Fprintf(&typed, "  %d. word ", i+1)
		if i%4 == 3 {
			typed.WriteString("\n")
		}
	}
	typed.WriteString("left alone\n")
	in := strings.NewReader(typed.String())
	a.in = in
	got, err := (phraseFlag{}).words(t.Context(), a)
	if err != nil || got != strings.TrimSpace(strings.Repeat("word ", phraseWords)) {
		t.Errorf("%q, %v", got, err)
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "left alone\n" {
		t.Errorf("left %q, %v", rest, err)
	}
	a.in = strings.NewReader("only three words")
	if got, err := (phraseFlag{}).words(t.Context(), a); err != nil || got != "only three words" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "y": true, "n\n": false, "\n": false, "": false, "yup\n": false} {
		a, _, _, _ := testApp()
		a.in, a.inTerminal = strings.NewReader(answer), true
		if got, err := a.confirm(t.Context(), "Agree?", "?"); err != nil || got != want {
			t.Errorf("%q is %v, %v", answer, got, err)
		}
	}
	a, _, _, _ := testApp()
	r, w := io.Pipe() // nobody answers
	defer w.Close()
	a.in, a.inTerminal = r, true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.confirm(ctx, "Agree?", "?"); !errors.Is(err, context.Canceled) {
		t.Errorf("Ctrl-C at a question: %v", err)
	}
}

func TestQR(t *testing.T) {
	black := func(x, y int) bool { return x == 0 && y == 0 || x == 1 && y == 1 }
	full, rows := strings.Repeat("█", 10), strings.Split(strings.TrimSuffix(drawQR(2, black, false), "\n"), "\n")
	want := []string{full, full, "████▄▀████", full, full}
	if strings.Join(rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("drawn\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	if got := drawQR(2, black, true); strings.Count(got, "\x1b[97;40m") != 5 || strings.Count(got, "\x1b[0m\n") != 5 {
		t.Errorf("in colour %q", got)
	}
}

func TestAPIAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"4727": "127.0.0.1 4727", ":4727": "127.0.0.1 4727", "0": "127.0.0.1 0", "0.0.0.0:80": "0.0.0.0 80", "[::1]:80": "::1 80", "nas.lan:1": "nas.lan 1",
		"": "", "nas": "", "nas:": "", "1:2:3": "", "65536": "", "-1": "", "+1": "", "01": "", "http": "",
	} {
		host, port, err := apiAddr(text)
		if got := strings.TrimSpace(host + " " + port); got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestNameAndPath(t *testing.T) {
	for text, want := range map[string]string{
		"Documents": "Documents|", "Documents/": "Documents|", "Documents/a/b": "Documents|a/b", "Documents//a/": "Documents|a", "a b/\xff": "a b|\xff",
	} {
		name, at, err := nameAndPath(text)
		if got := name + "|" + at; got != want || err != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/", "/a"} {
		if name, at, err := nameAndPath(text); err == nil {
			t.Errorf("%q is %q %q", text, name, at)
		}
	}
}

// TestManPages holds docs/man against the command line: go run ./cmd/grange man docs/man makes them.
func TestManPages(t *testing.T) {
	root, err := model()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("..", "..", "docs", "man")
	pages := manPages(root)
	for name, page := range pages {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != page {
			t.Errorf("%s is not as the command line says (%v): go run ./cmd/grange man docs/man", name, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(pages) {
		t.Errorf("%d files in docs/man, want %d: %v", len(files), len(pages), err)
	}
}

func TestEveryFlagAndCommandSaysWhatItIs(t *testing.T) {
	root, err := model()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range slices.Concat(root.Children, visible(root)) {
		if c.Help == "" || c.ClosestGroup() == nil {
			t.Errorf("%s has no help, or no heading", c.Name)
		}
		for _, f := range append(c.Flags, root.Flags...) {
			if f.Help == "" || !f.IsBool() && f.Tag.PlaceHolder == "" {
				t.Errorf("%s --%s has no help, or does not say what it takes", c.Name, f.Name)
			}
		}
		for _, p := range c.Positional {
			if p.Help == "" || p.Tag.PlaceHolder == "" {
				t.Errorf("%s %s has no help", c.Name, p.Name)
			}
		}
		if _, ok := c.Target.Addr().Interface().(command); !ok && c.Leaf() {
			t.Errorf("%s does nothing", c.Name)
		}
	}
}
