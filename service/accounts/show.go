package accounts

import (
	"maps"
	"slices"
	"strings"

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

// StorageServer is one that is listed.
type StorageServer struct {
	Agent core.DID
	Added int64
	// Rivals are the accounts of which it has signed two reports with one number.
	Rivals []string
}

// Show returns one account. Errors: core.ErrNotExist.
func (s *Server) Show(id string) (Account, error) {
	out := Account{ID: id}
	a, err := s.look(id, func(holder core.DID, r usageRecord) {
		out.Used += r.Bytes
		out.At = append(out.At, Report{Holder: holder, Bytes: r.Bytes, Total: r.Total, Seq: r.Seq, Time: r.Time})
	})
	if err != nil {
		return Account{}, err
	}
	plan, _ := s.plan(a.Plan)
	out.Plan, out.Grid, out.State, out.Bytes = a.Plan, a.Grid, a.state(s.now()), plan.Bytes
	out.Added, out.Until, out.Revoked = a.Added, a.Until, a.Revoked
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
func (s *Server) Accounts(after string, n int) ([]Account, error) {
	var ids []string
	for c, err := range s.c.Books.Scan([]byte(accountPrefix), append(accountKey(after), 1)) {
		if err != nil {
			return nil, err
		}
		id, isAccount := strings.CutSuffix(string(c.Key[len(accountPrefix):]), "\x00")
		if isAccount && !strings.Contains(id, "\x00") && id != after {
			if len(ids) == n {
				break
			}
			ids = append(ids, id)
		}
	}
	out := make([]Account, 0, len(ids))
	for _, id := range ids {
		a, err := s.Show(id)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// StorageServers returns the storage servers that are listed.
func (s *Server) StorageServers() ([]StorageServer, error) {
	s.mu.RLock()
	agents := slices.SortedFunc(maps.Keys(s.holders), core.DID.Compare)
	out := make([]StorageServer, len(agents))
	for i, agent := range agents {
		out[i] = StorageServer{Agent: agent, Added: s.holders[agent].record.Added}
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
