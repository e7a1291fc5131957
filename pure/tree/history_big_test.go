//go:build big

package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// Three million random edits, each batch of which leaves the map that is made at once.
func TestHistoryDoesNotShowBig(t *testing.T) {
	total := 0
	for seed := uint64(1000); total < 3_000_000; seed++ {
		rnd := rand.New(rand.NewPCG(seed, 7))
		src, m, have := newRows(), Empty(salt), map[string]string{}
		keys := 1000 << rnd.IntN(6)
		for step := range 40 {
			edits := map[string]string{}
			start, near, removes := rnd.IntN(keys), rnd.IntN(2) == 0, rnd.IntN(5)
			for i := range 1 + rnd.IntN(2<<rnd.IntN(14)) {
				k := rnd.IntN(keys)
				if near {
					k = (start + i) % keys
				}
				v := fmt.Sprint(rnd.IntN(3))
				if rnd.IntN(5) < removes {
					v = "-"
				}
				edits[fmt.Sprintf("%05x", k)] = v
			}
			total += len(edits)
			m = apply(t, src, m, sorted(edits))
			maps.Copy(have, edits)
			maps.DeleteFunc(have, func(_, v string) bool { return v == "-" })
			want, wantRows := naive(t, salt, have)
			if m.Root.Hash != want.Root.Hash || m.Root.Level != want.Root.Level || m.Root.Count != want.Root.Count || !sameRows(src, wantRows) {
				t.Fatalf("seed %d, step %d: %d records: root %v, want %v", seed, step, len(have), m.Root, want.Root)
			}
		}
	}
	t.Logf("%d edits", total)
}
