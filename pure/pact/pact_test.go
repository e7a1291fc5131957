package pact

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/policy"
)

func TestPactRoundTrip(t *testing.T) {
	s := signedPact(t)
	got, err := s.Verify()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, pact()) {
		t.Errorf("got %+v, want %+v", got, pact())
	}
	if s.ID() != core.ScoreOf(s.Body) {
		t.Error("the id is not the score of the body")
	}
	if s.Inviter.By != annaAgent.DID() || s.Acceptor.By != bobAgent.DID() {
		t.Error("signed by the wrong agents")
	}
	again := signedPact(t)
	if !reflect.DeepEqual(s, again) {
		t.Error("signing twice gives two pacts")
	}
}

func TestSignedPactBad(t *testing.T) {
	unchecked := func(p Pact) func(*SignedPact) {
		return func(s *SignedPact) {
			body, err := codec.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			s.Body = body
			s.Inviter.Sig = identity.SignBytes(annaAgent, identity.KindPact, body)
			s.Acceptor.Sig = identity.SignBytes(bobAgent, identity.KindPact, body)
		}
	}
	later := pact()
	later.V = 2
	unequal := pact()
	unequal.Acceptor = unequal.Inviter
	tests := []struct {
		name   string
		change func(*SignedPact)
		want   error
	}{
		{"nothing", func(s *SignedPact) { *s = SignedPact{} }, core.ErrCorrupt},
		{"a bit of the body", func(s *SignedPact) { s.Body[9] ^= 1 }, core.ErrCorrupt},
		{"a bit of the inviter's signature", func(s *SignedPact) { s.Inviter.Sig[63] ^= 1 }, core.ErrCorrupt},
		{"a bit of the acceptor's signature", func(s *SignedPact) { s.Acceptor.Sig[0] ^= 1 }, core.ErrCorrupt},
		{"a short signature", func(s *SignedPact) { s.Acceptor.Sig = s.Acceptor.Sig[:63] }, core.ErrCorrupt},
		{"no inviter", func(s *SignedPact) { s.Inviter = Signature{} }, core.ErrCorrupt},
		{"one agent for both", func(s *SignedPact) { s.Inviter = s.Acceptor }, core.ErrInvalid},
		{"another's signature", func(s *SignedPact) { s.Inviter.By = key(9).DID() }, core.ErrCorrupt},
		{"signed as a lease", func(s *SignedPact) { s.Inviter.Sig = identity.SignBytes(annaAgent, identity.KindLease, s.Body) }, core.ErrCorrupt},
		{"too large", func(s *SignedPact) { s.Body = make([]byte, PactSizeMax+1) }, core.ErrTooLarge},
		{"of a later version", unchecked(later), core.ErrVersion},
		{"with oneself", unchecked(unequal), core.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := signedPact(t)
			test.change(&s)
			p, err := s.Verify()
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(p, Pact{}) {
				t.Error("a pact came with the error")
			}
		})
	}
}

func TestPactChecks(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Pact)
	}{
		{"no inviter", func(p *Pact) { p.Inviter = core.DID{} }},
		{"no acceptor", func(p *Pact) { p.Acceptor = core.DID{} }},
		{"with oneself", func(p *Pact) { p.Acceptor = p.Inviter }},
		{"from no time", func(p *Pact) { p.From = 0 }},
		{"from before 1970", func(p *Pact) { p.From = -1 }},
		{"from after the year 9999", func(p *Pact) { p.From = TimeMax + 1 }},
		{"until its beginning", func(p *Pact) { p.Until = p.From }},
		{"until before 1970", func(p *Pact) { p.Until = -1 }},
		{"until after the year 9999", func(p *Pact) { p.Until = math.MaxInt64 }},
		{"bad terms", func(p *Pact) { p.Terms.LeaseDays = 0 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := pact()
			test.change(&p)
			if _, _, err := SignPact(bobAgent, p); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("signed: %v", err)
			}
			body, err := codec.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenPact(body); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("opened: %v", err)
			}
		})
	}
	if _, _, err := SignPact(identity.Key{}, pact()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("signed without a key: %v", err)
	}
	if _, err := Countersign(identity.Key{}, nil, Signature{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("countersigned without a key: %v", err)
	}
}

func TestOpenPactStrict(t *testing.T) {
	body := signedPact(t).Body
	for n := range body {
		if _, err := OpenPact(body[:n]); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := OpenPact(append(bytes.Clone(body), 0)); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a byte more: %v", err)
	}
	// Null is no map, although it decodes to an empty one.
	empty := pact()
	empty.Terms.InviterGives = nil
	body, _, err := SignPact(bobAgent, empty)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(body, []byte("inviter_gives\xa0"))
	if at < 0 {
		t.Fatal("an empty map is not encoded as one")
	}
	body[at+len("inviter_gives")] = 0xf6
	if _, err := OpenPact(body); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("null for a map: %v", err)
	}
}

func TestPactSides(t *testing.T) {
	p := pact()
	anna, bob, cleo := annaGrid.DID(), bobGrid.DID(), key(9).DID()
	p.Terms.AcceptorPolicy = policy.NameDeny
	if got, ok := p.Other(anna); got != bob || !ok {
		t.Errorf("anna's other is %v, %v", got, ok)
	}
	if got, ok := p.Other(bob); got != anna || !ok {
		t.Errorf("bob's other is %v, %v", got, ok)
	}
	if got, ok := p.Other(cleo); !got.IsZero() || ok {
		t.Errorf("cleo's other is %v, %v", got, ok)
	}
	for grid, want := range map[core.DID]int64{anna: 10 * storageGB, bob: 20 * storageGB, cleo: 0} {
		if got := p.Gives(grid, core.Storage); got != want {
			t.Errorf("%s gives %d, want %d", grid.Short(), got, want)
		}
		if got := p.Gives(grid, "work"); got != 0 {
			t.Errorf("%s gives %d of work", grid.Short(), got)
		}
	}
	for grid, want := range map[core.DID]string{anna: "open", bob: "deny", cleo: ""} {
		if got := p.Policy(grid); got != want {
			t.Errorf("%s has policy %q, want %q", grid.Short(), got, want)
		}
	}
}

func TestTermsDefaults(t *testing.T) {
	got := Terms{}.WithDefaults()
	want := Terms{InviterPolicy: "open", AcceptorPolicy: "open", NoticeDays: 30, AsideDays: 14, LeaseDays: 180}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	set := Terms{InviterPolicy: "deny", AcceptorPolicy: "even", NoticeDays: 1, AsideDays: 2, LeaseDays: 3}
	if got := set.WithDefaults(); !reflect.DeepEqual(got, set) {
		t.Errorf("defaults replaced what was set: %+v", got)
	}
	if !errors.Is(Terms{}.Check(), core.ErrInvalid) {
		t.Error("zero terms are valid")
	}
}

func TestTermsCheck(t *testing.T) {
	gives := func(r core.Resource, n int64) map[core.Resource]int64 { return map[core.Resource]int64{r: n} }
	many := make(map[core.Resource]int64)
	for i := range ResourcesMax + 1 {
		many[core.Resource(strings.Repeat("r", i+1))] = 1
	}
	bad := map[string]func(*Terms){
		"less than nothing":     func(t *Terms) { t.InviterGives = gives(core.Storage, -1) },
		"too much":              func(t *Terms) { t.AcceptorGives = gives(core.Storage, AmountMax+1) },
		"too many resources":    func(t *Terms) { t.InviterGives = many },
		"a resource unnamed":    func(t *Terms) { t.InviterGives = gives("", 1) },
		"a resource in colour":  func(t *Terms) { t.InviterGives = gives("\x1b[31m", 1) },
		"a resource in capital": func(t *Terms) { t.AcceptorGives = gives("Storage", 1) },
		"a name too long":       func(t *Terms) { t.AcceptorGives = gives(core.Resource(strings.Repeat("r", NameSizeMax+1)), 1) },
		"a unit of nothing":     func(t *Terms) { t.Units = map[core.Resource]string{"potatoes": "kg"} },
		"a unit of bytes":       func(t *Terms) { t.Units = map[core.Resource]string{core.Storage: "kg"} },
		"a unit of no name": func(t *Terms) {
			t.InviterGives, t.Units = gives("potatoes", 1), map[core.Resource]string{"potatoes": ""}
		},
		"a unit with a tail": func(t *Terms) {
			t.InviterGives, t.Units = gives("potatoes", 1), map[core.Resource]string{"potatoes": "kg "}
		},
		"a unit in colour": func(t *Terms) {
			t.InviterGives, t.Units = gives("potatoes", 1), map[core.Resource]string{"potatoes": "\x1b[31m"}
		},
		"a unit too long": func(t *Terms) {
			t.InviterGives, t.Units = gives("potatoes", 1), map[core.Resource]string{"potatoes": strings.Repeat("k", UnitSizeMax+1)}
		},
		"no inviter's policy":   func(t *Terms) { t.InviterPolicy = "" },
		"no acceptor's policy":  func(t *Terms) { t.AcceptorPolicy = "" },
		"a policy of two lines": func(t *Terms) { t.AcceptorPolicy = "open\n" },
		"no notice":             func(t *Terms) { t.NoticeDays = 0 },
		"notice too long":       func(t *Terms) { t.NoticeDays = DaysMax + 1 },
		"no aside":              func(t *Terms) { t.AsideDays = 0 },
		"aside too long":        func(t *Terms) { t.AsideDays = DaysMax + 1 },
		"no lease":              func(t *Terms) { t.LeaseDays = 0 },
		"lease too long":        func(t *Terms) { t.LeaseDays = math.MaxUint },
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) {
			terms := terms()
			change(&terms)
			if err := terms.Check(); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	good := map[string]func(*Terms){
		"nothing at all": func(t *Terms) { t.InviterGives, t.AcceptorGives = nil, nil },
		"a unit": func(t *Terms) {
			t.InviterGives, t.Units = gives("potatoes", 1), map[core.Resource]string{"potatoes": "kg"}
		},
		"an amount of 0":      func(t *Terms) { t.InviterGives = gives(core.Storage, 0) },
		"the most":            func(t *Terms) { t.InviterGives = gives(core.Storage, AmountMax) },
		"an unknown resource": func(t *Terms) { t.InviterGives = gives("letters.v2_a-b", 1) },
		"an unknown policy":   func(t *Terms) { t.InviterPolicy = "reciprocal" },
		"the shortest":        func(t *Terms) { t.NoticeDays, t.AsideDays, t.LeaseDays = 1, 1, 1 },
		"the longest":         func(t *Terms) { t.NoticeDays, t.AsideDays, t.LeaseDays = DaysMax, DaysMax, DaysMax },
	}
	for name, change := range good {
		t.Run(name, func(t *testing.T) {
			terms := terms()
			change(&terms)
			if err := terms.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTermsEqual(t *testing.T) {
	if !terms().Equal(terms()) {
		t.Error("terms differ from themselves")
	}
	if !(Terms{}).Equal(Terms{InviterGives: map[core.Resource]int64{}}) {
		t.Error("no map and an empty one differ")
	}
	for i, change := range []func(*Terms){
		func(t *Terms) { t.InviterGives[core.Storage]++ },
		func(t *Terms) { t.AcceptorGives["work"] = 0 },
		func(t *Terms) { t.InviterPolicy = "deny" },
		func(t *Terms) { t.AcceptorPolicy = "deny" },
		func(t *Terms) { t.NoticeDays++ },
		func(t *Terms) { t.AsideDays++ },
		func(t *Terms) { t.LeaseDays++ },
	} {
		other := terms()
		change(&other)
		if other.Equal(terms()) || terms().Equal(other) {
			t.Errorf("change %d is not seen", i)
		}
	}
}
