package grange

import (
	"context"
	"fmt"
	"time"
)

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

// TableOmission is a machine that attests a table and has left out what was written.
type TableOmission struct {
	Machine DID    `json:"machine"`
	Name    string `json:"name,omitempty"`
	// Time is when it attested it; Key, Author and Seq are of the write that it has left out.
	Time   time.Time `json:"time"`
	Key    string    `json:"key"`
	Author DID       `json:"author"`
	Seq    uint64    `json:"seq"`
	// Evidence is its word, the write, and proofs of what it has in its place: a few kilobytes that convince anybody.
	Evidence []byte `json:"evidence"`
}

// TableOmissions returns the machines that are proven to have left out operations of a table that they attest. Errors: fs.ErrNotExist.
func (a *Agent) TableOmissions(_ context.Context, name string) ([]TableOmission, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return nil, err
	}
	all, err := tables.Omissions(info.ID)
	if err != nil {
		return nil, err
	}
	out := []TableOmission{}
	for _, o := range all {
		at, op, err := o.Verify()
		if err != nil {
			return nil, fmt.Errorf("the proof against %s: %w", o.Attestation.By.Short(), err)
		}
		evidence, err := o.Marshal()
		if err != nil {
			return nil, err
		}
		out = append(out, TableOmission{at.Machine, a.machineName(at.Machine), time.Unix(at.Time, 0).UTC(), string(op.Key), op.Author, op.Seq, evidence})
	}
	return out, nil
}
