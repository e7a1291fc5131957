package charter_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
)

// The fuzzers sign what they try: behind the signature lies the decoder of a
// hostile root's, or agent's, bytes.

func known(err error) bool {
	for _, kind := range []error{core.ErrInvalid, core.ErrCorrupt, core.ErrTooLarge, core.ErrVersion, core.ErrNotExist} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func FuzzOpen(f *testing.F) {
	h := newHome(f, "home")
	barn, attic := newMachine(f, "barn"), newMachine(f, "attic")
	c := h.charter(f, barn)
	f.Add(h.seal(f, c).Body)
	c = h.charter(f, barn, attic)
	c.Epoch, c.Prev, c.Removed = 2, core.Score{1}, []charter.Removed{{DID: core.DID{7}, Seq: 1, Head: core.Score{1}}}
	f.Add(h.seal(f, c).Body)
	f.Add([]byte{0xab})
	f.Fuzz(func(t *testing.T, body []byte) {
		s := identity.Signed{By: h.root.DID(), Body: body, Sig: identity.SignBytes(h.root, identity.KindCharter, body)}
		c, err := charter.Open(s)
		if err != nil {
			if !known(err) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(mustMarshal(t, c), body) {
			t.Error("another charter has the same encoding")
		}
		if len(c.Agents) == 0 || len(c.Boxes) != len(c.Agents)+1 || c.Epoch == 0 || c.Grid != h.root.DID() {
			t.Errorf("opened %+v", c)
		}
		for _, a := range c.Agents {
			if _, removed := c.RemovedAgent(a.DID); removed || !c.Lists(a.DID) {
				t.Errorf("%s is listed, and is not", a.DID)
			}
		}
		if _, err := c.Secrets(barn.did(), barn.seal); err != nil && !known(err) {
			t.Error(err)
		}
		chain := charter.NewChain(h.root.DID())
		if changed, err := chain.Add(s); err != nil || !changed {
			t.Errorf("a chain does not take it: %v, %v", changed, err)
		}
	})
}

func FuzzOpenHead(f *testing.F) {
	barn := newMachine(f, "barn")
	s, err := charter.SignHead(barn.key, headOf(barn))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Body)
	f.Add([]byte{0xaa})
	f.Fuzz(func(t *testing.T, body []byte) {
		s := identity.Signed{By: barn.did(), Body: body, Sig: identity.SignBytes(barn.key, identity.KindHead, body)}
		h, err := charter.OpenHead(s)
		if err != nil {
			if !known(err) {
				t.Error(err)
			}
			return
		}
		if again, err := charter.SignHead(barn.key, h); err != nil || !bytes.Equal(again.Body, body) {
			t.Errorf("signed again it is %x, %v", again.Body, err)
		}
	})
}

func FuzzSecrets(f *testing.F) {
	barn, key := newMachine(f, "barn"), seedOf("charter key")
	secrets := charter.Secrets{V: 1, Chunker: seedOf("chunker")}.With(1, seedOf("1")).With(5, seedOf("5"))
	f.Add(key[:], mustMarshal(f, secrets))
	f.Add(key[:5], []byte{0xa3})
	f.Fuzz(func(t *testing.T, key, text []byte) {
		c := charter.Charter{Grid: core.DID{1}, Epoch: 5}
		box(t, &c, barn, key, text)
		s, err := c.Secrets(barn.did(), barn.seal)
		if err != nil {
			if !known(err) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(mustMarshal(t, s), text) || len(s.Vault) == 0 || s.Newest().Epoch > 5 {
			t.Errorf("read from %x", text)
		}
	})
}
