package federation

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/voucher"
)

// aChain is a voucher of anna's machine for bo's.
func aChain(f testing.TB) []byte {
	anna, bo := identity.KeyOf(seedOf("anna's machine")), identity.KeyOf(seedOf("bo's machine"))
	c, err := voucher.Issue(anna, identity.KeyOf(seedOf("club")).DID(), voucher.Terms{Audience: bo.DID(), Resource: core.Storage, Amount: 1, From: 1, Until: 2})
	if err != nil {
		f.Fatal(err)
	}
	raw, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// What a guest's record is read as, it is written as, and no record breaks anything.
func FuzzGuestRecord(f *testing.F) {
	bo := identity.KeyOf(seedOf("bo's machine")).DID()
	good, err := codec.Marshal(guestRecord{V: 1, Grid: core.DID{1}, Name: "bo", draws: draws{Via: core.DID{2}}, Shown: []shownRecord{{Agent: bo, Chain: aChain(f), Amount: 1, Until: 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	byAccount, err := codec.Marshal(guestRecord{V: 1, Grid: core.DID{1}, Name: "bo", draws: draws{Account: AccountName{core.DID{2}, "bo"}}, Shown: []shownRecord{{Agent: bo, Token: core.Score{1}, Amount: 1, Until: 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byAccount)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r guestRecord
		if codec.Unmarshal(raw, &r, guestSizeMax) != nil {
			return
		}
		g, err := newGuest(r)
		if err != nil {
			return
		}
		once, err := codec.Marshal(g.record)
		if err != nil || codec.Unmarshal(once, &r, guestSizeMax) != nil || len(g.shown) != len(r.Shown) {
			t.Fatalf("it cannot be written: %v", err)
		}
		if again, err := codec.Marshal(r); err != nil || !bytes.Equal(again, once) {
			t.Fatalf("two encodings of one record: %v", err)
		}
	})
}

// What a holder answers to a credential is bounded before it is written down.
func FuzzWelcome(f *testing.F) {
	x := credentialAnswer{Name: "bo", Addrs: []string{"/a"}, Amount: 1, Until: 2, LeaseDays: 180, AsideDays: 14}
	good, err := codec.Marshal(x)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var out credentialAnswer
		if codec.UnmarshalMessage(raw, &out, credentialLimit) != nil || checkWelcome(out) != nil {
			return
		}
		r := errandRecord{V: 1, Charter: out.Charter, Chain: aChain(t), Ends: out.Ends, LeaseDays: out.LeaseDays, AsideDays: out.AsideDays}
		if e, err := newErrand(r); err == nil && (e.record.LeaseDays > 3650 || e.record.Ends < 0) {
			t.Fatalf("%+v", e.record)
		}
	})
}

// One grid's guests leave room for those of others.
func TestOneGridsGuestsAreBounded(t *testing.T) {
	f := &Federation{c: Config{Keeps: func(core.DID) bool { return false }}, guests: map[core.DID]*guest{}}
	full, other := core.DID{0xff}, core.DID{0xfe}
	for i := range guestsOfOneMax {
		grid := core.DID{1, byte(i), byte(i >> 8)}
		f.guests[grid] = &guest{household: newHousehold(grid), record: guestRecord{Grid: grid, draws: draws{Via: full}}}
	}
	if _, _, err := f.nextGuest(core.DID{2}, core.DID{3}, draws{Via: full}); !errors.Is(err, core.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if _, fresh, err := f.nextGuest(core.DID{2}, core.DID{3}, draws{Via: other}); err != nil || !fresh {
		t.Errorf("another's: %v", err)
	}
	if _, fresh, err := f.nextGuest(core.DID{2}, core.DID{1}, draws{Via: full}); err != nil || fresh {
		t.Errorf("one that is there: %v", err)
	}
}
