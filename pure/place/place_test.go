package place

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func did(n int) core.DID { return core.DID{byte(n >> 8), byte(n), 1} }

// homes returns n households with nothing and room for all.
func homes(n, room int) []Household {
	hs := make([]Household, n)
	for i := range hs {
		hs[i] = Household{DID: did(i), Room: room}
	}
	return hs
}

var spreads = []struct {
	name     string
	total    int
	hs       []Household
	turn     int
	give     map[core.DID][]int
	unplaced []int
}{
	{"nobody", 3, nil, 0, map[core.DID][]int{}, []int{0, 1, 2}},
	{"nothing", 0, homes(2, 5), 0, map[core.DID][]int{}, nil},
	{"less than nothing", -4, homes(2, 5), 0, map[core.DID][]int{}, nil},
	{"one partner", 4, homes(1, 9), 7, map[core.DID][]int{did(0): {0, 1, 2, 3}}, nil},
	{
		"odd ones to the first", 5, homes(3, 9), 0,
		map[core.DID][]int{did(0): {0, 3}, did(1): {1, 4}, did(2): {2}},
		nil,
	},
	{
		"turn two", 5, homes(3, 9), 2,
		map[core.DID][]int{did(2): {0, 3}, did(0): {1, 4}, did(1): {2}},
		nil,
	},
	{
		"turn before zero is turn two", 5, homes(3, 9), -1,
		map[core.DID][]int{did(2): {0, 3}, did(0): {1, 4}, did(1): {2}},
		nil,
	},
	{
		"one that refuses is not counted", 4,
		[]Household{{DID: did(0), Room: 4}, {DID: did(1)}, {DID: did(2), Room: 4}},
		0,
		map[core.DID][]int{did(0): {0, 2}, did(2): {1, 3}},
		nil,
	},
	{
		"little room counts, and binds the others", 10,
		[]Household{{DID: did(0), Room: 9}, {DID: did(1), Room: 1}},
		0,
		map[core.DID][]int{did(0): {0, 2, 3, 4, 5}, did(1): {1}},
		[]int{6, 7, 8, 9},
	},
	{
		"a second partner gets the parity", 4,
		[]Household{{DID: did(0), Room: 9, Held: []int{1, 0}}, {DID: did(1), Room: 9}},
		0,
		map[core.DID][]int{did(1): {2, 3}},
		nil,
	},
	{
		"who holds more than a share gets none", 6,
		[]Household{{DID: did(0), Room: 9, Held: []int{0, 1, 2, 3}}, {DID: did(1), Room: 9}, {DID: did(2), Room: 9}},
		0,
		map[core.DID][]int{did(1): {4}, did(2): {5}},
		nil,
	},
	{
		"held and full", 4,
		[]Household{{DID: did(0), Held: []int{3}}, {DID: did(1), Room: 2}},
		0,
		map[core.DID][]int{did(1): {0, 1}},
		[]int{2},
	},
	{
		"indexes out of range or there twice", 4,
		[]Household{{DID: did(0), Room: 4, Held: []int{2, 2, -1, 4, 99}}, {DID: did(1), Room: 4, Held: []int{77}}},
		0,
		map[core.DID][]int{did(0): {1}, did(1): {0, 3}},
		nil,
	},
}

func TestSpreadTable(t *testing.T) {
	for _, test := range spreads {
		t.Run(test.name, func(t *testing.T) {
			give, unplaced := Spread(test.total, test.hs, test.turn)
			if !reflect.DeepEqual(give, test.give) {
				t.Errorf("give %v, want %v", give, test.give)
			}
			if !slices.Equal(unplaced, test.unplaced) {
				t.Errorf("unplaced %v, want %v", unplaced, test.unplaced)
			}
		})
	}
}

// drawHomes makes households with any rooms, that hold any pieces.
func drawHomes(t *rapid.T, total int) []Household {
	n := rapid.IntRange(0, 13).Draw(t, "households")
	hs := make([]Household, n)
	for i := range hs {
		hs[i] = Household{
			DID:  did(i),
			Room: rapid.IntRange(-1, total+2).Draw(t, "room"),
			Held: rapid.SliceOfN(rapid.IntRange(-1, total), 0, 5).Draw(t, "held"),
		}
	}
	return hs
}

func inRange(total int, held []int) []int {
	held = slices.DeleteFunc(slices.Clone(held), func(p int) bool { return p < 0 || p >= total })
	slices.Sort(held)
	return slices.Compact(held)
}

// counted returns how many households have pieces or room.
func counted(total int, hs []Household) int {
	n := 0
	for _, h := range hs {
		if h.Room > 0 || len(inRange(total, h.Held)) > 0 {
			n++
		}
	}
	return n
}

func TestSpreadProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(0, 24).Draw(t, "total")
		hs := drawHomes(t, total)
		turn := rapid.Int().Draw(t, "turn")
		before := make([]Household, len(hs))
		for i, h := range hs {
			before[i] = Household{h.DID, h.Room, slices.Clone(h.Held)}
		}
		give, unplaced := Spread(total, hs, turn)
		if !reflect.DeepEqual(hs, before) {
			t.Fatal("the arguments were changed")
		}

		share := Share(total, counted(total, hs))
		seen := make([]int, total)
		for _, h := range hs {
			held := inRange(total, h.Held)
			for _, p := range held {
				seen[p] = 1
			}
			got := give[h.DID]
			if len(got) > max(h.Room, 0) {
				t.Fatalf("%v got %d pieces, room for %d", h, len(got), h.Room)
			}
			if len(got) > 0 && len(got)+len(held) > share {
				t.Fatalf("%v got %v, more than the share of %d", h, got, share)
			}
			if !slices.IsSorted(got) {
				t.Fatalf("%v not rising", got)
			}
			// What is left could go nowhere.
			if len(unplaced) > 0 && len(got) < h.Room && len(got)+len(held) < share {
				t.Fatalf("unplaced %v although %v got only %v", unplaced, h, got)
			}
		}
		for _, got := range give {
			for _, p := range got {
				if seen[p]++; seen[p] > 1 {
					t.Fatalf("piece %d was held or given already", p)
				}
			}
		}
		for _, p := range unplaced {
			if seen[p]++; seen[p] > 1 {
				t.Fatalf("piece %d is both placed and unplaced", p)
			}
		}
		if slices.Contains(seen, 0) {
			t.Fatalf("a piece was forgotten: %v", seen)
		}

		shuffled := rapid.Permutation(hs).Draw(t, "shuffled")
		again, left := Spread(total, shuffled, turn)
		if !reflect.DeepEqual(again, give) || !slices.Equal(left, unplaced) {
			t.Fatal("the order of the households matters")
		}
	})
}

// With room everywhere the spread is even to within one piece.
func TestSpreadEven(t *testing.T) {
	for n := 1; n <= 24; n++ {
		give, unplaced := Spread(20, homes(n, 20), n*7)
		if len(unplaced) > 0 {
			t.Fatalf("n = %d: unplaced %v", n, unplaced)
		}
		for i := range n {
			if got := len(give[did(i)]); got != 20/n && got != Share(20, n) {
				t.Errorf("n = %d: household %d has %d pieces", n, i, got)
			}
		}
	}
}

// Over n segments each of n equal households gets exactly as many pieces, data
// pieces among them; the ones that are full do not make their neighbours get more.
func TestSpreadFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(1, 20).Draw(t, "total")
		equal := rapid.IntRange(1, 12).Draw(t, "equal")
		hs := homes(equal, total)
		for i := range rapid.IntRange(0, 4).Draw(t, "full") {
			// Between the others in the order of DIDs.
			hs = append(hs, Household{DID: core.DID{0, byte(i), 2}, Held: []int{i % total}})
		}
		start := rapid.IntRange(-1000, 1000).Draw(t, "start")
		got := make(map[core.DID]int)
		data := make(map[core.DID]int)
		for turn := start; turn < start+equal; turn++ {
			give, _ := Spread(total, hs, turn)
			for d, pieces := range give {
				got[d] += len(pieces)
				for _, p := range pieces {
					if p < (total+1)/2 {
						data[d]++
					}
				}
			}
		}
		for i := range equal {
			if got[did(i)] != got[did(0)] {
				t.Fatalf("households get %v", slices.Collect(maps.Values(got)))
			}
			if data[did(i)] != data[did(0)] {
				t.Fatalf("households get %v data pieces", slices.Collect(maps.Values(data)))
			}
		}
	})
}

func BenchmarkSpread(b *testing.B) {
	hs := homes(7, 20)
	b.ReportAllocs()
	for i := range b.N {
		Spread(20, hs, i)
	}
}
