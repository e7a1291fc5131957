package seamtest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

// visit is scan by Visit.
func visit(t *testing.T, b core.Records, prefix, from string, most int) (got []string) {
	t.Helper()
	err := b.Visit([]byte(prefix), []byte(from), func(key, value []byte) bool {
		got = append(got, string(key)+"="+string(value))
		return len(got) < most
	})
	if err != nil {
		t.Fatalf("visit %q from %q: %v", prefix, from, err)
	}
	return got
}

func booksVisit(t *testing.T, b core.Books) {
	apply(t, b, set("a", "0"), set("b/2", "2"), set("b/1", "1"), set("b/10", ""), set("c", "4"))
	for _, c := range []struct {
		prefix, from string
		most         int
		want         []string
	}{
		{"", "", 9, []string{"a=0", "b/1=1", "b/10=", "b/2=2", "c=4"}},
		{"b/", "", 9, []string{"b/1=1", "b/10=", "b/2=2"}},
		{"b/", "b/1\x00", 9, []string{"b/10=", "b/2=2"}},
		{"b/", "", 1, []string{"b/1=1"}},
		{"b/", "c", 9, nil},
		{"d", "", 9, nil},
	} {
		if got := visit(t, b, c.prefix, c.from, c.most); !slices.Equal(got, c.want) {
			t.Errorf("visit %d of %q from %q: %q, want %q", c.most, c.prefix, c.from, got, c.want)
		}
	}
}

func snapshot(t *testing.T, b core.Books) core.Snapshot {
	t.Helper()
	s, err := b.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close snapshot: %v", err)
		}
	})
	return s
}

// A snapshot has what was there, whatever happens, until it is closed; another does not mind.
func booksSnapshot(t *testing.T, b core.Books) {
	empty := snapshot(t, b)
	apply(t, b, set("a", "1"), set("b", "1"))
	first := snapshot(t, b)
	apply(t, b, set("a", "2"), unset("b"), set("c", "2"))
	second := snapshot(t, b)
	apply(t, b, unset("a"), unset("c"))
	for round := range 2 {
		wantNoRecord(t, empty, "a")
		wantRecord(t, second, "a", "2")
		wantNoRecord(t, second, "b")
		for _, c := range []struct {
			of   core.Records
			want []string
		}{{empty, nil}, {second, []string{"a=2", "c=2"}}, {b, nil}} {
			if got := scan(t, c.of, nil, nil); !slices.Equal(got, c.want) {
				t.Errorf("scan: %q, want %q", got, c.want)
			}
			if got := visit(t, c.of, "", "", 9); !slices.Equal(got, c.want) {
				t.Errorf("visit: %q, want %q", got, c.want)
			}
		}
		if round == 0 {
			wantRecord(t, first, "b", "1")
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := first.Get([]byte("a")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("get of a closed snapshot: %v", err)
	}
	if err := first.Visit(nil, nil, func(_, _ []byte) bool { return true }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("visit of a closed snapshot: %v", err)
	}
	var failed error
	for _, failed = range first.Scan(nil, nil) {
		break
	}
	if !errors.Is(failed, fs.ErrClosed) {
		t.Errorf("scan of a closed snapshot: %v", failed)
	}
}

// While somebody writes, each snapshot has both halves of one Apply, by all ways to read it.
func booksSnapshotAtOnce(t *testing.T, b core.Books) {
	apply(t, b, set("a", "0"), set("b", "0"))
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			v := fmt.Sprint(i)
			if err := b.Apply(set("a", v), set("b", v)); err != nil {
				t.Errorf("apply: %v", err)
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for range 25 {
				s, err := b.Snapshot()
				if err != nil {
					t.Errorf("snapshot: %v", err)
					return
				}
				a, errA := s.Get([]byte("a"))
				b, errB := s.Get([]byte("b"))
				var seen []string
				err = s.Visit(nil, nil, func(_, value []byte) bool {
					seen = append(seen, string(value))
					return true
				})
				if err = errors.Join(errA, errB, err, s.Close()); err != nil || string(a) != string(b) || !slices.Equal(seen, []string{string(a), string(a)}) {
					t.Errorf("half of an Apply: %q, %q, %q, %v", a, b, seen, err)
				}
			}
		})
	}
	wg.Wait()
}
