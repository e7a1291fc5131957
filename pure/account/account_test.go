package account

import (
	"errors"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

const theTime = 1_800_000_000

func keyOf(name string) identity.Key { return identity.KeyOf(core.ScoreOf([]byte(name))) }

var (
	server = keyOf("account server")
	holder = keyOf("storage server")
	grid   = keyOf("customer's household").DID()
)

func token() Token {
	return Token{
		V: 1, Server: server.DID(), Account: "anna@example.org", Plan: "home-100", Grid: grid, Bytes: 100_000_000_000,
		From: theTime, Until: theTime + LifeMax, Nonce: [NonceSize]byte{1, 2, 3}, Addrs: []string{"/ip4/192.0.2.7/tcp/4726"},
	}
}

func revocations() Revocations {
	return Revocations{V: 1, Server: server.DID(), After: 6, Last: 9, Time: theTime, Entries: []Revocation{
		{N: 7, Account: "bo", Time: theTime - 2}, {N: 8, Account: "bo", Time: theTime - 1, Restored: true},
	}}
}

func usage() Usage {
	return Usage{V: 1, Server: server.DID(), Account: "anna@example.org", Bytes: 7_000_000, Total: 1 << 40, Seq: 3, Time: theTime}
}

// refused checks that a changed thing can neither be signed nor, signed all the same, be opened.
func refused[T any](t *testing.T, good T, by identity.Key, kind string, sign func(identity.Key, T) (identity.Signed, error), open func(identity.Signed) (T, error), changes map[string]func(*T)) {
	t.Helper()
	if s, err := sign(by, good); err != nil {
		t.Fatal(err)
	} else if _, err := open(s); err != nil {
		t.Fatal(err)
	}
	for name, change := range changes {
		bad := good
		change(&bad)
		if _, err := sign(by, bad); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: signed: %v", name, err)
		}
		s, err := identity.Sign(by, kind, bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(s); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
	s, err := sign(by, good)
	if err != nil {
		t.Fatal(err)
	}
	s.Sig[0] ^= 1
	if _, err := open(s); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a wrong signature: %v", err)
	}
}

func TestTokensThatAreNone(t *testing.T) {
	refused(t, token(), server, identity.KindAccount, SignToken, OpenToken, map[string]func(*Token){
		"no account": func(x *Token) { x.Account = "" }, "a long one": func(x *Token) { x.Account = strings.Repeat("a", IDSizeMax+1) },
		"a path": func(x *Token) { x.Account = "a/b" }, "two lines": func(x *Token) { x.Plan = "a\nb" }, "no plan": func(x *Token) { x.Plan = "" },
		"no household": func(x *Token) { x.Grid = core.DID{} }, "less than nothing": func(x *Token) { x.Bytes = -1 }, "too much": func(x *Token) { x.Bytes = BytesMax + 1 },
		"no time": func(x *Token) { x.Until = x.From }, "too long": func(x *Token) { x.Until = x.From + LifeMax + 1 }, "before 1970": func(x *Token) { x.From = 0 },
		"the year 10000": func(x *Token) { x.From, x.Until = TimeMax, TimeMax+1 }, "no nonce": func(x *Token) { x.Nonce = [NonceSize]byte{} },
		"no address": func(x *Token) { x.Addrs = []string{"here"} }, "five addresses": func(x *Token) { x.Addrs = []string{"/a", "/b", "/c", "/d", "/e"} },
	})
	bySomeone, err := identity.Sign(holder, identity.KindAccount, token())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenToken(bySomeone); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("signed by another than the server: %v", err)
	}
}

func TestVerify(t *testing.T) {
	s, err := SignToken(server, token())
	if err != nil {
		t.Fatal(err)
	}
	trusts := func(did core.DID) bool { return did == server.DID() }
	for name, c := range map[string]struct {
		trusted func(core.DID) bool
		grid    core.DID
		now     int64
		want    error
		denied  string
	}{
		"good":                  {trusts, grid, theTime, nil, ""},
		"good, a clock behind":  {trusts, grid, theTime - SkewMax, nil, ""},
		"good, at the last":     {trusts, grid, theTime + LifeMax - 1, nil, ""},
		"not yet":               {trusts, grid, theTime - SkewMax - 1, core.ErrRefused, "the token of account anna@example.org is not good yet"},
		"lapsed":                {trusts, grid, theTime + LifeMax, core.ErrRefused, "the token of account anna@example.org has lapsed"},
		"another household":     {trusts, holder.DID(), theTime, core.ErrForbidden, ""},
		"a server of no repute": {func(core.DID) bool { return false }, grid, theTime, core.ErrForbidden, ""},
	} {
		r, err := Verify(s, c.trusted, c.grid, c.now)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (err == nil) != (r.ID == s.Score()) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if d, ok := errors.AsType[*core.Denial](err); ok != (c.denied != "") || ok && d.Reason != c.denied {
			t.Errorf("%s: denied with %v", name, err)
		}
	}
	s.Body[len(s.Body)-1] ^= 1
	if _, err := Verify(s, trusts, grid, theTime); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("widened: %v", err)
	}
}

func TestRevocationsThatAreNone(t *testing.T) {
	refused(t, revocations(), server, identity.KindRevocation, SignRevocations, OpenRevocations, map[string]func(*Revocations){
		"one left out":    func(r *Revocations) { r.Entries = []Revocation{r.Entries[0], {N: 9, Account: "a", Time: 1}} },
		"one twice":       func(r *Revocations) { r.Entries = []Revocation{r.Entries[0], r.Entries[0]} },
		"one of before":   func(r *Revocations) { r.After = 7 },
		"beyond the last": func(r *Revocations) { r.Last = 7 },
		"none":            func(r *Revocations) { r.Entries = nil },
		"no time":         func(r *Revocations) { r.Time = 0 },
		"no account":      func(r *Revocations) { r.Entries = []Revocation{{N: 7, Time: 1}} },
		"an entry's time": func(r *Revocations) { r.Entries = []Revocation{{N: 7, Account: "a"}} },
		"too many": func(r *Revocations) {
			r.Last, r.Entries = 5000, nil
			for i := range EntriesMax + 1 {
				r.Entries = append(r.Entries, Revocation{N: uint64(7 + i), Account: "a", Time: 1})
			}
		},
	})
	for _, c := range []struct {
		change func(*Revocations)
		after  uint64
		more   bool
	}{
		{func(*Revocations) {}, 8, true},
		{func(r *Revocations) { r.Last = 8 }, 8, false},
		{func(r *Revocations) { r.After, r.Entries = 9, nil }, 9, false},
		{func(r *Revocations) { r.After, r.Last, r.Entries = 9, 2, nil }, 2, false},
		{func(r *Revocations) { r.After = 2 }, 8, true}, // the beginning is left out
	} {
		r := revocations()
		c.change(&r)
		if err := r.check(); err != nil {
			t.Error(err)
		}
		if after, more := r.Next(); after != c.after || more != c.more {
			t.Errorf("%+v: next %d, %v", r, after, more)
		}
	}
}

func TestAPageIsNeverTooLarge(t *testing.T) {
	r := Revocations{V: 1, Server: server.DID(), Last: EntriesMax, Time: TimeMax}
	for i := range EntriesMax {
		r.Entries = append(r.Entries, Revocation{N: uint64(i + 1), Account: strings.Repeat("a", IDSizeMax), Time: TimeMax, Restored: true})
	}
	s, err := SignRevocations(server, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRevocations(s); err != nil {
		t.Error(err)
	}
}

func TestReportsThatAreNone(t *testing.T) {
	refused(t, usage(), holder, identity.KindUsage, SignUsage, OpenUsage, map[string]func(*Usage){
		"no account": func(u *Usage) { u.Account = "" }, "no server": func(u *Usage) { u.Server = core.DID{} }, "below zero": func(u *Usage) { u.Bytes = -1 },
		"too much": func(u *Usage) { u.Bytes = BytesMax + 1 }, "no number": func(u *Usage) { u.Seq = 0 }, "no time": func(u *Usage) { u.Time = 0 },
	})
	for name, c := range map[string]struct {
		change func(*Usage)
		want   error
	}{
		"the next": {func(u *Usage) { u.Seq++; u.Bytes = 0; u.Time = 1 }, nil},
		"as new":   {func(u *Usage) { u.Total++ }, core.ErrStale},
		"older":    {func(u *Usage) { u.Seq-- }, core.ErrStale},
		"less":     {func(u *Usage) { u.Seq++; u.Total-- }, core.ErrInvalid},
	} {
		u := usage()
		c.change(&u)
		if err := u.Follows(usage()); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddrs(t *testing.T) {
	got := Addrs([]string{"/a", "b", "/c\n", "/d", "/" + strings.Repeat("e", AddrSizeMax), "/f", "/g", "/h"})
	if strings.Join(got, " ") != "/a /d /f /g" {
		t.Error(got)
	}
}
