package accounts

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

// What follows is for the operator, whoever has the machine.

// Plan is what accounts can be on.
type Plan struct {
	Name  string
	Bytes int64
	// Days is how long an account is good from when it is put on the plan; 0 is without end.
	Days int64
}

// SetPlan makes a plan, or changes one: what it gives changes for all accounts on it at once, Days for those that are
// put on it from now on. Errors: core.ErrInvalid.
func (s *Server) SetPlan(p Plan) error {
	if err := account.CheckPlan(p.Name); err != nil {
		return err
	}
	if p.Bytes < 1 || p.Bytes > account.BytesMax || p.Days < 0 || p.Days > DaysMax {
		return fmt.Errorf("plan %s of %d bytes for %d days: %w", p.Name, p.Bytes, p.Days, core.ErrInvalid)
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if _, has := s.plan(p.Name); !has && len(s.Plans()) >= PlansMax {
		return fmt.Errorf("there are %d plans already: %w", PlansMax, core.ErrInvalid)
	}
	record := planRecord{1, p.Bytes, p.Days}
	if err := save(s.c.Books, map[string]any{planPrefix + p.Name: record}); err != nil {
		return fmt.Errorf("record plan %s: %w", p.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans[p.Name] = record
	return nil
}

// Plans returns all plans, by name.
func (s *Server) Plans() []Plan {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Plan, 0, len(s.plans))
	for _, name := range slices.Sorted(maps.Keys(s.plans)) {
		out = append(out, Plan{name, s.plans[name].Bytes, s.plans[name].Days})
	}
	return out
}

// Add makes an account on a plan for a household, or puts one that there is on the plan from now on, which prolongs
// it. Errors: core.ErrInvalid; core.ErrNotExist if there is no such plan; fs.ErrExist if the account is another household's.
func (s *Server) Add(id, plan string, grid core.DID) error {
	if err := account.CheckID(id); err != nil {
		return err
	}
	if err := identity.CheckDID(grid); err != nil {
		return fmt.Errorf("account %s: %w", id, err)
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	p, ok := s.plan(plan)
	if !ok {
		return fmt.Errorf("plan %q: %w", plan, core.ErrNotExist)
	}
	a, err := load[accountRecord](s.c.Books, accountKey(id))
	isNew, err := missing(err)
	switch {
	case err != nil:
		return err
	case isNew:
		a = accountRecord{V: 1, Grid: grid, Added: s.now()}
		ids, err := s.accountsOf(grid)
		if err != nil {
			return err
		}
		if len(ids) >= GridAccountsMax {
			return fmt.Errorf("account %s: the household has %d accounts already: %w", id, len(ids), core.ErrInvalid)
		}
	case a.Grid != grid:
		return fmt.Errorf("account %s is for another household: %w", id, fs.ErrExist)
	}
	a.Plan, a.Until = plan, 0
	if p.Days > 0 {
		a.Until = s.now() + p.Days*daySeconds
	}
	err = save(s.c.Books, map[string]any{string(accountKey(id)): a, string(didKey(gridPrefix, grid, id)): struct{}{}})
	if err != nil {
		return fmt.Errorf("record account %s: %w", id, err)
	}
	return nil
}

// Revoke ends an account at once, or restores one. It says whether that changed anything. Storage servers hear of it when
// they next ask. Errors: core.ErrNotExist.
func (s *Server) Revoke(id string, restore bool) (changed bool, err error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	a, err := load[accountRecord](s.c.Books, accountKey(id))
	if err != nil {
		return false, fmt.Errorf("account %q: %w", id, err)
	}
	if restore == (a.Revoked == 0) {
		return false, nil
	}
	now := s.now()
	if a.Revoked = max(now, 1); restore {
		a.Revoked = 0
	}
	s.mu.RLock()
	count := s.count
	s.mu.RUnlock()
	count.V, count.Last = 1, count.Last+1
	records := map[string]any{
		string(accountKey(id)):         a,
		string(revokedKey(count.Last)): revokedRecord{1, id, max(now, 1), restore},
	}
	if count.Oldest == 0 {
		count.Oldest = 1
	}
	if err := s.forget(&count, now, records); err != nil {
		return false, err
	}
	records[countKey] = count
	if err := save(s.c.Books, records); err != nil {
		return false, fmt.Errorf("revoke account %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count = count
	return true, nil
}

// forgetMax is how many entries one revocation takes off the beginning of the list.
const forgetMax = 16

// forget drops what is too old to end any token.
func (s *Server) forget(count *countRecord, now int64, records map[string]any) error {
	for range forgetMax {
		if count.Oldest >= count.Last {
			return nil
		}
		old, err := load[revokedRecord](s.c.Books, revokedKey(count.Oldest))
		if err != nil {
			return err
		}
		if now-old.Time < revokedKept {
			return nil
		}
		records[string(revokedKey(count.Oldest))] = nil
		count.Oldest++
	}
	return nil
}

// Revocations returns the signed page of the list that comes after a number.
func (s *Server) Revocations(after uint64) (identity.Signed, error) {
	s.mu.RLock()
	count := s.count
	s.mu.RUnlock()
	page := account.Revocations{Server: s.c.Key.DID(), After: after, Last: count.Last, Time: max(s.now(), 1)}
	from := max(after, max(count.Oldest, 1)-1)
	for c, err := range s.c.Books.Scan([]byte(revokedPrefix), revokedKey(min(from, count.Last)+1)) {
		if err != nil {
			return identity.Signed{}, fmt.Errorf("read revocations: %w", err)
		}
		r, err := parse[revokedRecord](c.Key, c.Value)
		if err != nil {
			return identity.Signed{}, err
		}
		n := binary.BigEndian.Uint64(c.Key[len(revokedPrefix):])
		if n > count.Last || len(page.Entries) == account.EntriesMax {
			break
		}
		page.Entries = append(page.Entries, account.Revocation{N: n, Account: r.Account, Time: r.Time, Restored: r.Restored})
	}
	return account.SignRevocations(s.c.Key, page)
}

// SetHolder lists an agent as a storage server, or takes it off the list: then what it reported counts no more.
// It says whether that changed anything. Errors: core.ErrInvalid.
func (s *Server) SetHolder(agent core.DID, isListed bool) (changed bool, err error) {
	if err := identity.CheckDID(agent); err != nil {
		return false, err
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	s.mu.RLock()
	has, n := s.holders[agent] != nil, len(s.holders)
	s.mu.RUnlock()
	if has == isListed {
		return false, nil
	}
	if isListed && n >= HoldersMax {
		return false, fmt.Errorf("there are %d storage servers already: %w", n, core.ErrInvalid)
	}
	record := holderRecord{1, s.now()}
	records := map[string]any{string(didKey(holderPrefix, agent, "")): record}
	if !isListed {
		records[string(didKey(holderPrefix, agent, ""))] = nil
	}
	if err := save(s.c.Books, records); err != nil {
		return false, fmt.Errorf("record storage server %s: %w", agent.Short(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.holders, agent); isListed {
		s.holders[agent] = &listed{record: record}
	}
	return true, nil
}
