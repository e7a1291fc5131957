package grange_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/grange-grid/grange"
)

// rowsOf are a table's rows, as text.
func (m *machine) rowsOf(name string) (out []string) {
	m.w.t.Helper()
	answer, err := m.QueryTable(m.w.t.Context(), name, grange.TableQuery{})
	if err != nil {
		m.w.t.Fatal(err)
	}
	for _, r := range answer.Rows {
		out = append(out, fmt.Sprintf("%s %s %s", r.Key, r.Author, r.Document))
	}
	return out
}

// A table goes from machine to machine in a file, and is the same there.
func TestTablesInFiles(t *testing.T) {
	bubble(t, func(w *world) {
		anna, bo := w.found("anna"), w.found("bo")
		ctx := t.Context()
		if _, err := anna.CreateTable(ctx, grange.NewTable{Name: "posts", Indexes: []string{"n"}, Folds: map[string]string{"n": "counter"}}); err != nil {
			t.Fatal(err)
		}
		var rows []grange.TableRow
		for i := range 200 {
			rows = append(rows, grange.TableRow{Key: fmt.Sprintf("post-%03d", i), Document: fmt.Appendf(nil, `{"n":%d}`, i)})
		}
		if _, err := anna.PutRows(ctx, "posts", rows); err != nil {
			t.Fatal(err)
		}
		if err := anna.DeleteRows(ctx, "posts", "post-007"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := anna.EraseRow(ctx, "posts", "post-008"); err != nil {
			t.Fatal(err)
		}
		first := anna.export("posts")
		table, err := bo.LoadTable(ctx, bytes.NewReader(first), "")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := bo.Withheld("posts"); n != 0 || err != nil {
			t.Errorf("what was erased is asked for: %d, %v", n, err)
		}
		if want := anna.rowsOf("posts"); table.Name != "posts" || table.Rows != 198 || table.Owned || !slices.Equal(bo.rowsOf("posts"), want) {
			t.Errorf("%+v", table)
		}

		// A newer file of a table that is there adds what is new; an older one nothing.
		if _, err := anna.PutRows(ctx, "posts", []grange.TableRow{{Key: "new", Document: []byte(`{}`)}}); err != nil {
			t.Fatal(err)
		}
		second := anna.export("posts")
		for _, file := range [][]byte{second, first, second} {
			if table, err = bo.LoadTable(ctx, bytes.NewReader(file), "other"); err != nil || table.Rows != 199 || table.Name != "posts" {
				t.Errorf("%+v, %v", table, err)
			}
		}
		if again := bo.export("posts"); !bytes.Contains(again, second[:len(second)/2]) {
			t.Error("bo's file has other operations than anna's")
		}
		bo.tampered(second)
	})
}

func (m *machine) export(name string) []byte {
	m.w.t.Helper()
	var out bytes.Buffer
	x, err := m.ExportTable(m.w.t.Context(), name, &out)
	if err != nil {
		m.w.t.Fatal(err)
	}
	if x.Bytes != int64(out.Len()) || x.Writers != 2 || len(x.Attested) == 0 {
		m.w.t.Errorf("%+v of %d bytes", x, out.Len())
	}
	return out.Bytes()
}

// tampered tries files that somebody has changed, of a table that was dropped before: nothing of them stays.
func (m *machine) tampered(file []byte) {
	t, ctx := m.w.t, m.w.t.Context()
	t.Helper()
	if err := m.LeaveTable(ctx, "posts"); err != nil {
		t.Fatal(err)
	}
	bad := map[string]error{}
	try := func(what string, file []byte) {
		_, err := m.LoadTable(ctx, bytes.NewReader(file), "")
		bad[what] = err
		if all, failed := m.Tables(ctx); failed != nil || len(all) != 0 {
			t.Errorf("%s: %d tables stay, %v", what, len(all), failed)
		}
	}
	changed := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 1
		return b
	}
	try("a signature", changed(len(file)-10))
	try("a document", changed(len(file)/2))
	try("half", file[:len(file)/2])
	try("nothing", nil)
	// Without the other writers' operations it is another table than its end says.
	own := 15 + 5 + int(file[16])<<24 + int(file[17])<<16 + int(file[18])<<8 + int(file[19])
	size := int(file[own+1])<<24 + int(file[own+2])<<16 + int(file[own+3])<<8 + int(file[own+4])
	try("a part is missing", slices.Concat(file[:own], file[own+5+size:]))
	for what, want := range map[string]error{
		"a signature": grange.ErrForged, "a document": grange.ErrForged, "half": grange.ErrInvalid, "nothing": grange.ErrInvalid, "a part is missing": grange.ErrRoot,
	} {
		if !errors.Is(bad[what], want) {
			t.Errorf("%s: %v, want %v", what, bad[what], want)
		}
	}
	if _, err := m.CreateTable(ctx, grange.NewTable{Name: "posts"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.LoadTable(ctx, bytes.NewReader(file), "posts"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another table is called so: %v", err)
	}
	if table, err := m.LoadTable(ctx, bytes.NewReader(file), "annas"); err != nil || table.Name != "annas" {
		t.Errorf("%+v, %v", table, err)
	}
}
