package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/grange-grid/grange/pure/manifest"
)

// Difference is one way in which two trees are not equal.
type Difference struct {
	// Path is relative, as an Item's; empty for the roots, or for two single files.
	Path []byte
	// What is a line for a person: "only in a", "mode 644 in a, 600 in b" and the like.
	What string
}

// String returns the path, quoted, and what differs.
func (d Difference) String() string { return fmt.Sprintf("%q: %s", d.Path, d.What) }

// Compare walks two trees or two files, and yields every difference of what a
// restore promises: names, kinds, contents, symlink targets, permission bits
// (and directories' sticky bits), and modification times to the nanosecond, save
// symlinks' own. Ignore files and cache tags count for nothing. An entry that is
// neither file, directory nor symlink, or cannot be read, is a difference. An
// error is the last thing yielded.
func Compare(ctx context.Context, a, b string) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		c := &comparison{yield: yield, bufA: make([]byte, 64<<10), bufB: make([]byte, 64<<10)}
		if err := c.run(ctx, a, b); err != nil && !errors.Is(err, errStop) {
			yield(Difference{}, fmt.Errorf("compare %s with %s: %w", a, b, err))
		}
	}
}

type comparison struct {
	yield      func(Difference, error) bool
	bufA, bufB []byte
}

func (c *comparison) tell(path []byte, format string, args ...any) error {
	if !c.yield(Difference{Path: path, What: fmt.Sprintf(format, args...)}, nil) {
		return errStop
	}
	return nil
}

func (c *comparison) run(ctx context.Context, a, b string) error {
	var problems []Difference
	open := func(path, side string) (*Source, error) {
		s, err := NewSource(path, SourceOptions{Skip: func(p Problem) {
			problems = append(problems, Difference{Path: p.Path, What: fmt.Sprintf("in %s: %v", side, p.Err)})
		}})
		if err == nil {
			s.plain = true
		}
		return s, err
	}
	sa, err := open(a, "a")
	if err != nil {
		return err
	}
	sb, err := open(b, "b")
	if err != nil {
		return err
	}
	if sa.Single() && sb.Single() {
		sa.name, sb.name = "", "" // they are named by the caller
	}
	nextA, stopA := iter.Pull2(sa.Items(ctx))
	defer stopA()
	nextB, stopB := iter.Pull2(sb.Items(ctx))
	defer stopB()
	if err := c.merge(nextA, nextB); err != nil {
		return err
	}
	for _, p := range problems {
		if err := c.tell(p.Path, "%s", p.What); err != nil {
			return err
		}
	}
	return nil
}

// merge steps through both trees in their common order.
func (c *comparison) merge(nextA, nextB func() (Item, error, bool)) error {
	a, err, okA := nextA()
	if err != nil {
		return err
	}
	b, err, okB := nextB()
	if err != nil {
		return err
	}
	for okA || okB {
		order := 0
		switch {
		case !okB:
			order = -1
		case !okA:
			order = 1
		default:
			order = comparePaths(a.Path, b.Path)
		}
		switch {
		case order < 0:
			err = c.tell(a.Path, "only in a")
		case order > 0:
			err = c.tell(b.Path, "only in b")
		default:
			err = c.entries(a, b)
		}
		if err != nil {
			return err
		}
		if order <= 0 {
			if a, err, okA = nextA(); err != nil {
				return err
			}
		}
		if order >= 0 {
			if b, err, okB = nextB(); err != nil {
				return err
			}
		}
	}
	return nil
}

// comparePaths orders paths component by component.
func comparePaths(a, b []byte) int {
	return strings.Compare(strings.ReplaceAll(string(a), "/", "\x00"), strings.ReplaceAll(string(b), "/", "\x00"))
}

func (c *comparison) entries(a, b Item) error {
	ea, eb := a.Entry, b.Entry
	if ea.Kind != eb.Kind {
		return c.tell(a.Path, "%s in a, %s in b", ea.Kind, eb.Kind)
	}
	if ea.Kind == manifest.KindLink {
		if !bytes.Equal(ea.Target, eb.Target) {
			return c.tell(a.Path, "target %q in a, %q in b", ea.Target, eb.Target)
		}
		return nil
	}
	if ma, mb := fileMode(ea), fileMode(eb); ma != mb {
		if err := c.tell(a.Path, "mode %v in a, %v in b", ma, mb); err != nil {
			return err
		}
	}
	if ea.Mtime != eb.Mtime || ea.Nsec != eb.Nsec {
		if err := c.tell(a.Path, "time %d.%09d in a, %d.%09d in b", ea.Mtime, ea.Nsec, eb.Mtime, eb.Nsec); err != nil {
			return err
		}
	}
	if ea.Kind != manifest.KindFile {
		return nil
	}
	if ea.Size != eb.Size {
		return c.tell(a.Path, "%d bytes in a, %d in b", ea.Size, eb.Size)
	}
	return c.contents(a, b)
}

func (c *comparison) contents(a, b Item) error {
	fa, err := a.Open()
	if err != nil {
		return c.tell(a.Path, "in a: %v", err)
	}
	defer fa.Close()
	fb, err := b.Open()
	if err != nil {
		return c.tell(a.Path, "in b: %v", err)
	}
	defer fb.Close()
	for at := 0; ; at += len(c.bufA) {
		na, errA := io.ReadFull(fa, c.bufA)
		nb, errB := io.ReadFull(fb, c.bufB)
		if err := errors.Join(beforeEnd(errA), beforeEnd(errB)); err != nil {
			return c.tell(a.Path, "cannot be read: %v", err)
		}
		if !bytes.Equal(c.bufA[:na], c.bufB[:nb]) {
			return c.tell(a.Path, "contents differ within bytes %d to %d", at, at+max(na, nb))
		}
		if na < len(c.bufA) {
			return nil
		}
	}
}

// beforeEnd is an error of ReadFull that is not the end of the file.
func beforeEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
