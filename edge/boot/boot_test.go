package boot

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

// recorder is a service manager that notes what it is told.
type recorder struct {
	calls []string
	fail  string // calls that begin so fail
}

func (r *recorder) run(_ context.Context, name string, args ...string) error {
	call := strings.Join(append([]string{name}, args...), " ")
	r.calls = append(r.calls, call)
	if r.fail != "" && strings.HasPrefix(call, r.fail) {
		return errors.New("it said no")
	}
	return nil
}

var program = Program{
	Name: "grange", About: "your files on friends' disks, 100%",
	Command: []string{"/opt/my grange/grange", "--dir", `/data/"a"\b $HOME 5%`, "run"},
}

func TestInstallAndRemove(t *testing.T) {
	for _, c := range []struct {
		kind            kind
		install, remove []string
	}{
		{
			systemdUser,
			[]string{"systemctl --user daemon-reload", "systemctl --user enable grange", "systemctl --user restart grange", "loginctl enable-linger 1000"},
			[]string{"systemctl --user disable --now grange", "systemctl --user daemon-reload"},
		},
		{
			systemdSystem,
			[]string{"systemctl daemon-reload", "systemctl enable grange", "systemctl restart grange"},
			[]string{"systemctl disable --now grange", "systemctl daemon-reload"},
		},
		{
			launchd,
			[]string{"launchctl bootout gui/1000/local.grange", "launchctl bootstrap gui/1000 FILE"},
			[]string{"launchctl bootout gui/1000/local.grange"},
		},
	} {
		r := &recorder{}
		m := Manager{run: r.run, kind: c.kind, dir: filepath.Join(t.TempDir(), "a", "b"), user: "1000", uid: 1000}
		for range 2 { // the second replaces the first
			r.calls = nil
			file, err := m.Install(t.Context(), program)
			if err != nil || file != m.File("grange") {
				t.Fatalf("install: %q, %v", file, err)
			}
			for i := range c.install {
				c.install[i] = strings.ReplaceAll(c.install[i], "FILE", file)
			}
			if !slices.Equal(r.calls, c.install) {
				t.Errorf("install called %q, want %q", r.calls, c.install)
			}
		}
		entries, err := os.ReadDir(m.dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("installed %v, %v", entries, err)
		}
		r.calls = nil
		if _, err := m.Remove(t.Context(), "grange"); err != nil || !slices.Equal(r.calls, c.remove) {
			t.Errorf("remove called %q, want %q: %v", r.calls, c.remove, err)
		}
		r.calls = nil
		if _, err := m.Remove(t.Context(), "grange"); !errors.Is(err, fs.ErrNotExist) || len(r.calls) != 0 {
			t.Errorf("removed twice: %v, called %q", err, r.calls)
		}
	}
}

func TestAManagerThatFails(t *testing.T) {
	r := &recorder{fail: "systemctl --user enable"}
	m := Manager{run: r.run, dir: t.TempDir(), user: "1000", uid: 1000}
	if _, err := m.Install(t.Context(), program); err == nil || !strings.Contains(err.Error(), "it said no") || len(r.calls) != 2 {
		t.Errorf("%v after %q", err, r.calls)
	}
	r.fail = "systemctl --user disable"
	if _, err := m.Remove(t.Context(), "grange"); err == nil {
		t.Error("what could not be stopped is no error")
	}
	if _, err := os.Stat(m.File("grange")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// Where only the administrator may have a service run for who is not logged in, it runs, and Install says so; unless
// the administrator has done that before.
func TestWhoIsNotLoggedIn(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{fail: "loginctl"}
	m := Manager{run: r.run, dir: t.TempDir(), user: me.Uid, linger: t.TempDir()}
	if file, err := m.Install(t.Context(), program); !errors.Is(err, ErrSession) || !strings.Contains(err.Error(), "it said no") || file == "" {
		t.Errorf("installed %q, %v", file, err)
	}
	if err := os.WriteFile(filepath.Join(m.linger, me.Username), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Install(t.Context(), program); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeInstalled(t *testing.T) {
	r := &recorder{}
	m := Manager{run: r.run, dir: t.TempDir()}
	for name, p := range map[string]Program{
		"no name":    {Command: []string{"/bin/true"}},
		"a path":     {Name: "../x", Command: []string{"/bin/true"}},
		"no program": {Name: "x"},
		"relative":   {Name: "x", Command: []string{"true"}},
		"a line":     {Name: "x", Command: []string{"/bin/true", "a\nUser=root"}},
		"about":      {Name: "x", About: "a\n[Service]", Command: []string{"/bin/true"}},
		"no text":    {Name: "x", Command: []string{"/bin/true", "\xff"}},
	} {
		if _, err := m.Install(t.Context(), p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) != 0 || len(r.calls) != 0 {
		t.Errorf("written %v, called %q, %v", entries, r.calls, err)
	}
}

func TestUnitIsWhatSystemdReads(t *testing.T) {
	got := unit(program, false)
	for _, want := range []string{
		"Description=your files on friends' disks, 100%%\n",
		`ExecStart="/opt/my grange/grange" "--dir" "/data/\"a\"\\b $$HOME 5%%" "run"` + "\n",
		"WantedBy=default.target\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if !strings.Contains(unit(program, true), "WantedBy=multi-user.target\n") {
		t.Error("a system unit is wanted by another target")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("no systemd-analyze here to read it too")
		return
	}
	file := filepath.Join(t.TempDir(), "grange.service")
	p := program
	p.Command = append([]string{"/bin/true"}, p.Command[1:]...)
	if err := os.WriteFile(file, []byte(unit(p, true)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", file).CombinedOutput(); err != nil || strings.Contains(string(out), "grange.service") {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}

func TestPlistIsWhatLaunchdReads(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(plist(program)))
	var strs []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "string" {
			var s string
			if err := d.DecodeElement(&s, &start); err != nil {
				t.Fatal(err)
			}
			strs = append(strs, s)
		}
	}
	want := append(append([]string{"local.grange"}, program.Command...), "Background")
	if !slices.Equal(strs, want) {
		t.Errorf("strings %q, want %q", strs, want)
	}
}
