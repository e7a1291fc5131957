package voucher

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// vectors are a chain of two links that is shown to a holder, and what it allows.
type vectors struct {
	About string `json:"about"`
	// Keys are seeds of ed25519 keys: of the first issuer, of the two audiences.
	Keys       []golden.Hex `json:"keys"`
	Subject    core.DID     `json:"subject"`
	Holder     core.DID     `json:"holder"`
	Links      []golden.Hex `json:"links"`
	Invocation golden.Hex   `json:"invocation"`
	Chain      golden.Hex   `json:"chain"`
	// ID is the chain's, IDs are those of its links.
	ID       core.Score    `json:"id"`
	IDs      []core.Score  `json:"ids"`
	Resource core.Resource `json:"resource"`
	Amount   int64         `json:"amount"`
	From     int64         `json:"from"`
	Until    int64         `json:"until"`
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "voucher", makeVectors)
	c, err := Parse(v.Chain)
	if err != nil {
		t.Fatal(err)
	}
	f := factsOf(2)
	r, err := Verify(c, f)
	want := Right{
		Subject: v.Subject, Resource: v.Resource, Amount: v.Amount, From: v.From, Until: v.Until,
		Via: []core.DID{club.DID(), anna.DID()}, Agent: bo.DID(), ID: v.ID,
	}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, %v, want %+v", r, err, want)
	}
	if f.Holder != v.Holder || !reflect.DeepEqual(c.IDs(), v.IDs) || !bytes.Equal(c.Invocation, v.Invocation) {
		t.Error("holder, ids or invocation are not those of the chain")
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	c := shown(2)
	raw, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	v := vectors{
		About:   "A voucher of two links, docs/SPEC.md §6.2: the links and the invocation are UCANs as DAG-CBOR. Keys are seeds of the first issuer, and of the audience of either link.",
		Subject: grid, Holder: holder.DID(), Invocation: c.Invocation, Chain: raw, ID: c.ID(), IDs: c.IDs(),
		Resource: core.Storage, Amount: 5 * gb, From: noon, Until: noon + 7*day,
	}
	for _, name := range []string{"club", "anna", "bo"} {
		seed := sha256.Sum256([]byte(name))
		v.Keys = append(v.Keys, seed[:])
	}
	for _, l := range c.Links {
		v.Links = append(v.Links, l)
	}
	return v
}
