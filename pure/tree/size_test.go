package tree

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/zeebo/blake3"
)

func TestSizes(t *testing.T) {
	for _, size := range []int{10_000, 1_000_000} {
		var all []Edit
		for i := range size {
			h := blake3.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
			all = append(all, Edit{Key: h[:16], Value: make([]byte, 32)})
		}
		slices.SortFunc(all, func(a, b Edit) int { return slices.Compare(a.Key, b.Key) })
		src := newRows()
		out, err := Apply(src, Empty(salt), all)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range out.Changes {
			for len(src.levels) <= c.Level {
				src.levels = append(src.levels, nil)
			}
			src.levels[c.Level] = append(src.levels[c.Level], c.Entry)
		}
		var ns []int
		for _, l := range src.levels {
			ns = append(ns, len(l))
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		var point, absent, rank, count, thirty [300]int
		m := out.Map
		measure := func(run func(v View)) int {
			rec := NewRecorder(src)
			run(View{m, rec})
			raw, err := rec.Proof(m)
			if err != nil {
				t.Fatal(err)
			}
			return len(raw)
		}
		for i := range point {
			k := all[rnd.IntN(size)].Key
			k2 := all[rnd.IntN(size)].Key
			if slices.Compare(k, k2) > 0 {
				k, k2 = k2, k
			}
			no := slices.Clone(k)
			no[15]++
			point[i] = measure(func(v View) { v.Get(k) })
			absent[i] = measure(func(v View) {
				if _, err := v.Get(no); !errors.Is(err, core.ErrNotExist) {
					t.Fatal(err)
				}
			})
			rank[i] = measure(func(v View) { v.Rank(no) })
			count[i] = measure(func(v View) { v.Count(k, k2) })
			thirty[i] = measure(func(v View) {
				n := 0
				for range v.Ascend(no, nil) {
					if n++; n == 32 {
						break
					}
				}
			}) - 32*48
		}
		mean := func(a [300]int) (out int) {
			for _, v := range a {
				out += v
			}
			return out / len(a)
		}
		t.Log(size, ns, "point", mean(point)-48, "absent", mean(absent), "rank", mean(rank), "count", mean(count), "32 rows, above them", mean(thirty))
	}
}
