package grange_test

import (
	"os"
	"strconv"
	"testing"
)

// simSeedsFew is how many lives are simulated unless GRANGE_SIM_SEEDS says otherwise.
const simSeedsFew = 6

func simSeeds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GRANGE_SIM_SEEDS")
	if text == "" {
		return simSeedsFew
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GRANGE_SIM_SEEDS is %q, which is no number of seeds", text)
	}
	return n
}
