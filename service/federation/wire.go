package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Limits of bodies, in bytes (SPEC §7).
const (
	acceptLimit  = 256 << 10
	recoverLimit = 384 << 10 // the largest charter
	greetLimit   = 1 << 20
	charterLimit = 1 << 20
	pageLimit    = 64 << 10
	headLimit    = 4 << 20
	headsLimit   = 8 << 20 // of the answer
	amendLimit   = 16 << 10
	ticketLimit  = 4 << 10
	// credentialLimit is one charter's of a household of ten machines, and a chain's.
	credentialLimit = 64 << 10
)

// How much of those charters may take, in bytes.
const (
	greetChartersMax = 768 << 10
	headsChartersMax = 4 << 20
)

type acceptRequest struct {
	Invitation []byte            `json:"invitation"`
	Proof      []byte            `json:"proof"`
	Pact       []byte            `json:"pact"`
	Sig        pact.Signature    `json:"sig"`
	Charters   []identity.Signed `json:"charters"`
	Name       string            `json:"name"`
	Addrs      []string          `json:"addrs"`
}

type acceptAnswer struct {
	Pact     pact.SignedPact   `json:"pact"`
	Charters []identity.Signed `json:"charters"`
	Name     string            `json:"name"`
	Addrs    []string          `json:"addrs"`
}

type recoverRequest struct {
	Admission *identity.Signed `json:"admission,omitempty"`
	Charter   *identity.Signed `json:"charter,omitempty"`
}

type recoverAnswer struct {
	Nonce   []byte      `json:"nonce,omitempty"`
	Grid    *core.DID   `json:"grid,omitempty"`
	Charter *core.Score `json:"charter,omitempty"`
}

// greeting is both the request and the answer.
type greeting struct {
	Charters []identity.Signed `json:"charters"`
	Addrs    []string          `json:"addrs"`
	Name     string            `json:"name"`
	// Heads are those of the receiver's household that the sender holds.
	Heads []headSeq `json:"heads"`
	// Time is what the sender's clock says, in Unix seconds; 0 says nothing.
	Time int64 `json:"time"`
	// Machines are the receiver's household's others, where the sender has found them last.
	Machines []AgentAddrs `json:"machines,omitempty"`
	// Club changes with what the sender, a club, has for its members; 0 of any other.
	Club uint64 `json:"club,omitempty"`
}

type headSeq struct {
	Agent core.DID `json:"agent"`
	Seq   uint64   `json:"seq"`
}

type charterRequest struct {
	Charters []identity.Signed `json:"charters"`
}

type charterAnswer struct {
	Newest core.Score `json:"newest"`
}

type headRequest struct {
	Head identity.Signed `json:"head"`
	Base uint64          `json:"base"`
	Add  []core.Score    `json:"add"`
	Drop []core.Score    `json:"drop"`
}

type headAnswer struct {
	Seq uint64 `json:"seq"`
}

type headsAnswer struct {
	Charters []identity.Signed `json:"charters"`
	Heads    []heldHead        `json:"heads"`
	// Machines are the household's, where they were found last.
	Machines []AgentAddrs `json:"machines,omitempty"`
	// Roll is the household's, where it is a club of which we are a member.
	Roll *identity.Signed `json:"roll,omitempty"`
}

type heldHead struct {
	Head  identity.Signed `json:"head"`
	Pages []core.Score    `json:"pages"`
}

func (f *Federation) routes() []wire.Route {
	const (
		greeted = wire.Partner | wire.Own
		bring   = greeted | wire.Guest
		own     = bring | wire.Admitted
	)
	return []wire.Route{
		{Method: "POST", Path: "/accept", Who: wire.Stranger, Limit: acceptLimit, Handler: wire.Handle(f.handleAccept)},
		{Method: "POST", Path: "/recover", Who: wire.Stranger, Limit: recoverLimit, Handler: wire.Handle(f.handleRecover)},
		{Method: "POST", Path: "/ticket", Who: wire.Stranger, Limit: ticketLimit, Handler: wire.Handle(f.handleTicket)},
		{Method: "POST", Path: "/credential", Who: wire.Stranger, Limit: credentialLimit, Handler: wire.Handle(f.handleCredential)},
		{Method: "POST", Path: "/greet", Who: greeted, Limit: greetLimit, Handler: wire.Handle(f.handleGreet)},
		{Method: "GET", Path: "/club", Who: wire.Partner | wire.Stranger, Handler: wire.Handle(f.handleClub)},
		{Method: "POST", Path: "/amend", Who: wire.Partner, Limit: amendLimit, Handler: wire.Handle(f.handleAmend)},
		{Method: "POST", Path: "/charter", Who: own, Limit: charterLimit, Handler: wire.Handle(f.handleCharter)},
		{Method: "PUT", Path: "/state/{score}", Who: bring, Limit: pageLimit, Handler: http.HandlerFunc(f.handlePutPage)},
		{Method: "GET", Path: "/state/{score}", Who: own, Handler: http.HandlerFunc(f.handleGetPage)},
		{Method: "POST", Path: "/head", Who: bring, Limit: headLimit, Handler: wire.Handle(f.handleHead)},
		{Method: "GET", Path: "/heads", Who: own, Handler: wire.Handle(f.handleHeads)},
	}
}

// The most time that an exchange may take, dialling included: a machine that lets bytes
// drip does not hold up for ever who waits. That it makes progress package wire sees to.
const (
	shortTime = 30 * time.Second // a few kilobytes, or one page
	longTime  = 3 * time.Minute  // charters, lists
)

// post makes one exchange, in bounded time.
func post[Out any](ctx context.Context, c Config, d time.Duration, to core.DID, path string, in any) (Out, error) {
	ctx, cancel := within(ctx, c.Clock, d)
	defer cancel()
	var out Out
	err := c.Wire.Call(ctx, to, http.MethodPost, path, in, &out)
	return out, cause(ctx, err)
}

// cause puts why ctx ended, if it did, into err.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func (f *Federation) callAccept(ctx context.Context, to core.DID, in acceptRequest) (acceptAnswer, error) {
	return post[acceptAnswer](ctx, f.c, shortTime, to, "/accept", in)
}

// handleRecover begins an admission (empty request), proves one by the grid root's
// signature over a nonce, or by a charter of the root's that is newer than any
// known here and lists the caller: then nobody has to type the phrase again
// for a partner that was away during a recovery.
func (f *Federation) handleRecover(ctx context.Context, in recoverRequest) (recoverAnswer, error) {
	agent := wire.CallerOf(ctx).Agent
	unknown := &wire.Error{Code: wire.CodeUnknown, Message: "that admits nobody here"}
	var grid core.DID
	switch {
	case in.Admission == nil && in.Charter == nil:
		nonce := f.giveNonce(agent)
		return recoverAnswer{Nonce: nonce[:]}, nil
	case in.Admission != nil:
		a, err := pact.OpenAdmission(*in.Admission)
		if err != nil || a.Agent != agent || a.Partner != f.self.Agent || !f.takeNonce(agent, a.Nonce) {
			return recoverAnswer{}, unknown
		}
		if !f.knows(a.Grid) {
			return recoverAnswer{}, unknown
		}
		grid = a.Grid
		f.admit(agent, grid)
	default:
		if !f.knows(in.Charter.By) { // before the dear work
			return recoverAnswer{}, unknown
		}
		c, err := charter.Open(*in.Charter)
		if err != nil || !c.Lists(agent) {
			return recoverAnswer{}, unknown
		}
		grid = c.Grid
		if err := f.takeCharters(ctx, grid, []identity.Signed{*in.Charter}); err != nil {
			return recoverAnswer{}, err
		}
	}
	newest := f.newestScore(grid)
	return recoverAnswer{Grid: &grid, Charter: &newest}, nil
}

// knows tells whether a household is ours or a partner's.
func (f *Federation) knows(grid core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.householdOf(grid) != nil
}

// callRecover begins or proves an admission.
func callRecover(ctx context.Context, c Config, to core.DID, in recoverRequest) (recoverAnswer, error) {
	return post[recoverAnswer](ctx, c, shortTime, to, "/recover", in)
}

func (f *Federation) handleCharter(ctx context.Context, in charterRequest) (charterAnswer, error) {
	grid := wire.CallerOf(ctx).Grid
	if err := f.takeCharters(ctx, grid, in.Charters); err != nil {
		return charterAnswer{}, err
	}
	return charterAnswer{Newest: f.newestScore(grid)}, nil
}

func callCharter(ctx context.Context, c Config, to core.DID, charters []identity.Signed) (charterAnswer, error) {
	return post[charterAnswer](ctx, c, longTime, to, "/charter", charterRequest{Charters: charters})
}

// takeCharters learns charters that somebody handed over of its own household, and
// refuses where a newer one is known: all are kept as evidence.
func (f *Federation) takeCharters(ctx context.Context, grid core.DID, given []identity.Signed) error {
	if len(given) == 0 {
		return &wire.Error{Code: wire.CodeInvalid, Message: "no charter"}
	}
	if err := f.learn(ctx, grid, given); errors.Is(err, core.ErrCorrupt) || errors.Is(err, core.ErrVersion) {
		return invalid(err)
	} else if err != nil {
		return err
	}
	f.mu.Lock()
	h := f.householdOf(grid)
	if h == nil { // a guest that has just been forgotten
		f.mu.Unlock()
		return core.ErrForbidden
	}
	newest := h.newest()
	f.mu.Unlock()
	if slices.ContainsFunc(given, func(s identity.Signed) bool { return bytes.Equal(s.Sig, newest.Sig) }) {
		return nil
	}
	return staleError(newest)
}

// staleError shows who came with an older charter the one that stands.
func staleError(newest identity.Signed) error {
	evidence, err := newest.Marshal()
	if err != nil {
		return err
	}
	return &wire.Error{Code: wire.CodeCharterStale, Message: "a newer charter of this household is known", Evidence: evidence}
}

func (f *Federation) newestScore(grid core.DID) core.Score {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.householdOf(grid)
	if h == nil {
		return core.Score{}
	}
	_, score := h.chain.Newest()
	return score
}

// handleGreet takes in the charters and addresses of a partner's machine, or of one of
// ours, and answers with ours.
func (f *Federation) handleGreet(ctx context.Context, in greeting) (greeting, error) {
	caller := wire.CallerOf(ctx)
	if err := f.takeCharters(ctx, caller.Grid, in.Charters); err != nil {
		return greeting{}, err
	}
	if again, err := f.Classify(ctx, caller.Agent); err != nil || again.Grid != caller.Grid {
		return greeting{}, errors.Join(err, core.ErrForbidden)
	}
	if err := f.locate(ctx, caller.Grid, caller.Agent, in.Addrs); err != nil {
		return greeting{}, err
	}
	f.hearClock(caller.Grid, in.Time)
	f.hear(in.Machines)
	f.hearClub(caller.Grid, in.Club)
	f.Saw(caller.Agent)
	switch ahead := f.ahead(in.Heads); {
	case caller.Class == wire.Own && ahead:
		f.nudgeOwn(caller.Agent)
	case caller.Class == wire.Partner && (ahead || f.behind(in.Heads) || f.toSettle(caller.Grid)):
		f.Nudge(caller.Grid)
	}
	return f.greeting(caller.Grid, caller.Agent)
}

// greeting is what we tell a machine of a household.
func (f *Federation) greeting(grid, agent core.DID) (greeting, error) {
	heads, err := f.heldSeqs(grid)
	if err != nil {
		return greeting{}, err
	}
	return greeting{
		Charters: f.ownCharters(greetChartersMax), Addrs: tidyAddrs(f.c.Addrs()), Name: f.self.Name, Heads: heads,
		Time: f.now(), Machines: f.machinesOf(grid, agent), Club: f.clubSerial(),
	}, nil
}

func (f *Federation) callGreet(ctx context.Context, to core.DID, in greeting) (greeting, error) {
	return post[greeting](ctx, f.c, longTime, to, "/greet", in)
}

func (f *Federation) handlePutPage(w http.ResponseWriter, r *http.Request) {
	score, err := core.ParseScore(r.PathValue("score"))
	if err != nil {
		wire.WriteError(w, r, invalid(err))
		return
	}
	data, err := wire.ReadBytes(r, nil)
	if err == nil {
		err = f.keepPage(r.Context(), wire.CallerOf(r.Context()), score, data)
	}
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (f *Federation) callPutPage(ctx context.Context, to core.DID, score core.Score, data []byte) error {
	return f.c.Wire.Send(ctx, to, "/state/"+score.String(), data)
}

func (f *Federation) handleGetPage(w http.ResponseWriter, r *http.Request) {
	score, err := core.ParseScore(r.PathValue("score"))
	if err != nil {
		wire.WriteError(w, r, invalid(err))
		return
	}
	data, err := f.page(r.Context(), wire.CallerOf(r.Context()).Grid, score)
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteBytes(w, data)
}

// fetchPage gets a sealed page and checks that it is the one.
func fetchPage(ctx context.Context, c Config, from core.DID, score core.Score, buf []byte) ([]byte, error) {
	ctx, cancel := within(ctx, c.Clock, shortTime)
	defer cancel()
	data, err := c.Wire.Fetch(ctx, from, "/state/"+score.String(), buf, pageLimit)
	if err != nil {
		return nil, cause(ctx, err)
	}
	if core.ScoreOf(data) != score {
		return nil, fmt.Errorf("page %s from %s: other bytes came: %w", score.Short(), from.Short(), core.ErrCorrupt)
	}
	return data, nil
}

func (f *Federation) handleHead(ctx context.Context, in headRequest) (headAnswer, error) {
	who := wire.CallerOf(ctx)
	seq, err := f.keepHead(ctx, who, in)
	if err == nil && who.Class == wire.Own {
		wake(f.brought)
	}
	return headAnswer{Seq: seq}, err
}

func (f *Federation) callHead(ctx context.Context, to core.DID, in headRequest) error {
	return f.c.Wire.Call(ctx, to, http.MethodPost, "/head", in, nil)
}

func (f *Federation) handleHeads(ctx context.Context, _ struct{}) (headsAnswer, error) {
	caller := wire.CallerOf(ctx)
	out, err := f.heldHeads(caller.Grid)
	out.Machines, out.Roll = f.machinesOf(caller.Grid, caller.Agent), f.heldRoll(caller.Grid)
	return out, err
}

func callHeads(ctx context.Context, c Config, to core.DID) (headsAnswer, error) {
	ctx, cancel := within(ctx, c.Clock, longTime)
	defer cancel()
	var out headsAnswer
	err := c.Wire.CallLimit(ctx, to, http.MethodGet, "/heads", nil, &out, headsLimit)
	return out, cause(ctx, err)
}
