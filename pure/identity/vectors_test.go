package identity_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/identity"
)

type vectors struct {
	Phrases   []phraseVector `json:"phrases"`
	Signed    []signedVector `json:"signed"`
	Refused   []signedVector `json:"refused"`
	AgentKeys []agentVector  `json:"agent_keys"`
}

type phraseVector struct {
	Entropy      golden.Hex `json:"entropy"`
	Phrase       string     `json:"phrase"`
	Root         core.DID   `json:"root"`
	RecoverySeed golden.Hex `json:"recovery_seed"`
}

type signedVector struct {
	Why   string     `json:"why,omitempty"`
	Seed  golden.Hex `json:"seed,omitempty"`
	By    core.DID   `json:"by"`
	Kind  string     `json:"kind"`
	Body  golden.Hex `json:"body"`
	Sig   golden.Hex `json:"sig"`
	CBOR  golden.Hex `json:"cbor"`
	Score core.Score `json:"score"`
}

type agentVector struct {
	Seed golden.Hex `json:"seed"`
	Seal golden.Hex `json:"seal"`
	DID  core.DID   `json:"did"`
	File golden.Hex `json:"file"`
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	var v vectors
	for _, entropy := range [][32]byte{{}, seedOf("phrase"), [32]byte(bytes.Repeat([]byte{0xff}, 32))} {
		recovery := identity.RecoverySeed(entropy)
		v.Phrases = append(v.Phrases, phraseVector{entropy[:], identity.Phrase(entropy), identity.RootOf(entropy).DID(), recovery[:]})
	}
	vector := func(why string, seed []byte, s identity.Signed, kind string) signedVector {
		b, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return signedVector{why, seed, s.By, kind, s.Body, s.Sig, b, s.Score()}
	}
	seed := seedOf("key")
	for _, kind := range []string{
		identity.KindCharter, identity.KindHead, identity.KindAdmission, identity.KindPact,
		identity.KindLease, identity.KindRelease, identity.KindReceipt,
	} {
		v.Signed = append(v.Signed, vector("", seed[:], sign(t, keyOf("key"), kind, note{V: 1, Text: kind}), kind))
	}
	good := sign(t, keyOf("key"), identity.KindPact, note{V: 1})
	v.Refused = append(v.Refused, vector("of another kind", nil, good, identity.KindHead))
	bad := good
	bad.Body = flipped(good.Body, 3)
	v.Refused = append(v.Refused, vector("a bit of the body is flipped", nil, bad, identity.KindPact))
	bad = good
	bad.By = keyOf("other").DID()
	v.Refused = append(v.Refused, vector("signed by another", nil, bad, identity.KindPact))
	bad = good
	bad.Sig = good.Sig[:63]
	v.Refused = append(v.Refused, vector("a short signature", nil, bad, identity.KindPact))
	bad = identity.Signed{By: core.DID{0: 1}, Body: good.Body, Sig: append([]byte{1}, make([]byte, 63)...)}
	v.Refused = append(v.Refused, vector("a key of small order, for which R = 1, S = 0 satisfies the equation", nil, bad, identity.KindPact))
	agent := identity.AgentKey{Seed: seed, Seal: seedOf("seal")}
	file, err := agent.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	v.AgentKeys = append(v.AgentKeys, agentVector{seed[:], agent.Seal[:], agent.Key().DID(), file})
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "identity", makeVectors)
	if len(v.Phrases) != 3 || len(v.Signed) != 7 || len(v.Refused) != 5 || len(v.AgentKeys) != 1 {
		t.Fatalf("vectors are missing: %d %d %d %d", len(v.Phrases), len(v.Signed), len(v.Refused), len(v.AgentKeys))
	}
	for _, p := range v.Phrases {
		entropy, err := identity.ParsePhrase(p.Phrase)
		if err != nil || !bytes.Equal(entropy[:], p.Entropy) || identity.Phrase(entropy) != p.Phrase {
			t.Errorf("phrase of %x: read as %x, %v", p.Entropy, entropy, err)
		}
		if recovery := identity.RecoverySeed(entropy); identity.RootOf(entropy).DID() != p.Root || !bytes.Equal(recovery[:], p.RecoverySeed) {
			t.Errorf("phrase of %x: other keys grow from it", p.Entropy)
		}
	}
	for _, c := range v.Signed {
		checkSigned(t, c)
	}
	for _, c := range v.Refused {
		s, err := identity.ParseSigned(c.CBOR, 999)
		if err != nil || s.Score() != c.Score {
			t.Errorf("%s: %v", c.Why, err)
		}
		if _, err := identity.Open[note](s, c.Kind, 999); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", c.Why, err)
		}
	}
	for _, a := range v.AgentKeys {
		got, err := identity.ParseAgentKey(a.File)
		if err != nil || !bytes.Equal(got.Seed[:], a.Seed) || !bytes.Equal(got.Seal[:], a.Seal) || got.Key().DID() != a.DID {
			t.Errorf("agent key of %s is read differently: %v", a.DID, err)
		}
		if file, err := got.Marshal(); err != nil || !bytes.Equal(file, a.File) {
			t.Errorf("agent key of %s is written differently: %v", a.DID, err)
		}
	}
}

func checkSigned(t *testing.T, c signedVector) {
	t.Helper()
	s, err := identity.ParseSigned(c.CBOR, 999)
	if err != nil || s.By != c.By || !bytes.Equal(s.Body, c.Body) || !bytes.Equal(s.Sig, c.Sig) || s.Score() != c.Score {
		t.Errorf("%s: read as %+v, %v", c.Kind, s, err)
	}
	got, err := identity.Open[note](s, c.Kind, 999)
	if err != nil || got != (note{V: 1, Text: c.Kind}) {
		t.Errorf("%s: opened as %+v, %v", c.Kind, got, err)
	}
	again := sign(t, identity.KeyOf([32]byte(c.Seed)), c.Kind, got)
	if b, err := again.Marshal(); err != nil || !bytes.Equal(b, c.CBOR) {
		t.Errorf("%s: signed again it is %x, %v", c.Kind, b, err)
	}
}

func FuzzParseSigned(f *testing.F) {
	for _, kind := range []string{identity.KindHead, identity.KindPact} {
		b, err := sign(f, keyOf("key"), kind, note{V: 1, Text: kind}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xa3})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := identity.ParseSigned(data, 1<<12)
		if err != nil {
			return
		}
		if b, err := s.Marshal(); err != nil || !bytes.Equal(b, data) {
			t.Errorf("%x is written as %x, %v", data, b, err)
		}
		if got, err := identity.Open[note](s, identity.KindHead, 1<<12); err == nil && s.By == keyOf("key").DID() && got.Text != "head" {
			t.Errorf("%+v was never signed", got)
		}
	})
}

func FuzzParseAgentKey(f *testing.F) {
	b, err := identity.AgentKey{Seed: seedOf("a"), Seal: seedOf("b")}.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := identity.ParseAgentKey(data)
		if err != nil {
			return
		}
		if b, err := a.Marshal(); err != nil || !bytes.Equal(b, data) {
			t.Errorf("%x is written as %x, %v", data, b, err)
		}
	})
}
