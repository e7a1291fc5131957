package barter

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
)

// Limits of the messages; SPEC.md §7.
const (
	askLimit      = 16 << 10
	leaseLimit    = 1 << 20
	proveLimit    = 64 << 10
	proofsLimit   = 2 << 20
	leasesLimit   = 4 << 20
	releaseLimit  = 256 << 10
	receiptLimit  = 4 << 10
	leasesPage    = 8
	challengesMax = 512
	leasePieceMax = 4096
)

func compareScores(a, b core.Score) int { return bytes.Compare(a[:], b[:]) }

type askRequest struct {
	core.Ask
	// ID names an ask for a flow, so that it can be repeated.
	ID []byte `json:"id,omitempty"`
}

type grantAnswer struct {
	Grant   []byte `json:"grant"`
	Amount  int64  `json:"amount"`
	Expires int64  `json:"expires"`
}

type leaseRequest struct {
	Pieces  []core.Piece `json:"pieces"`
	Seconds int64        `json:"seconds"`
	// Close names grants that are used no more.
	Close [][]byte `json:"close,omitempty"`
	// ID names the request, so that its answer can be asked for once more.
	ID []byte `json:"id,omitempty"`
	// Again asks for that answer alone: nothing is leased now.
	Again bool `json:"again,omitempty"`
}

type leaseAnswer struct {
	Lease   *identity.Signed `json:"lease,omitempty"`
	Missing []core.Score     `json:"missing,omitempty"`
	// Sizes are those of the lease's pieces, where the caller did not name them all.
	Sizes []int64 `json:"sizes,omitempty"`
}

type leasesAnswer struct {
	Leases []identity.Signed `json:"leases"`
	// Aside are those of their pieces that are set aside, rising.
	Aside []core.Score `json:"aside,omitempty"`
	More  bool         `json:"more"`
}

type releaseRequest struct {
	// Release is left out by who only asks how things stand.
	Release *identity.Signed `json:"release,omitempty"`
}

type releaseAnswer struct {
	// Aside is how many pieces are set aside by it.
	Aside int `json:"aside"`
	// Alarm says that so much was released lately that it is kept for longer.
	Alarm bool `json:"alarm"`
	// Left is how many bytes of what has been here for a day can be released now without that.
	Left int64 `json:"left"`
}

type receiptRequest struct {
	Receipt identity.Signed `json:"receipt"`
}

type receiptAnswer struct {
	// Total is what the provider itself counts up to Until.
	Total uint64 `json:"total"`
	Until int64  `json:"until"`
	// Last is the last receipt that the provider has, where the one that came does not follow on it; then that
	// one was not taken.
	Last *identity.Signed `json:"last,omitempty"`
}

type challenge struct {
	Score core.Score `json:"score"`
	Block uint64     `json:"block"`
}

type proveRequest struct {
	Challenges []challenge `json:"challenges"`
}

type proofAnswer struct {
	State core.PieceState `json:"state"`
	Slice []byte          `json:"slice,omitempty"`
}

type proveAnswer struct {
	Proofs []proofAnswer `json:"proofs"`
}

// Routes returns barter's piece of the peer protocol.
func (b *Barter) Routes() []wire.Route {
	const (
		owner = wire.Partner | wire.Own | wire.Guest
		own   = owner | wire.Admitted
	)
	return []wire.Route{
		{Method: "POST", Path: "/ask", Who: owner, Limit: askLimit, Handler: wire.Handle(b.handleAsk)},
		{Method: "PUT", Path: "/pieces/{score}", Who: owner, Limit: erasure.PieceSizeMax, Handler: http.HandlerFunc(b.handlePut)},
		{Method: "GET", Path: "/pieces/{score}", Who: own | wire.Bearer, Handler: http.HandlerFunc(b.handleGet)},
		{Method: "POST", Path: "/leases", Who: owner, Limit: leaseLimit, Handler: wire.Handle(b.handleLease)},
		{Method: "POST", Path: "/release", Who: owner, Limit: releaseLimit, Handler: wire.Handle(b.handleRelease)},
		{Method: "POST", Path: "/receipt", Who: wire.Partner | wire.Guest, Limit: receiptLimit, Handler: wire.Handle(b.handleReceipt)},
		{Method: "GET", Path: "/leases", Who: own, Handler: http.HandlerFunc(b.handleLeases)},
		{Method: "POST", Path: "/prove", Who: owner, Limit: proveLimit, Handler: wire.Handle(b.handleProve)},
	}
}

func (b *Barter) handleAsk(ctx context.Context, in askRequest) (grantAnswer, error) {
	if len(in.ID) != 0 && len(in.ID) != grantIDSize {
		return grantAnswer{}, fmt.Errorf("an ask with a name of %d bytes, not %d: %w", len(in.ID), grantIDSize, core.ErrInvalid)
	}
	c := wire.CallerOf(ctx)
	return b.ask(c.Grid, c.Agent, in)
}

func (b *Barter) handlePut(w http.ResponseWriter, r *http.Request) {
	if err := b.readPut(r); err != nil {
		wire.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (b *Barter) readPut(r *http.Request) error {
	owner := wire.CallerOf(r.Context()).Grid
	score, id, about, err := parsePut(r, owner)
	if err != nil {
		return err
	}
	buf := b.borrow()
	defer b.giveBack(buf)
	data, err := wire.ReadBytes(r, *buf)
	if err != nil {
		return fmt.Errorf("read the piece: %w", err)
	}
	return b.keep(r.Context(), owner, id, core.Blob{Score: score, Note: about, Data: data})
}

func parsePut(r *http.Request, owner core.DID) (score core.Score, id [grantIDSize]byte, about []byte, err error) {
	if score, err = core.ParseScore(r.PathValue("score")); err != nil {
		return score, id, nil, fmt.Errorf("%w: %w", err, core.ErrInvalid)
	}
	q := r.URL.Query()
	raw, err := hex.DecodeString(q.Get("grant"))
	if err != nil || len(raw) != grantIDSize {
		return score, id, nil, fmt.Errorf("grant %.40q is not %d bytes in hexadecimal: %w", q.Get("grant"), grantIDSize, core.ErrInvalid)
	}
	copy(id[:], raw)
	segment, err := hex.DecodeString(q.Get("segment"))
	if err != nil || len(segment) != manifest.SegmentIDSize {
		return score, id, nil, fmt.Errorf("segment %.40q is not %d bytes in hexadecimal: %w", q.Get("segment"), manifest.SegmentIDSize, core.ErrInvalid)
	}
	index, err := strconv.ParseUint(q.Get("index"), 10, 8)
	if err != nil || index >= erasure.DataMax+erasure.ParityMax {
		return score, id, nil, fmt.Errorf("index %.10q is not a piece's: %w", q.Get("index"), core.ErrInvalid)
	}
	about, err = codec.Marshal(note{V: 1, Kind: notePiece, Owner: owner, Segment: segment, Index: uint(index)})
	return score, id, about, err
}

func putPath(piece core.Score, grantID, segment []byte, index int) string {
	q := url.Values{
		"grant":   {hex.EncodeToString(grantID)},
		"segment": {hex.EncodeToString(segment)},
		"index":   {strconv.Itoa(index)},
	}
	return "/pieces/" + piece.String() + "?" + q.Encode()
}

func (b *Barter) handleGet(w http.ResponseWriter, r *http.Request) {
	score, err := core.ParseScore(r.PathValue("score"))
	if err != nil {
		wire.WriteError(w, r, fmt.Errorf("%w: %w", err, core.ErrInvalid))
		return
	}
	c, h := wire.CallerOf(r.Context()), hasteNormal
	if c.Class == wire.Own { // who bears a ticket of ours has its household too
		h = hasteHome
	}
	var buf *[]byte // not while it waits: many may
	data, err := b.serve(r.Context(), c.Grid, h, score, func() []byte {
		buf = b.borrow()
		return *buf
	})
	if buf != nil {
		defer b.giveBack(buf)
	}
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteBytes(w, data)
}

func (b *Barter) handleLease(ctx context.Context, in leaseRequest) (leaseAnswer, error) {
	if err := in.check(); err != nil {
		return leaseAnswer{}, err
	}
	owner := wire.CallerOf(ctx).Grid
	agent := wire.CallerOf(ctx).Agent
	if in.Again {
		return b.leasedBefore(owner, agent, in.ID)
	}
	var out leaseAnswer
	if len(in.Pieces) > 0 {
		var err error
		if out, err = b.lease(ctx, owner, agent, in); err != nil {
			return leaseAnswer{}, err
		}
	}
	if len(in.Close) > 0 {
		b.closeGrants(owner, in.Close)
		if err := b.drop(ctx); err != nil { // the lease has been given, and the room is free: the rest can wait
			b.c.Log.Warn("drop what came under a grant", "err", err)
		}
	}
	return out, nil
}

func (in leaseRequest) check() error {
	if len(in.Pieces) > leasePieceMax || len(in.Close) > grantsMax {
		return fmt.Errorf("a lease over %d pieces that closes %d grants, at most %d and %d: %w",
			len(in.Pieces), len(in.Close), leasePieceMax, grantsMax, core.ErrInvalid)
	}
	if len(in.ID) > askedIDSize || in.Again && len(in.Pieces)+len(in.Close) > 0 {
		return fmt.Errorf("a request for a lease with a name of %d bytes, at most %d, or for an answer and more: %w", len(in.ID), askedIDSize, core.ErrInvalid)
	}
	if len(in.Pieces) > 0 && in.Seconds <= 0 {
		return fmt.Errorf("a lease of %d seconds: %w", in.Seconds, core.ErrInvalid)
	}
	for i, piece := range in.Pieces {
		switch {
		case i > 0 && compareScores(in.Pieces[i-1].Score, piece.Score) >= 0:
			return fmt.Errorf("piece %d of the lease does not rise: %w", i, core.ErrInvalid)
		case piece.Size < 0 || piece.Size > erasure.PieceSizeMax:
			return fmt.Errorf("piece %d of the lease has %d bytes, at most %d: %w", i, piece.Size, erasure.PieceSizeMax, core.ErrInvalid)
		}
	}
	return nil
}

func (b *Barter) handleRelease(ctx context.Context, in releaseRequest) (releaseAnswer, error) {
	c := wire.CallerOf(ctx)
	return b.setAside(ctx, c.Grid, c.Agent, in.Release)
}

func (b *Barter) handleReceipt(ctx context.Context, in receiptRequest) (receiptAnswer, error) {
	c := wire.CallerOf(ctx)
	out, err := b.takeReceipt(c.Grid, c.Agent, in.Receipt)
	if err == nil && out.Last != nil {
		err = b.contradicts(c.Grid, c.Agent, in.Receipt)
	}
	return out, err
}

func (b *Barter) handleLeases(w http.ResponseWriter, r *http.Request) {
	out, err := b.leases(wire.CallerOf(r.Context()).Grid, r.URL.Query().Get("after"))
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteMessage(w, r, out)
}

// leases returns the owner's leases whose score is above after.
func (b *Barter) leases(owner core.DID, after string) (leasesAnswer, error) {
	prefix := join(leasePrefix, owner[:])
	from := prefix
	if after != "" {
		last, err := core.ParseScore(after)
		if err != nil {
			return leasesAnswer{}, fmt.Errorf("%w: %w", err, core.ErrInvalid)
		}
		from = append(join(prefix, last[:]), 0)
	}
	out := leasesAnswer{Leases: []identity.Signed{}}
	aside := map[core.Score]struct{}{}
	for c, err := range b.c.Books.Scan(prefix, from) {
		if err != nil {
			return leasesAnswer{}, fmt.Errorf("read leases: %w", err)
		}
		if len(out.Leases) == leasesPage {
			out.More = true
			break
		}
		var s identity.Signed
		if err := codec.Unmarshal(c.Value, &s, leaseLimit); err != nil {
			return leasesAnswer{}, fmt.Errorf("record %q is broken: %v", c.Key, err)
		}
		out.Leases = append(out.Leases, s)
		if err := b.addAside(owner, s, aside); err != nil {
			return leasesAnswer{}, err
		}
	}
	out.Aside = slices.SortedFunc(maps.Keys(aside), compareScores)
	return out, nil
}

// addAside adds the pieces of a lease of ours that are set aside.
func (b *Barter) addAside(owner core.DID, s identity.Signed, aside map[core.Score]struct{}) error {
	lease, err := pact.OpenLease(s)
	if err != nil {
		return fmt.Errorf("a lease in the books is broken: %v", err)
	}
	for _, piece := range lease.Pieces {
		var r heldRecord
		if _, err := b.read(heldKey(owner, piece), &r); err != nil {
			return err
		}
		if r.Aside != 0 {
			aside[piece] = struct{}{}
		}
	}
	return nil
}

func (b *Barter) handleProve(ctx context.Context, in proveRequest) (proveAnswer, error) {
	if n := len(in.Challenges); n > challengesMax {
		return proveAnswer{}, fmt.Errorf("%d challenges, at most %d: %w", n, challengesMax, core.ErrTooLarge)
	}
	c := wire.CallerOf(ctx)
	proofs, err := b.proveAll(ctx, c.Grid, in.Challenges)
	if slices.ContainsFunc(proofs, func(p proofAnswer) bool { return p.State == core.PieceOK }) {
		err = errors.Join(err, b.noteProven(asHolder, c.Agent))
	}
	return proveAnswer{Proofs: proofs}, err
}
