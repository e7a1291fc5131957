package accounts

import (
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// Account is how an account stands.
type Account struct {
	ID, Plan string
	Grid     core.DID
	State    string
	// Bytes is what the plan gives, Used what it has at all storage servers together.
	Bytes, Used int64
	// Added, Until and Revoked are in Unix seconds; Until and Revoked are 0 for never.
	Added, Until, Revoked int64
	// At is what each storage server last reported.
	At []Report
}

// Report is the newest of a storage server on an account.
type Report struct {
	Holder core.DID
	// Bytes is what lies there, Total the byte-hours that it has had, as of Time.
	Bytes int64
	Total uint64
	Seq   uint64
	Time  int64
	// Rival, if not nil, is another report with a number that was taken: Taken is the one that counted.
	Rival, Taken *identity.Signed
}

// Holder is a storage server that is listed.
type Holder struct {
	Agent core.DID
	Added int64
	// Rivals are the accounts of which it has signed two reports with one number.
	Rivals []string
}

// Show returns one account. Errors: core.ErrNotExist.
func (s *Server) Show(id string) (Account, error) {
	a, err := load[accountRecord](s.c.Books, []byte(accountPrefix+id))
	if err != nil {
		return Account{}, fmt.Errorf("account %q: %w", id, err)
	}
	return s.show(id, a)
}

func (s *Server) show(id string, a accountRecord) (Account, error) {
	plan, _ := s.plan(a.Plan)
	out := Account{ID: id, Plan: a.Plan, Grid: a.Grid, State: a.state(s.now()), Bytes: plan.Bytes, Added: a.Added, Until: a.Until, Revoked: a.Revoked}
	err := s.reports(id, func(holder core.DID, r usageRecord) {
		out.Used += r.Bytes
		out.At = append(out.At, Report{Holder: holder, Bytes: r.Bytes, Total: r.Total, Seq: r.Seq, Time: r.Time})
	})
	if err != nil {
		return out, err
	}
	for i := range out.At {
		r, err := load[rivalRecord](s.c.Books, didKey(rivalPrefix, out.At[i].Holder, id))
		if absent, err := missing(err); err != nil {
			return out, err
		} else if !absent {
			out.At[i].Rival, out.At[i].Taken = &r.Other, &r.Taken
		}
	}
	return out, nil
}

// Accounts returns at most n accounts whose names come after one, by name.
func (s *Server) Accounts(after string, n int) (out []Account, err error) {
	for c, err := range s.c.Books.Scan([]byte(accountPrefix), []byte(accountPrefix+after)) {
		if err != nil {
			return nil, err
		}
		id := string(c.Key[len(accountPrefix):])
		if id == after {
			continue
		}
		if len(out) == n {
			break
		}
		a, err := parse[accountRecord](c.Key, c.Value)
		if err != nil {
			return nil, err
		}
		shown, err := s.show(id, a)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// Holders returns the storage servers that are listed.
func (s *Server) Holders() ([]Holder, error) {
	s.mu.RLock()
	agents := slices.SortedFunc(maps.Keys(s.holders), core.DID.Compare)
	out := make([]Holder, len(agents))
	for i, agent := range agents {
		out[i] = Holder{Agent: agent, Added: s.holders[agent].record.Added}
	}
	s.mu.RUnlock()
	for i := range out {
		var err error
		if out[i].Rivals, err = s.rivals(out[i].Agent); err != nil {
			return nil, err
		}
	}
	return out, nil
}
