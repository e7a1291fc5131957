package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/table"
)

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
			return a.named(tableAnswerOf(out))
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
