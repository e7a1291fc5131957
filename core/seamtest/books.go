package seamtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

// Books checks a core.Books. open makes empty books.
func Books(t *testing.T, open func(t *testing.T) core.Books) {
	run := func(name string, test func(t *testing.T, b core.Books)) {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	run("Get", booksGet)
	run("Apply", booksApply)
	run("Copies", booksCopies)
	run("Scan", booksScan)
	run("ScanStandsStill", booksScanStandsStill)
	run("Visit", booksVisit)
	run("Snapshot", booksSnapshot)
	run("SnapshotAtOnce", booksSnapshotAtOnce)
	run("Model", booksModel)
	run("AtOnce", booksAtOnce)
}

func set(key, value string) core.Change {
	return core.Change{Key: []byte(key), Value: append([]byte{}, value...)}
}

func unset(key string) core.Change { return core.Change{Key: []byte(key)} }

func apply(t *testing.T, b core.Books, changes ...core.Change) {
	t.Helper()
	if err := b.Apply(changes...); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func wantRecord(t *testing.T, b core.Records, key, want string) {
	t.Helper()
	got, err := b.Get([]byte(key))
	if err != nil || got == nil || string(got) != want {
		t.Errorf("get %q: %q, %v; want %q", key, got, err, want)
	}
}

func wantNoRecord(t *testing.T, b core.Records, key string) {
	t.Helper()
	if got, err := b.Get([]byte(key)); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("get %q: %q, %v; want ErrNotExist", key, got, err)
	}
}

// scan returns "key=value" of each record.
func scan(t *testing.T, b core.Records, prefix, from []byte) []string {
	t.Helper()
	var got []string
	for c, err := range b.Scan(prefix, from) {
		if err != nil {
			t.Fatalf("scan %q from %q: %v", prefix, from, err)
		}
		got = append(got, string(c.Key)+"="+string(c.Value))
	}
	return got
}

func booksGet(t *testing.T, b core.Books) {
	wantNoRecord(t, b, "a")
	apply(t, b, set("a", "1"), set("empty", ""), set("\x00", "zero"), set("\xff\xff", "ff"))
	wantRecord(t, b, "a", "1")
	wantRecord(t, b, "empty", "")
	wantRecord(t, b, "\x00", "zero")
	wantRecord(t, b, "\xff\xff", "ff")
	wantNoRecord(t, b, "a\x00")
	wantNoRecord(t, b, "")
}

func booksApply(t *testing.T, b core.Books) {
	apply(t, b)
	apply(t, b, set("a", "1"), set("b", "1"), unset("never"))
	apply(t, b, set("a", "2"), unset("b"), set("c", "1"), unset("c"), unset("d"), set("d", "1"), set("d", "2"))
	wantRecord(t, b, "a", "2")
	wantNoRecord(t, b, "b")
	wantNoRecord(t, b, "c")
	wantRecord(t, b, "d", "2")
}

func booksCopies(t *testing.T, b core.Books) {
	key, value := []byte("key"), []byte("value")
	apply(t, b, core.Change{Key: key, Value: value})
	copy(key, "xxx")
	copy(value, "xxxxx")
	wantRecord(t, b, "key", "value")
	got, _ := b.Get([]byte("key"))
	copy(got, "xxxxx")
	wantRecord(t, b, "key", "value")

	apply(t, b, set("key2", "value2"))
	var kept []core.Change
	for c, err := range b.Scan([]byte("key"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
	}
	if len(kept) != 2 || string(kept[0].Key)+string(kept[0].Value)+string(kept[1].Key)+string(kept[1].Value) != "keyvaluekey2value2" {
		t.Fatalf("kept %q", kept)
	}
	copy(kept[0].Value, "xxxxx")
	copy(kept[0].Key, "xxx")
	wantRecord(t, b, "key", "value")
}

func booksScan(t *testing.T, b core.Books) {
	apply(t, b, set("b/2", "2"), set("a", "0"), set("b/1", "1"), set("b/", "x"), set("b0", "y"), set("b/10", "3"), set("b", "z"),
		set("\xff", "f"), set("\xff\xff", "g"), set("\xff\x00", "h"))
	for _, c := range []struct {
		prefix, from []byte
		want         []string
	}{
		{nil, nil, []string{"a=0", "b=z", "b/=x", "b/1=1", "b/10=3", "b/2=2", "b0=y", "\xff=f", "\xff\x00=h", "\xff\xff=g"}},
		{[]byte("b/"), nil, []string{"b/=x", "b/1=1", "b/10=3", "b/2=2"}},
		{[]byte("b/"), []byte{}, []string{"b/=x", "b/1=1", "b/10=3", "b/2=2"}},
		{[]byte("b/"), []byte("a"), []string{"b/=x", "b/1=1", "b/10=3", "b/2=2"}},
		{[]byte("b/"), []byte("b/1"), []string{"b/1=1", "b/10=3", "b/2=2"}},
		{[]byte("b/"), []byte("b/1\x00"), []string{"b/10=3", "b/2=2"}},
		{[]byte("b/"), []byte("b/3"), nil},
		{[]byte("b/"), []byte("c"), nil},
		{[]byte("b/1"), nil, []string{"b/1=1", "b/10=3"}},
		{[]byte("c"), nil, nil},
		{[]byte("\xff"), nil, []string{"\xff=f", "\xff\x00=h", "\xff\xff=g"}},
		{[]byte("\xff\xff"), nil, []string{"\xff\xff=g"}},
		{nil, []byte("b0"), []string{"b0=y", "\xff=f", "\xff\x00=h", "\xff\xff=g"}},
	} {
		if got := scan(t, b, c.prefix, c.from); !slices.Equal(got, c.want) {
			t.Errorf("scan %q from %q: %q, want %q", c.prefix, c.from, got, c.want)
		}
	}
	n := 0
	for range b.Scan(nil, nil) {
		if n++; n == 2 {
			break
		}
	}
	apply(t, b, set("after", "a broken-off scan"))
}

// A scan sees what stood there when it began.
func booksScanStandsStill(t *testing.T, b core.Books) {
	for i := range 100 {
		apply(t, b, set(fmt.Sprintf("k%03d", i), "old"))
	}
	n := 0
	for c, err := range b.Scan([]byte("k"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("k%03d", n); string(c.Key) != want || string(c.Value) != "old" {
			t.Fatalf("%s=%s, want %s=old", c.Key, c.Value, want)
		}
		n++
		apply(t, b, unset(fmt.Sprintf("k%03d", 99-n)), set(fmt.Sprintf("k%03d", n), "new"), set(fmt.Sprintf("k%03da", n), "new"))
	}
	if n != 100 {
		t.Errorf("%d records, want 100", n)
	}
}

// Random changes, compared with a map.
func booksModel(t *testing.T, b core.Books) {
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	for round := range 60 {
		var changes []core.Change
		for range rng.IntN(40) {
			key := fmt.Sprintf("%d/%d", rng.IntN(3), rng.IntN(200))
			if rng.IntN(3) == 0 {
				changes = append(changes, unset(key))
				delete(model, key)
				continue
			}
			value := string(bytes.Repeat([]byte{byte(round)}, rng.IntN(300)))
			changes = append(changes, set(key, value))
			model[key] = value
		}
		apply(t, b, changes...)
	}
	for _, prefix := range []string{"", "0/", "1/", "2/1"} {
		var want []string
		for _, key := range slices.Sorted(maps.Keys(model)) {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key+"="+model[key])
			}
		}
		if got := scan(t, b, []byte(prefix), nil); !slices.Equal(got, want) {
			t.Errorf("prefix %q: %d records, want %d, or they differ", prefix, len(got), len(want))
		}
	}
}

// Each Apply writes a pair; whoever reads sees both halves of one Apply.
func booksAtOnce(t *testing.T, b core.Books) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				v := fmt.Sprintf("%d/%d", w, i)
				if err := b.Apply(set("pair/a", v), set("pair/b", v), set("own/"+v, v)); err != nil {
					t.Errorf("apply: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 25 {
				var got []string
				for c, err := range b.Scan([]byte("pair/"), nil) {
					if err != nil {
						t.Errorf("scan: %v", err)
					}
					got = append(got, string(c.Value))
				}
				if len(got) != 0 && (len(got) != 2 || got[0] != got[1]) {
					t.Errorf("half of an Apply: %q", got)
				}
			}
		})
	}
	wg.Wait()
	if got := scan(t, b, []byte("own/"), nil); len(got) != 100 {
		t.Errorf("%d records, want 100", len(got))
	}
}
