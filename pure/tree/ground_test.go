package tree

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"testing"
)

// ground makes n keys that an adversary has chosen: the priority of each at level 0 begins as want says of its index.
func ground(n, bits int, want func(i int) uint64) []string {
	m, out := Empty(salt), make([]string, n)
	for i := range out {
		for try := uint32(0); ; try++ {
			key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(i)), try)
			if m.priorityOf(0, key).hash>>(64-bits) == want(i) {
				out[i] = string(key)
				break
			}
		}
	}
	return out
}

// grinds are ways to choose keys so that few, or all, of them begin nodes.
var grinds = []struct {
	what string
	bits int
	want func(n int) func(i int) uint64
}{
	{"all high", 3, func(int) func(int) uint64 { return func(int) uint64 { return 7 } }},
	{"rising", 6, func(n int) func(int) uint64 { return func(i int) uint64 { return uint64(i * 64 / n) } }},
	{"falling", 6, func(n int) func(int) uint64 { return func(i int) uint64 { return uint64(63 - i*64/n) } }},
	{"a comb", 6, func(int) func(int) uint64 { return func(i int) uint64 { return uint64(63 - i%64) } }},
}

// However keys are chosen, one that comes or goes makes little to write, and little is looked at for it.
func TestGroundKeys(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	for _, g := range grinds {
		keys := ground(n, g.bits, g.want(n))
		var all []Edit
		for _, k := range keys {
			all = append(all, Edit{Key: []byte(k), Value: []byte("12345678")})
		}
		m, src := filled(t, all)
		rnd := rand.New(rand.NewPCG(1, 4))
		worst, worstLoads := 0, 0
		for range 50 {
			at := keys[rnd.IntN(n)]
			for _, e := range []Edit{
				{Key: append([]byte(at), byte(rnd.IntN(256))), Value: []byte("12345678")}, // whatever priority it has
				{Key: []byte(at)},
			} {
				src.loads = 0
				out, err := Apply(src, m, []Edit{e})
				if err != nil {
					t.Fatal(err)
				}
				bytes := 0
				for _, c := range out.Changes {
					bytes += len(c.Key) + len(c.Value) + len(c.Hash) + 8
				}
				for _, p := range out.Nodes {
					bytes += p.Node.Size()
				}
				worst, worstLoads = max(worst, bytes), max(worstLoads, src.loads)
			}
		}
		t.Logf("%s: %d keys: at most %d bytes, through %d nodes", g.what, n, worst, worstLoads)
		if worst > 64<<10 {
			t.Errorf("%s: one edit rewrites %d bytes", g.what, worst)
		}
		if worstLoads > 40 {
			t.Errorf("%s: one edit looks at %d nodes", g.what, worstLoads)
		}
	}
}

// Maps of such keys, too, are those that are made at once.
func TestGroundKeysHistoryDoesNotShow(t *testing.T) {
	for i, g := range grinds {
		const n = 3000
		keys := ground(n, g.bits, g.want(n))
		rnd := rand.New(rand.NewPCG(uint64(i), 6))
		src, m, have := newRows(), Empty(salt), map[string]string{}
		steps := 60
		if testing.Short() {
			steps = 12
		}
		for step := range steps {
			edits := map[string]string{}
			start, near := rnd.IntN(n), rnd.IntN(2) == 0
			for j := range 1 + rnd.IntN(1<<rnd.IntN(11)) {
				k := keys[rnd.IntN(n)]
				if near {
					k = keys[(start+j)%n]
				}
				if rnd.IntN(8) == 0 {
					k += "x" // whatever priority it has
				}
				edits[k] = []string{"-", "1", "2", "3"}[rnd.IntN(4)]
			}
			if step == 0 {
				for _, k := range keys {
					edits[k] = "0"
				}
			}
			m = apply(t, src, m, sorted(edits))
			maps.Copy(have, edits)
			maps.DeleteFunc(have, func(_, v string) bool { return v == "-" })
			want, wantRows := naive(t, salt, have)
			if m.Root.Hash != want.Root.Hash || m.Root.Level != want.Root.Level || !sameRows(src, wantRows) {
				t.Fatalf("%s, step %d: %d records: root %v, want %v", g.what, step, len(have), m.Root, want.Root)
			}
		}
		if len(have) < n/4 {
			t.Errorf("%s: only %d records at the end", g.what, len(have))
		}
	}
}
