package grange

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/federation"
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

// TableQuery is what is asked of a table.
type TableQuery struct {
	// Query is in the language of grange table query: conditions, "order", "limit" and "count".
	Query string `json:"query"`
	// After goes on where an answer ended.
	After []byte `json:"after,omitempty"`
	// From asks a machine of a partner (by its name or DID) or "MULTIADDR", instead of what is kept here.
	From string `json:"from,omitempty"`
	// Trust are the machines whose word on the table's completeness counts; nil are the owner's.
	Trust []DID `json:"trust,omitempty"`
}

// TableAnswer is what a query came to, checked.
type TableAnswer struct {
	Table DID    `json:"table"`
	Query string `json:"query"`
	// Rows are none for a count.
	Rows  []TableRow `json:"rows"`
	Count uint64     `json:"count"`
	// After is given to the next query for more; nil where there is no more.
	After []byte `json:"after,omitempty"`
	// Index is the text of the index that served it; "" is the tree of the rows. Read is how many entries were read.
	Index string `json:"index"`
	Read  int    `json:"read"`
	// From is who answered, FromName what they are called here; zero is this machine.
	From     DID    `json:"from,omitzero"`
	FromName string `json:"from_name,omitempty"`
	// Bytes came over the wire, in so many Trips there and back. ProofBytes are those that prove.
	Bytes      int `json:"bytes"`
	Trips      int `json:"trips"`
	ProofBytes int `json:"proof_bytes"`
	// Checkpoint is the score of what all of it is relative to, Attested when and by whom.
	Checkpoint string             `json:"checkpoint"`
	Attested   []TableAttestation `json:"attested"`
	// Provisional says that nobody whose word counts attests the checkpoint: a row may have been left out.
	Provisional bool `json:"provisional"`
	// Suggest is an index that would serve the query better.
	Suggest string `json:"suggest,omitempty"`
	// Proof can be saved, and is what VerifyTableAnswer checks.
	Proof []byte `json:"-"`
}

// TableAttestation is a machine's word that it has made a checkpoint from the operations.
type TableAttestation struct {
	Machine DID `json:"machine"`
	// Name is what it is called here; "" where it is not known.
	Name string    `json:"name,omitempty"`
	Time time.Time `json:"time"`
	// Counts says that it is one whose word counts.
	Counts bool `json:"counts"`
}

// QueryTable asks a table that is kept here, or with From another machine, whose answer is checked. A name may also be a table's address, of a table that is not
// kept here. Errors: fs.ErrNotExist; ErrInvalid with the column; ErrTooMany with a hint; ErrUnreachable; of an answer that is none ErrForged, ErrRoot, ErrRow, ErrNotProven, ErrOtherQuery, ErrOld.
func (a *Agent) QueryTable(ctx context.Context, name string, q TableQuery) (TableAnswer, error) {
	question, err := questionOf(q)
	if err != nil {
		return TableAnswer{}, err
	}
	id, machine, addr, err := ParseTableAddress(name)
	if err != nil || addr == "" {
		if q.From == "" {
			return a.ownAnswer(ctx, name, question, q)
		}
		if _, info, failed := a.table(name); failed == nil {
			id = info.ID
		} else if err != nil {
			return TableAnswer{}, failed
		}
		if machine, addr, err = a.machineOf(q.From); err != nil {
			return TableAnswer{}, err
		}
	}
	if addr != "" {
		a.network.addrs.Learn(machine, []string{addr})
	}
	tables, _, err := a.openTables(true)
	if err != nil {
		return TableAnswer{}, err
	}
	out, err := tables.Ask(ctx, id, machine, question, q.Trust)
	if err != nil {
		return TableAnswer{Suggest: out.Suggest}, err
	}
	return a.named(tableAnswerOf(out))
}

func (a *Agent) ownAnswer(ctx context.Context, name string, question ptable.Question, q TableQuery) (TableAnswer, error) {
	tables, info, err := a.table(name)
	if errors.Is(err, fs.ErrNotExist) {
		if tables, p, failed := a.part(name); failed == nil {
			out, err := tables.QueryPart(p.Table, question, q.Trust)
			if err != nil {
				return TableAnswer{}, err
			}
			return tableAnswerOf(out)
		}
	}
	if err != nil {
		return TableAnswer{}, err
	}
	out, err := tables.Query(ctx, info.ID, question, q.Trust)
	if err != nil {
		return TableAnswer{Suggest: out.Suggest}, err
	}
	return a.named(tableAnswerOf(out))
}

// named puts names into an answer.
func (a *Agent) named(out TableAnswer, err error) (TableAnswer, error) {
	for i := range out.Attested {
		out.Attested[i].Name = a.machineName(out.Attested[i].Machine)
	}
	if !out.From.IsZero() {
		out.FromName = a.machineName(out.From)
	}
	return out, err
}

// machineName is what a machine is called here: its household's name, "this machine" of this one, "" of one that is not known.
func (a *Agent) machineName(m DID) string {
	if m == a.key.DID() {
		return "this machine"
	}
	has := func(of federation.AgentAddrs) bool { return of.DID == m }
	for _, p := range a.federation.Partners() {
		if slices.ContainsFunc(p.Agents, has) {
			return p.Name
		}
	}
	if slices.ContainsFunc(a.federation.Home().Agents, has) {
		return homeName
	}
	return ""
}

// machineOf finds a machine: by its address, its DID, or as the first of a partner's that was found.
func (a *Agent) machineOf(who string) (machine DID, addr string, err error) {
	if strings.HasPrefix(who, "/") {
		_, machine, addr, err = ParseTableAddress(a.key.DID().String() + "@" + who)
		return machine, addr, err
	}
	p, err := a.partner(who)
	if err != nil {
		if did, failed := core.ParseDID(who); failed == nil {
			return did, "", nil
		}
		return DID{}, "", err
	}
	for _, m := range p.Agents {
		if !a.network.lost(m.DID) {
			return m.DID, "", nil
		}
	}
	if len(p.Agents) == 0 {
		return DID{}, "", fmt.Errorf("no machine of %s is known: %w", who, ErrUnreachable)
	}
	return p.Agents[0].DID, "", nil
}

func questionOf(q TableQuery) (ptable.Question, error) {
	question, err := ptable.ParseQuestion(q.Query)
	question.After = q.After
	return question, err
}

// AskTable asks a table's address from nowhere: it needs no agent and no directory. Of c it takes Clock, Peers and Log. Errors: those of QueryTable.
func AskTable(ctx context.Context, c Config, address string, q TableQuery) (TableAnswer, error) {
	question, err := questionOf(q)
	if err != nil {
		return TableAnswer{}, err
	}
	id, machine, addr, err := ParseTableAddress(address)
	if err == nil && addr == "" {
		err = fmt.Errorf("table address %.80q says no machine: %w", address, ErrInvalid)
	}
	if err != nil {
		return TableAnswer{}, err
	}
	var seed [32]byte
	seal.Random(seed[:])
	n := newNetwork(c.world(), identity.KeyOf(seed))
	n.addrs.Learn(machine, []string{addr})
	out, err := table.AskOnce(ctx, n, id, machine, question, q.Trust)
	if err = errors.Join(err, n.Close()); err != nil {
		return TableAnswer{}, err
	}
	return tableAnswerOf(out)
}

// VerifyTableAnswer checks a saved answer, asking nobody. trust is as in TableQuery. Errors: those of an answer that is none.
func VerifyTableAnswer(saved []byte, trust []DID) (TableAnswer, error) {
	out, err := table.VerifySaved(saved, trust)
	if err != nil {
		return TableAnswer{}, err
	}
	return tableAnswerOf(out)
}

func tableAnswerOf(v table.Answered) (TableAnswer, error) {
	out := TableAnswer{
		Table: v.Checkpoint.Table, Query: v.Query.String(), Rows: make([]TableRow, len(v.Rows)), Count: v.Count, After: v.After, Index: v.Index, Read: v.Read,
		From: v.From, Bytes: v.Bytes, Trips: v.Trips, ProofBytes: len(v.Answer.Proof), Checkpoint: v.Checkpoint.Score().String(), Attested: []TableAttestation{}, Provisional: len(v.Vouched) == 0, Suggest: v.Suggest,
	}
	for i := range v.Rows {
		out.Rows[i] = rowOf(&v.Rows[i])
		out.Rows[i].Loser = v.Losers[i]
	}
	for _, s := range v.Answer.Attestations {
		at, err := ptable.OpenAttestation(s)
		if err != nil {
			return TableAnswer{}, err
		}
		out.Attested = append(out.Attested, TableAttestation{Machine: s.By, Time: time.Unix(at.Time, 0).UTC(), Counts: slices.Contains(v.Vouched, s.By)})
	}
	var err error
	out.Proof, err = v.Answer.Marshal()
	return out, err
}

func rowOf(r *ptable.Row) TableRow {
	o := r.Newest()
	return TableRow{Key: string(r.Key), Document: r.Doc.JSON(), Author: o.Author, Time: writtenAt(o.Clock)}
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

// TableFork is a writer who has signed two operations with one number.
type TableFork struct {
	Author DID    `json:"author"`
	Name   string `json:"name,omitempty"`
	// Seq is the number: what it has written before counts.
	Seq uint64 `json:"seq"`
	// Evidence is both, signed: 355 bytes that convince anybody.
	Evidence []byte `json:"evidence"`
}

// TableForks returns the writers of a table who are proven to have forked. Errors: fs.ErrNotExist.
func (a *Agent) TableForks(_ context.Context, name string) ([]TableFork, error) {
	_, info, err := a.table(name)
	if err != nil {
		return nil, err
	}
	_, feeds, err := a.openTables(false)
	if err != nil {
		return nil, err
	}
	out := []TableFork{}
	for f, err := range feeds.Forks(info.ID) {
		if err != nil {
			return nil, err
		}
		out = append(out, TableFork{f.Author(), a.machineName(f.Author()), f.Seq(), f.Bytes()})
	}
	return out, nil
}
