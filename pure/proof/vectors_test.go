package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/grange-grid/grange/core"
)

var update = flag.Bool("update", false, "write docs/vectors/proof.json anew")

const vectorsPath = "../../docs/vectors/proof.json"

type vectors struct {
	About  string        `json:"about"`
	Proofs []proofVector `json:"proofs"`
}

type proofVector struct {
	Stream string `json:"stream"`
	Size   int    `json:"size"`
	Block  uint64 `json:"block"`
	Score  string `json:"score"`
	Slice  string `json:"slice"`
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	v := vectors{About: "A piece is the first size bytes of BLAKE3(stream || u64 0) || BLAKE3(stream || u64 1) || ..., big-endian."}
	for _, c := range []struct {
		size  int
		block uint64
	}{{1, 0}, {1024, 0}, {1025, 0}, {1025, 1}, {5000, 2}, {1<<20 - 1, 1023}, {1 << 20, 0}, {1 << 20, 700}} {
		data := bytesOf("piece", c.size)
		score := core.ScoreOf(data)
		v.Proofs = append(v.Proofs, proofVector{
			"piece", c.size, c.block, hex.EncodeToString(score[:]), hex.EncodeToString(mustProve(t, data, c.block)),
		})
	}
	return v
}

func TestVectors(t *testing.T) {
	if *update {
		text, err := json.MarshalIndent(makeVectors(t), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsPath, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Proofs) < 8 {
		t.Fatalf("only %d vectors", len(v.Proofs))
	}
	for i, c := range v.Proofs {
		data := bytesOf(c.Stream, c.Size)
		slice, err := hex.DecodeString(c.Slice)
		if err != nil {
			t.Fatal(err)
		}
		score, err := hex.DecodeString(c.Score)
		if err != nil {
			t.Fatal(err)
		}
		if core.ScoreOf(data) != core.Score(score) {
			t.Errorf("vector %d: another score", i)
		}
		if got := mustProve(t, data, c.Block); !bytes.Equal(got, slice) {
			t.Errorf("vector %d: another slice", i)
		}
		if err := Verify(core.Score(score), int64(c.Size), c.Block, slice); err != nil {
			t.Errorf("vector %d: %v", i, err)
		}
	}
}
