package seal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
)

func TestChunkRoundTrip(t *testing.T) {
	secret := bytesOf("secret")
	for _, size := range []int{0, 1, 15, 16, 4096, chunk.PackedSizeMax} {
		packed := bytes.Repeat([]byte{7}, size)
		sealed, score, key := Chunk(secret, packed, []byte("before"))
		if score != core.ScoreOf(packed) {
			t.Errorf("%d bytes: score is not that of the packed bytes", size)
		}
		if len(sealed) != len("before")+size+Overhead || string(sealed[:6]) != "before" {
			t.Fatalf("%d bytes: sealed to %d, not appended", size, len(sealed))
		}
		got, err := OpenChunk(key, score, sealed[6:], []byte("ahead"))
		if err != nil || string(got[:5]) != "ahead" || !bytes.Equal(got[5:], packed) {
			t.Errorf("%d bytes: opened to %d, %v", size, len(got), err)
		}
	}
}

func TestChunkKeyIsSpecified(t *testing.T) {
	secret, packed := bytesOf("secret"), []byte("packed")
	score := core.ScoreOf(packed)
	want := core.DeriveKey("grange v1 chunk", secret[:], score[:])
	if _, _, key := Chunk(secret, packed, nil); key != want {
		t.Error("key is not derive_key(grange v1 chunk, secret, score)")
	}
}

// A new zstd, or a change of method, packs one plaintext differently. Under one
// key and the zero nonce, the xor of both sealings would be that of the packings.
func TestTwoPackingsOfOnePlaintextHaveTwoKeys(t *testing.T) {
	plain := bytes.Repeat([]byte("wheat "), 10)
	packer := chunk.NewPacker()
	squeezed := packer.Pack(nil, plain)
	asIs := append([]byte{0, 0, 0, 0, byte(len(plain))}, plain...) // method 0
	asIs = append(asIs, make([]byte, chunk.Padme(len(asIs))-len(asIs))...)
	for _, packed := range [][]byte{squeezed, asIs} {
		if got, err := packer.Unpack(nil, packed, len(plain)); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("not a packing of the plaintext: %v", err)
		}
	}
	secret := bytesOf("secret")
	sealedA, scoreA, keyA := Chunk(secret, squeezed, nil)
	sealedB, scoreB, keyB := Chunk(secret, asIs, nil)
	if squeezed[0] != 1 || scoreA == scoreB || keyA == keyB {
		t.Fatal("two packings share a score or a key")
	}
	same := true
	for i := range min(len(squeezed), len(asIs)) {
		same = same && sealedA[i]^sealedB[i] == squeezed[i]^asIs[i]
	}
	if same {
		t.Error("both were sealed with one key stream")
	}
	if _, err := OpenChunk(keyA, scoreB, sealedB, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("the key of one packing opened the other: %v", err)
	}
}

func TestSecretsHaveTheirOwnKeys(t *testing.T) {
	packed := []byte("the same bytes")
	sealedA, score, keyA := Chunk(bytesOf("ours"), packed, nil)
	sealedB, _, keyB := Chunk(bytesOf("theirs"), packed, nil)
	if keyA == keyB || bytes.Equal(sealedA, sealedB) {
		t.Error("two households seal equal bytes alike")
	}
	if _, err := OpenChunk(keyB, score, sealedA, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another household's key: %v", err)
	}
}

func TestOpenChunkFindsEveryFlippedBit(t *testing.T) {
	sealed, score, key := Chunk(bytesOf("secret"), []byte("forty-two bytes of packed and sealed grain"), nil)
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if got, err := OpenChunk(key, score, bad, nil); !errors.Is(err, core.ErrCorrupt) || got != nil {
				t.Fatalf("byte %d bit %d: %q, %v", i, bit, got, err)
			}
		}
	}
	for n := range sealed {
		if _, err := OpenChunk(key, score, sealed[:n], nil); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if _, err := OpenChunk(key, score, append(bytes.Clone(sealed), 0), nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a byte more: %v", err)
	}
}

// GCM does not commit to its key: that it opens does not say that these are the
// bytes which the manifest means.
func TestOpenChunkChecksTheScore(t *testing.T) {
	packed := []byte("sealed well, but another chunk")
	sealed, _, key := Chunk(bytesOf("secret"), packed, nil)
	room := make([]byte, 3, 100)
	got, err := OpenChunk(key, core.ScoreOf([]byte("what the manifest says")), sealed, room)
	if got != nil || !errors.Is(err, core.ErrCorrupt) {
		t.Fatalf("opened to %q, %v", got, err)
	}
	if bytes.Contains(room[:cap(room)], []byte("another")) {
		t.Error("unchecked plaintext was left in the caller's memory")
	}
}

func TestSmall(t *testing.T) {
	secret := bytesOf("secret")
	box := Small(ContextName, secret, []byte("barn"))
	if len(box) != len("barn")+SmallOverhead {
		t.Errorf("box of %d bytes", len(box))
	}
	if bytes.Equal(box, Small(ContextName, secret, []byte("barn"))) {
		t.Error("two boxes of one name are equal: a holder would see that names are")
	}
	if got, err := OpenSmall(ContextName, secret, box); err != nil || string(got) != "barn" {
		t.Errorf("opened to %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another context": func() ([]byte, error) { return OpenSmall("grange v1 other", secret, box) },
		"another secret":  func() ([]byte, error) { return OpenSmall(ContextName, bytesOf("x"), box) },
		"a byte more":     func() ([]byte, error) { return OpenSmall(ContextName, secret, append(bytes.Clone(box), 0)) },
	} {
		if got, err := open(); got != nil || !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		if _, err := OpenSmall(ContextName, secret, bad); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := OpenSmall(ContextName, secret, box[:i]); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

func TestState(t *testing.T) {
	secret, salt := bytesOf("secret"), bytesOf("salt")
	box := State(secret, salt, []byte("root"))
	if got, err := OpenState(secret, salt, box); err != nil || string(got) != "root" {
		t.Errorf("opened to %q, %v", got, err)
	}
	if bytes.Equal(box, State(secret, bytesOf("next salt"), []byte("root"))) {
		t.Error("two heads seal one state alike")
	}
	if _, err := OpenState(salt, secret, box); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("secret and salt changed places: %v", err)
	}
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 0x80
		if _, err := OpenState(secret, salt, bad); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := OpenState(secret, salt, box[:i]); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

func TestBox(t *testing.T) {
	mine, err := NewPrivateKey(*bytesOf("mine"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewPrivateKey(*bytesOf("other"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(mine.Public()); n != PublicSize {
		t.Errorf("public key of %d bytes", n)
	}
	info, text := []byte("info"), []byte("text")
	box, err := To(mine.Public(), info, text)
	if err != nil {
		t.Fatal(err)
	}
	if len(box) != len(text)+BoxOverhead {
		t.Errorf("box of %d bytes", len(box))
	}
	if got, err := mine.Open(info, box); err != nil || !bytes.Equal(got, text) {
		t.Errorf("opened to %q, %v", got, err)
	}
	if _, err := other.Open(info, box); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another key: %v", err)
	}
	if _, err := mine.Open([]byte("Info"), box); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another info: %v", err)
	}
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		if _, err := mine.Open(info, bad); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, 1119, 1120, 1121, len(box) - 1} {
		if _, err := mine.Open(info, box[:n]); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := mine.Open(info, append(bytes.Clone(box), 0)); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestToRefusesBadPublicKeys(t *testing.T) {
	key, err := NewPrivateKey(*bytesOf("seed"))
	if err != nil {
		t.Fatal(err)
	}
	lowOrder := key.Public()
	clear(lowOrder[PublicSize-32:]) // the X25519 half: the point of order 4
	outside := bytes.Repeat([]byte{0xff}, PublicSize)
	for name, public := range map[string][]byte{
		"empty": nil, "short": key.Public()[:PublicSize-1], "long": append(key.Public(), 0), "low order": lowOrder, "not reduced": outside,
	} {
		if box, err := To(public, nil, []byte("text")); box != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %d bytes, %v", name, len(box), err)
		}
	}
}

func TestRandom(t *testing.T) {
	var a, b [32]byte
	Random(a[:])
	Random(b[:])
	if a == b || a == [32]byte{} {
		t.Errorf("random bytes %x and %x", a, b)
	}
}
