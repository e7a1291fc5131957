package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type serviceCommand struct {
	Do     string   `arg:"" name:"install|remove" enum:"install,remove" placeholder:"install|remove" help:"Which of the two."`
	Listen []string `aside:"" placeholder:"MULTIADDR" sep:"none" help:"Where the service listens, as in 'grange run'."`
	NoMDNS bool     `aside:"" name:"no-mdns" help:"It does not look for partners on the local network."`
}

func (serviceCommand) detail() string {
	return `Has this machine's service manager keep a 'grange run' going, now and after every boot, also while nobody is logged in: as a systemd user unit, for root as a system unit, or on macOS as a LaunchAgent. Installed again, it is replaced. For more flags edit the file that it names.`
}

// installed is what service prints with --json.
type installed struct {
	File    string   `json:"file"`
	Command []string `json:"command,omitempty"`
	Running bool     `json:"running"`
}

const byHand = "start it by other means, as: grange run"

func (c *serviceCommand) run(ctx context.Context, a *app) error {
	if c.Do == "remove" {
		if len(c.Listen) > 0 || c.NoMDNS {
			return usage("--listen and --no-mdns are for install", "")
		}
		return c.remove(ctx, a)
	}
	file, err := grange.ServiceFile()
	if err != nil {
		message := strings.TrimSuffix(api.ErrorOf(err).Message, ": "+fs.ErrNotExist.Error())
		return &api.Error{Code: api.CodeFailed, Message: message, Hint: byHand}
	}
	if err := c.vacant(ctx, a, file); err != nil {
		return err
	}
	command, err := c.command(a)
	if err != nil {
		return err
	}
	_, err = grange.InstallService(ctx, command)
	session := errors.Is(err, grange.ErrSession)
	if err != nil && !session {
		e := api.ErrorOf(err)
		if _, missing := os.Stat(file); missing == nil {
			e.Message = fmt.Sprintf("%s is written, but does not run: %s", file, e.Message)
		}
		e.Hint = byHand
		return e
	}
	running := a.comes(ctx)
	a.value(installed{file, command, running})
	if !running && ctx.Err() == nil {
		a.tell("Installed as %s. It does not answer yet; its log says why.", clean(file))
		return nil
	}
	if session {
		a.tell("Installed as %s. It runs now.", clean(file))
		return &api.Error{Code: api.CodePartly, Message: "it stops when you log out: this machine lets only its administrator change that", Hint: "sudo loginctl enable-linger " + userName()}
	}
	a.tell("Installed as %s. It runs now, and after every boot.", clean(file))
	a.tell("Next: grange invite")
	return ctx.Err()
}

// vacant refuses where the service could not run: nothing has been made yet, or another
// agent has the directory.
func (c *serviceCommand) vacant(ctx context.Context, a *app, file string) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	running := s.running
	if err := s.close(); err != nil {
		return err
	}
	if _, err := os.Stat(file); running && errors.Is(err, fs.ErrNotExist) {
		return &api.Error{Code: api.CodeLocked, Message: "an agent is running on " + a.dir, Hint: "stop it first: Ctrl-C where 'grange run' is"}
	}
	return nil
}

// command returns what the service runs. It has another environment than this process, so
// what names the directory here is said.
func (c *serviceCommand) command(a *app) ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	var env, flags []string
	if a.named || os.Getenv("GRANGE_DIR") != "" {
		flags = []string{"--dir", a.dir}
	} else {
		for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
			if value := os.Getenv(name); filepath.IsAbs(value) {
				env = append(env, name+"="+value)
			}
		}
	}
	if len(env) > 0 {
		env = append([]string{"/usr/bin/env"}, env...)
	}
	out := append(append(env, program, "run"), flags...)
	for _, l := range c.Listen {
		out = append(out, "--listen", l)
	}
	if c.NoMDNS {
		out = append(out, "--no-mdns")
	}
	return out, nil
}

// comes waits a while for an agent to answer.
func (a *app) comes(ctx context.Context) bool {
	for range lockTries {
		if client, err := api.Dial(ctx, a.dir); err == nil {
			client.Close()
			return true
		}
		if pause(ctx, lockEvery) != nil {
			return false
		}
	}
	return false
}

func (c *serviceCommand) remove(ctx context.Context, a *app) error {
	file, err := grange.RemoveService(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return &api.Error{Code: api.CodeNotFound, Message: "there is no service to remove"}
	}
	if err != nil {
		return err
	}
	a.value(installed{File: file})
	a.tell("%s is removed, and the service stopped.", clean(file))
	return nil
}
