package pact

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

func TestNotice(t *testing.T) {
	suite(t, notice(), bobAgent, identity.KindNotice, ReceiptSizeMax, SignNotice, OpenNotice, map[string]func(*Notice){
		"no pact":         func(n *Notice) { n.Pact = core.Score{} },
		"by nobody":       func(n *Notice) { n.By = core.DID{} },
		"no agent":        func(n *Notice) { n.Agent = core.DID{} },
		"at no time":      func(n *Notice) { n.Time = 0 },
		"until far away":  func(n *Notice) { n.Until = TimeMax + 1 },
		"until its time":  func(n *Notice) { n.Until = n.Time },
		"until long past": func(n *Notice) { n.Until = -1 },
	})
	if _, err := OpenNotice(later(t, bobAgent, identity.KindNotice)); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of a later version: %v", err)
	}
}

func TestCheckNotice(t *testing.T) {
	id := core.ScoreOf([]byte("pact"))
	for _, test := range []struct {
		name   string
		change func(*Notice)
		want   error
	}{
		{"in time", func(*Notice) {}, nil},
		{"by the other side", func(n *Notice) { n.By = annaGrid.DID() }, nil},
		{"with more time", func(n *Notice) { n.Until += day }, nil},
		{"a second short", func(n *Notice) { n.Until-- }, core.ErrInvalid},
		{"of another pact", func(n *Notice) { n.Pact[0]++ }, core.ErrInvalid},
		{"by a third", func(n *Notice) { n.By = key(9).DID() }, core.ErrInvalid},
	} {
		n := notice()
		test.change(&n)
		if err := pact().CheckNotice(n, id); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestCheckAmends(t *testing.T) {
	first := pact()
	body, _, err := SignPact(bobAgent, first)
	if err != nil {
		t.Fatal(err)
	}
	id := core.ScoreOf(body)
	for _, test := range []struct {
		name   string
		change func(*Pact)
		want   error
	}{
		{"as it should be", func(*Pact) {}, nil},
		{"more of another thing", func(p *Pact) { p.Terms.InviterGives = map[core.Resource]int64{"work": 3} }, nil},
		{"no amendment", func(p *Pact) { *p = first }, core.ErrInvalid},
		{"of another pact", func(p *Pact) { p.Amends = &core.Score{1} }, core.ErrInvalid},
		{"with another household", func(p *Pact) { p.Acceptor[0]++ }, core.ErrInvalid},
		{"of another inviter", func(p *Pact) { p.Inviter[0]++ }, core.ErrInvalid},
		{"of another invitation", func(p *Pact) { p.Invitation[0]++ }, core.ErrInvalid},
		{"that begins later", func(p *Pact) { p.From++ }, core.ErrInvalid},
		{"in another unit", func(p *Pact) { p.Terms.Units = map[core.Resource]string{"potatoes": "kg"} }, nil},
		{"that ends", func(p *Pact) { p.Until = p.From + day }, nil},
		{"for longer by its terms", func(p *Pact) { p.Terms.Days = 90 }, core.ErrInvalid},
		{"with less notice", func(p *Pact) { p.Terms.NoticeDays = 1 }, core.ErrInvalid},
		{"set aside for a day", func(p *Pact) { p.Terms.AsideDays = 1 }, core.ErrInvalid},
		{"by another policy", func(p *Pact) { p.Terms.InviterPolicy = "deny" }, core.ErrInvalid},
	} {
		p := amendment()
		test.change(&p)
		if err := p.CheckAmends(first, id); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for name, p := range map[string]Pact{
		"a number without a pact": func() Pact { p := first; p.N = 1; return p }(),
		"a pact without a number": func() Pact { p := amendment(); p.N = 0; return p }(),
		"of the zero pact":        func() Pact { p := amendment(); p.Amends = &core.Score{}; return p }(),
	} {
		if _, _, err := SignPact(bobAgent, p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := invitation().Match(amendment()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("an amendment matches an invitation: %v", err)
	}
}

func TestGenerous(t *testing.T) {
	gives := func(inviter, acceptor map[core.Resource]int64) Pact {
		return pact().Amend(core.Score{1}, 1, inviter, acceptor)
	}
	of := func(storage, work int64) map[core.Resource]int64 {
		return map[core.Resource]int64{core.Storage: storage, "work": work}
	}
	now := gives(of(10, 0), of(20, 5))
	in := func(p Pact, unit string) Pact { p.Terms.Units = map[core.Resource]string{"work": unit}; return p }
	for _, test := range []struct {
		name      string
		next      Pact
		anna, bob bool
	}{
		{"nothing", now, true, true},
		{"the inviter gives more", gives(of(11, 0), of(20, 5)), false, true},
		{"the inviter gives less", gives(of(9, 0), of(20, 5)), true, false},
		{"the acceptor gives more", gives(of(10, 0), of(21, 5)), true, false},
		{"both give less", gives(of(9, 0), of(19, 5)), false, false},
		{"a resource that was not there", gives(of(10, 1), of(20, 5)), false, true},
		{"until another date", func() Pact { p := now; p.Until = p.From + 1000*day; return p }(), false, false},
		{"another unit", in(now, "days"), false, false},
		{"a unit, and the resource is gone", in(gives(of(10, 0), of(20, 0)), "days"), false, true},
		{"a resource that is gone", gives(of(10, 0), map[core.Resource]int64{core.Storage: 20}), false, true},
	} {
		if a, b := now.Generous(annaGrid.DID(), test.next), now.Generous(bobGrid.DID(), test.next); a != test.anna || b != test.bob {
			t.Errorf("%s: anna %v, bob %v", test.name, a, b)
		}
	}
}
