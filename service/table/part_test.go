package table

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/table"
)

// A part is answered as the whole is, with nobody within reach; what is outside of it is not.
func TestPartOfATable(t *testing.T) {
	all := world(t, 2)
	anna, bo := all[0], all[1]
	id := create(t, anna, table.Definition{Indexes: []table.Index{index("tags,time")}, Read: table.Reading{All: true}})
	rows, pages := 12_000, uint64(2)
	if testing.Short() {
		rows, pages = 800, 1
	}
	posts(t, anna, id, rows)
	p, err := bo.JoinPart(t.Context(), id, anna.key.DID(), "cats", `tags = "#cats"`)
	if err != nil || p.Rows != uint64(rows/10) || p.Pages != pages {
		t.Fatalf("%d rows in %d pages: %v", p.Rows, p.Pages, err)
	}
	wide, err := bo.JoinPart(t.Context(), id, anna.key.DID(), "few", fmt.Sprint("n >= ", rows-10))
	if err != nil || wide.Rows != 10 || wide.Pages != pages {
		t.Fatalf("of a scan of all: %d rows in %d pages: %v", wide.Rows, wide.Pages, err)
	}
	if p, err = bo.JoinPart(t.Context(), id, anna.key.DID(), "cats", `tags = "#cats"`); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`tags = "#cats" order -time limit 32`, `tags = "#cats" and n < 50`, `tags = "#cats" and author = "anna0" order time, @key`, `tags = "#cats" count`} {
		q := question(t, text)
		want, err := anna.Query(t.Context(), id, q, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := bo.QueryPart(id, q, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !slices.Equal(keysOf(got.Rows), keysOf(want.Rows)) || got.Count < want.Count || len(got.Vouched) != 1 {
			t.Errorf("%s: %d rows, %d; want %d, %d", text, len(got.Rows), got.Count, len(want.Rows), want.Count)
		}
	}
	if _, err := bo.QueryPart(id, question(t, `n = 5`), nil); !errors.Is(err, ErrOutside) {
		t.Errorf("outside: %v", err)
	}
	if err := anna.Put(t.Context(), id, []Put{{[]byte("new"), doc(t, map[string]any{"tags": "#cats", "time": "2040", "n": 1})}}); err != nil {
		t.Fatal(err)
	}
	if err := bo.RefreshPart(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	got, err := bo.QueryPart(id, question(t, `tags = "#cats" order -time limit 1`), nil)
	if err != nil || fmt.Sprint(keysOf(got.Rows)) != "[new]" {
		t.Errorf("after a change: %v, %v", keysOf(got.Rows), err)
	}
	if err := bo.LeavePart(id); err != nil {
		t.Fatal(err)
	}
	if _, err := bo.QueryPart(id, question(t, `tags = "#cats"`), nil); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("after leaving: %v", err)
	}
}
