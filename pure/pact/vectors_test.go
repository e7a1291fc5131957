package pact

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/identity"
)

// vectors is the file's form. Value is a structure of the SPEC, by field names.
type vectors struct {
	// Seeds are those of the ed25519 keys, by DID.
	Seeds map[core.DID]golden.Hex `json:"seeds"`
	Pact  pactVector              `json:"pact"`
	// Amendment is one of Pact's.
	Amendment pactVector `json:"amendment"`
	// Timed is for 90 days, and of three resources; Prolonged is an amendment of it.
	Timed     pactVector     `json:"timed"`
	Prolonged pactVector     `json:"prolonged"`
	Signed    []signedVector `json:"signed"`
	// Meter is a line's events in their order, and what it comes to after each.
	Meter      []meterVector    `json:"meter"`
	Invitation invitationVector `json:"invitation"`
	// Invited is the invitation of Timed.
	Invited invitationVector `json:"invited"`
}

type invitationVector struct {
	Value json.RawMessage `json:"value"`
	ID    golden.Hex      `json:"id"`
	// Acceptor is the agent that Proof is of.
	Acceptor core.DID   `json:"acceptor"`
	Proof    golden.Hex `json:"proof"`
	Code     string     `json:"code"`
}

type pactVector struct {
	Value    json.RawMessage `json:"value"`
	Body     golden.Hex      `json:"body"`
	Inviter  signatureVector `json:"inviter"`
	Acceptor signatureVector `json:"acceptor"`
	ID       core.Score      `json:"id"`
}

type signatureVector struct {
	By  core.DID   `json:"by"`
	Sig golden.Hex `json:"sig"`
}

type signedVector struct {
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
	By    core.DID        `json:"by"`
	Body  golden.Hex      `json:"body"`
	Sig   golden.Hex      `json:"sig"`
	Score core.Score      `json:"score"`
}

// meterVector is a lease over a piece, its release (Until 0), or a receipt (no Piece), From being its date.
type meterVector struct {
	Piece string `json:"piece,omitempty"`
	Size  int64  `json:"size,omitempty"`
	From  int64  `json:"from"`
	Until int64  `json:"until,omitempty"`
	// Hours is the total at From, Live what counts then.
	Hours uint64 `json:"hours"`
	Live  int64  `json:"live"`
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
	fields[field], _ = json.Marshal(golden.Hex(b))
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
		var data golden.Hex
		if err := json.Unmarshal(fields[field], &data); err != nil {
			t.Fatal(err)
		}
		copy(b, data)
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

// readVectors returns the file and the keys that it names.
func readVectors(t *testing.T) (vectors, map[core.DID]identity.Key) {
	t.Helper()
	v := golden.File(t, "pact", makeVectors)
	keys := make(map[core.DID]identity.Key)
	for did, seed := range v.Seeds {
		k := identity.KeyOf([32]byte(seed))
		if k.DID() != did {
			t.Errorf("seed %x is of %s, want %s", seed, k.DID(), did)
		}
		keys[did] = k
	}
	return v, keys
}

func TestVectorsPact(t *testing.T) {
	v, keys := readVectors(t)
	var read []Pact
	for _, p := range []pactVector{v.Pact, v.Amendment, v.Timed, v.Prolonged} {
		var want Pact
		fromValue(t, p.Value, &want, "invitation", want.Invitation[:])
		s := SignedPact{
			Body:     p.Body,
			Inviter:  Signature{By: p.Inviter.By, Sig: p.Inviter.Sig},
			Acceptor: Signature{By: p.Acceptor.By, Sig: p.Acceptor.Sig},
		}
		got, err := s.Verify()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v; want %+v", got, err, want)
		}
		read = append(read, got)
		if s.ID() != p.ID {
			t.Errorf("id %s", s.ID())
		}
		body, sig, err := SignPact(keys[p.Acceptor.By], want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Countersign(keys[p.Inviter.By], body, sig); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("written: %x, %v", got, err)
		}
	}
	if err := read[1].CheckAmends(read[0], v.Pact.ID); err != nil {
		t.Error(err)
	}
	if err := read[3].CheckAmends(read[2], v.Timed.ID); err != nil {
		t.Error(err)
	}
	if read[2].RunsOut() != start+270*day/4 || read[3].RunsOut() != start+335*day {
		t.Errorf("they run out from %d and %d on", read[2].RunsOut(), read[3].RunsOut())
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
			case identity.KindNotice:
				var want Notice
				fromValue(t, s.Value, &want, "", nil)
				checkSigned(t, s, keys, want, SignNotice, OpenNotice)
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
	if len(seen) != 5 {
		t.Errorf("vectors of %v only", seen)
	}
}

func TestVectorsMeter(t *testing.T) {
	v, _ := readVectors(t)
	if got := meterVectors(v.Meter); len(got) < 10 || !reflect.DeepEqual(got, v.Meter) {
		t.Errorf("counted: %+v\nwant %+v", got, v.Meter)
	}
}

// meterVectors returns the events with what they come to.
func meterVectors(events []meterVector) []meterVector {
	var m Meter
	ends := make(map[string]int64)
	out := slices.Clone(events)
	for i, e := range out {
		switch {
		case e.Until != 0:
			ends[e.Piece] = m.Lease(ends[e.Piece], e.Size, e.From, e.Until)
		case e.Piece != "":
			m.Release(ends[e.Piece], e.Size, e.From)
			delete(ends, e.Piece)
		}
		out[i].Hours, out[i].Live = m.Hours(e.From), m.Live(e.From)
	}
	return out
}

func TestVectorsInvitation(t *testing.T) {
	v, _ := readVectors(t)
	for _, i := range []invitationVector{v.Invitation, v.Invited} {
		var want Invitation
		fromValue(t, i.Value, &want, "secret", want.Secret[:])
		if got, err := ParseInvitation(i.Code); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v; want %+v", got, err, want)
		}
		if got, err := want.Code(); err != nil || got != i.Code {
			t.Errorf("written: %s, %v", got, err)
		}
		if id := want.ID(); !bytes.Equal(id[:], i.ID) {
			t.Errorf("id %x", id)
		}
		if !want.Proves(i.Acceptor, i.Proof) {
			t.Errorf("proof %x", i.Proof)
		}
	}
}

func checkSigned[T claim](t *testing.T, s signedVector, keys map[core.DID]identity.Key, want T,
	signT func(identity.Key, T) (identity.Signed, error), openT func(identity.Signed) (T, error),
) {
	t.Helper()
	signed := identity.Signed{By: s.By, Body: s.Body, Sig: s.Sig}
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

func makeVectors(t *testing.T) vectors {
	t.Helper()
	var v vectors
	v.Seeds = make(map[core.DID]golden.Hex)
	for n := byte(1); n <= 4; n++ {
		seed := core.DeriveKey("grange test pact key", []byte{n})
		v.Seeds[key(n).DID()] = seed[:]
	}
	vectorOf := func(p Pact) pactVector {
		body, sig, err := SignPact(bobAgent, p)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Countersign(annaAgent, body, sig)
		if err != nil {
			t.Fatal(err)
		}
		return pactVector{
			Value: toValue(t, p, "invitation", p.Invitation[:]), Body: s.Body, ID: s.ID(),
			Inviter: signatureVector{s.Inviter.By, s.Inviter.Sig}, Acceptor: signatureVector{s.Acceptor.By, s.Acceptor.Sig},
		}
	}
	v.Pact, v.Amendment = vectorOf(pact()), vectorOf(amendment())
	id := v.Pact.ID

	add := func(kind string, value json.RawMessage, s identity.Signed, err error) {
		if err != nil {
			t.Fatal(err)
		}
		v.Signed = append(v.Signed, signedVector{
			Kind: kind, Value: value, By: s.By, Body: s.Body, Sig: s.Sig, Score: s.Score(),
		})
	}
	l, e, r, a := lease(), release(), receipt(), admission()
	n := notice()
	l.Pact, r.Pact, n.Pact = id, id, id
	signed, err := SignLease(bobAgent, l)
	add(identity.KindLease, toValue(t, l, "", nil), signed, err)
	l.Owner, l.Pact = l.Grid, Home(l.Grid)
	signed, err = SignLease(bobAgent, l)
	add(identity.KindLease, toValue(t, l, "", nil), signed, err)
	signed, err = SignRelease(annaAgent, e)
	add(identity.KindRelease, toValue(t, e, "", nil), signed, err)
	signed, err = SignReceipt(annaAgent, r)
	add(identity.KindReceipt, toValue(t, r, "", nil), signed, err)
	signed, err = SignAdmission(annaGrid, a)
	add(identity.KindAdmission, toValue(t, a, "nonce", a.Nonce[:]), signed, err)
	signed, err = SignNotice(bobAgent, n)
	add(identity.KindNotice, toValue(t, n, "", nil), signed, err)

	invitationOf := func(i Invitation) invitationVector {
		id, proof := i.ID(), InvitationProof(i.Secret, i.Agent, bobAgent.DID())
		code, err := i.Code()
		if err != nil {
			t.Fatal(err)
		}
		return invitationVector{Value: toValue(t, i, "secret", i.Secret[:]), ID: id[:], Acceptor: bobAgent.DID(), Proof: proof[:], Code: code}
	}
	v.Invitation, v.Invited = invitationOf(invitation()), invitationOf(timed())
	p := timed().Pact(bobGrid.DID(), start)
	v.Timed = vectorOf(p)
	p = p.Amend(v.Timed.ID, 1, p.Terms.InviterGives, p.Terms.AcceptorGives)
	p.Until += 275 * day
	v.Prolonged = vectorOf(p)

	const from = 1_800_000_000
	v.Meter = meterVectors([]meterVector{
		{Piece: "a", Size: 1 << 20, From: from, Until: from + 180*day},
		{Piece: "b", Size: 1000, From: from + 10, Until: from + 2*day},
		{From: from + day},
		{From: from + 5*day}, // b has ended at a midnight
		{Piece: "b", Size: 1000, From: from + 6*day, Until: from + 186*day},
		{Piece: "a", Size: 1 << 20, From: from + 70*day, Until: from + 250*day},
		{Piece: "c", Size: 4096, From: from + 70*day - 3600, Until: from + 250*day}, // by another clock
		{From: from + 71*day},
		{Piece: "a", Size: 1 << 20, From: from + 100*day + 1800},
		{From: from + 101*day},
		{Piece: "d", Size: 5, From: from + 101*day, Until: from + 101*day + 100}, // counts to the midnight
		{From: from + 400*day},
	})
	return v
}
