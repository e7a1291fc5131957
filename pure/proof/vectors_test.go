package proof

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

type vectors struct {
	About  string        `json:"about"`
	Proofs []proofVector `json:"proofs"`
}

type proofVector struct {
	Stream string     `json:"stream"`
	Size   int        `json:"size"`
	Block  uint64     `json:"block"`
	Score  golden.Hex `json:"score"`
	Slice  golden.Hex `json:"slice"`
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	v := vectors{About: "A piece is the first size bytes of BLAKE3(stream || u64 0) || BLAKE3(stream || u64 1) || ..., big-endian."}
	for _, c := range []struct {
		size  int
		block uint64
	}{{1, 0}, {1024, 0}, {1025, 0}, {1025, 1}, {5000, 2}, {1<<20 - 1, 1023}, {1 << 20, 0}, {1 << 20, 700}} {
		data := golden.Stream("piece", c.size)
		score := core.ScoreOf(data)
		v.Proofs = append(v.Proofs, proofVector{
			"piece", c.size, c.block, score[:], mustProve(t, data, c.block),
		})
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "proof", makeVectors)
	if len(v.Proofs) < 8 {
		t.Fatalf("only %d vectors", len(v.Proofs))
	}
	for i, c := range v.Proofs {
		data := golden.Stream(c.Stream, c.Size)
		if core.ScoreOf(data) != core.Score(c.Score) {
			t.Errorf("vector %d: another score", i)
		}
		if got := mustProve(t, data, c.Block); !bytes.Equal(got, c.Slice) {
			t.Errorf("vector %d: another slice", i)
		}
		if err := Verify(core.Score(c.Score), int64(c.Size), c.Block, c.Slice); err != nil {
			t.Errorf("vector %d: %v", i, err)
		}
	}
}
