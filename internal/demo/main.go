// Command demo tells the story of the README with real processes: five
// households on this machine's loopback become partners, one stores a directory and
// loses its machine and two of its partners, and gets everything back.
//
// It drives the program as a person would, by its command line, and reads what
// it says with --json. It exits non-zero if anything that comes back differs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/internal/village"
)

func main() {
	bin := flag.String("bin", "bin/grange", "the program")
	dir := flag.String("dir", "", "the directory to store (default: the Go source tree)")
	keep := flag.Bool("keep", false, "leave the households' directories behind, to look at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := tell(ctx, *bin, *dir, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// story is the state of the demo.
type story struct {
	village *village.Village
	dir     string
	began   time.Time
	homes   map[string]*village.Home
	leftOut map[string]bool // what could not be stored
}

func tell(ctx context.Context, bin, dir string, keep bool) (err error) {
	if dir == "" {
		if dir, err = goSource(ctx); err != nil {
			return err
		}
	}
	if rest, home := strings.CutPrefix(dir, "~/"); home { // make's shell leaves it
		dir = filepath.Join(os.Getenv("HOME"), rest)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a directory to store", dir)
	}
	v, err := village.New(bin, "", "grange-demo-")
	if err != nil {
		return err
	}
	s := &story{village: v, dir: dir, began: time.Now(), homes: map[string]*village.Home{}, leftOut: map[string]bool{}}
	defer func() {
		v.Stop()
		if keep {
			s.say("Left behind: %s", v.Root)
		} else {
			err = errors.Join(err, v.Remove())
		}
	}()
	for _, chapter := range []func(context.Context) error{s.meet, s.store, s.lose, s.recover, s.mend} {
		if err := chapter(ctx); err != nil {
			// A Ctrl-C reaches the program too, which may end before this one hears of it.
			command, failed := errors.AsType[*exec.ExitError](err)
			if ctx.Err() != nil || failed && command.ExitCode() == village.ExitInterrupted {
				return errors.New("interrupted; everything is cleaned up")
			}
			return err
		}
	}
	s.say("Done.")
	return nil
}

// say prints one line of the story, with the time since it began.
func (s *story) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// linesShown bounds how many differences, and how many problems, are listed.
const linesShown = 10

var friends = []string{"bo", "cleo", "dan", "eve"}

// meet starts five households and makes anna a partner of the four others.
func (s *story) meet(ctx context.Context) error {
	s.say("Five households on this machine, each with a directory and a process of its own:")
	for _, name := range append([]string{"anna"}, friends...) {
		h, err := s.village.Found(ctx, name)
		if err != nil {
			return err
		}
		s.homes[name] = h
		if err := h.Start(ctx); err != nil {
			return err
		}
		s.say("  %-4s runs at %s", name, h.Addr)
	}
	for _, name := range friends {
		if err := s.homes["anna"].Befriend(ctx, s.homes[name], "2GB"); err != nil {
			return err
		}
	}
	s.say("anna invited bo, cleo, dan and eve. Each keeps up to 2 GB for anna, and she 2 GB for each.")
	return nil
}

// problem is a file that was left out, as --json has it.
type problem struct {
	Path  json.RawMessage
	Error string
}

// path returns the path's bytes: it is a string, or {"base64": …} where it is not UTF-8.
func (p problem) path() string {
	var text string
	if json.Unmarshal(p.Path, &text) == nil {
		return text
	}
	var raw struct{ Base64 []byte }
	_ = json.Unmarshal(p.Path, &raw) // else it is no path of the tree's
	return string(raw.Base64)
}

// store puts the directory.
func (s *story) store(ctx context.Context) error {
	s.say("anna stores %s:", s.dir)
	var puts [1]struct {
		Files, Bytes, Stored int64
		Worth                struct{ Text string }
		Problems, Special    []problem
	}
	began := time.Now()
	err := s.homes["anna"].JSON(ctx, &puts, "put", s.dir, "--name", "tree")
	put := puts[0]
	if err != nil && len(put.Problems) == 0 {
		return err
	}
	left := append(put.Problems, put.Special...)
	for i, p := range left { // a person's directory has sockets, and files that others own
		if i < linesShown {
			s.say("  left out: %q: %s", p.path(), p.Error)
		}
		s.leftOut[p.path()] = true
	}
	if more := len(left) - linesShown; more > 0 {
		s.say("  and %d more", more)
	}
	s.say("  %d files, %s, in %.1f s. Compressed, sealed and with spare: %s on friends' disks.",
		put.Files, size(put.Bytes), time.Since(began).Seconds(), size(put.Stored))
	s.say("  It %s.", put.Worth.Text)
	return nil
}

// lose kills two partners and destroys anna's machine.
func (s *story) lose(context.Context) error {
	for _, name := range []string{"cleo", "dan"} {
		s.homes[name].Kill()
	}
	s.say("cleo and dan vanish (kill -9).")
	anna := s.homes["anna"]
	anna.Kill()
	if err := os.RemoveAll(anna.Dir); err != nil {
		return err
	}
	s.say("anna's machine is gone: its process is killed, its whole directory deleted. What is left is 24 words on paper.")
	return nil
}

// recover makes a new machine from the words, and compares what comes back.
func (s *story) recover(ctx context.Context) error {
	anna := s.homes["anna"]
	anna.Dir = filepath.Join(s.village.Root, "anna-new")
	began := time.Now()
	var rec struct {
		Agree, Asked, Pieces int
		Versions             []struct{ Name string }
	}
	if err := anna.JSON(ctx, &rec, "recover", "--phrase-file", anna.Phrase, "--from", s.homes["bo"].Addr); err != nil {
		return err
	}
	s.say("A new machine, the 24 words and bo's address: %d of %d partners agree, %d pieces found, in %.1f s.",
		rec.Agree, rec.Asked, rec.Pieces, time.Since(began).Seconds())
	if err := anna.Start(ctx); err != nil {
		return err
	}
	back := filepath.Join(s.village.Root, "back")
	var got struct{ Files, Bytes int64 }
	began = time.Now()
	if err := anna.JSON(ctx, &got, "get", "tree", back); err != nil {
		return err
	}
	s.say("Restored from bo and eve alone: %d files, %s, in %.1f s.", got.Files, size(got.Bytes), time.Since(began).Seconds())
	return s.compare(ctx, back)
}

// compare holds what came back against what was stored.
func (s *story) compare(ctx context.Context, back string) error {
	stored, err := s.stored(ctx)
	if err != nil {
		return err
	}
	different, ignored := 0, 0
	for d, err := range files.Compare(ctx, s.dir, back) {
		if err != nil {
			return err
		}
		if s.leftOut[string(d.Path)] {
			continue
		}
		_, missing := os.Lstat(filepath.Join(back, string(d.Path)))
		if !stored[string(d.Path)] && errors.Is(missing, fs.ErrNotExist) {
			ignored++
			continue
		}
		if different++; different <= linesShown {
			s.say("  DIFFERS: %v", d)
		}
	}
	if different > 0 {
		return fmt.Errorf("%d differences between %s and what came back", different, s.dir)
	}
	if ignored > 0 {
		s.say("Left out, as its .grangeignore and CACHEDIR.TAG files ask for: %d files and directories.", ignored)
	}
	s.say("Every name, byte, mode and time of the files and directories stored is as it was.")
	return nil
}

// stored returns the paths that ignore files and cache tags let be stored.
func (s *story) stored(ctx context.Context) (map[string]bool, error) {
	src, err := files.NewSource(s.dir, files.SourceOptions{})
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for item, err := range src.Items(ctx) {
		if err != nil {
			return nil, err
		}
		paths[string(item.Path)] = true
	}
	return paths, nil
}

// mend has the survivors take over what the lost partners held.
func (s *story) mend(ctx context.Context) error {
	s.say("cleo and dan will not come back; bo and eve take over what they held:")
	var check struct {
		Worth  struct{ Text string }
		Mended struct{ Pieces, Segments, Whole int }
	}
	began := time.Now()
	if err := s.homes["anna"].JSON(ctx, &check, "check", "--mend", "--now"); err != nil {
		return err
	}
	s.say("  %d pieces made again for %d segments in %.1f s; %d are whole. What two households can give:",
		check.Mended.Pieces, check.Mended.Segments, time.Since(began).Seconds(), check.Mended.Whole)
	s.say("  it %s.", check.Worth.Text)
	if check.Mended.Whole < check.Mended.Segments {
		return errors.New("not every segment could be mended")
	}
	return nil
}

// goSource is where Go's own source tree is.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's source tree: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
