package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

// shelf stores pages by their score and counts what it is asked.
type shelf struct {
	pages        map[core.Score][]byte
	fresh, loads int
}

func newShelf() *shelf { return &shelf{pages: map[core.Score][]byte{}} }

func (s *shelf) store(page []byte) ([]byte, error) {
	score := core.ScoreOf(page)
	if _, ok := s.pages[score]; !ok {
		s.fresh++
	}
	s.pages[score] = page
	return score[:], nil
}

func (s *shelf) load(ref []byte) ([]byte, error) {
	s.loads++
	page, ok := s.pages[core.Score(ref)]
	if !ok {
		return nil, core.ErrNotExist
	}
	return page, nil
}

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func build(t tester, s *shelf, list []Record) Tree {
	t.Helper()
	b := NewBuilder(s.store)
	for _, r := range list {
		if err := b.Add(r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func walk(t tester, tree Tree, s *shelf, prefix, from []byte) []Record {
	t.Helper()
	var got []Record
	for r, err := range Walk(tree, s.load, prefix, from) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	return got
}

func same(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value)
	})
}

// sorted returns a list in order, of several duplicate keys the last.
func sorted(list []Record) []Record {
	byKey := map[string][]byte{}
	for _, r := range list {
		byKey[string(r.Key)] = r.Value
	}
	out := make([]Record, 0, len(byKey))
	for k, v := range byKey {
		out = append(out, Record{Key: []byte(k), Value: v})
	}
	slices.SortFunc(out, func(a, b Record) int { return bytes.Compare(a.Key, b.Key) })
	return out
}

// someList draws lists that are short or long, of keys that are alike or not, and of small or large values.
func someList(t *rapid.T) []Record {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	n := rapid.SampledFrom([]int{0, 1, 2, 3, 100, 600, 2000}).Draw(t, "records")
	alphabet := rapid.SampledFrom([]int{2, 4, 256}).Draw(t, "alphabet")
	valueMax := rapid.SampledFrom([]int{0, 40, 3000}).Draw(t, "value")
	list := make([]Record, n)
	for i := range list {
		list[i] = Record{Key: someBytes(rng, 14, alphabet), Value: someBytes(rng, valueMax, 256)}
		if rng.IntN(500) == 0 {
			list[i].Value = make([]byte, RecordSizeMax-len(list[i].Key))
		}
	}
	return sorted(list)
}

func someBytes(rng *rand.Rand, sizeMax, alphabet int) []byte {
	b := make([]byte, rng.IntN(sizeMax+1))
	for i := range b {
		b[i] = byte(rng.IntN(alphabet) * 256 / alphabet)
	}
	return b
}

func TestWalkEqualsTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := someList(t)
		s := newShelf()
		tree := build(t, s, list)
		if tree.Count != uint64(len(list)) {
			t.Fatalf("count %d, want %d", tree.Count, len(list))
		}
		prefix := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 64, 128, 192, 255}), 0, 3).Draw(t, "prefix")
		from := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 64, 128, 192, 255}), 0, 4).Draw(t, "from")
		if len(list) > 0 && rapid.Bool().Draw(t, "from a key") {
			from = list[rapid.IntRange(0, len(list)-1).Draw(t, "which")].Key
		}
		var want []Record
		for _, r := range list {
			if bytes.HasPrefix(r.Key, prefix) && bytes.Compare(r.Key, from) >= 0 {
				want = append(want, r)
			}
		}
		got := walk(t, tree, s, prefix, from)
		if !same(got, want) {
			t.Fatalf("walk of %x from %x: %d records, want %d", prefix, from, len(got), len(want))
		}
	})
}

func TestGetFindsWhatIsThereAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := someList(t)
		s := newShelf()
		tree := build(t, s, list)
		rng := rand.New(rand.NewPCG(uint64(len(list)), 2))
		for range 30 {
			key := someBytes(rng, 3, 4)
			if len(list) > 0 && rng.IntN(2) == 0 {
				key = list[rng.IntN(len(list))].Key
			}
			i, found := slices.BinarySearchFunc(list, key, func(r Record, k []byte) int { return bytes.Compare(r.Key, k) })
			got, err := Get(tree, s.load, key)
			switch {
			case found && (err != nil || !bytes.Equal(got, list[i].Value)):
				t.Fatalf("get %x: %v", key, err)
			case !found && !errors.Is(err, core.ErrNotExist):
				t.Fatalf("get %x, which is not there: %v", key, err)
			}
		}
	})
}

func TestRefsNameEveryPageOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShelf()
		tree := build(t, s, someList(t))
		seen := map[core.Score]bool{}
		for ref, err := range Refs(tree, s.load) {
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 && !bytes.Equal(ref, tree.Root) {
				t.Fatal("the root is not the first")
			}
			if seen[core.Score(ref)] {
				t.Fatal("a page is named twice")
			}
			seen[core.Score(ref)] = true
		}
		if len(seen) != len(s.pages) {
			t.Fatalf("%d pages named, %d stored", len(seen), len(s.pages))
		}
		if tree.Level == 0 && s.loads != 0 {
			t.Fatal("the leaf was loaded")
		}
	})
}

// numbered makes a list like a state's: keys spread evenly, values of a few hundred bytes.
func numbered(n int) []Record {
	list := make([]Record, n)
	for i := range list {
		key := core.ScoreOf(binary.BigEndian.AppendUint32(nil, uint32(i)))
		list[i] = Record{Key: key[:16], Value: bytes.Repeat(key[:], 1+i%12)}
	}
	return sorted(list)
}

func TestOneChangeAmongManyChangesAHandfulOfPages(t *testing.T) {
	list := numbered(100_000)
	s := newShelf()
	build(t, s, list)
	pages := len(s.pages)
	worst, sum := 0, 0
	const changes = 21
	for n := range changes {
		at := n * (len(list) - 1) / (changes - 1)
		changed := slices.Clone(list)
		switch n % 3 {
		case 0:
			changed[at].Value = []byte("another")
		case 1:
			changed = slices.Delete(changed, at, at+1)
		default:
			changed = slices.Insert(changed, at+1, Record{Key: append(bytes.Clone(list[at].Key), 0), Value: []byte("one more")})
		}
		s.fresh = 0
		build(t, s, changed)
		worst, sum = max(worst, s.fresh), sum+s.fresh
	}
	t.Logf("%d pages; one change makes %.1f new in the mean, %d at worst", pages, float64(sum)/changes, worst)
	if worst > 10 || sum < changes {
		t.Errorf("one change made up to %d of %d pages new, in all %d; want a handful", worst, pages, sum)
	}
}

func TestTheBuilderHoldsOnePageALevel(t *testing.T) {
	b := NewBuilder(func(page []byte) ([]byte, error) {
		score := core.ScoreOf(page)
		return score[:], nil
	})
	var key [8]byte
	value := make([]byte, 24)
	for i := range uint64(100_000) {
		binary.BigEndian.PutUint64(key[:], i)
		if err := b.Add(key[:], value); err != nil {
			t.Fatal(err)
		}
		if i%10_000 != 0 {
			continue
		}
		for n := range b.levels {
			if l := &b.levels[n]; cap(l.arena) > FillMax || cap(l.items) > FillMax/itemWeight {
				t.Fatalf("record %d: level %d holds %d bytes, %d items", i, n, cap(l.arena), cap(l.items))
			}
		}
	}
	tree, err := b.Finish()
	if err != nil || tree.Level < 2 {
		t.Fatalf("level %d, %v", tree.Level, err)
	}
}

func TestWalkLoadsNoMoreThanItNeeds(t *testing.T) {
	list := numbered(20_000)
	s := newShelf()
	tree := build(t, s, list)
	s.loads = 0
	if got := walk(t, tree, s, list[7000].Key, nil); len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
	if s.loads != int(tree.Level)+1 {
		t.Errorf("%d pages loaded for one record, want %d", s.loads, tree.Level+1)
	}
	s.loads = 0
	for range Walk(tree, s.load, nil, nil) {
		break
	}
	if s.loads != int(tree.Level)+1 {
		t.Errorf("%d pages loaded for the first record, want %d", s.loads, tree.Level+1)
	}
}

func TestBuilderRefuses(t *testing.T) {
	keep := newShelf().store
	big := make([]byte, RecordSizeMax+1)
	for _, c := range []struct {
		name string
		list []Record
		want error
	}{
		{"an equal key", []Record{{Key: []byte("a")}, {Key: []byte("a")}}, core.ErrInvalid},
		{"a lower key", []Record{{Key: []byte("b")}, {Key: []byte("a")}}, core.ErrInvalid},
		{"a second empty key", []Record{{}, {}}, core.ErrInvalid},
		{"a large key", []Record{{Key: big[:KeySizeMax+1]}}, core.ErrTooLarge},
		{"a large record", []Record{{Key: big[:2], Value: big[:RecordSizeMax-1]}}, core.ErrTooLarge},
	} {
		b := NewBuilder(keep)
		var err error
		for _, r := range c.list {
			err = b.Add(r.Key, r.Value)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := b.Add([]byte("z"), nil); err == nil {
			t.Errorf("%s: the builder goes on", c.name)
		}
		if _, err := b.Finish(); err == nil {
			t.Errorf("%s: the builder finishes", c.name)
		}
	}
	b := NewBuilder(keep)
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err == nil {
		t.Error("a builder finishes twice")
	}
	if err := b.Add(nil, nil); err == nil {
		t.Error("a builder goes on after it finished")
	}
}

func TestStoreErrorsAreReturned(t *testing.T) {
	list := numbered(3000)
	full := errors.New("no room")
	for _, after := range []int{0, 1, 10} {
		n := 0
		b := NewBuilder(func(page []byte) ([]byte, error) {
			if n++; n > after {
				return nil, full
			}
			return fmt.Appendf(nil, "%d", n), nil
		})
		var err error
		for _, r := range list {
			if err = b.Add(r.Key, r.Value); err != nil {
				break
			}
		}
		if err == nil {
			_, err = b.Finish()
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d pages: %v", after, err)
		}
	}
	for _, ref := range [][]byte{nil, make([]byte, RefSizeMax+1)} {
		b := NewBuilder(func([]byte) ([]byte, error) { return ref, nil })
		_ = b.Add([]byte("a"), nil)
		if _, err := b.Finish(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a reference of %d bytes: %v", len(ref), err)
		}
	}
}
