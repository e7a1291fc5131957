//go:build unix

package trial

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// grangeBin is the program under trial.
var grangeBin string

func TestMain(m *testing.M) { os.Exit(trial(m)) }

func trial(m *testing.M) int {
	dir, err := os.MkdirTemp("", "grange-trial-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // others run it too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	grangeBin = filepath.Join(dir, "grange")
	// Without the race detector: its memory and pace are not the program's.
	build := exec.Command("go", "build", "-o", grangeBin, "../../cmd/grange")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// dice are the random numbers of one test. The seed is in its log, and GRANGE_TRIAL_SEED
// plays it again, as far as processes can be played again.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GRANGE_TRIAL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("GRANGE_TRIAL_SEED: %v", err)
		}
	}
	t.Logf("GRANGE_TRIAL_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// points is at how many moments each operation is broken off.
func points(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("GRANGE_TRIAL_POINTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("GRANGE_TRIAL_POINTS is %q", text)
		}
		return n
	}
	return 20
}
