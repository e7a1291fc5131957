package accounts

import (
	"context"
	"net/http"
	"strconv"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of the wire (docs/SPEC.md §7), in bytes and in asks or reports of one request.
const (
	checkLimit = 512 << 10
	usageLimit = 128 << 10
	tokenLimit = 384 << 10

	asksMax    = 128
	reportsMax = 128
)

type checkRequest struct {
	Asks []checkAsk `json:"asks"`
}

// checkAsk has one of the two.
type checkAsk struct {
	Token   *identity.Signed `json:"token,omitempty"`
	Account string           `json:"account,omitempty"`
}

type checkAnswer struct {
	Answers []Standing `json:"answers"`
}

// Standing is how an account stands, as its server says.
type Standing struct {
	Account string    `json:"account"`
	State   string    `json:"state"`
	Plan    string    `json:"plan,omitempty"`
	Grid    *core.DID `json:"grid,omitempty"`
	// Bytes is what the plan gives, Used what it has at all storage servers together.
	Bytes int64 `json:"bytes"`
	Used  int64 `json:"used"`
	// Seconds is for how long this may be relied on.
	Seconds int64 `json:"seconds"`
}

type usageRequest struct {
	Reports []identity.Signed `json:"reports"`
}

type usageAnswer struct {
	Taken  uint64  `json:"taken"`
	Faults []fault `json:"faults"`
}

// fault says why one report was not taken. Seq and Total are those of the newest that was, so that a storage
// server which has lost its books can go on from there.
type fault struct {
	Index   uint64 `json:"index"`
	Message string `json:"message"`
	Seq     uint64 `json:"seq"`
	Total   uint64 `json:"total"`
}

type tokenRequest struct {
	Charter identity.Signed `json:"charter"`
	Account string          `json:"account,omitempty"`
}

type tokenAnswer struct {
	Token identity.Signed `json:"token"`
}

// Routes are what an account server answers.
func (s *Server) Routes() []wire.Route {
	return []wire.Route{
		{Method: "POST", Path: "/accounts/check", Who: wire.Stranger, Limit: checkLimit, Handler: wire.Handle(s.handleCheck)},
		{Method: "POST", Path: "/accounts/usage", Who: wire.Stranger, Limit: usageLimit, Handler: wire.Handle(s.handleUsage)},
		{Method: "POST", Path: "/accounts/token", Who: wire.Stranger, Limit: tokenLimit, Handler: wire.Handle(s.handleToken)},
		{Method: "GET", Path: "/accounts/revoked", Who: wire.Stranger, Handler: http.HandlerFunc(s.handleRevoked)},
	}
}

// storageServer refuses whoever is none that is listed.
func (s *Server) storageServer(ctx context.Context) (*listed, core.DID, error) {
	agent := wire.CallerOf(ctx).Agent
	h := s.holder(agent)
	if h == nil {
		return nil, agent, &wire.Error{Code: wire.CodeUnknown, Message: "this is for storage servers that are listed here"}
	}
	return h, agent, nil
}

func (s *Server) handleCheck(ctx context.Context, in checkRequest) (checkAnswer, error) {
	if _, _, err := s.storageServer(ctx); err != nil {
		return checkAnswer{}, err
	}
	if err := countOf("asks", len(in.Asks), asksMax); err != nil {
		return checkAnswer{}, err
	}
	out := checkAnswer{Answers: make([]Standing, len(in.Asks))}
	for i, ask := range in.Asks {
		var err error
		if out.Answers[i], err = s.standing(ask); err != nil {
			return checkAnswer{}, err
		}
	}
	return out, nil
}

func (s *Server) handleUsage(ctx context.Context, in usageRequest) (usageAnswer, error) {
	h, agent, err := s.storageServer(ctx)
	if err == nil {
		err = countOf("reports", len(in.Reports), reportsMax)
	}
	if err != nil {
		return usageAnswer{}, err
	}
	h.taking.Lock()
	defer h.taking.Unlock()
	return s.take(agent, in.Reports)
}

func (s *Server) handleToken(ctx context.Context, in tokenRequest) (tokenAnswer, error) {
	agent := wire.CallerOf(ctx).Agent
	if err := s.knock(agent); err != nil {
		return tokenAnswer{}, err
	}
	token, err := s.token(agent, in)
	return tokenAnswer{token}, err
}

func (s *Server) handleRevoked(w http.ResponseWriter, r *http.Request) {
	_, _, err := s.storageServer(r.Context()) // accounts are nobody else's business
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	var after uint64
	if text := r.URL.Query().Get("after"); text != "" {
		after, err = strconv.ParseUint(text, 10, 64)
	}
	if err != nil {
		wire.WriteError(w, r, &wire.Error{Code: wire.CodeInvalid, Message: "after is a number"})
		return
	}
	page, err := s.Revocations(after)
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteMessage(w, r, page)
}

func countOf(what string, n, most int) error {
	if n < 1 || n > most {
		return &wire.Error{Code: wire.CodeInvalid, Message: strconv.Itoa(n) + " " + what + ", want 1 to " + strconv.Itoa(most)}
	}
	return nil
}

// revocationsLimit bounds the answer with a page of revocations.
const revocationsLimit = 512 << 10

func callRevoked(ctx context.Context, w Wire, server core.DID, after uint64) (account.Revocations, error) {
	var signed identity.Signed
	path := "/accounts/revoked?after=" + strconv.FormatUint(after, 10)
	if err := w.CallLimit(ctx, server, http.MethodGet, path, nil, &signed, revocationsLimit); err != nil {
		return account.Revocations{}, err
	}
	return account.OpenRevocations(signed)
}
