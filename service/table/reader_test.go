package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// mess writes at random into one table as several authors, some of whom may not.
type mess struct {
	t     *testing.T
	m     *machine
	id    core.DID
	rnd   *rand.Rand
	keys  []identity.Key
	forks [][]byte
}

func newMess(t *testing.T, seed uint64) *mess {
	t.Helper()
	x := &mess{t: t, m: world(t, 1)[0], rnd: rand.New(rand.NewPCG(seed, 9))}
	d := table.Definition{
		Indexes: []table.Index{index("tags,n"), index("n,@author"), {Fields: "slug", Unique: true}, {Fields: "ä1.`b c`,@time"}},
		Folds:   map[string]table.Fold{"tags": table.Set, "n": table.Counter, "slug": table.Multi},
		Write:   table.Writing{All: seed%2 == 0, Quota: 6000},
	}
	if seed%3 == 0 {
		d.Folds = map[string]table.Fold{}
	}
	now := uint64(x.m.c.Clock.Now().UnixMilli()) << 16
	for i := range 5 {
		k := identity.KeyOf([32]byte{byte(100 + i), byte(seed)})
		x.keys = append(x.keys, k)
		switch i {
		case 0:
			d.Attest = append(d.Attest, k.DID())
			fallthrough
		case 1:
			d.GrantWrite(table.Grant{Who: k.DID()})
		case 2:
			d.GrantWrite(table.Grant{Who: k.DID(), Quota: 9000, Since: now + 5000})
		case 3:
			d.GrantWrite(table.Grant{Who: k.DID(), Until: 7, Stopped: true})
		}
	}
	x.id = create(t, x.m, d)
	return x
}

func (x *mess) value(depth int) any {
	switch n := x.rnd.IntN(9 + depth); n {
	case 0:
		return nil
	case 1:
		return n%2 == 0
	case 2:
		return x.rnd.IntN(5) - 2
	case 3:
		return []float64{0.1, -1e-7, 1e21, 123456789012345680000, 1.7976931348623157e308}[x.rnd.IntN(5)]
	case 4, 5:
		return []string{"#cats", "", "a\x00b\"\\\u0001", "grüße 𝄞", strings.Repeat("long ", 40)}[x.rnd.IntN(5)]
	case 6, 7:
		if depth == 0 {
			return 7
		}
		list := make([]any, x.rnd.IntN(4))
		for i := range list {
			list[i] = x.value(depth - 1)
		}
		return list
	default:
		return map[string]any{"b c": x.rnd.IntN(3), "x": "y"}
	}
}

func (x *mess) payload(k feed.Kind, all []feed.Logged) []byte {
	key := fmt.Appendf(nil, "row %d", x.rnd.IntN(12))
	var out []byte
	switch k {
	case feed.Put:
		doc := doc(x.t, map[string]any{"tags": x.value(2), "n": x.value(1), "slug": x.value(2), "ä1": x.value(0), "other": x.value(2)})
		var seen []core.Score
		if len(all) > 0 && x.rnd.IntN(3) == 0 {
			seen = append(seen, all[x.rnd.IntN(len(all))].ID)
		}
		out, _ = table.PutPayload(key, seen, doc)
	case feed.Delete:
		out, _ = table.DeletePayload(key)
	case feed.Erase:
		var at []table.Target
		for range 1 + x.rnd.IntN(3) {
			at = append(at, table.Target{Author: x.keys[x.rnd.IntN(len(x.keys))].DID(), Seq: 1 + uint64(x.rnd.IntN(60))})
		}
		at = append(at, table.Target{Author: x.id, Seq: 1})
		slices.SortFunc(at, func(a, b table.Target) int {
			if a.Less(b) {
				return -1
			}
			return 1
		})
		out, _ = table.ErasePayload(slices.Compact(at))
	}
	if x.rnd.IntN(12) == 0 {
		out = append(out, 0)
	}
	return out
}

// write adds so many operations; at random moments some are taken into the trees.
func (x *mess) write(n int) {
	kinds := []feed.Kind{feed.Put, feed.Put, feed.Put, feed.Put, feed.Put, feed.Delete, feed.Erase, 9}
	var all []feed.Logged
	for range n {
		as := x.keys[x.rnd.IntN(len(x.keys))]
		k := kinds[x.rnd.IntN(len(kinds))]
		ops, err := x.m.logs.Append(x.t.Context(), x.id, as, []Draft{{Kind: k, Payload: x.payload(k, all), After: uint64(x.rnd.IntN(3))}})
		if err != nil {
			x.t.Fatal(err)
		}
		all = append(all, ops...)
		x.m.Landed(x.id, as.DID())
		if x.rnd.IntN(20) == 0 {
			x.settle()
		}
	}
	x.settle()
}

func (x *mess) settle() {
	x.t.Helper()
	if err := x.m.Settle(x.t.Context(), x.id); err != nil {
		x.t.Fatal(err)
	}
}

// fork has an author sign two operations with one number.
func (x *mess) fork(k identity.Key, seq uint64) {
	x.t.Helper()
	all := x.m.logs.feeds[x.id][k.DID()]
	other := sign(k, x.id, all[:seq-1], x.m.c.Clock.Now().UnixMilli(), Draft{Kind: feed.Delete, Payload: []byte("other")})
	f, err := feed.NewFork(all[seq-1].Operation, other.Operation)
	if err != nil {
		x.t.Fatal(err)
	}
	x.forks = append(x.forks, f.Bytes())
	x.m.logs.forks[k.DID()] = seq
	x.settle()
}

// read has the reader in docs read an export. It returns its lines, the last being what it says of the whole.
func read(t *testing.T, export []byte, args ...string) (lines []string, failure string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here")
	}
	file := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(file, export, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, append(append([]string{"../../docs/table_reader.py"}, args...), file)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		failure = errs.String() + err.Error()
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), failure
}

// Another program, which was written from docs/SPEC.md alone, makes the same rows and the same checkpoint of an export.
func TestReaderInAnotherLanguage(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			x := newMess(t, seed)
			x.write(150)
			if seed > 1 {
				x.fork(x.keys[0], 9)
			}
			var file bytes.Buffer
			out, err := x.m.Export(t.Context(), x.id, x.forks, &file)
			if err != nil {
				t.Fatal(err)
			}
			if out.Bytes != int64(file.Len()) || len(out.End.Attestations) != 1 {
				t.Errorf("it says %d bytes of %d, and %d attestations", out.Bytes, file.Len(), len(out.End.Attestations))
			}
			lines, failure := read(t, file.Bytes(), "--all")
			if failure != "" {
				t.Fatalf("%s\n%s", failure, lines[len(lines)-1])
			}
			var said struct {
				Rows, Checkpoint string
				Attested         []struct{ Machine string }
			}
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil {
				t.Fatal(err)
			}
			if c := out.End.Checkpoint; said.Rows != c.Rows.Hash.String() || said.Checkpoint != c.Score().String() {
				t.Errorf("it makes the checkpoint %s with rows %s, want %s with %s", said.Checkpoint, said.Rows, c.Score(), c.Rows.Hash)
			}
			if len(said.Attested) != 1 || said.Attested[0].Machine != x.m.key.DID().String() {
				t.Errorf("attested by %v", said.Attested)
			}
			x.compare(lines[:len(lines)-1])
		})
	}
}

// It does so too where trees have several levels, and is not fooled.
func TestReaderOfManyRows(t *testing.T) {
	anna := world(t, 1)[0]
	id := create(t, anna, table.Definition{Indexes: []table.Index{index("tags,time")}})
	posts(t, anna, id, 300)
	var file bytes.Buffer
	out, err := anna.Export(t.Context(), id, nil, &file)
	if err != nil {
		t.Fatal(err)
	}
	if out.Operations != 301 || out.Feeds != 2 || out.End.Checkpoint.Rows.Level == 0 {
		t.Errorf("%d operations of %d feeds, level %d", out.Operations, out.Feeds, out.End.Checkpoint.Rows.Level)
	}
	if lines, failure := read(t, file.Bytes()); failure != "" || len(lines) != 301 {
		t.Errorf("%d lines: %s", len(lines), failure)
	}
	for what, at := range map[string]int{"magic": 3, "length": 17, "a document": file.Len() / 2, "the attestation": file.Len() - 10} {
		bad := bytes.Clone(file.Bytes())
		bad[at] ^= 1
		if _, failure := read(t, bad, "--all"); !strings.Contains(failure, "table_reader: ") {
			t.Errorf("%s changed: %q", what, failure)
		}
	}
	if _, failure := read(t, file.Bytes()[:file.Len()-1]); !strings.Contains(failure, "in the middle") {
		t.Errorf("cut off: %q", failure)
	}
}

// compare compares rows with those of a query.
func (x *mess) compare(lines []string) {
	x.t.Helper()
	got, err := x.m.Query(x.t.Context(), x.id, question(x.t, ""), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	if len(lines) != len(got.Rows) || len(lines) == 0 {
		x.t.Fatalf("%d rows, want %d, some", len(lines), len(got.Rows))
	}
	for i, r := range got.Rows {
		var line struct {
			Key, Author string
			Document    json.RawMessage
		}
		if err := json.Unmarshal([]byte(lines[i]), &line); err != nil {
			x.t.Fatal(err)
		}
		if line.Key != string(r.Key) || line.Author != r.Newest().Author.String() || string(line.Document) != string(r.Doc.JSON()) {
			x.t.Errorf("row %q by %s is %s, want %q %s", line.Key, line.Author, line.Document, r.Key, r.Doc.JSON())
		}
	}
}
