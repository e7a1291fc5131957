package table

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// rowOf is the document, and the number of sources, of what comes of operations; "" where there is no row.
func rowOf(t *testing.T, d *Definition, ops []Op) (string, int) {
	t.Helper()
	sources, _ := d.Sources(ops)
	if len(sources) == 0 {
		return "", 0
	}
	r, err := d.NewRow(sources)
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Doc.JSON()), len(sources)
}

// permuted calls f with each order of operations.
func permuted(ops []Op, f func([]Op)) {
	if len(ops) < 2 {
		f(ops)
		return
	}
	for i := range ops {
		rest := append(append([]Op{}, ops[:i]...), ops[i+1:]...)
		permuted(rest, func(p []Op) { f(append([]Op{ops[i]}, p...)) })
	}
}

func TestRows(t *testing.T) {
	fold := func(f Fold) map[string]Fold { return map[string]Fold{"v": f} }
	for _, c := range []struct {
		name    string
		folds   map[string]Fold
		write   func(anna, bo, clara *writer) []feed.Logged
		want    string
		sources int
	}{
		{"the newest alone", nil, func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), bo.put(t, 3, "k", `{"v": 2}`), anna.put(t, 2, "k", `{"v": 3}`)}
		}, `{"v":2}`, 1},
		{"a delete", nil, func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), bo.delete(t, 2, "k")}
		}, "", 0},
		{"a put after a delete", nil, func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 3, "k", `{"v": 1}`), bo.delete(t, 2, "k")}
		}, `{"v":1}`, 1},
		{"a set", fold(Set), func(anna, bo, clara *writer) []feed.Logged {
			return []feed.Logged{
				anna.put(t, 1, "k", `{"v": [3, "a", 1]}`), bo.put(t, 2, "k", `{"v": ["a", 2, 2]}`), clara.put(t, 3, "k", `{"v": true, "w": 1}`),
			}
		}, `{"v":[true,1,2,3,"a"],"w":1}`, 3},
		{"a set of whom had nothing last", fold(Set), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), bo.put(t, 2, "k", `{"v": 2}`), anna.put(t, 3, "k", `{}`)}
		}, `{"v":[2]}`, 2},
		{"a set of nothing", fold(Set), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": []}`), bo.put(t, 2, "k", `{"v": []}`)}
		}, `{}`, 2},
		{"a set of one", fold(Set), func(anna, _, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": "x"}`)}
		}, `{"v":["x"]}`, 1},
		{"a counter", fold(Counter), func(anna, bo, clara *writer) []feed.Logged {
			return []feed.Logged{
				anna.put(t, 1, "k", `{"v": 100}`), anna.put(t, 2, "k", `{"v": 1}`), bo.put(t, 3, "k", `{"v": [2, "x", 0.5]}`), clara.put(t, 4, "k", `{"v": -4}`),
			}
		}, `{"v":-0.5}`, 3},
		{"a counter without a number", fold(Counter), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": "x"}`), bo.put(t, 2, "k", `{"v": null}`)}
		}, `{}`, 2},
		{"a counter stays finite, and adds the oldest first", fold(Counter), func(anna, bo, clara *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1.7e308}`), bo.put(t, 2, "k", `{"v": 1.7e308}`), clara.put(t, 3, "k", `{"v": -1.7e308}`)}
		}, `{"v":9.769313486231577e+306}`, 3},
		{"a delete takes what is older", fold(Counter), func(anna, bo, clara *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), clara.delete(t, 2, "k"), bo.put(t, 3, "k", `{"v": 2}`), clara.put(t, 4, "k", `{"v": 4}`)}
		}, `{"v":6}`, 2},
		{"who deleted last has nothing", fold(Counter), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), bo.put(t, 2, "k", `{"v": 2}`), anna.delete(t, 3, "k")}
		}, "", 0},
		{"alternatives", fold(Multi), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": "a", "w": 1}`), bo.put(t, 2, "k", `{"v": "b", "w": 2}`)}
		}, `{"v":["a","b"],"w":2}`, 2},
		{"an alternative that was seen", fold(Multi), func(anna, bo, _ *writer) []feed.Logged {
			a := anna.put(t, 1, "k", `{"v": "a"}`)
			return []feed.Logged{a, bo.put(t, 2, "k", `{"v": "b"}`, a.ID)}
		}, `{"v":["b"]}`, 2},
		{"one that saw what is no source any more", fold(Multi), func(anna, bo, _ *writer) []feed.Logged {
			a := anna.put(t, 1, "k", `{"v": "a"}`)
			return []feed.Logged{a, bo.put(t, 2, "k", `{"v": "b"}`, a.ID), anna.put(t, 3, "k", `{"v": "c"}`)}
		}, `{"v":["b","c"]}`, 2},
		{"what one saw who is no source any more", fold(Multi), func(anna, bo, clara *writer) []feed.Logged {
			a := anna.put(t, 1, "k", `{"v": "a"}`)
			return []feed.Logged{a, bo.put(t, 2, "k", `{"v": "b"}`, a.ID), bo.put(t, 3, "k", `{"v": "c"}`), clara.put(t, 4, "k", `{}`)}
		}, `{"v":["a","c"]}`, 3},
		{"all were seen, and the last says nothing", fold(Multi), func(anna, bo, _ *writer) []feed.Logged {
			a := anna.put(t, 1, "k", `{"v": "a"}`)
			return []feed.Logged{a, bo.put(t, 2, "k", `{}`, a.ID)}
		}, `{}`, 2},
		{"alternatives that are lists and objects", fold(Multi), func(anna, bo, clara *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": {"x": 1}}`), bo.put(t, 2, "k", `{"v": [1]}`), clara.put(t, 3, "k", `{"v": "z"}`)}
		}, `{"v":["z",[1],{"x":1}]}`, 3},
		{"equal alternatives", fold(Multi), func(anna, bo, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 1, "k", `{"v": 1}`), bo.put(t, 2, "k", `{"v": 1}`)}
		}, `{"v":[1]}`, 2},
	} {
		d := definition(anna, bo, clara)
		d.Folds = c.folds
		logged := c.write(&writer{key: anna}, &writer{key: bo}, &writer{key: clara})
		permuted(opsOf(t, &d, logged...), func(ops []Op) {
			if got, n := rowOf(t, &d, ops); got != c.want || n != c.sources {
				t.Errorf("%s: %s of %d, want %s of %d", c.name, got, n, c.want, c.sources)
			}
		})
	}
}

// Of two operations with one clock the one with the greater id is newer.
func TestEqualClocks(t *testing.T) {
	d := definition(anna, bo)
	ops := opsOf(t, &d, (&writer{key: anna}).put(t, 1, "k", `{"v": 1}`), (&writer{key: bo}).put(t, 1, "k", `{"v": 2}`))
	want := 0
	if bytes.Compare(ops[1].ID[:], ops[0].ID[:]) > 0 {
		want = 1
	}
	permuted(ops, func(p []Op) {
		if sources, _ := d.Sources(p); sources[0].ID != ops[want].ID {
			t.Error("the other one won")
		}
	})
}

// Of more than 256 authors the newest 256 make the row.
func TestSourcesOfMany(t *testing.T) {
	var all []feed.Logged
	d := definition()
	d.Folds = map[string]Fold{"n": Counter}
	for i := range SourcesMax + 10 {
		all = append(all, (&writer{key: keyOf(fmt.Sprint("author", i))}).put(t, uint64(i), "k", fmt.Sprintf(`{"n": %d}`, i)))
	}
	if got, n := rowOf(t, &d, opsOf(t, &d, all...)); n != SourcesMax || got != fmt.Sprintf(`{"n":%d}`, (10+265)*256/2) {
		t.Errorf("%s of %d", got, n)
	}
}

func TestSourcesThatMakeNoRow(t *testing.T) {
	plain, folds := definition(anna, bo), definition(anna, bo)
	folds.Folds = map[string]Fold{"v": Set}
	a, b := &writer{key: anna}, &writer{key: bo}
	all := opsOf(t, &folds, a.put(t, 1, "k", `{}`), b.put(t, 2, "k", `{}`), b.put(t, 3, "other", `{}`), b.put(t, 4, "k", `{}`), a.delete(t, 5, "k"))
	pick := func(at ...int) (out []Op) {
		for _, i := range at {
			out = append(out, all[i])
		}
		return out
	}
	for name, c := range map[string]struct {
		d   *Definition
		ops []Op
		ok  bool
	}{
		"0 operations":              {&folds, nil, false},
		"2 operations make no row":  {&plain, pick(1, 0), false},
		"operation 1 of a row is n": {&folds, pick(0, 1), false},
		"on another key":            {&folds, pick(2, 0), false},
		"by the author of another":  {&folds, pick(3, 1), false},
		"is no put":                 {&folds, pick(4, 1), false},
		"operation 0 of":            {&plain, pick(4), false},
		"257 operations":            {&folds, make([]Op, 257), false},
		"two":                       {&folds, pick(1, 0), true},
		"one":                       {&plain, pick(3), true},
	} {
		_, err := c.d.NewRow(c.ops)
		if c.ok != (err == nil) || !c.ok && (!errors.Is(err, ErrRow) || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		name  string
		folds map[string]Fold
		write func(anna, bo *writer) []feed.Logged
		// claims are the milliseconds of each entry, by values.
		want string
	}{
		{"since it was put", nil, func(anna, _ *writer) []feed.Logged { return []feed.Logged{anna.put(t, 5, "k", `{"slug": "x"}`)} }, "5"},
		{"since it was first put", nil, func(anna, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 5, "k", `{"slug": "x"}`), anna.put(t, 6, "k", `{"slug": "y"}`), anna.put(t, 7, "k", `{"slug": "x", "n": 1}`)}
		}, "5"},
		{"of a list each value by itself", nil, func(anna, _ *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 5, "k", `{"slug": ["x"]}`), anna.put(t, 6, "k", `{"slug": ["x", "y"]}`)}
		}, "5 6"},
		{"others have no part in it", nil, func(anna, bo *writer) []feed.Logged {
			return []feed.Logged{bo.put(t, 5, "k", `{"slug": "x"}`), anna.put(t, 6, "k", `{"slug": "x"}`)}
		}, "6"},
		{"a delete ends it", nil, func(anna, bo *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 5, "k", `{"slug": "x"}`), bo.delete(t, 6, "k"), anna.put(t, 7, "k", `{"slug": "x"}`)}
		}, "7"},
		{"a delete before it does not", nil, func(anna, bo *writer) []feed.Logged {
			return []feed.Logged{bo.delete(t, 4, "k"), anna.put(t, 5, "k", `{"slug": "x"}`), anna.put(t, 7, "k", `{"slug": "x"}`)}
		}, "5"},
		{"of a set by who is its newest", map[string]Fold{"slug": Set}, func(anna, bo *writer) []feed.Logged {
			return []feed.Logged{anna.put(t, 4, "k", `{"slug": "y"}`), bo.put(t, 5, "k", `{"slug": "x"}`), anna.put(t, 6, "k", `{"slug": "z"}`)}
		}, "6 6"}, // she has not put x herself
	} {
		d := definition(anna, bo)
		d.Indexes, d.Folds = []Index{{"slug", true}}, c.folds
		b, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if d, err = ParseDefinition(b); err != nil {
			t.Fatal(err)
		}
		permuted(opsOf(t, &d, c.write(&writer{key: anna}, &writer{key: bo})...), func(ops []Op) {
			sources, _ := d.Sources(ops)
			row, err := d.NewRow(sources)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range d.Entries(0, &row, ops) {
				at := len(e.Key) - len("k") - claimSize
				claimed := uint64(0)
				for _, b := range e.Key[at : at+claimSize] {
					claimed = claimed<<8 | uint64(b)
				}
				got = append(got, fmt.Sprint((claimed-epoch)>>16))
				if key, name, err := unclaimed(d.indexes[0], e.Key); err != nil || string(name) != "k" || !bytes.Equal(key, append(bytes.Clone(e.Key[:at]), 'k')) {
					t.Errorf("%s: %q is of %q, %v", c.name, e.Key, name, err)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%s: %s, want %s", c.name, text, c.want)
			}
		})
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	d := definition(anna, bo)
	d.Folds = map[string]Fold{"v": Set}
	ops := newestFirst(opsOf(t, &d, (&writer{key: anna}).put(t, 1, "k", `{}`), (&writer{key: bo}).put(t, 2, "k", `{}`)))
	one, err := d.NewRow(ops[:1])
	if err != nil {
		t.Fatal(err)
	}
	both, err := d.NewRow(ops)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ParseRowValue(RowValue(&one)); err != nil || p != (Place{ops[0].Clock, ops[0].ID, false, Target{bo.DID(), 1}}) || one.Origin != ops[0].ID {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParseRowValue(RowValue(&both)); err != nil || p != (Place{Clock: ops[0].Clock, ID: both.Origin, Many: true}) || both.Origin == ops[0].ID {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParsePlace(DeletedValue(&ops[1])); err != nil || p != (Place{ops[1].Clock, ops[1].ID, false, Target{anna.DID(), 1}}) {
		t.Errorf("%+v, %v", p, err)
	}
	if seq, id, size, err := ParseFeedValue(FeedValue(7, ops[0].ID, 9)); err != nil || seq != 7 || id != ops[0].ID || size != 9 {
		t.Errorf("%d %v %d, %v", seq, id, size, err)
	}
	for _, b := range [][]byte{nil, {1}, RowValue(&one)[1:], append(RowValue(&one), 0), RowValue(&both)[:40], append([]byte{3}, RowValue(&one)[1:]...)} {
		if p, err := ParseRowValue(b); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%x: %+v, %v", b, p, err)
		}
	}
	if _, _, _, err := ParseFeedValue(make([]byte, 47)); !errors.Is(err, core.ErrInvalid) {
		t.Error(err)
	}
	if _, err := ParsePlace(make([]byte, placeSize+1)); !errors.Is(err, core.ErrInvalid) {
		t.Error(err)
	}
}
