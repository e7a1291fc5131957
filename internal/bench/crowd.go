package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/grange-grid/grange/internal/village"
)

// crowdFile is how many bytes each file of a crowd has.
const crowdFile = 200

// crowd stores c.files small files, and before that a tenth of them: what is flat takes as much memory for both.
func (c *contest) crowd(ctx context.Context) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer out.Flush()
	fmt.Fprintln(out, "files\twhat\ttime\tagent\tholder\tcommand")
	for _, n := range []int{c.files / 10, c.files} {
		if err := c.crowdOf(ctx, out, n); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "Memory: MiB that a process rose above what it took before; the command's is all it took. Holders: the one that rose most.")
	return nil
}

func (c *contest) crowdOf(ctx context.Context, out *tabwriter.Writer, n int) error {
	us := &ours{bin: c.bin, parent: c.root, room: fmt.Sprintf("%dMB", int64(n)*4096/1e6+500)}
	defer us.close()
	if err := us.Forget(ctx); err != nil {
		return err
	}
	tree, back := filepath.Join(c.root, "crowd"), filepath.Join(c.root, "back")
	defer os.RemoveAll(tree)
	defer os.RemoveAll(back)
	if err := crowd(tree, n); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"put", []string{"put", tree, "--name", "crowd"}},
		{"put again, unchanged", []string{"put", tree, "--name", "crowd"}},
		{"status", []string{"status"}},
		{"ls", []string{"ls", "crowd"}},
		{"get", []string{"get", "crowd", back}},
	} {
		fmt.Fprintf(os.Stderr, "%d files: %s\n", n, step.what)
		began := time.Now()
		rose, command, err := us.rise(func() (int64, error) {
			return program(ctx, []string{"GRANGE_DIR=" + us.anna.Dir}, c.bin, step.args...)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d\t%s\t%s\t%d\t%d\t%d\n", n, step.what, short(time.Since(began)), rose[0]>>20, max(rose[1], rose[2], rose[3])>>20, command>>20)
	}
	return nil
}

// rise returns how far the process of each of the village rose above what it took before f.
func (o *ours) rise(f func() (int64, error)) (rose [4]int64, command int64, err error) {
	for i, h := range o.all() {
		before, err := memoryOf(h.PID(), "VmRSS")
		if err == nil {
			// The mark of the most so far is set back, or it would be that of before.
			err = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", h.PID()), []byte("5"), 0)
		}
		if err != nil {
			return rose, 0, err
		}
		rose[i] = -before
	}
	if command, err = f(); err != nil {
		return rose, command, err
	}
	for i, h := range o.all() {
		most, err := memoryOf(h.PID(), "VmHWM")
		if err != nil {
			return rose, command, err
		}
		rose[i] += most
	}
	return rose, command, nil
}

// all are anna and her partners.
func (o *ours) all() []*village.Home { return append([]*village.Home{o.anna}, o.friends...) }

// crowd writes n files, a thousand in a folder.
func crowd(root string, n int) error {
	text := strings.Repeat("a line of some file in the crowd\n", crowdFile/32+1)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("folder %04d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		data := fmt.Appendf(nil, "%d %s", i, text)[:crowdFile]
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%07d", i)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
