package pact

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// reopen opens a body as if anyone had signed it, so that the fuzzer gets past
// the signature; what opens must sign to the same bytes.
func reopen[T claim](t *testing.T, kind string, body []byte, sizeMax int) {
	k := key(77)
	s := identity.Signed{By: k.DID(), Body: body, Sig: identity.SignBytes(k, kind, body)}
	v, err := open[T](s, kind, sizeMax)
	if err != nil {
		return
	}
	again, err := sign(k, kind, v)
	if err != nil || !bytes.Equal(again.Body, body) {
		t.Errorf("%s %x: opened, but signed again is %x, %v", kind, body, again.Body, err)
	}
}

// FuzzClaims reads the body of each kind.
func FuzzClaims(f *testing.F) {
	// Signed by the fuzzer's key, so that seeds are wholly valid.
	by := key(77).DID()
	l, r, e, a, n := lease(), receipt(), release(), admission(), notice()
	l.Holder, r.Receiver, e.Agent, a.Grid, n.Agent = by, by, by, by, by
	for _, v := range []any{l, r, e, a, n} {
		body, err := codec.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(body[:len(body)-1])
	}
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		reopen[Lease](t, identity.KindLease, body, LeaseSizeMax)
		reopen[Release](t, identity.KindRelease, body, LeaseSizeMax)
		reopen[Receipt](t, identity.KindReceipt, body, ReceiptSizeMax)
		reopen[Admission](t, identity.KindAdmission, body, ReceiptSizeMax)
		reopen[Notice](t, identity.KindNotice, body, ReceiptSizeMax)
	})
}

func FuzzOpenPact(f *testing.F) {
	body := signedPact(f).Body
	f.Add(body)
	f.Add(body[:40])
	body, _, err := SignPact(bobAgent, amendment())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	body, _, err = SignPact(bobAgent, timed().Pact(bobGrid.DID(), start))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte{0xa1, 0x61, 'v', 0x01})
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := OpenPact(body)
		if err != nil {
			return
		}
		again, sig, err := SignPact(bobAgent, p)
		if err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x: opened, but signed again is %x, %v", body, again, err)
		}
		if s, err := Countersign(annaAgent, again, sig); err != nil || s.ID().IsZero() {
			t.Errorf("%x: %v", body, err)
		}
	})
}

// FuzzParseInvitation reads its input twice: as a code, and as what a code with
// a fitting checksum spells.
func FuzzParseInvitation(f *testing.F) {
	i := invitation()
	raw, err := codec.Marshal(i)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code(f), raw)
	f.Add("grange:\u00ad-- a\xff", raw[:len(raw)/2])
	f.Add("GRANGE:", []byte{})
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		for _, c := range []string{text, armour(raw)} {
			i, err := ParseInvitation(c)
			if err != nil {
				continue
			}
			again, err := i.Code()
			if err != nil || again != codec.Squeeze(c) {
				t.Errorf("%q: read, but written again is %q, %v", c, again, err)
			}
		}
	})
}

// FuzzMeterState: a state that is read is written again as it was, and counts on without a fall.
func FuzzMeterState(f *testing.F) {
	var m Meter
	m.Lease(0, 1<<20, 1_800_000_000, 1_800_000_000+180*day)
	for _, s := range []MeterState{{Sum: "0"}, m.State(), {Sum: "-5", Ends: []MeterEnd{{day, -1}, {2 * day, 7}}}, {Sum: "-0"}} {
		raw, err := codec.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s MeterState
		if codec.Unmarshal(raw, &s, 1<<20) != nil {
			return
		}
		m, err := s.Meter()
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if again, err := codec.Marshal(m.State()); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is %x again: %v", raw, again, err)
		}
		last := CountedUntil(TimeMax)
		before := m.Seconds(last)
		m.Settle(last)
		if m.Seconds(last).Cmp(before) != 0 || m.Live(last) != 0 {
			t.Fatal("settling changes what is counted")
		}
	})
}
