//go:build big

package trial

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	memoryMax = 256 << 20
	bigSize   = 4 << 30
	blockSize = 16 << 20
)

// set writes a file of the kernel's, which is there: where it is not, this is no control group but
// a directory like any other, in which nothing is limited.
func set(name, value string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// cage is a control group whose processes have memoryMax bytes together, page
// cache included.
func cage(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("grange-trial-%d", os.Getpid())
	limits := map[string]string{ // by version of the kernel's interface
		filepath.Join("/sys/fs/cgroup/memory", name): "memory.limit_in_bytes",
		filepath.Join("/sys/fs/cgroup", name):        "memory.max",
	}
	var why []string
	for dir, limit := range limits {
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			if err = set(filepath.Join(dir, limit), fmt.Sprint(memoryMax)); err == nil {
				// Swap would be memory by another name; where there is none, there is no such file.
				_ = set(filepath.Join(dir, "memory.swap.max"), "0")
				t.Cleanup(func() {
					err := os.Remove(dir)
					for try := 0; err != nil && try < 200; try++ { // a process that was killed leaves it a moment later
						time.Sleep(50 * time.Millisecond)
						err = os.Remove(dir)
					}
					if err != nil {
						t.Errorf("remove the control group: %v", err)
					}
				})
				return dir
			}
			_ = os.Remove(dir) // of a hierarchy without memory
		}
		why = append(why, err.Error())
	}
	t.Skipf("NOT TRIED: memory cannot be limited here, which takes root and a memory cgroup: %s", strings.Join(why, "; "))
	return ""
}

// pattern is a file of bigSize bytes that is made as it is read: blocks of noise, of
// text that shrinks, and of zeros.
type pattern struct {
	at    int64
	block []byte
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == bigSize {
		return 0, io.EOF
	}
	within := int(p.at % blockSize)
	if within == 0 {
		p.fill(p.at / blockSize)
	}
	n := copy(b, p.block[within:])
	p.at += int64(n)
	return n, nil
}

func (p *pattern) fill(i int64) {
	if p.block == nil {
		p.block = make([]byte, blockSize)
	}
	switch i % 4 {
	case 0, 3:
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), 1}).Read(p.block) // it never fails
		if i%4 == 3 {                                                            // half a byte of noise in each
			for j := range p.block {
				p.block[j] = "0123456789abcdef"[p.block[j]&15]
			}
		}
	default:
		clear(p.block)
	}
}

func peak(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	ok(t, err)
	for line := range strings.Lines(string(raw)) {
		if rest, is := strings.CutPrefix(line, "VmHWM:"); is {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}

// TestFourGigabytesInLittleMemoryBig stores and restores one large file by an
// agent that has 256 MiB for everything.
func TestFourGigabytesInLittleMemoryBig(t *testing.T) {
	group := cage(t)
	root := room(t)
	anna, bo := found(t, root, "anna"), found(t, root, "bo")
	anna.wrap = []string{"/bin/sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group}
	anna.start()
	anna.wrap = nil // the commands only ask the agent
	bo.start()
	anna.must(0, "offer", "1GB")
	bo.must(0, "offer", "6GB")
	bo.must(0, "accept", "--yes", anna.invite("--give", "1GB", "--want", "6GB"))

	name := filepath.Join(root, "film")
	f, err := os.Create(name)
	ok(t, err)
	zeros := make([]byte, blockSize)
	p := &pattern{}
	for at := int64(0); at < bigSize; at += blockSize {
		b := make([]byte, 1)
		_, err := p.Read(b) // fills the block
		ok(t, err)
		p.at = at + blockSize
		if !bytes.Equal(p.block, zeros) {
			_, err = f.WriteAt(p.block, at)
			ok(t, err)
		}
	}
	ok(t, f.Truncate(bigSize))
	ok(t, f.Close())

	pid := anna.agent.Process.Pid
	began := time.Now()
	v := anna.put(0, name, "--name", "film")
	if v.Bytes != bigSize {
		t.Errorf("%d bytes were stored", v.Bytes)
	}
	anna.alive()
	t.Logf("put in %v: %d bytes new; memory %s at most", time.Since(began).Round(time.Second), v.Stored, peak(t, pid))

	began = time.Now()
	back := filepath.Join(root, "back")
	anna.must(0, "get", "film", back)
	anna.alive()
	t.Logf("get in %v; memory %s at most", time.Since(began).Round(time.Second), peak(t, pid))
	g, err := os.Open(back)
	ok(t, err)
	defer g.Close()
	got, want, p := make([]byte, blockSize), make([]byte, blockSize), &pattern{}
	for at := int64(0); at < bigSize; at += blockSize {
		_, err := io.ReadFull(p, want)
		ok(t, err)
		_, err = io.ReadFull(g, got)
		ok(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("the bytes from %d on are others", at)
		}
	}
	if n, err := g.Read(got); n > 0 || err != io.EOF {
		t.Errorf("%d bytes more (%v)", n, err)
	}
	for _, stat := range []string{"memory.max_usage_in_bytes", "memory.peak", "memory.failcnt"} {
		if raw, err := os.ReadFile(filepath.Join(group, stat)); err == nil {
			t.Logf("%s: %s", stat, strings.TrimSpace(string(raw)))
		}
	}
	anna.kill()
}
