package federation

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Proposal is what each side would give, in each resource's unit, as Terms has it, and until when, in Unix seconds; 0 leaves the end open.
type Proposal struct {
	Gives, Given map[core.Resource]int64
	Units        map[core.Resource]string
	Until        int64
}

// Leaving tells whether a notice was given, or the pact runs out: nothing new is to be brought there, and
// what lies there should lie elsewhere.
func (p Partner) Leaving() bool { return p.leaving }

// ends returns when the pact ends, by a notice or by itself; 0 for never. The caller holds Federation.mu, or has records.
func (p *partner) ends() int64 {
	if n := p.notice.Until; n != 0 && (p.terms.Until == 0 || n < p.terms.Until) {
		return n
	}
	return p.terms.Until
}

// leaving is Leaving. The caller holds Federation.mu.
func (p *partner) leaving(now int64) bool {
	out := p.terms.RunsOut()
	return p.notice.Until != 0 || p.waits.End || out != 0 && out <= now
}

// openAmendment verifies an amendment of a partner's pact: that both sides signed it.
func openAmendment(p *partner, s pact.SignedPact) (pact.Pact, error) {
	next, err := s.Verify()
	if err != nil {
		return next, err
	}
	return next, next.CheckAmends(p.pact, p.id)
}

func openNotice(p *partner, s identity.Signed) (pact.Notice, error) {
	n, err := pact.OpenNotice(s)
	if err != nil {
		return n, err
	}
	return n, p.pact.CheckNotice(n, p.id)
}

// takeTerms takes in an amendment and a notice that somebody shows, as far as they count for more than what there
// is. The caller has f.records.
func (f *Federation) takeTerms(p *partner, amendment *pact.SignedPact, notice *identity.Signed) error {
	var errs []error
	if amendment != nil {
		errs = append(errs, f.takeAmendment(p, *amendment))
	}
	if notice != nil {
		errs = append(errs, f.takeNotice(p, *notice))
	}
	return errors.Join(errs...)
}

// takeAmendment takes in an amendment that both sides have signed, if it stands over what there is: the
// one with the greater number, of two with one number that with the lower id. So two that
// were agreed to at once come to the same at both. The caller has f.records.
func (f *Federation) takeAmendment(p *partner, s pact.SignedPact) error {
	next, err := openAmendment(p, s)
	if err != nil {
		return err
	}
	if err := f.speaks(p, s.Inviter.By, next.Inviter); err != nil {
		return err
	}
	if err := f.speaks(p, s.Acceptor.By, next.Acceptor); err != nil {
		return err
	}
	if next.N < p.terms.N {
		return nil
	}
	if old := p.record.Amendment; next.N == p.terms.N {
		if was, is := old.ID(), s.ID(); bytes.Compare(is[:], was[:]) >= 0 {
			return nil
		}
	}
	r, w := p.record, p.waits
	r.Amendment = &s
	w.Mine, w.Theirs = w.Mine.after(next.N), w.Theirs.after(next.N)
	if err := f.keepTerms(p, r, w, false); err != nil {
		return err
	}
	f.mu.Lock()
	p.terms = next
	f.mu.Unlock()
	f.c.Told(p.grid, PactAmended)
	return nil
}

// after returns a proposal if its number is still to come.
func (w *proposed) after(n uint64) *proposed {
	if w == nil {
		return nil
	}
	if p, err := pact.OpenPact(w.Body); err != nil || p.N <= n {
		return nil
	}
	return w
}

// takeNotice takes in a notice, of which the one counts by which the pact ends first. A partner's must
// be new: one dated back would leave us no time. The caller has f.records.
func (f *Federation) takeNotice(p *partner, s identity.Signed) error {
	n, err := openNotice(p, s)
	if err != nil {
		return err
	}
	if err := f.speaks(p, n.Agent, n.By); err != nil {
		return err
	}
	if p.notice.Until != 0 && p.notice.Until <= n.Until {
		return nil
	}
	if off := n.Time - f.now(); n.By != f.self.Grid && (off < -clockSlack || off > clockSlack) {
		return fmt.Errorf("a notice whose date is %d seconds from ours: %w", off, core.ErrInvalid)
	}
	r, w := p.record, p.waits
	r.Notice = &s
	w.End, w.Mine, w.Theirs = false, nil, nil
	if err := f.keepTerms(p, r, w, false); err != nil {
		return err
	}
	f.mu.Lock()
	p.notice = n
	f.mu.Unlock()
	f.c.Told(p.grid, PactEnds)
	return nil
}

// speaks tells whether an agent is, or has been, of a side of the pact: what it signed before it was
// removed stays valid, and nothing is taken in that our own side has not signed, or that
// a machine which is listed does not bring.
func (f *Federation) speaks(p *partner, agent, grid core.DID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.own.chain.EverListed(agent)
	if grid != f.self.Grid {
		known = p.lists(agent) || p.chain.EverListed(agent)
	}
	if !known {
		return fmt.Errorf("signed by %s, which is no machine of %s: %w", agent.Short(), grid.Short(), core.ErrInvalid)
	}
	return nil
}

// keepTerms writes what there is and what is to come of a pact, in one Apply; settled says that the partner
// has heard all of it. The caller has f.records.
func (f *Federation) keepTerms(p *partner, r partnerRecord, w termsRecord, settled bool) error {
	var c changes
	c.set(key(keyPartner, p.grid[:]), r)
	c.set(key(keyTerms, p.grid[:]), w)
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep the terms with %s: %w", r.Name, err)
	}
	f.mu.Lock()
	p.record, p.waits, p.settled = r, w, settled
	if !settled {
		p.answered = 0
	}
	f.mu.Unlock()
	if _, ok := f.Roll(); ok {
		f.bump() // what there is to share may have changed
	}
	wake(f.enrol)
	wake(f.visits)
	wake(f.dirty)
	return nil
}
