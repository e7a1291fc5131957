package barter

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
)

// What follows asks a holder as the protocol does, without an owner's Barter.

func (h *home) ask(t *testing.T, of *home, amount int64) (grantAnswer, error) {
	t.Helper()
	pact := pactOf(h.grid, of.grid)
	var out grantAnswer
	err := h.client.Call(t.Context(), of.agent(), "POST", "/ask", core.Ask{
		Resource: core.Storage, Amount: amount, Seconds: 180 * daySeconds, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]},
	}, &out)
	return out, err
}

func (h *home) mustAsk(t *testing.T, of *home, amount int64) []byte {
	t.Helper()
	out, err := h.ask(t, of, amount)
	if err != nil {
		t.Fatalf("ask for %d: %v", amount, err)
	}
	if out.Amount != amount || len(out.Grant) != grantIDSize {
		t.Fatalf("asked for %d: granted %+v", amount, out)
	}
	return out.Grant
}

func (h *home) put(t *testing.T, at *home, grant, data []byte) error {
	t.Helper()
	return h.client.Send(t.Context(), at.agent(), putPath(core.ScoreOf(data), grant, make([]byte, manifest.SegmentIDSize), 3), data)
}

func (h *home) mustPut(t *testing.T, at *home, grant []byte, pieces ...[]byte) {
	t.Helper()
	for _, data := range pieces {
		if err := h.put(t, at, grant, data); err != nil {
			t.Fatalf("put %d bytes: %v", len(data), err)
		}
	}
}

// lease asks for a lease over pieces, and ends grants.
func (h *home) lease(t *testing.T, at *home, closing [][]byte, pieces ...[]byte) (leaseAnswer, error) {
	t.Helper()
	in := leaseRequest{Pieces: []core.Piece{}, Seconds: 180 * daySeconds, Close: closing}
	for _, data := range pieces {
		in.Pieces = append(in.Pieces, core.Piece{Score: core.ScoreOf(data), Size: int64(len(data))})
	}
	slices.SortFunc(in.Pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	var out leaseAnswer
	err := h.client.Call(t.Context(), at.agent(), "POST", "/leases", in, &out)
	return out, err
}

func (h *home) mustLease(t *testing.T, at *home, pieces ...[]byte) {
	t.Helper()
	out, err := h.lease(t, at, nil, pieces...)
	if err != nil || out.Lease == nil || len(out.Missing) > 0 {
		t.Fatalf("lease over %d pieces: %+v, %v", len(pieces), out, err)
	}
}

// bytesOf makes a piece that the seed chooses.
func bytesOf(seed, size int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// segmentOf makes a segment that the seed chooses; that its parity is none does not matter here.
func segmentOf(seed, k, m, size int) (manifest.Segment, [][]byte) {
	s := manifest.Segment{V: 1, ID: bytesOf(seed, manifest.SegmentIDSize), K: uint64(k), M: uint64(m), Size: uint64(size)}
	var pieces [][]byte
	for i := range k + m {
		data := bytesOf(seed*100+i+1, size)
		score := core.ScoreOf(data)
		pieces = append(pieces, data)
		s.Pieces = append(s.Pieces, score[:]...)
	}
	return s, pieces
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func mustPlace(t *testing.T, h *home, expect int64) *Placement {
	t.Helper()
	p, err := h.now().Place(t.Context(), core.Normal, expect)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func commit(t *testing.T, p *Placement, done bool) {
	t.Helper()
	if failed := p.Commit(t.Context(), done); len(failed) > 0 {
		t.Fatalf("commit: %v", failed)
	}
}

func mustMarshal(t interface {
	Helper()
	Fatal(...any)
}, v any,
) []byte {
	t.Helper()
	raw, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
