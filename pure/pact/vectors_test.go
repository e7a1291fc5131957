package pact

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

var update = flag.Bool("update", false, "write docs/vectors/pact.json anew")

const vectorsPath = "../../docs/vectors/pact.json"

// vectors is the file's form. Bytes are hex, DIDs and scores as text; Value is a
// structure of the SPEC, by field names.
type vectors struct {
	// Seeds are those of the ed25519 keys, by DID.
	Seeds map[string]string `json:"seeds"`
	Pact  struct {
		Value    json.RawMessage `json:"value"`
		Body     string          `json:"body"`
		Inviter  signatureVector `json:"inviter"`
		Acceptor signatureVector `json:"acceptor"`
		ID       core.Score      `json:"id"`
	} `json:"pact"`
	Signed     []signedVector `json:"signed"`
	Invitation struct {
		Value json.RawMessage `json:"value"`
		ID    string          `json:"id"`
		// Acceptor is the agent that Proof is of.
		Acceptor core.DID `json:"acceptor"`
		Proof    string   `json:"proof"`
		Code     string   `json:"code"`
	} `json:"invitation"`
}

type signatureVector struct {
	By  core.DID `json:"by"`
	Sig string   `json:"sig"`
}

type signedVector struct {
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
	By    core.DID        `json:"by"`
	Body  string          `json:"body"`
	Sig   string          `json:"sig"`
	Score core.Score      `json:"score"`
}

// toValue gives v's JSON with its one byte array, in field, as hex.
func toValue(t *testing.T, v any, field string, b []byte) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if field == "" {
		return raw
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	fields[field], _ = json.Marshal(hex.EncodeToString(b))
	raw, err = json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// fromValue reads what toValue made into v, and the byte array into b.
func fromValue(t *testing.T, raw json.RawMessage, v any, field string, b []byte) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	if field != "" {
		var text string
		if err := json.Unmarshal(fields[field], &text); err != nil {
			t.Fatal(err)
		}
		copy(b, unhex(t, text))
		delete(fields, field)
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readVectors returns the file and the keys that it names.
func readVectors(t *testing.T) (vectors, map[core.DID]identity.Key) {
	t.Helper()
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	keys := make(map[core.DID]identity.Key)
	for text, seed := range v.Seeds {
		k := identity.KeyOf([32]byte(unhex(t, seed)))
		if k.DID().String() != text {
			t.Errorf("seed %s is of %s, want %s", seed, k.DID(), text)
		}
		keys[k.DID()] = k
	}
	return v, keys
}

func TestVectorsPact(t *testing.T) {
	v, keys := readVectors(t)
	var want Pact
	fromValue(t, v.Pact.Value, &want, "invitation", want.Invitation[:])
	s := SignedPact{
		Body:     unhex(t, v.Pact.Body),
		Inviter:  Signature{By: v.Pact.Inviter.By, Sig: unhex(t, v.Pact.Inviter.Sig)},
		Acceptor: Signature{By: v.Pact.Acceptor.By, Sig: unhex(t, v.Pact.Acceptor.Sig)},
	}
	if got, err := s.Verify(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if s.ID() != v.Pact.ID {
		t.Errorf("id %s", s.ID())
	}
	body, sig, err := SignPact(keys[v.Pact.Acceptor.By], want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Countersign(keys[v.Pact.Inviter.By], body, sig); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("written: %x, %v", got, err)
	}
}

func TestVectorsSigned(t *testing.T) {
	v, keys := readVectors(t)
	seen := make(map[string]bool)
	for _, s := range v.Signed {
		seen[s.Kind] = true
		t.Run(s.Kind, func(t *testing.T) {
			switch s.Kind {
			case identity.KindLease:
				var want Lease
				fromValue(t, s.Value, &want, "", nil)
				checkSigned(t, s, keys, want, SignLease, OpenLease)
			case identity.KindRelease:
				var want Release
				fromValue(t, s.Value, &want, "", nil)
				checkSigned(t, s, keys, want, SignRelease, OpenRelease)
			case identity.KindReceipt:
				var want Receipt
				fromValue(t, s.Value, &want, "", nil)
				checkSigned(t, s, keys, want, SignReceipt, OpenReceipt)
			case identity.KindAdmission:
				var want Admission
				fromValue(t, s.Value, &want, "nonce", want.Nonce[:])
				checkSigned(t, s, keys, want, SignAdmission, OpenAdmission)
			default:
				t.Errorf("kind %q", s.Kind)
			}
		})
	}
	if len(seen) != 4 {
		t.Errorf("vectors of %v only", seen)
	}
}

func TestVectorsInvitation(t *testing.T) {
	v, _ := readVectors(t)
	var want Invitation
	fromValue(t, v.Invitation.Value, &want, "secret", want.Secret[:])
	if got, err := ParseInvitation(v.Invitation.Code); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if got, err := want.Code(); err != nil || got != v.Invitation.Code {
		t.Errorf("written: %s, %v", got, err)
	}
	if id := want.ID(); hex.EncodeToString(id[:]) != v.Invitation.ID {
		t.Errorf("id %x", id)
	}
	if !want.Proves(v.Invitation.Acceptor, unhex(t, v.Invitation.Proof)) {
		t.Errorf("proof %s", v.Invitation.Proof)
	}
}

func checkSigned[T claim](t *testing.T, s signedVector, keys map[core.DID]identity.Key, want T,
	signT func(identity.Key, T) (identity.Signed, error), openT func(identity.Signed) (T, error),
) {
	t.Helper()
	signed := identity.Signed{By: s.By, Body: unhex(t, s.Body), Sig: unhex(t, s.Sig)}
	if got, err := openT(signed); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if got, err := signT(keys[s.By], want); err != nil || !reflect.DeepEqual(got, signed) {
		t.Errorf("written %x, %v", got, err)
	}
	if got := signed.Score(); got != s.Score {
		t.Errorf("score %s, want %s", got, s.Score)
	}
}

func writeVectors(t *testing.T) {
	var v vectors
	v.Seeds = make(map[string]string)
	for n := byte(1); n <= 4; n++ {
		seed := core.DeriveKey("grange test pact key", []byte{n})
		v.Seeds[key(n).DID().String()] = hex.EncodeToString(seed[:])
	}
	p, s := pact(), signedPact(t)
	v.Pact.Value = toValue(t, p, "invitation", p.Invitation[:])
	v.Pact.Body = hex.EncodeToString(s.Body)
	v.Pact.Inviter = signatureVector{s.Inviter.By, hex.EncodeToString(s.Inviter.Sig)}
	v.Pact.Acceptor = signatureVector{s.Acceptor.By, hex.EncodeToString(s.Acceptor.Sig)}
	v.Pact.ID = s.ID()

	add := func(kind string, value json.RawMessage, s identity.Signed, err error) {
		if err != nil {
			t.Fatal(err)
		}
		v.Signed = append(v.Signed, signedVector{
			Kind: kind, Value: value, By: s.By, Body: hex.EncodeToString(s.Body), Sig: hex.EncodeToString(s.Sig), Score: s.Score(),
		})
	}
	l, e, r, a := lease(), release(), receipt(), admission()
	l.Pact, r.Pact = s.ID(), s.ID()
	signed, err := SignLease(bobAgent, l)
	add(identity.KindLease, toValue(t, l, "", nil), signed, err)
	signed, err = SignRelease(annaAgent, e)
	add(identity.KindRelease, toValue(t, e, "", nil), signed, err)
	signed, err = SignReceipt(annaAgent, r)
	add(identity.KindReceipt, toValue(t, r, "", nil), signed, err)
	signed, err = SignAdmission(annaGrid, a)
	add(identity.KindAdmission, toValue(t, a, "nonce", a.Nonce[:]), signed, err)

	i := invitation()
	id, proof := i.ID(), InvitationProof(i.Secret, i.Agent, bobAgent.DID())
	v.Invitation.Value = toValue(t, i, "secret", i.Secret[:])
	v.Invitation.ID = hex.EncodeToString(id[:])
	v.Invitation.Acceptor = bobAgent.DID()
	v.Invitation.Proof = hex.EncodeToString(proof[:])
	v.Invitation.Code = code(t)

	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsPath, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
