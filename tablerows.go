package grange

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/seal"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/table"
)

// TablePutsMax is how many rows one PutRows takes, TableAnswerSizeMax how many bytes a saved answer has at most.
const (
	TablePutsMax       = table.PutsMax
	TableAnswerSizeMax = ptable.AnswerSizeMax
)

// TableRow is a row of a table.
type TableRow struct {
	// Key is text, 1 to 256 bytes; in PutRows "" is one that is made, whose order is that of the time.
	Key string `json:"key"`
	// Document is a JSON object.
	Document json.RawMessage `json:"document,omitempty"`
	// Author is the machine that wrote it last, Time when that says it was.
	Author DID       `json:"author,omitzero"`
	Time   time.Time `json:"time,omitzero"`
	// Loser says that another row had the value of the unique index first that was read.
	Loser bool `json:"loser,omitempty"`
}

// PutRows writes rows, as this machine; each takes the place of what is under its key. It returns their keys. Errors: fs.ErrNotExist; ErrInvalid with the
// place in the document; ErrLeave, ErrQuota, ErrFull. Of several rows all are written or none.
func (a *Agent) PutRows(ctx context.Context, name string, rows []TableRow) ([]string, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return nil, err
	}
	if len(rows) > TablePutsMax {
		return nil, fmt.Errorf("%d rows at once, of %d at most: %w", len(rows), TablePutsMax, ErrInvalid)
	}
	puts, keys := make([]table.Put, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		if keys[i] = r.Key; r.Key == "" {
			keys[i] = a.newRowKey()
		}
		if !utf8.ValidString(keys[i]) {
			return nil, fmt.Errorf("key %q is no UTF-8: %w", keys[i], ErrInvalid)
		}
		doc, err := document.FromJSON(r.Document)
		if err != nil {
			return nil, fmt.Errorf("document of %q: %w", keys[i], err)
		}
		puts[i] = table.Put{Key: []byte(keys[i]), Doc: doc}
	}
	return keys, tables.Put(ctx, info.ID, puts)
}

// newRowKey makes a key: the time, and what is random, in letters and digits that keep the order.
func (a *Agent) newRowKey() string {
	var b [15]byte
	ms := a.c.Clock.Now().UnixMilli()
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	seal.Random(b[6:])
	return strings.ToLower(base32.HexEncoding.EncodeToString(b[:]))
}

// DeleteRows deletes rows. What they were stays in the history. Errors: fs.ErrNotExist also of a row, and then none is deleted; those of PutRows.
func (a *Agent) DeleteRows(ctx context.Context, name string, keys ...string) error {
	tables, info, err := a.table(name)
	if err != nil {
		return err
	}
	all := make([][]byte, len(keys))
	for i, k := range keys {
		all[i] = []byte(k)
	}
	return tables.Delete(ctx, info.ID, all...)
}

// EraseRow deletes for good what this machine (one of the owner's: anybody) has written to a key, here and at each replica that hears of it; the
// feeds still verify without it. It returns how many writes are erased, and how many by others it may not erase. Errors: those of DeleteRows.
func (a *Agent) EraseRow(ctx context.Context, name, key string) (erased, left int, err error) {
	tables, info, err := a.table(name)
	if err != nil {
		return 0, 0, err
	}
	return tables.Erase(ctx, info.ID, []byte(key))
}

// TableWrite is one write to a row.
type TableWrite struct {
	Time   time.Time `json:"time"`
	Author DID       `json:"author"`
	// Name is what the author is called here; "" where it is not known.
	Name string `json:"name,omitempty"`
	Seq  uint64 `json:"seq"`
	// Deleted says that it deleted the row; else there is a Document.
	Deleted  bool            `json:"deleted,omitempty"`
	Document json.RawMessage `json:"document,omitempty"`
}

// TableHistory yields who has written what to a row, the newest first. Errors: fs.ErrNotExist.
func (a *Agent) TableHistory(_ context.Context, name, key string) iter.Seq2[TableWrite, error] {
	return func(yield func(TableWrite, error) bool) {
		tables, info, err := a.table(name)
		if err != nil {
			yield(TableWrite{}, err)
			return
		}
		for o, err := range tables.History(info.ID, []byte(key)) {
			w := TableWrite{Time: writtenAt(o.Clock), Author: o.Author, Name: a.machineName(o.Author), Seq: o.Seq}
			if w.Deleted = o.Write.Kind == feed.Delete; !w.Deleted && err == nil {
				w.Document = o.Doc.JSON()
			}
			if !yield(w, err) || err != nil {
				return
			}
		}
	}
}

// AttestTable signs what a table is here, as this machine, and brings it to the machines that have it. Errors: fs.ErrNotExist.
func (a *Agent) AttestTable(ctx context.Context, name string) (TableAttestation, string, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return TableAttestation{}, "", err
	}
	signed, c, err := tables.Attest(ctx, info.ID)
	if err != nil {
		return TableAttestation{}, "", err
	}
	at, err := ptable.OpenAttestation(signed)
	for _, peer := range a.replicasOf(tables, info.ID) {
		if failed := tables.Witness(ctx, info.ID, peer); failed != nil {
			a.c.Log.Debug("show an attestation", "peer", peer, "err", failed)
		}
	}
	return TableAttestation{signed.By, a.machineName(signed.By), time.Unix(at.Time, 0).UTC(), slices.Contains(info.Definition.Attest, signed.By)}, c.Score().String(), err
}
