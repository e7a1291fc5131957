package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/grange-grid/grange/core"
)

// build makes a map of so many records with keys of 16 bytes that look random.
func build(t testing.TB, size, value int) (Map, *rows, []Edit) {
	t.Helper()
	all := make([]Edit, size)
	for i := range all {
		h := blake3.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		all[i] = Edit{Key: h[:16], Value: make([]byte, value)}
	}
	slices.SortFunc(all, func(a, b Edit) int { return slices.Compare(a.Key, b.Key) })
	m, src := filled(t, all)
	return m, src, all
}

// filled makes a map of records by Apply.
func filled(t testing.TB, all []Edit) (Map, *rows) {
	t.Helper()
	out, err := Apply(newRows(), Empty(salt), all)
	if err != nil {
		t.Fatal(err)
	}
	src := newRows()
	for _, c := range out.Changes {
		for len(src.levels) <= c.Level {
			src.levels = append(src.levels, nil)
		}
		src.levels[c.Level] = append(src.levels[c.Level], c.Entry)
	}
	return out.Map, src
}

// Proofs stay small as maps grow. Bytes are above those of the records that they are about.
func TestSizes(t *testing.T) {
	sizes := []int{10_000, 1_000_000}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		m, src, all := build(t, size, 32)
		rnd := rand.New(rand.NewPCG(1, 1))
		sum := map[string]int{}
		const draws = 300
		for range draws {
			k, k2 := all[rnd.IntN(size)].Key, all[rnd.IntN(size)].Key
			if slices.Compare(k, k2) > 0 {
				k, k2 = k2, k
			}
			no := slices.Clone(k)
			no[15]++
			measure := func(name string, given []Record, run func(v View) error) {
				rec := NewRecorder(src)
				if err := run(View{m, rec}); err != nil {
					t.Fatal(err)
				}
				raw, err := rec.Proof(m, given)
				if err != nil {
					t.Fatal(err)
				}
				sum[name] += len(raw)
			}
			measure("point", []Record{{k, make([]byte, 32)}}, func(v View) error { _, err := v.Get(k); return err })
			measure("absent", nil, func(v View) error {
				if _, err := v.Get(no); !errors.Is(err, core.ErrNotExist) {
					return fmt.Errorf("get of what is not there: %w", err)
				}
				return nil
			})
			measure("rank", nil, func(v View) error { _, err := v.Rank(no); return err })
			measure("count", nil, func(v View) error { _, err := v.Count(k, k2); return err })
			var given []Record
			thirty := func(v View) error {
				given = nil
				for r, err := range v.Ascend(no, nil) {
					if err != nil {
						return err
					}
					if given = append(given, r); len(given) == 32 {
						break
					}
				}
				return nil
			}
			if err := thirty(View{m, src}); err != nil {
				t.Fatal(err)
			}
			measure("32 rows", given, thirty)
		}
		for name, most := range map[string]int{"point": 900, "absent": 1000, "rank": 1000, "count": 1800, "32 rows": 1024} {
			mean := sum[name] / draws
			t.Logf("%d records: %s: %d bytes", size, name, mean)
			if mean > most {
				t.Errorf("%d records: %s: %d bytes, of %d at most", size, name, mean, most)
			}
		}
	}
}
