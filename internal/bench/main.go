// Command bench times the program, as people run it, beside cp and restic on the same
// data in the same run, and prints a table.
//
// grange is one household that stores with three others, each a process, over loopback: every
// byte is compressed, sealed, doubled by erasure code, sent, hashed by its holder and synced. cp
// copies, and restic stores into a repository beside. Rounds are interleaved; the table has the
// median of each, and what it is in proportion to the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var c contest
	flag.StringVar(&c.bin, "bin", "bin/grange", "the program")
	flag.StringVar(&c.parent, "in", shm(), "where everything is put: memory, so that no disk is measured")
	flag.Int64Var(&c.big, "mb", 1000, "megabytes of the one large file")
	flag.IntVar(&c.small, "small", 20_000, "small files")
	flag.IntVar(&c.many, "many", 100_000, "small files that are stored twice, unchanged")
	flag.IntVar(&c.files, "files", 0, "instead of all that, so many files of 200 bytes, and what memory they take")
	flag.IntVar(&c.rounds, "rounds", 3, "rounds, of which the median counts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := c.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// shm is a folder in memory, if the system has one.
func shm() string {
	const dir = "/dev/shm"
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir
	}
	return os.TempDir()
}

// contest is one run of all.
type contest struct {
	bin, parent string
	big         int64
	small, many int
	files       int
	rounds      int

	root   string
	rivals []rival
	table  table
}

func (c *contest) run(ctx context.Context) (err error) {
	if c.root, err = os.MkdirTemp(c.parent, "grange-bench-"); err != nil {
		return err
	}
	if c.files > 0 {
		defer func() { err = errors.Join(err, os.RemoveAll(c.root)) }()
		return c.crowd(ctx)
	}
	// Twice as much goes to three: this is half as much again as each of them is given.
	need := c.big*1e6 + int64(c.small+c.many)*4096
	us := &ours{bin: c.bin, parent: c.root, room: fmt.Sprintf("%dMB", need/1e6+500)}
	defer func() {
		us.close()
		err = errors.Join(err, os.RemoveAll(c.root))
	}()
	c.rivals = []rival{us, &cp{store: filepath.Join(c.root, "cp")}}
	if _, err := exec.LookPath("restic"); err == nil {
		c.rivals = append(c.rivals, &restic{store: filepath.Join(c.root, "restic")})
	} else {
		fmt.Println("restic is not on the path, so it is left out.")
	}
	trees, err := c.data()
	if err != nil {
		return err
	}
	for round := range c.rounds {
		for _, r := range c.rivals {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, c.rounds, r.Name())
			if err := c.round(ctx, r, trees); err != nil {
				return fmt.Errorf("%s: %w", r.Name(), err)
			}
		}
		if err := c.starts(ctx, us); err != nil {
			return err
		}
	}
	c.table.print(os.Stdout)
	return nil
}

// tree is something to store.
type tree struct {
	name, path, what string
	bytes            int64
}

func (c *contest) data() ([]tree, error) {
	big := tree{name: "big", path: filepath.Join(c.root, "data", "big"), what: fmt.Sprintf("a file of %d MB", c.big), bytes: c.big * 1e6}
	small := tree{name: "small", path: filepath.Join(c.root, "data", "small"), what: fmt.Sprintf("%d small files", c.small)}
	many := tree{name: "many", path: filepath.Join(c.root, "data", "many"), what: fmt.Sprintf("%d files", c.many)}
	if err := os.MkdirAll(big.path, 0o755); err != nil {
		return nil, err
	}
	if err := bigFile(filepath.Join(big.path, "film"), big.bytes); err != nil {
		return nil, err
	}
	var err error
	if small.bytes, err = smallFiles(small.path, c.small); err != nil {
		return nil, err
	}
	if many.bytes, err = smallFiles(many.path, c.many); err != nil {
		return nil, err
	}
	return []tree{big, small, many}, nil
}

// round has one rival do everything once.
func (c *contest) round(ctx context.Context, r rival, trees []tree) error {
	if err := r.Forget(ctx); err != nil {
		return err
	}
	for _, t := range trees {
		err := c.time(r, "put "+t.what, t.bytes, func() (int64, error) { return r.Put(ctx, t.name, t.path) })
		if err != nil {
			return err
		}
		if t.name == "many" {
			err = c.time(r, "put "+t.what+" again, unchanged", t.bytes, func() (int64, error) { return r.Put(ctx, t.name, t.path) })
		} else {
			dest := filepath.Join(c.root, "back")
			err = c.time(r, "get "+t.what, t.bytes, func() (int64, error) { return r.Get(ctx, t.name, dest) })
			err = errors.Join(err, os.RemoveAll(dest))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *contest) time(r rival, what string, bytes int64, f func() (int64, error)) error {
	began := time.Now()
	memory, err := f()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.table.add(what, bytes, r.Name(), sample{took: time.Since(began), memory: memory})
	return nil
}

// starts times what people wait for at every call.
func (c *contest) starts(ctx context.Context, us *ours) error {
	for _, args := range [][]string{{"--help"}, {"status"}, {"ls"}} {
		began := time.Now()
		cmd := exec.CommandContext(ctx, c.bin, append([]string{"--dir", us.anna.Dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("grange %s: %w\n%s", args[0], err, out)
		}
		what := "grange " + strings.Join(args, " ")
		if args[0] != "--help" {
			what += fmt.Sprintf(", %d files kept", 1+c.small+c.many)
		}
		c.table.add(what, 0, us.Name(), sample{took: time.Since(began)})
	}
	return nil
}
