package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/grange-grid/grange/internal/village"
)

// rival is one of those that are compared. Each stores a tree under a name, and gives it back.
type rival interface {
	Name() string
	// Put stores a tree; Get brings it back into dest, which is not there. Both return the most
	// memory in bytes that it took, above what it takes idle; 0 where that says nothing.
	Put(ctx context.Context, name, tree string) (memory int64, err error)
	Get(ctx context.Context, name, dest string) (memory int64, err error)
	// Forget lets go of what was stored, so that the next Put stores it all again.
	Forget(ctx context.Context) error
}

// ours is one household and three partners, a process each.
type ours struct {
	bin, parent string
	room        string // what each gives the other
	v           *village.Village
	anna        *village.Home
	friends     []*village.Home
}

// partners hold what anna stores.
var partners = []string{"bo", "cleo", "dan"}

func (o *ours) Name() string { return "grange" }

func (o *ours) Forget(ctx context.Context) (err error) {
	o.close()
	if o.v, err = village.New(o.bin, o.parent, "grange-bench-"); err != nil {
		return err
	}
	homes := map[string]*village.Home{}
	for _, name := range append([]string{"anna"}, partners...) {
		h, err := o.v.Found(ctx, name)
		if err != nil {
			return err
		}
		if err := h.JSON(ctx, nil, "offer", o.room); err != nil {
			return err
		}
		if err := h.Start(ctx); err != nil {
			return err
		}
		homes[name] = h
	}
	o.anna, o.friends = homes["anna"], nil
	for _, name := range partners {
		if err := o.anna.Befriend(ctx, homes[name], o.room); err != nil {
			return err
		}
		o.friends = append(o.friends, homes[name])
	}
	return nil
}

func (o *ours) close() {
	if o.v != nil {
		o.v.Stop()
		_ = o.v.Remove() // it is below a folder that is removed at the end
	}
}

func (o *ours) Put(ctx context.Context, name, tree string) (int64, error) {
	return o.measure(func() error { return o.anna.JSON(ctx, nil, "put", tree, "--name", name) })
}

func (o *ours) Get(ctx context.Context, name, dest string) (int64, error) {
	return o.measure(func() error { return o.anna.JSON(ctx, nil, "get", name, dest) })
}

// measure returns how far anna's process rose above what it took before.
func (o *ours) measure(f func() error) (int64, error) {
	before, err := memoryOf(o.anna.PID(), "VmRSS")
	if err != nil {
		return 0, f() // no /proc here: it is not measured
	}
	// The mark of the most so far is set back, or it would be that of the put before.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", o.anna.PID()), []byte("5"), 0); err != nil {
		return 0, f()
	}
	if err := f(); err != nil {
		return 0, err
	}
	most, err := memoryOf(o.anna.PID(), "VmHWM")
	return most - before, err
}

// memoryOf reads one figure of a process's memory, in bytes.
func memoryOf(pid int, figure string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no %s", pid, figure)
}

// program runs one that ends by itself, and returns the most memory that it took.
func program(ctx context.Context, env []string, name string, args ...string) (int64, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, complaint.String())
	}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return use.Maxrss << 10, nil
	}
	return 0, nil
}

// cp copies, and sees to it that the copy is on the disk.
type cp struct{ store string }

func (c *cp) Name() string { return "cp" }

func (c *cp) Forget(context.Context) error {
	if err := os.RemoveAll(c.store); err != nil {
		return err
	}
	return os.MkdirAll(c.store, 0o755)
}

func (c *cp) Put(ctx context.Context, name, tree string) (int64, error) {
	if _, err := program(ctx, nil, "cp", "-a", "-u", "-T", tree, filepath.Join(c.store, name)); err != nil {
		return 0, err
	}
	return program(ctx, nil, "sync", "-f", c.store)
}

func (c *cp) Get(ctx context.Context, name, dest string) (int64, error) {
	if _, err := program(ctx, nil, "cp", "-a", "-T", filepath.Join(c.store, name), dest); err != nil {
		return 0, err
	}
	return program(ctx, nil, "sync", "-f", filepath.Dir(dest))
}

// restic keeps a repository of its own beside.
type restic struct{ store string }

func (r *restic) Name() string { return "restic" }

func (r *restic) run(ctx context.Context, args ...string) (int64, error) {
	env := []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=" + filepath.Join(r.store, "repo"), "RESTIC_CACHE_DIR=" + filepath.Join(r.store, "cache")}
	return program(ctx, env, "restic", append([]string{"--quiet"}, args...)...)
}

func (r *restic) Forget(ctx context.Context) error {
	if err := os.RemoveAll(r.store); err != nil {
		return err
	}
	if err := os.MkdirAll(r.store, 0o755); err != nil {
		return err
	}
	_, err := r.run(ctx, "init")
	return err
}

func (r *restic) Put(ctx context.Context, name, tree string) (int64, error) {
	return r.run(ctx, "backup", "--tag", name, tree)
}

func (r *restic) Get(ctx context.Context, name, dest string) (int64, error) {
	return r.run(ctx, "restore", "latest", "--tag", name, "--target", dest)
}
