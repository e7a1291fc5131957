package federation

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// AccountName names an account: of one account server.
type AccountName struct {
	Server core.DID `json:"server"`
	ID     string   `json:"id"`
}

// AccountTerms are those of what is kept for an account. Its leases are short: when the contract has ended, so does soon
// what lies here.
func AccountTerms() pact.Terms { return pact.Terms{LeaseDays: accountLeaseDays}.WithDefaults() }

const accountLeaseDays = 30

// letInByToken lets a household in by the token of an account.
func (f *Federation) letInByToken(ctx context.Context, agent core.DID, in credentialRequest) (credentialAnswer, error) {
	if err := CheckName(in.Name); err != nil {
		return credentialAnswer{}, denied(err)
	}
	c, err := f.charterOf(agent, in.Charter, f.self.Grid)
	if err != nil {
		return credentialAnswer{}, err
	}
	right, err := f.c.Take(*in.Token, c.Grid)
	switch {
	case errors.Is(err, core.ErrForbidden):
		return credentialAnswer{}, &core.Denial{Reason: err.Error()}
	case errors.Is(err, core.ErrBusy):
		return credentialAnswer{}, err
	case err != nil:
		return credentialAnswer{}, denied(err)
	}
	what := shownRecord{Agent: agent, Token: right.ID, Amount: right.Bytes, Until: right.Until}
	if err := f.letIn(ctx, in, c.Grid, draws{Account: AccountName{right.Server, right.Account}}, what); err != nil {
		return credentialAnswer{}, err
	}
	return f.welcome(what, AccountTerms()), nil
}

// UseAccount shows the newest token of an account of ours to a machine of a household with which we have no pact, and
// remembers where it lets us in; newer tokens are shown there as they come. Errors: core.ErrNotExist where the account
// is not used; else those of UseVoucher.
func (f *Federation) UseAccount(ctx context.Context, home AgentAddrs, name AccountName) (Errand, error) {
	if _, _, ok := f.c.Token(name); !ok {
		return Errand{}, fmt.Errorf("account %s: %w", name.ID, core.ErrNotExist)
	}
	out, err := f.enter(ctx, home, errandRecord{Account: name})
	if err != nil {
		return Errand{}, fmt.Errorf("use account %s at %s: %w", name.ID, home.DID.Short(), f.Heed(ctx, err))
	}
	return out, nil
}

// opening is what opens a household to us now.
type opening struct {
	subject       core.DID
	ref           core.Score
	amount, until int64
	token         *identity.Signed // of an account
}

// openingOf returns the voucher of an errand, or the newest token of its account; where that is used no more, it ended long ago.
func (f *Federation) openingOf(e *errand) opening {
	if name := e.record.Account; e.byAccount() {
		token, right, ok := f.c.Token(name)
		if !ok {
			return opening{subject: name.Server}
		}
		return opening{name.Server, right.ID, right.Bytes, right.Until, &token}
	}
	return opening{subject: e.right.Subject, ref: e.right.ID, amount: e.right.Amount, until: e.right.Until}
}
