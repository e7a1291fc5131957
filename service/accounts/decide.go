package accounts

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// The states of an account; package policy has the same, and more.
const (
	StateGood    = "good"
	StateRevoked = "revoked"
	StateExpired = "expired"
	StateUnknown = "unknown"
)

// standing answers one ask of a storage server: a token decision.
func (s *Server) standing(ask checkAsk) (Standing, error) {
	id := ask.Account
	if (ask.Token != nil) == (id != "") {
		return Standing{}, &wire.Error{Code: wire.CodeInvalid, Message: "an ask has a token, or an account"}
	}
	var token account.Token
	if ask.Token != nil {
		unknown := Standing{State: StateUnknown, Seconds: s.c.Lifetime}
		if ask.Token.By != s.c.Key.DID() {
			return unknown, nil
		}
		var err error
		if token, err = account.OpenToken(*ask.Token); err != nil {
			return unknown, nil // a token that is none has an answer too
		}
		id = token.Account
	}
	out, err := s.standingOf(id)
	if err != nil || ask.Token == nil || out.State != StateGood {
		return out, err
	}
	if *out.Grid != token.Grid {
		out.State = StateUnknown
	} else if token.Until <= s.now() {
		out.State = StateExpired
	}
	return out, nil
}

// standingOf says how an account stands; one that is not there is unknown.
func (s *Server) standingOf(id string) (Standing, error) {
	out := Standing{Account: id, State: StateUnknown, Seconds: s.c.Lifetime}
	if account.CheckID(id) != nil {
		out.Account = ""
		return out, nil
	}
	a, err := s.look(id, func(_ core.DID, r usageRecord) {
		out.Used += r.Bytes // at most HoldersMax times account.BytesMax: below 2^63
	})
	if absent, err := missing(err); absent || err != nil {
		return out, err
	}
	plan, _ := s.plan(a.Plan) // there is no account without its plan
	out.State, out.Plan, out.Grid, out.Bytes = a.state(s.now()), a.Plan, &a.Grid, plan.Bytes
	if a.Until > 0 && out.State == StateGood { // it is not to be relied on past its end
		out.Seconds = min(out.Seconds, a.Until-s.now())
	}
	return out, nil
}

func (a accountRecord) state(now int64) string {
	switch {
	case a.Revoked != 0:
		return StateRevoked
	case a.Until != 0 && a.Until <= now:
		return StateExpired
	}
	return StateGood
}

// look returns an account, and calls each for the newest report on it of every listed storage server.
// Errors: core.ErrNotExist.
func (s *Server) look(id string, each func(holder core.DID, r usageRecord)) (a accountRecord, err error) {
	key := accountKey(id)
	for c, err := range s.c.Books.Scan(key, nil) {
		if err != nil {
			return a, err
		}
		rest := c.Key[len(key):]
		if a.V == 0 { // the account itself is first
			if len(rest) > 0 {
				break
			}
			if a, err = parse[accountRecord](c.Key, c.Value); err != nil {
				return a, err
			}
			continue
		}
		r, err := parse[usageRecord](c.Key, c.Value)
		if err != nil || len(rest) != len(core.DID{}) {
			return a, fmt.Errorf("record %q: %w", c.Key, cmp.Or(err, core.ErrInvalid))
		}
		if holder := core.DID(rest); s.Lists(holder) {
			each(holder, r)
		}
	}
	if a.V == 0 {
		return a, fmt.Errorf("account %q: %w", id, core.ErrNotExist)
	}
	return a, nil
}

// token gives a machine of a customer's household a fresh token.
func (s *Server) token(agent core.DID, in tokenRequest) (identity.Signed, error) {
	grid := in.Charter.By
	id, err := s.accountOf(grid, in.Account)
	if err != nil {
		return identity.Signed{}, err
	}
	if err := s.takeCharter(agent, in.Charter); err != nil {
		return identity.Signed{}, err
	}
	a, err := load[accountRecord](s.c.Books, accountKey(id))
	if err != nil {
		return identity.Signed{}, err
	}
	now := s.now()
	if state := a.state(now); a.Grid != grid || state != StateGood {
		return identity.Signed{}, &core.Denial{Reason: fmt.Sprintf("account %s is %s", id, state)}
	}
	plan, _ := s.plan(a.Plan)
	until := now + s.c.TokenLife
	if a.Until > 0 {
		until = min(until, a.Until)
	}
	t := account.Token{
		Server: s.c.Key.DID(), Account: id, Plan: a.Plan, Grid: grid, Bytes: plan.Bytes, From: now, Until: until, Addrs: account.Addrs(s.c.Addrs()),
	}
	seal.Random(t.Nonce[:])
	return account.SignToken(s.c.Key, t)
}

// accountOf finds the account that a household means: the one it names, or its only one. Whose household it
// is has yet to be proven: so nothing is said here that a stranger may not know.
func (s *Server) accountOf(grid core.DID, id string) (string, error) {
	none := &wire.Error{Code: wire.CodeUnknown, Message: "no such account is for this household"}
	ids, err := s.accountsOf(grid)
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", none
	case id == "" && len(ids) > 1:
		return "", &wire.Error{Code: wire.CodeInvalid, Message: "this household has several accounts here: name one"}
	case id == "":
		return ids[0], nil
	}
	if !slices.Contains(ids, id) {
		return "", none
	}
	return id, nil
}

// accountsOf returns the accounts that are for a household.
func (s *Server) accountsOf(grid core.DID) (ids []string, err error) {
	prefix := didKey(gridPrefix, grid, "")
	for c, err := range s.c.Books.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, string(c.Key[len(prefix):]))
	}
	return ids, nil
}

// takeCharter checks that a charter lists the agent and is no older than any that was shown of the household.
func (s *Server) takeCharter(agent core.DID, signed identity.Signed) error {
	select {
	case s.charters <- struct{}{}:
		defer func() { <-s.charters }()
	default:
		return &wire.Error{Code: wire.CodeBusy, Message: "others are asking for tokens", RetrySeconds: 1}
	}
	unknown := &wire.Error{Code: wire.CodeUnknown, Message: "that is no charter which lists this machine"}
	c, err := charter.Open(signed)
	if err != nil || !c.Lists(agent) {
		return unknown
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	key := didKey(charterPrefix, c.Grid, "")
	score := signed.Score()
	old, err := load[charterRecord](s.c.Books, key)
	if absent, err := missing(err); err != nil {
		return err
	} else if !absent {
		was := charter.Charter{Recoveries: old.Recoveries, Epoch: old.Epoch}
		switch order := charter.Compare(c, score, was, old.Score); {
		case order < 0:
			return &wire.Error{Code: wire.CodeCharterStale, Message: "a newer charter of this household is known"}
		case order == 0:
			return nil
		}
	}
	return save(s.c.Books, map[string]any{string(key): charterRecord{1, c.Recoveries, c.Epoch, score}})
}
