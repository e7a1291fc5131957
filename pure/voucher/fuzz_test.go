package voucher

import (
	"bytes"
	"testing"

	"github.com/ucan-wg/go-ucan/token/delegation"
	"github.com/ucan-wg/go-ucan/token/invocation"
)

func FuzzParse(f *testing.F) {
	f.Add(must(shown(5).Marshal()))
	f.Add(must(chainOf(1).Marshal()))
	f.Add([]byte{0xa2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err != nil {
			return
		}
		if again, err := c.Marshal(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%x is %x again, %v", raw, again, err)
		}
		_, _ = Verify(c, factsOf(len(c.Links)))
	})
}

// FuzzLink reads its input as a delegation, and as the body of one that anna has signed. What is read, go-ucan
// reads as the same.
func FuzzLink(f *testing.F) {
	link := forge(anna, bo, func(*delegated) {})
	f.Add(link, link[67:])
	f.Add(shown(1).Invocation, shown(1).Invocation[67:])
	f.Fuzz(func(t *testing.T, raw, body []byte) {
		envelope := append([]byte{0x82, 0x58, 0x40}, sign(anna, body)...)
		for _, raw := range [][]byte{raw, append(envelope, body...)} {
			l, err := decodeLink(raw)
			if err != nil {
				continue
			}
			token, _, err := delegation.FromSealed(raw)
			if err != nil {
				t.Fatal(err)
			}
			if token.Issuer().String() != l.issuer.String() || token.Audience().String() != l.audience.String() || token.Subject().String() != l.subject.String() ||
				token.Command().String() != command(l.resource) || token.NotBefore().Unix() != l.from || token.Expiration().Unix() != l.until || token.Meta().String() != "{}" {
				t.Errorf("%x is %+v here, and there %s", raw, l, token)
			}
		}
	})
}

// FuzzInvocation reads its input as an invocation, and as the body of one that bo has signed.
func FuzzInvocation(f *testing.F) {
	c := shown(2)
	f.Add(c.Invocation, c.Invocation[67:])
	f.Add(c.Links[0], c.Links[0][67:])
	f.Fuzz(func(t *testing.T, raw, body []byte) {
		envelope := append([]byte{0x82, 0x58, 0x40}, sign(bo, body)...)
		for _, raw := range [][]byte{raw, append(envelope, body...)} {
			in, err := decodeCall(raw, c.Links)
			if err != nil {
				continue
			}
			token, _, err := invocation.FromSealed(raw)
			if err != nil {
				t.Fatal(err)
			}
			if token.Issuer().String() != in.issuer.String() || token.Audience().String() != in.audience.String() || token.Subject().String() != in.subject.String() ||
				token.Command().String() != command(in.resource) || token.IssuedAt().Unix() != in.from || token.Expiration().Unix() != in.until || len(token.Proof()) != len(c.Links) {
				t.Errorf("%x is %+v here, and there %s", raw, in, token)
			}
		}
	})
}
