package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// note is a signed structure of the tests' own.
type note struct {
	V    uint   `json:"v"`
	Text string `json:"text"`
	N    uint64 `json:"n,omitempty"`
}

func seedOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }

func keyOf(name string) identity.Key { return identity.KeyOf(seedOf(name)) }

func sign(t testing.TB, k identity.Key, kind string, v any) identity.Signed {
	t.Helper()
	s, err := identity.Sign(k, kind, v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKey(t *testing.T) {
	k := keyOf("a")
	if !bytes.Equal(k.Private().Public().(ed25519.PublicKey), didBytes(k.DID())) {
		t.Error("the DID is not the public half")
	}
	var none identity.Key
	if !none.IsZero() || !none.DID().IsZero() || none.Private() != nil || k.IsZero() {
		t.Error("the zero Key is taken for a key")
	}
	if _, err := identity.Sign(none, identity.KindHead, note{}); err == nil {
		t.Error("the zero Key signs")
	}
}

func TestOpen(t *testing.T) {
	k := keyOf("a")
	want := note{V: 1, Text: "hay", N: 4}
	s := sign(t, k, identity.KindLease, want)
	if s.By != k.DID() || len(s.Sig) != 64 {
		t.Errorf("signed by %s with %d bytes", s.By, len(s.Sig))
	}
	got, err := identity.Open[note](s, identity.KindLease, len(s.Body))
	if err != nil || got != want {
		t.Errorf("opened %+v, %v", got, err)
	}
	if _, err := identity.Open[note](s, identity.KindLease, len(s.Body)-1); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a byte over the limit: %v", err)
	}
	for _, kind := range []string{identity.KindCharter, identity.KindHead, identity.KindAdmission, identity.KindPact, identity.KindRelease, identity.KindReceipt, identity.KindSeed} {
		if _, err := identity.Open[note](s, kind, 99); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("a lease taken for a %s: %v", kind, err)
		}
	}
	other := s
	other.By = keyOf("b").DID()
	if _, err := identity.Open[note](other, identity.KindLease, 99); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("said to be signed by another: %v", err)
	}
	for i := range 8 * len(s.Body) {
		bad := s
		bad.Body = flipped(s.Body, i)
		if _, err := identity.Open[note](bad, identity.KindLease, 99); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("bit %d of the body flipped: %v", i, err)
		}
	}
	for i := range 8 * len(s.Sig) {
		bad := s
		bad.Sig = flipped(s.Sig, i)
		if _, err := identity.Open[note](bad, identity.KindLease, 99); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("bit %d of the signature flipped: %v", i, err)
		}
	}
	for _, sig := range [][]byte{nil, s.Sig[:63], append(bytes.Clone(s.Sig), 0)} {
		bad := s
		bad.Sig = sig
		if _, err := identity.Open[note](bad, identity.KindLease, 99); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("a signature of %d bytes: %v", len(sig), err)
		}
	}
}

func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// TestOpenReadsStrictly: a good signature does not make a body good.
func TestOpenReadsStrictly(t *testing.T) {
	k := keyOf("a")
	for name, tt := range map[string]struct {
		v    any
		want error
	}{
		"version 2":                      {note{V: 2}, core.ErrVersion},
		"version 2, with a field more":   {map[string]any{"v": 2, "text": "x", "new": 1}, core.ErrVersion},
		"a field more":                   {map[string]any{"v": 1, "text": "x", "new": 1}, core.ErrInvalid},
		"a field less":                   {map[string]any{"v": 1}, core.ErrInvalid},
		"an optional field that is zero": {map[string]any{"v": 1, "text": "x", "n": 0}, core.ErrInvalid},
	} {
		if got, err := identity.Open[note](sign(t, k, identity.KindHead, tt.v), identity.KindHead, 99); !errors.Is(err, tt.want) || got != (note{}) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// TestKindsDoNotRunTogether: what is signed parts kind and body.
func TestKindsDoNotRunTogether(t *testing.T) {
	k := keyOf("a")
	sig := identity.SignBytes(k, "pact", []byte("body"))
	if err := identity.VerifyBytes(k.DID(), "pact", []byte("body"), sig); err != nil {
		t.Fatal(err)
	}
	for _, split := range [][2]string{{"pac", "tbody"}, {"pactbody", ""}, {"", "pactbody"}, {"pactb", "ody"}} {
		if err := identity.VerifyBytes(k.DID(), split[0], []byte(split[1]), sig); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("read as %q: %v", split, err)
		}
	}
	if want := ed25519.Sign(k.Private(), []byte("grange/v1/pact\x00body")); !bytes.Equal(sig, want) {
		t.Errorf("signature %x, want that over grange/v1/pact 00 body", sig)
	}
}

// TestNobodySignsForWeakKeys: for a point of small order everybody can sign, and
// the library says yes.
func TestNobodySignsForWeakKeys(t *testing.T) {
	forged := append([]byte{1}, make([]byte, 63)...) // R the neutral point, S zero
	var message []byte
	for i := range 64 { // for the zero DID one message in four will do
		message = fmt.Appendf(nil, "message %d", i)
		if ed25519.Verify(make([]byte, 32), append([]byte("grange/v1/receipt\x00"), message...), forged) {
			break
		}
	}
	neutral := core.DID{0: 1}
	signed := append([]byte("grange/v1/receipt\x00"), message...)
	for _, by := range []core.DID{{}, neutral} {
		if !ed25519.Verify(by[:], signed, forged) {
			t.Fatalf("%s: the forgery is none", by)
		}
		if err := identity.VerifyBytes(by, identity.KindReceipt, message, forged); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", by, err)
		}
	}
}

func TestCheckDID(t *testing.T) {
	prime := core.DID(bytes.Repeat([]byte{0xff}, 32)) // p = 2²⁵⁵ − 19
	prime[0], prime[31] = 0xed, 0x7f
	with := func(d core.DID, i int, b byte) core.DID { d[i] = b; return d }
	for _, d := range []core.DID{
		{}, {0: 1}, {31: 0x80}, {0: 1, 31: 0x80}, // y = 0 and 1, both signs
		with(prime, 0, 0xec), with(with(prime, 0, 0xec), 31, 0xff), // y = −1
		prime, with(prime, 0, 0xee), with(prime, 0, 0xff), with(prime, 31, 0xff), // not reduced
	} {
		if err := identity.CheckDID(d); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%x: %v", d, err)
		}
	}
	for _, d := range []core.DID{with(prime, 0, 0xeb), with(with(prime, 0, 0xff), 30, 0xfe), {0: 2}, keyOf("a").DID()} {
		if err := identity.CheckDID(d); err != nil {
			t.Errorf("%x: %v", d, err)
		}
	}
}

func TestSigned(t *testing.T) {
	s := sign(t, keyOf("a"), identity.KindHead, note{V: 1, Text: "x"})
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if s.Score() != core.ScoreOf(b) {
		t.Error("the score is not that of the encoding")
	}
	if n := len(b) - len(s.Body); n > identity.SignedOverhead {
		t.Errorf("%d bytes longer than the body, at most %d", n, identity.SignedOverhead)
	}
	back, err := identity.ParseSigned(b, len(b))
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("read back %+v, %v", back, err)
	}
	if _, err := identity.ParseSigned(b, len(b)-1); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a byte over the limit: %v", err)
	}
	for n := range b {
		if _, err := identity.ParseSigned(b[:n], len(b)); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if identity.SignedOverhead < 1+3+34+5+9+4+2+64 {
		t.Error("the overhead is too small for a large body")
	}
	if (identity.Signed{}).Score() == s.Score() {
		t.Error("two have one score")
	}
}

func TestAgentKey(t *testing.T) {
	a := identity.AgentKey{Seed: seedOf("seed"), Seal: seedOf("seal")}
	b, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	a.V = 1
	got, err := identity.ParseAgentKey(b)
	if err != nil || got != a {
		t.Errorf("read back differs: %v", err)
	}
	if a.Key().DID() != keyOf("seed").DID() {
		t.Error("the key is not that of the seed")
	}
	for n := range b {
		if _, err := identity.ParseAgentKey(b[:n]); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	short, _ := codec.Marshal(map[string]any{"v": 1, "seed": make([]byte, 31), "seal": a.Seal[:]})
	next, _ := codec.Marshal(map[string]any{"v": 2, "seed": a.Seed[:], "seal": a.Seal[:]})
	blank, _ := codec.Marshal(identity.AgentKey{V: 1, Seed: a.Seed})
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"a short seed":     {short, core.ErrInvalid},
		"version 2":        {next, core.ErrVersion},
		"a blank seed":     {blank, core.ErrInvalid},
		"a file of zeros":  {make([]byte, 84), core.ErrInvalid},
		"a file too large": {make([]byte, 300), core.ErrTooLarge},
	} {
		if _, err := identity.ParseAgentKey(tt.data); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := (identity.AgentKey{}).Marshal(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("blank seeds are written: %v", err)
	}
}

func TestKeysArePrintedNowhere(t *testing.T) {
	seed := [32]byte(bytes.Repeat([]byte{0xab, 'K'}, 16))
	key, agent := identity.KeyOf(seed), identity.AgentKey{V: 1, Seed: seed, Seal: seed}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		for _, v := range []any{key, &key, agent, &agent, []identity.Key{key}} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "key", key, "agent", agent)
	}
	for _, v := range []any{key, agent} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("JSON: %s", text)
		}
	}
	for _, shown := range []string{"ab4b", "171 75", "10101011", "kkk", "\xabk"} {
		if strings.Contains(strings.ToLower(out.String()), shown) {
			t.Errorf("%q is shown in %s", shown, out.String())
		}
	}
}

func didBytes(d core.DID) []byte { return d[:] }
