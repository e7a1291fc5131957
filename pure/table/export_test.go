package table

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// exportOf is the file of a table.
func exportOf(t testing.TB, m *made, writers []*writer, end ExportEnd) []byte {
	t.Helper()
	var out bytes.Buffer
	x, err := NewExporter(&out)
	if err != nil {
		t.Fatal(err)
	}
	define, err := m.sent.Open(owner.DID())
	if err != nil {
		t.Fatal(err)
	}
	part := func(p Part, b []byte) {
		if err := x.Part(p, b); err != nil {
			t.Fatal(err)
		}
	}
	part(PartBatch, feed.AppendRun(feed.AppendBatch(nil, owner.DID()), []feed.Logged{define}))
	sorted := slices.Clone(writers)
	slices.SortFunc(sorted, func(a, b *writer) int { return a.key.DID().Compare(b.key.DID()) })
	b := feed.AppendBatch(nil, owner.DID())
	for _, w := range sorted {
		b = feed.AppendRun(b, w.ops)
	}
	part(PartBatch, b)
	content, err := end.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	part(PartEnd, content)
	if x.Size != int64(out.Len()) {
		t.Errorf("size %d of %d", x.Size, out.Len())
	}
	return out.Bytes()
}

// importAll reads a whole export.
func importAll(b []byte) (runs []feed.Run, end ExportEnd, err error) {
	x, err := NewImporter(bytes.NewReader(b))
	for err == nil {
		var p Part
		var content []byte
		if p, content, err = x.Next(); err != nil {
			break
		}
		switch p {
		case PartBatch:
			for run, failed := range feed.ReadBatch(content, owner.DID()) {
				runs, err = append(runs, run), errors.Join(err, failed)
			}
		case PartFork:
			_, err = feed.ParseFork(content)
		case PartEnd:
			end, err = ParseExportEnd(content)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return runs, end, err
}

func verifyExport(t *testing.T, v *vectors) {
	t.Helper()
	runs, end, err := importAll(v.Export)
	if err != nil || end.Checkpoint.Score() != v.Score || len(end.Attestations) != 1 || len(runs) != 3 {
		t.Fatalf("%d runs, %+v, %v", len(runs), end, err)
	}
	var ops [][]byte
	for _, run := range runs[1:] {
		for i := range run.Ops {
			ops = append(ops, SentOf(&run.Ops[i]))
		}
	}
	for _, b := range v.Operations {
		if !slices.ContainsFunc(ops, func(o []byte) bool { return bytes.Equal(o, b) }) {
			t.Errorf("operation %x is not in the export", b[:8])
		}
	}
	if runs[0].Author() != owner.DID() || runs[0].Ops[0].ID != v.DefinitionID || len(ops) != len(v.Operations) {
		t.Errorf("it begins with %s, and has %d operations", runs[0].Author(), len(ops))
	}
}

// smallExport is one, and its end.
func smallExport(t testing.TB) ([]byte, ExportEnd) {
	m, writers := vectorTable(t)
	signed, err := Attest(anna, m.check, 1)
	if err != nil {
		t.Fatal(err)
	}
	end := ExportEnd{Checkpoint: m.check, Attestations: []identity.Signed{signed}}
	return exportOf(t, m, writers, end), end
}

func TestImportOfWhatIsNone(t *testing.T) {
	whole, end := smallExport(t)
	for n := range len(whole) {
		if _, _, err := importAll(whole[:n]); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	head := len(exportMagic)
	for what, c := range map[string]struct {
		file []byte
		want error
	}{
		"another file":     {[]byte("grange table 2\n and more"), core.ErrInvalid},
		"another part":     {changed(head, 4), core.ErrInvalid},
		"no part":          {changed(head, 0), core.ErrInvalid},
		"a long batch":     {changed(head+1, 1), core.ErrTooLarge},
		"a long fork":      {append([]byte(exportMagic), 2, 0, 0, 1, 100), core.ErrTooLarge},
		"a long end":       {append([]byte(exportMagic), 3, 0, 1, 0, 1), core.ErrTooLarge},
		"more":             {append(bytes.Clone(whole), 1), core.ErrInvalid},
		"another end":      {changed(len(whole)-1, 1), ErrForged},
		"a batch of other": {changed(head+6, 9), core.ErrInvalid},
	} {
		if _, _, err := importAll(c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	bad := func(change func(*ExportEnd)) error {
		e := end
		e.Attestations = slices.Clone(end.Attestations)
		change(&e)
		b, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseExportEnd(b)
		return err
	}
	if err := bad(func(e *ExportEnd) { e.Attestations[0].Sig = bytes.Repeat([]byte{1}, 64) }); !errors.Is(err, ErrForged) {
		t.Errorf("forged: %v", err)
	}
	if err := bad(func(e *ExportEnd) { e.Checkpoint.Rows.Count++ }); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("another checkpoint: %v", err)
	}
	if err := bad(func(e *ExportEnd) { e.Attestations = slices.Repeat(e.Attestations, AttestationsMax+1) }); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("many attestations: %v", err)
	}
	if err := (&Exporter{w: io.Discard}).Part(PartFork, make([]byte, feed.ForkSize+1)); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a long part is written: %v", err)
	}
}

func FuzzImport(f *testing.F) {
	whole, end := smallExport(f)
	f.Add(whole)
	b, err := end.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append([]byte(exportMagic), 3, 0, 0, byte(len(b)>>8), byte(len(b))), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, end, err := importAll(b)
		if err != nil {
			return
		}
		again, err := end.Marshal()
		if err != nil || !bytes.Contains(b, again) {
			t.Errorf("the end is another when it is written again: %v", err)
		}
	})
}
