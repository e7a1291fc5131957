package account

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/identity"
)

// vectors are one of each signed thing.
type vectors struct {
	About string `json:"about"`
	// Server and Holder are the seeds of the account server's and the storage server's keys.
	Server      golden.Hex   `json:"server"`
	Holder      golden.Hex   `json:"holder"`
	Token       signedVector `json:"token"`
	Revocations signedVector `json:"revocations"`
	Usage       signedVector `json:"usage"`
}

type signedVector struct {
	By   core.DID   `json:"by"`
	Body golden.Hex `json:"body"`
	Sig  golden.Hex `json:"sig"`
}

func (v signedVector) signed() identity.Signed {
	return identity.Signed{By: v.By, Body: v.Body, Sig: v.Sig}
}

func vectorOf(t *testing.T, s identity.Signed, err error) signedVector {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return signedVector{s.By, s.Body, s.Sig}
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "account", func(t *testing.T) vectors {
		serverSeed, holderSeed := core.ScoreOf([]byte("account server")), core.ScoreOf([]byte("storage server"))
		v := vectors{About: "Accounts, docs/SPEC.md §6.3. All but by and about is hexadecimal.", Server: serverSeed[:], Holder: holderSeed[:]}
		s, err := SignToken(server, token())
		v.Token = vectorOf(t, s, err)
		s, err = SignRevocations(server, revocations())
		v.Revocations = vectorOf(t, s, err)
		s, err = SignUsage(holder, usage())
		v.Usage = vectorOf(t, s, err)
		return v
	})
	if identity.KeyOf([32]byte(v.Server)).DID() != v.Token.By || identity.KeyOf([32]byte(v.Holder)).DID() != v.Usage.By {
		t.Error("the seeds are not those of the signers")
	}
	if got, err := OpenToken(v.Token.signed()); err != nil || !reflect.DeepEqual(got, token()) {
		t.Error(got, err)
	}
	if got, err := OpenRevocations(v.Revocations.signed()); err != nil || !reflect.DeepEqual(got, revocations()) {
		t.Error(got, err)
	}
	if got, err := OpenUsage(v.Usage.signed()); err != nil || got != usage() {
		t.Error(got, err)
	}
}

// FuzzSigned opens bodies as if the right ones had signed them.
func FuzzSigned(f *testing.F) {
	v := golden.Read[vectors](f, "account")
	for _, body := range []golden.Hex{v.Token.Body, v.Revocations.Body, v.Usage.Body, v.Usage.Body[:20]} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fuzzOne(t, identity.KindAccount, body, SignToken, OpenToken)
		fuzzOne(t, identity.KindRevocation, body, SignRevocations, OpenRevocations)
		fuzzOne(t, identity.KindUsage, body, SignUsage, OpenUsage)
	})
}

func fuzzOne[T any](t *testing.T, kind string, body []byte, sign func(identity.Key, T) (identity.Signed, error), open func(identity.Signed) (T, error)) {
	t.Helper()
	s := identity.Signed{By: server.DID(), Body: body, Sig: identity.SignBytes(server, kind, body)}
	x, err := open(s)
	if err != nil {
		return
	}
	if again, err := sign(server, x); err != nil || !bytes.Equal(again.Body, body) {
		t.Errorf("%s: %x is %x again, %v", kind, body, again.Body, err)
	}
}
