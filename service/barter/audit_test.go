package barter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/proof"
)

func TestAuditBelievesNobody(t *testing.T) {
	real := func(h *home, in proveRequest) []proofAnswer {
		out, err := h.now().proveAll(context.Background(), h.w.homes[0].grid, in.Challenges)
		if err != nil {
			panic(err)
		}
		return out
	}
	each := func(lie func(h *home, in challenge, a *proofAnswer)) func(*home, proveRequest, int) ([]proofAnswer, error) {
		return func(h *home, in proveRequest, _ int) ([]proofAnswer, error) {
			out := real(h, in)
			for i := range out {
				lie(h, in.Challenges[i], &out[i])
			}
			return out, nil
		}
	}
	const size = 5_000 // five blocks, the last short
	for name, c := range map[string]struct {
		lie   func(h *home, in proveRequest, call int) ([]proofAnswer, error)
		state core.PieceState
		kind  error
		fails bool
	}{
		"honest":     {each(func(*home, challenge, *proofAnswer) {}), core.PieceOK, nil, false},
		"no slice":   {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice = nil }), core.PieceCorrupt, core.ErrCorrupt, true},
		"bit":        {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice[len(a.Slice)-1] ^= 1 }), core.PieceCorrupt, core.ErrCorrupt, true},
		"longer":     {each(func(_ *home, _ challenge, a *proofAnswer) { a.Slice = append(a.Slice, 0) }), core.PieceCorrupt, core.ErrCorrupt, true},
		"state":      {each(func(_ *home, _ challenge, a *proofAnswer) { a.State = "fine" }), core.PieceCorrupt, core.ErrInvalid, true},
		"gone state": {each(func(_ *home, _ challenge, a *proofAnswer) { a.State = core.PieceGone }), core.PieceCorrupt, core.ErrInvalid, true},
		"missing":    {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceMissing} }), core.PieceMissing, nil, true},
		"corrupt":    {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceCorrupt} }), core.PieceCorrupt, nil, true},
		"away":       {each(func(_ *home, _ challenge, a *proofAnswer) { *a = proofAnswer{State: core.PieceAway} }), core.PieceAway, nil, true},
		"another block": {each(func(h *home, in challenge, a *proofAnswer) {
			data, err := h.disk.Blobs().Get(context.Background(), in.Score, nil)
			if err != nil {
				panic(err)
			}
			a.Slice, _ = proof.Prove(data, (in.Block+1)%5)
		}), core.PieceCorrupt, core.ErrCorrupt, true},
		"another piece": {each(func(h *home, in challenge, a *proofAnswer) {
			a.Slice, _ = proof.Prove(bytesOf(99, size), in.Block)
		}), core.PieceCorrupt, core.ErrCorrupt, true},
		"too few": {func(h *home, in proveRequest, _ int) ([]proofAnswer, error) { return real(h, in)[1:], nil }, core.PieceAway, core.ErrInvalid, true},
		"too many": {func(h *home, in proveRequest, _ int) ([]proofAnswer, error) {
			return append(real(h, in), proofAnswer{}), nil
		}, core.PieceAway, core.ErrInvalid, true},
		"none":  {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, nil }, core.PieceAway, core.ErrInvalid, true},
		"busy":  {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, core.ErrBusy }, core.PieceAway, core.ErrBusy, true},
		"fault": {func(*home, proveRequest, int) ([]proofAnswer, error) { return nil, io.ErrNoProgress }, core.PieceAway, nil, true},
		"once missing": {func(h *home, in proveRequest, call int) ([]proofAnswer, error) {
			if call == 1 {
				return make([]proofAnswer, len(in.Challenges)), nil
			}
			return real(h, in), nil
		}, core.PieceOK, nil, false},
		"once away, then missing": {func(_ *home, in proveRequest, call int) ([]proofAnswer, error) {
			if call == 1 {
				return nil, core.ErrBusy
			}
			out := make([]proofAnswer, len(in.Challenges))
			for i := range out {
				out[i].State = core.PieceMissing
			}
			return out, nil
		}, core.PieceAway, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, pieces, _ := placedWorld(t, 3, size)
			owner, holder := w.homes[0], w.homes[1]
			calls := 0
			holder.instead("POST /prove", wire.Handle(func(_ context.Context, in proveRequest) (proveAnswer, error) {
				calls++
				proofs, err := c.lie(holder, in, calls)
				return proveAnswer{Proofs: proofs}, err
			}))
			found := map[*home]int{}
			err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
				want, kind := core.PieceOK, error(nil)
				for _, h := range w.homes[1:] {
					if f.Agent == h.agent() && f.Grid == h.grid {
						found[h]++
						if h == holder {
							want, kind = c.state, c.kind
						}
					}
				}
				if f.State != want || kind != nil && !errors.Is(f.Err, kind) {
					t.Errorf("found %s, %v; want %s, %v", f.State, f.Err, want, kind)
				}
			})
			if err != nil || found[holder] != 10 || found[w.homes[2]] != 10 {
				t.Errorf("found %v, %v", found, err)
			}
			if calls > 2 {
				t.Errorf("asked %d times", calls)
			}
			for _, p := range pieces {
				held, err := owner.now().Held(p.Score)
				if err != nil || len(held) != 1 {
					t.Fatal(held, err)
				}
				var r placedRecord
				if _, err := owner.now().read(placedKey(p.Score, held[0].Agent), &r); err != nil {
					t.Fatal(err)
				}
				if want := held[0].Agent == holder.agent() && c.fails; want != (r.Fails == 1) || want != (r.Failed > 0) {
					t.Errorf("the record says %+v", r)
				}
			}
			// A good audit wipes the slate.
			holder.instead("POST /prove", nil)
			if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
				var r placedRecord
				if _, err := owner.now().read(placedKey(f.Score, f.Agent), &r); err != nil || r.Fails != 0 || f.State != core.PieceOK {
					t.Errorf("found %s, the record says %+v: %v", f.State, r, err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAuditTellsWhatHappened(t *testing.T) {
	w, pieces, _ := placedWorld(t, 5, 3_000)
	owner := w.homes[0]
	rotting, losing, away, gone := w.homes[1], w.homes[2], w.homes[3], w.homes[4]
	for _, p := range pieces {
		rotting.disk.Blobs().Rot(p.Score)
		losing.disk.Blobs().Lose(p.Score)
	}
	away.disk.Blobs().SetAway(true)
	gone.mu.Lock()
	gone.agents = []core.DID{{77}} // its household has another machine now
	gone.mu.Unlock()
	want := map[core.DID]core.PieceState{
		rotting.agent(): core.PieceCorrupt, losing.agent(): core.PieceMissing, away.agent(): core.PieceAway, gone.agent(): core.PieceGone,
	}
	n := 0
	audit := func(pieces []core.Piece) {
		if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
			n++
			if f.State != want[f.Agent] {
				t.Errorf("found %s, want %s: %v", f.State, want[f.Agent], f.Err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	audit(pieces)
	// Of a piece whose size is not known nothing can be proven, or said.
	unsized := slices.Clone(pieces)
	for i := range unsized {
		unsized[i].Size = 0
	}
	away.disk.Blobs().SetAway(false)
	gone.mu.Lock()
	gone.agents = nil
	gone.mu.Unlock()
	want[gone.agent()] = core.PieceAway
	audit(unsized)
	if n != 40 {
		t.Errorf("%d findings", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := owner.now().Audit(ctx, pieces, func(f core.Finding) { t.Errorf("found %s", f.State) }); !errors.Is(err, context.Canceled) {
		t.Errorf("an audit that was ended: %v", err)
	}
}

// A machine that is out of reach is asked twice, however many pieces it has.
func TestAuditOfAMachineThatIsAway(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	var pieces []core.Piece
	p := mustPlace(t, owner, 1)
	for seed := range 30 {
		mustSegment(t, p, seed, 10, upTo(20))
		s, _ := segmentOf(seed, 10, 10, 10)
		for i := range 20 {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 10})
		}
	}
	commit(t, p, true)
	w.net.Down(holder.agent())
	owner.freshes = 0
	n := 0
	if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
		n++
		if f.State != core.PieceAway || !errors.Is(f.Err, core.ErrUnreachable) {
			t.Errorf("found %s, %v", f.State, f.Err)
		}
	}); err != nil || n != 600 || owner.freshes != 1 {
		t.Errorf("%d findings, %d connections, %v", n, owner.freshes, err)
	}
}

// One that was busy for a moment is asked for the rest.
func TestAuditOfAMachineThatIsBusy(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	var pieces []core.Piece
	p := mustPlace(t, owner, 1)
	for seed := range 10 {
		mustSegment(t, p, seed, 10, upTo(20))
		s, _ := segmentOf(seed, 10, 10, 10)
		for i := range 20 {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 10})
		}
	}
	commit(t, p, true)
	calls := 0
	real := holder.real("POST /prove")
	holder.instead("POST /prove", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls <= 2 {
			wire.WriteError(w, r, core.ErrBusy)
			return
		}
		real.ServeHTTP(w, r)
	}))
	found := map[core.PieceState]int{}
	if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) { found[f.State]++ }); err != nil {
		t.Fatal(err)
	}
	if found[core.PieceAway] != auditBatch || found[core.PieceOK] != 200-auditBatch {
		t.Errorf("found %v", found)
	}
}

func TestForget(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	owner := w.homes[0]
	var all []core.Holding
	for _, p := range pieces {
		held, err := owner.now().Held(p.Score)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, held...)
	}
	if err := owner.now().Forget(append(all[:5:5], all[0], core.Holding{})...); err != nil {
		t.Fatal(err)
	}
	owner.checkPlaced(t)
	if sum := owner.now().Placed(w.homes[1].grid) + owner.now().Placed(w.homes[2].grid); sum != 15_000 {
		t.Errorf("%d bytes are placed", sum)
	}
	if held, err := owner.now().Held(pieces[0].Score); err != nil || len(held) != 0 {
		t.Errorf("held %v, %v", held, err)
	}
}
