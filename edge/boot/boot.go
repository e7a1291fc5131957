// Package boot has the machine's own service manager start a program at boot, and
// keep it running: systemd on Linux, launchd on macOS.
//
// A person's program is installed for that person alone: as a systemd user unit,
// with lingering on, so that it runs also while nobody is logged in, or as a
// LaunchAgent. The administrator of a machine without users of its own, as many small
// servers are, gets a system unit.
//
// The package writes one file and calls the manager's command. It neither stops nor
// looks at what somebody has started by hand.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"github.com/grange-grid/grange/core"
)

// Program is what is started.
type Program struct {
	// Name is the service's, such as "grange": letters, digits and hyphens.
	Name string
	// About says in one line what it is.
	About string
	// Command is the absolute path of the program, and its arguments.
	Command []string
}

// Manager is a service manager, for one user.
type Manager struct {
	// run calls a command, and tells what it said where it fails.
	run  func(ctx context.Context, name string, args ...string) error
	kind kind
	// dir is where its files lie; user is for lingering, uid for launchd's domain.
	dir, user string
	// linger is where systemd notes whose services run while they are not logged in.
	linger string
	uid    int
}

type kind int

const (
	systemdUser kind = iota
	systemdSystem
	launchd
)

// Here returns the manager of this machine, for whoever runs this process.
// Errors: core.ErrNotExist where it is none of those known here.
func Here() (Manager, error) {
	m := Manager{run: call, uid: os.Getuid()}
	home, err := os.UserHomeDir()
	if err != nil {
		return m, fmt.Errorf("find the home directory: %w", err)
	}
	switch runtime.GOOS {
	case "linux":
		if _, err := exec.LookPath("systemctl"); err != nil {
			return m, fmt.Errorf("systemd is not on this machine: %w", core.ErrNotExist)
		}
		if m.uid == 0 {
			m.kind, m.dir = systemdSystem, "/etc/systemd/system"
			return m, nil
		}
		config := os.Getenv("XDG_CONFIG_HOME")
		if !filepath.IsAbs(config) {
			config = filepath.Join(home, ".config")
		}
		m.linger = "/var/lib/systemd/linger"
		m.kind, m.dir, m.user = systemdUser, filepath.Join(config, "systemd", "user"), fmt.Sprint(m.uid)
		return m, nil
	case "darwin":
		m.kind, m.dir = launchd, filepath.Join(home, "Library", "LaunchAgents")
		return m, nil
	}
	return m, fmt.Errorf("no service manager is known for %s: %w", runtime.GOOS, core.ErrNotExist)
}

// call runs a command. Its error has what the command wrote.
func call(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	said := strings.Join(strings.Fields(string(out)), " ")
	return fmt.Errorf("%s: %w: %.300s", strings.Join(append([]string{name}, args...), " "), err, said)
}

// File is where a service of that name is written down.
func (m Manager) File(name string) string {
	if m.kind == launchd {
		return filepath.Join(m.dir, label(name)+".plist")
	}
	return filepath.Join(m.dir, name+".service")
}

func label(name string) string { return "local." + name }

// ErrSession says that a service runs, but only while its user is logged in: the machine lets only its administrator
// have it otherwise.
var ErrSession = errors.New("it runs only while its user is logged in")

// Install writes a service down, replacing an earlier one of its name, starts it now, and has it
// started at boot. It returns the file. Errors: ErrSession.
func (m Manager) Install(ctx context.Context, p Program) (string, error) {
	if err := p.check(); err != nil {
		return "", err
	}
	file := m.File(p.Name)
	text := unit(p, m.kind == systemdSystem)
	if m.kind == launchd {
		text = plist(p)
	}
	if err := write(file, text); err != nil {
		return "", fmt.Errorf("install a service: %w", err)
	}
	var steps [][]string
	switch m.kind {
	case systemdSystem:
		steps = [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", p.Name}, {"systemctl", "restart", p.Name}}
	case systemdUser:
		steps = [][]string{
			{"systemctl", "--user", "daemon-reload"},
			{"systemctl", "--user", "enable", p.Name},
			{"systemctl", "--user", "restart", p.Name},
		}
	case launchd:
		_ = m.run(ctx, "launchctl", "bootout", m.target(p.Name)) // an earlier one; there may be none
		steps = [][]string{{"launchctl", "bootstrap", m.domain(), file}}
	}
	for _, s := range steps {
		if err := m.run(ctx, s[0], s[1:]...); err != nil {
			return file, fmt.Errorf("install a service: %w", err)
		}
	}
	if m.kind == systemdUser && !m.lingers() {
		if err := m.run(ctx, "loginctl", "enable-linger", m.user); err != nil {
			return file, fmt.Errorf("install a service: %w: %w", ErrSession, err)
		}
	}
	return file, nil
}

// lingers tells whether the user's services run already while nobody is logged in.
func (m Manager) lingers() bool {
	u, err := user.LookupId(m.user)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(m.linger, u.Username))
	return err == nil
}

// Remove stops a service and forgets it. Errors: core.ErrNotExist.
func (m Manager) Remove(ctx context.Context, name string) (string, error) {
	file := m.File(name)
	if _, err := os.Lstat(file); err != nil {
		return file, fmt.Errorf("remove a service: %w", err)
	}
	var err error
	switch m.kind {
	case systemdSystem:
		err = m.run(ctx, "systemctl", "disable", "--now", name)
	case systemdUser:
		err = m.run(ctx, "systemctl", "--user", "disable", "--now", name)
	case launchd:
		err = m.run(ctx, "launchctl", "bootout", m.target(name))
	}
	if removed := os.Remove(file); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	switch m.kind {
	case systemdSystem:
		err = errors.Join(err, m.run(ctx, "systemctl", "daemon-reload"))
	case systemdUser:
		err = errors.Join(err, m.run(ctx, "systemctl", "--user", "daemon-reload"))
	case launchd:
	}
	if err != nil {
		return file, fmt.Errorf("remove a service: %w", err)
	}
	return file, nil
}

func (m Manager) domain() string            { return fmt.Sprintf("gui/%d", m.uid) }
func (m Manager) target(name string) string { return m.domain() + "/" + label(name) }

// check refuses what could not be written down, or would say something else there.
func (p Program) check() error {
	if p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("the name of a service %q: %w", p.Name, core.ErrInvalid)
	}
	if len(p.Command) == 0 || !filepath.IsAbs(p.Command[0]) {
		return fmt.Errorf("the program %q is not an absolute path: %w", p.Command, core.ErrInvalid)
	}
	for _, text := range append([]string{p.About}, p.Command...) {
		for _, r := range text {
			if r == unicode.ReplacementChar || unicode.IsControl(r) {
				return fmt.Errorf("%q cannot stand in a service's file: %w", text, core.ErrInvalid)
			}
		}
	}
	return nil
}

// write replaces a file in one step.
func write(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temp := file + ".new"
	err := os.WriteFile(temp, []byte(text), 0o644)
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}
