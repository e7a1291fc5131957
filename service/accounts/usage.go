package accounts

import (
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// take takes in reports of one storage server, all that are right in one change. Its caller sees to it that
// no other of that storage server is under way.
func (s *Server) take(holder core.DID, reports []identity.Signed) (usageAnswer, error) {
	out := usageAnswer{Faults: []fault{}}
	var changes []core.Change
	newest := map[string]usageRecord{} // of this request
	for i, signed := range reports {
		record, err := s.report(holder, signed, newest)
		wrong, refused := errors.AsType[*notTaken](err)
		switch {
		case refused:
			out.Faults = append(out.Faults, fault{uint64(i), wrong.text, wrong.seq, wrong.total})
			if wrong.rival != nil {
				changes = append(changes, *wrong.rival)
			}
			continue
		case err != nil:
			return usageAnswer{}, err
		}
		out.Taken++
		if record == nil { // known already
			continue
		}
		newest[record.account] = record.usageRecord
		c, err := change(usageKey(record.account, holder), record.usageRecord)
		if err != nil {
			return usageAnswer{}, err
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return out, nil
	}
	return out, s.c.Books.Apply(changes...)
}

// notTaken is why a report was not; rival is the write that keeps it as evidence, if it is that.
type notTaken struct {
	text       string
	seq, total uint64
	rival      *core.Change
}

// after names the report after which this one came.
func (n *notTaken) after(old usageRecord) *notTaken {
	n.seq, n.total = old.Seq, old.Total
	return n
}

func (n *notTaken) Error() string { return n.text }

func refuse(format string, args ...any) *notTaken {
	return &notTaken{text: fmt.Sprintf(format, args...)}
}

type newReport struct {
	account string
	usageRecord
}

// report judges one report: nil without an error is one that is known already.
func (s *Server) report(holder core.DID, signed identity.Signed, newest map[string]usageRecord) (*newReport, error) {
	if signed.By != holder {
		return nil, refuse("it is signed by another than the caller")
	}
	u, err := account.OpenUsage(signed)
	switch {
	case err != nil:
		return nil, refuse("%v", err)
	case u.Server != s.c.Key.DID():
		return nil, refuse("it is for another account server")
	case u.Time-s.now() > account.SkewMax:
		return nil, refuse("its time is over a day ahead")
	}
	if _, err := s.c.Books.Get(accountKey(u.Account)); errors.Is(err, core.ErrNotExist) {
		return nil, refuse("account %s is not here", u.Account)
	} else if err != nil {
		return nil, err
	}
	old, known := newest[u.Account]
	if !known {
		old, err = load[usageRecord](s.c.Books, usageKey(u.Account, holder))
		if errors.Is(err, core.ErrNotExist) {
			old, err = usageRecord{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	next := usageRecord{1, u.Bytes, u.Total, u.Seq, u.Time, signed.Sig}
	follows := u.Follows(account.Usage{Seq: old.Seq, Total: old.Total})
	switch {
	case next.says(old):
		return nil, nil
	case u.Seq == old.Seq:
		return nil, s.rival(holder, u.Account, old, signed)
	case errors.Is(follows, core.ErrStale):
		return nil, refuse("report %d comes after report %d", u.Seq, old.Seq).after(old)
	case follows != nil:
		return nil, refuse("%v", follows).after(old)
	}
	return &newReport{u.Account, next}, nil
}

// says tells whether two reports of one storage server on one account say the same.
func (r usageRecord) says(other usageRecord) bool {
	return r.Bytes == other.Bytes && r.Total == other.Total && r.Seq == other.Seq && r.Time == other.Time
}

// signed makes a report again from its record.
func (s *Server) signed(holder core.DID, id string, r usageRecord) (identity.Signed, error) {
	body, err := codec.Marshal(account.Usage{V: codec.Version, Server: s.c.Key.DID(), Account: id, Bytes: r.Bytes, Total: r.Total, Seq: r.Seq, Time: r.Time})
	return identity.Signed{By: holder, Body: body, Sig: r.Sig}, err
}

// rival keeps a storage server's second report with one number as evidence, once for each account, and of a bounded
// number of them.
func (s *Server) rival(holder core.DID, id string, old usageRecord, other identity.Signed) error {
	wrong := refuse("another report with this number was taken: both are kept").after(old)
	key := didKey(rivalPrefix, holder, id)
	if _, err := s.c.Books.Get(key); !errors.Is(err, core.ErrNotExist) {
		if err != nil {
			return err
		}
		return wrong
	}
	have, err := s.rivals(holder)
	if err != nil {
		return err
	}
	if len(have) < rivalsMax {
		was, err := s.signed(holder, id, old)
		if err != nil {
			return err
		}
		c, err := change(key, rivalRecord{1, was, other, s.now()})
		if err != nil {
			return err
		}
		wrong.rival = &c
		s.c.Log.Warn("a storage server has signed two reports with one number", "server", holder.Short(), "account", id)
	}
	return wrong
}

// rivals returns the accounts of which a storage server has signed two reports with one number.
func (s *Server) rivals(holder core.DID) (ids []string, err error) {
	prefix := didKey(rivalPrefix, holder, "")
	for c, err := range s.c.Books.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, string(c.Key[len(prefix):]))
	}
	return ids, nil
}
