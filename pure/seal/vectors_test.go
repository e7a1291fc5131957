package seal

import (
	"bytes"
	"testing"
	"testing/cryptotest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

type vectors struct {
	Chunks []chunkVector `json:"chunks"`
	Smalls []smallVector `json:"smalls"`
	States []smallVector `json:"states"`
	Boxes  []boxVector   `json:"boxes"`
}

type chunkVector struct {
	Secret golden.Hex `json:"secret"`
	Packed golden.Hex `json:"packed"`
	Score  golden.Hex `json:"score"`
	Key    golden.Hex `json:"key"`
	Sealed golden.Hex `json:"sealed"`
}

type smallVector struct {
	Context string     `json:"context"`
	Secret  golden.Hex `json:"secret"`
	Salt    golden.Hex `json:"salt"`
	Text    golden.Hex `json:"text"`
	Box     golden.Hex `json:"box"`
}

type boxVector struct {
	Seed   golden.Hex `json:"seed"`
	Public golden.Hex `json:"public"`
	Info   golden.Hex `json:"info"`
	Text   golden.Hex `json:"text"`
	Box    golden.Hex `json:"box"`
}

// bytesOf returns 32 bytes that depend on name alone.
func bytesOf(name string) *[32]byte {
	b := [32]byte(core.ScoreOf([]byte(name)))
	return &b
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1) // boxes draw randomness
	var v vectors
	secret := bytesOf("vault secret")
	for _, packed := range []string{"", "\x00\x00\x00\x00\x05grain", string(bytes.Repeat([]byte("barley "), 20))} {
		sealed, score, key := Chunk(secret, []byte(packed), nil)
		v.Chunks = append(v.Chunks, chunkVector{secret[:], []byte(packed), score[:], key[:], sealed})
	}
	salt := bytesOf("salt")
	for _, text := range []string{"", "attic laptop"} {
		v.Smalls = append(v.Smalls, smallVector{ContextName, secret[:], salt[:], []byte(text), small(ContextName, secret, salt, []byte(text))})
		v.States = append(v.States, smallVector{contextState, secret[:], salt[:], []byte(text), State(secret, salt, []byte(text))})
	}
	seed := bytesOf("X-Wing seed")
	private, err := NewPrivateKey(*seed)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "the secrets of an epoch"} {
		box, err := To(private.Public(), []byte("grange/v1/secrets\x00"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v.Boxes = append(v.Boxes, boxVector{seed[:], private.Public(), []byte("grange/v1/secrets\x00"), []byte(text), box})
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.Kept(t, "seal", makeVectors)
	if len(v.Chunks) < 3 || len(v.Smalls) < 2 || len(v.States) < 2 || len(v.Boxes) < 2 {
		t.Fatalf("vectors are missing: %d %d %d %d", len(v.Chunks), len(v.Smalls), len(v.States), len(v.Boxes))
	}
	for i, c := range v.Chunks {
		sealed, score, key := Chunk((*[32]byte)(c.Secret), c.Packed, nil)
		if !bytes.Equal(sealed, c.Sealed) || !bytes.Equal(score[:], c.Score) || !bytes.Equal(key[:], c.Key) {
			t.Errorf("chunk %d seals to other bytes, score or key", i)
		}
		if got, err := OpenChunk(Key(c.Key), core.Score(c.Score), c.Sealed, nil); err != nil || !bytes.Equal(got, c.Packed) {
			t.Errorf("chunk %d opens to %x, %v", i, got, err)
		}
	}
	for i, s := range v.Smalls {
		if got := small(s.Context, (*[32]byte)(s.Secret), (*[32]byte)(s.Salt), s.Text); !bytes.Equal(got, s.Box) {
			t.Errorf("small %d seals to %x", i, got)
		}
		if got, err := OpenSmall(s.Context, (*[32]byte)(s.Secret), s.Box); err != nil || !bytes.Equal(got, s.Text) {
			t.Errorf("small %d opens to %x, %v", i, got, err)
		}
	}
	for i, s := range v.States {
		if got := State((*[32]byte)(s.Secret), (*[32]byte)(s.Salt), s.Text); !bytes.Equal(got, s.Box) {
			t.Errorf("state %d seals to %x", i, got)
		}
		if got, err := OpenState((*[32]byte)(s.Secret), (*[32]byte)(s.Salt), s.Box); err != nil || !bytes.Equal(got, s.Text) {
			t.Errorf("state %d opens to %x, %v", i, got, err)
		}
	}
	for i, b := range v.Boxes { // sealing draws randomness, so a box is checked by opening it
		private, err := NewPrivateKey([32]byte(b.Seed))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(private.Public(), b.Public) {
			t.Errorf("box %d: another public key", i)
		}
		if got, err := private.Open(b.Info, b.Box); err != nil || !bytes.Equal(got, b.Text) {
			t.Errorf("box %d opens to %x, %v", i, got, err)
		}
	}
}
