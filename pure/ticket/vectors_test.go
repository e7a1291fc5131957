package ticket

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// vectors are a line and what is in it, a proof, and records.
type vectors struct {
	About string `json:"about"`
	// Owner, Holder and Caller are seeds of ed25519 keys, Seed is the bearer's.
	Owner  golden.Hex   `json:"owner"`
	Seed   golden.Hex   `json:"seed"`
	Right  signedVector `json:"right"`
	Proof  signedVector `json:"proof"`
	Line   string       `json:"line"`
	Ticket golden.Hex   `json:"ticket"`
	// Record stands under Key; Stopped is the same record when it was stopped.
	Key     golden.Hex `json:"key"`
	Record  golden.Hex `json:"record"`
	Stopped golden.Hex `json:"stopped"`
}

type signedVector struct {
	By   core.DID   `json:"by"`
	Body golden.Hex `json:"body"`
	Sig  golden.Hex `json:"sig"`
}

func (v signedVector) signed() identity.Signed {
	return identity.Signed{By: v.By, Body: v.Body, Sig: v.Sig}
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "ticket", makeVectors)
	if k := identity.KeyOf([32]byte(v.Owner)); k.DID() != v.Right.By {
		t.Error("the right is not signed by the owner's machine")
	}
	r, err := OpenRight(v.Right.signed())
	if err != nil || r != right() {
		t.Error(r, err)
	}
	if p, err := OpenProof(r, v.Proof.signed()); err != nil || p != proof() {
		t.Error(p, err)
	}
	x, _, err := Parse(v.Line)
	if err != nil || !reflect.DeepEqual(x, ticket(t)) || !bytes.Equal(x.Seed[:], v.Seed) {
		t.Error(x, err)
	}
	if codec.Line(Prefix, v.Ticket) != v.Line {
		t.Error("the line is not the ticket's bytes")
	}
	stopped := record(t)
	stopped.Stopped = true
	for _, c := range []struct {
		raw  golden.Hex
		want Record
	}{{v.Record, record(t)}, {v.Stopped, stopped}} {
		if got, err := DecodeRecord(c.raw); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Error(got, err)
		}
	}
	if id, err := ParseRecordKey(v.Key); err != nil || id != theID {
		t.Error(id, err)
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ownerSeed := core.ScoreOf([]byte("owner's machine"))
	v := vectors{
		About: "Tickets, docs/SPEC.md §4 and §6.1. All but line, by and about is hexadecimal; owner is the seed of the machine that signs, seed the bearer's.",
		Owner: ownerSeed[:], Seed: seed[:], Line: line(t), Key: RecordKey(theID),
	}
	r, err := SignRight(owner, right())
	fail(err)
	v.Right = signedVector{By: r.By, Body: r.Body, Sig: r.Sig}
	p, err := SignProof(seed.Key(), proof())
	fail(err)
	v.Proof = signedVector{By: p.By, Body: p.Body, Sig: p.Sig}
	v.Ticket, err = marshalTicket(ticket(t))
	fail(err)
	v.Record, err = record(t).Marshal()
	fail(err)
	stopped := record(t)
	stopped.Stopped = true
	v.Stopped, err = stopped.Marshal()
	fail(err)
	return v
}
