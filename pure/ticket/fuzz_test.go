package ticket

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

func marshalTicket(t Ticket) ([]byte, error) { return codec.Marshal(t) }

// FuzzParse reads its input as a line, and as what a line with a fitting checksum spells.
func FuzzParse(f *testing.F) {
	raw, err := marshalTicket(ticket(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line(f), raw)
	f.Add("grange-ticket:aa", raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		for _, l := range []string{text, codec.Line(Prefix, raw)} {
			x, _, err := Parse(l)
			if err != nil {
				continue
			}
			again, err := x.Line()
			if err != nil || codec.Squeeze(again) != codec.Squeeze(l) {
				t.Errorf("%q: read, but written again is %q, %v", l, again, err)
			}
		}
	})
}

// FuzzSigned opens bodies as if the right ones had signed them.
func FuzzSigned(f *testing.F) {
	r, _ := codec.Marshal(right())
	p, _ := codec.Marshal(proof())
	f.Add(r)
	f.Add(p)
	f.Add(p[:len(p)-1])
	f.Fuzz(func(t *testing.T, body []byte) {
		k := seed.Key()
		s := identity.Signed{By: k.DID(), Body: body, Sig: identity.SignBytes(k, identity.KindTicket, body)}
		if r, err := OpenRight(s); err == nil {
			if again, err := SignRight(k, r); err != nil || !bytes.Equal(again.Body, body) {
				t.Errorf("a right %x is %x again, %v", body, again.Body, err)
			}
		}
		s.Sig = identity.SignBytes(k, identity.KindBearer, body)
		if p, err := OpenProof(right(), s); err == nil {
			if again, err := SignProof(k, p); err != nil || !bytes.Equal(again.Body, body) {
				t.Errorf("a proof %x is %x again, %v", body, again.Body, err)
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	raw, err := record(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := DecodeRecord(raw)
		if err != nil {
			return
		}
		if again, err := r.Marshal(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%x is %x again, %v", raw, again, err)
		}
	})
}
