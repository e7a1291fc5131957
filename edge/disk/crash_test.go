package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

var errPower = errors.New("the power is gone")

// fate is what may be true of a blob after a crash.
type fate int

const (
	absent fate = iota
	present
	either // the call that was under way decided it
)

// crasher is a store whose machine loses its power in the middle of things, again and again. The
// packs lose what was not synced, and so do the books.
type crasher struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	books *vfs.MemFS
	files *faultFiles
	// unsynced is what a killed process left to the system, which may still lose it.
	unsynced map[string]int64

	mu    sync.Mutex
	left  int        // operations until the power goes
	clone *vfs.MemFS // the books, as the crash leaves them
}

// power is asked before each operation on packs.
func (c *crasher) power(string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left > 0 {
		return nil
	}
	if c.clone == nil {
		c.clone = c.books.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	}
	return errPower
}

func (c *crasher) open() *Store {
	c.t.Helper()
	c.files = &faultFiles{synced: c.unsynced, fresh: map[string]bool{}}
	s, err := open(c.dir, small, world{files: c.files, books: c.books})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// run works with three hands, each on blobs of its own, until the power is gone.
func (c *crasher) run(s *Store, blobs []core.Blob, fates []fate) {
	var wg sync.WaitGroup
	const hands = 3
	seed := c.rng.Uint64() // not later: whoever cuts the power draws from it as well
	for hand := range hands {
		rng := rand.New(rand.NewPCG(seed, uint64(hand)))
		wg.Go(func() {
			for range 1000 {
				i := rng.IntN(len(blobs)/hands)*hands + hand
				was := fates[i]
				var err error
				switch rng.IntN(8) {
				case 0, 1, 2, 3:
					fates[i] = present
					err = s.Blobs().Put(c.t.Context(), blobs[i])
				case 4, 5, 6:
					fates[i] = absent
					err = s.Blobs().Delete(c.t.Context(), blobs[i].Score)
				default:
					_, err = s.Tidy(c.t.Context())
				}
				if err != nil {
					if fates[i] != was {
						fates[i] = either
					}
					return
				}
			}
		})
	}
	wg.Wait()
}

// verify compares what is there with what must be, and settles what was open.
func (c *crasher) verify(s *Store, blobs []core.Blob, fates []fate) {
	c.t.Helper()
	there := map[core.Score]bool{}
	for info, err := range s.Blobs().All(c.t.Context()) {
		check(c.t, err)
		there[info.Score] = true
	}
	for i, b := range blobs {
		switch {
		case there[b.Score] && fates[i] == absent:
			c.t.Errorf("blob %d is back after its deletion", i)
		case !there[b.Score] && fates[i] == present:
			c.t.Errorf("blob %d is lost", i)
		case there[b.Score]:
			fates[i] = present
			seamtest.WantBlob(c.t, s.Blobs(), b)
		default:
			fates[i] = absent
		}
	}
	wantFigures(c.t, s)
}

func TestPowerCuts(t *testing.T) {
	lives := 12
	if testing.Short() {
		lives = 3
	}
	for seed := range uint64(lives) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := &crasher{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: made(t), books: vfs.NewCrashableMem()}
			blobs := some(int(seed)*1000, 30, 8000)
			fates := make([]fate, len(blobs))
			for range 12 {
				s := c.open()
				c.verify(s, blobs, fates)
				c.left, c.clone = 1+c.rng.IntN(120), nil
				c.files.setFail(c.power)
				c.run(s, blobs, fates)
				_ = s.Close()
				if c.clone != nil {
					c.books = c.clone
				}
				if c.rng.IntN(4) == 0 {
					c.books = vfs.NewCrashableMem() // and the books are lost as well
				}
				c.unsynced = nil
				if c.rng.IntN(3) == 0 {
					c.unsynced = c.files.synced // killed; the power stays on
				} else {
					c.files.crash(t, c.rng)
				}
				if t.Failed() {
					return
				}
			}
			s := c.open()
			c.verify(s, blobs, fates)
			closed(t, s)
		})
	}
}

// Opening is cut short as well, while it mends what the last crash left.
func TestPowerCutsWhileOpening(t *testing.T) {
	for n := 1; n <= 30; n++ {
		c := &crasher{t: t, rng: rand.New(rand.NewPCG(uint64(n), 2)), dir: made(t), books: vfs.NewCrashableMem()}
		blobs := some(n*1000, 15, 8000)
		fates := make([]fate, len(blobs))
		s := c.open()
		c.left = 80
		c.files.setFail(c.power)
		c.run(s, blobs, fates)
		_ = s.Close()
		c.files.crash(t, c.rng)
		c.books = vfs.NewCrashableMem()
		c.left, c.clone = n, nil
		c.files = &faultFiles{fail: c.power}
		s, err := open(c.dir, small, world{files: c.files, books: c.books})
		if err == nil {
			_ = s.Close()
		} else if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		if c.clone != nil {
			c.books = c.clone
		}
		c.files.crash(t, c.rng)
		s = c.open()
		c.verify(s, blobs, fates)
		closed(t, s)
	}
}

const childDir = "GRANGE_DISK_TEST_CHILD"

// TestMain lets the test binary be the process that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir, os.Args[len(os.Args)-1]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child puts blobs and deletes every fifth, and says so only when it is done.
func child(dir, first string) error {
	var seed int
	if _, err := fmt.Sscan(first, &seed); err != nil {
		return err
	}
	s, err := Open(dir, Config{PackSizeMax: 1 << 20})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var mu sync.Mutex
	for hand := range 4 {
		go func() {
			for i := seed + hand; ; i += 4 {
				b := killBlob(i)
				err := s.Blobs().Put(context.Background(), b)
				if err == nil {
					mu.Lock()
					fmt.Println("put", i)
					mu.Unlock()
				}
				if err == nil && i%5 == 0 {
					err = s.Blobs().Delete(context.Background(), b.Score)
					mu.Lock()
					fmt.Println("gone", i)
					mu.Unlock()
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func killBlob(i int) core.Blob { return seamtest.RandomBlob(uint64(i), 100+i*7919%60000) }

func TestKilledAtAnyMoment(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	dir := made(t)
	rng := rand.New(rand.NewPCG(1, 3))
	fates := map[int]fate{}
	next := 0
	for range kills {
		cmd := exec.Command(os.Args[0], fmt.Sprint(next))
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		check(t, err)
		cmd.Stderr = os.Stderr
		check(t, cmd.Start())
		highest := kill(t, cmd, out, 1+rng.IntN(150), fates)
		_ = cmd.Wait()
		next = highest + 8
		if rng.IntN(5) == 0 {
			check(t, os.RemoveAll(filepath.Join(dir, "books")))
		}
		wantFates(t, dir, fates)
		if t.Failed() {
			return
		}
	}
	if len(fates) < kills {
		t.Errorf("only %d blobs were ever acknowledged", len(fates))
	}
}

// kill reads that many acknowledgements, kills the process, and reads those that it had still sent.
func kill(t *testing.T, cmd *exec.Cmd, out io.Reader, after int, fates map[int]fate) (highest int) {
	t.Helper()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var what string
		var i int
		if n, err := fmt.Sscan(lines.Text(), &what, &i); n != 2 {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		highest = max(highest, i)
		switch {
		case what == "gone":
			fates[i] = absent
		case i%5 == 0:
			fates[i] = either
		default:
			fates[i] = present
		}
		if after--; after == 0 {
			check(t, cmd.Process.Kill())
		}
	}
	return highest
}

// wantFates checks that every blob that was acknowledged is there and whole, and that nothing
// else is there by half.
func wantFates(t *testing.T, dir string, fates map[int]fate) {
	t.Helper()
	s := opened(t, dir, Config{PackSizeMax: 1 << 20})
	defer closed(t, s)
	for i, f := range fates {
		b := killBlob(i)
		_, err := s.Blobs().Stat(t.Context(), b.Score)
		switch {
		case err == nil && f == absent:
			t.Errorf("blob %d is back after its deletion", i)
		case err != nil && (f == present || !errors.Is(err, core.ErrNotExist)):
			t.Errorf("blob %d: %v", i, err)
		case err == nil:
			seamtest.WantBlob(t, s.Blobs(), b)
		}
	}
	for info, err := range s.Blobs().All(t.Context()) {
		check(t, err)
		if _, err := s.Blobs().Get(t.Context(), info.Score, nil); err != nil {
			t.Error(err)
		}
	}
	wantFigures(t, s)
}
