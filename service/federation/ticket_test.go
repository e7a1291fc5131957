package federation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/ticket"
	"github.com/grange-grid/grange/service/federation"
)

type ticketMessage struct {
	Right *identity.Signed `json:"right,omitempty"`
	Proof *identity.Signed `json:"proof,omitempty"`
	Nonce []byte           `json:"nonce,omitempty"`
	Until int64            `json:"until,omitempty"`
}

// ticketOf makes a ticket of a machine's for 30 days; holders are who it names.
func ticketOf(m *machine, name string, holders ...*machine) (ticket.Ticket, ticket.Right) {
	m.w.t.Helper()
	x := ticket.Ticket{V: 1, Seed: ticket.Secret(seed(name))}
	id := seed("id " + name)
	r := ticket.Right{V: 1, Grid: m.grid(), ID: ticket.ID(id[:16]), Key: x.Seed.Key().DID(), Until: m.w.clock.Now().Add(30 * 24 * time.Hour).Unix()}
	var err error
	if x.Right, err = m.f.SignRight(r); err != nil {
		m.w.t.Fatal(err)
	}
	for _, h := range holders {
		x.Holders = append(x.Holders, ticket.Holder{DID: h.did(), Addrs: h.peers.Addrs()})
	}
	return x, r
}

// stranger makes a machine of no household, that is on the network.
func (w *world) stranger(name string) *machine {
	m := w.machine(name, name)
	m.connect()
	return m
}

// bearer makes one who has a ticket.
func (w *world) bearer(name string, x ticket.Ticket, r ticket.Right) *federation.Bearer {
	m := w.stranger(name)
	return federation.NewBearer(federation.Config{Key: m.key, Clock: w.clock, Wire: m.client, Known: m.known}, x, r)
}

// show begins with a nonce, and proves what change makes of it.
func show(m, at *machine, x ticket.Ticket, r ticket.Right, change func(*ticketMessage, *ticket.Proof)) (string, error) {
	m.w.t.Helper()
	p := ticket.Proof{ID: r.ID, Holder: at.did(), Agent: m.did(), Nonce: nonceAt(m, at)}
	in := ticketMessage{Right: &x.Right}
	change(&in, &p)
	if in.Proof == nil {
		signed, err := ticket.SignProof(x.Seed.Key(), p)
		if err != nil {
			m.w.t.Fatal(err)
		}
		in.Proof = &signed
	}
	return m.call(at, "POST", "/ticket", in)
}

func nonceAt(m, at *machine) [32]byte {
	m.w.t.Helper()
	m.known.Learn(at.did(), at.peers.Addrs())
	var out ticketMessage
	if err := m.client.Call(m.w.t.Context(), at.did(), "POST", "/ticket", ticketMessage{}, &out); err != nil {
		m.w.t.Fatal(err)
	}
	return [32]byte(out.Nonce)
}

func asItIs(*ticketMessage, *ticket.Proof) {}

// resign makes the right another, signed by k.
func resign(t *testing.T, in *ticketMessage, k identity.Key, r ticket.Right) {
	t.Helper()
	s, err := ticket.SignRight(k, r)
	if err != nil {
		t.Fatal(err)
	}
	in.Right = &s
}

func TestTicketIsShown(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(anna, bo)
	w.befriend(anna, cleo)
	other := w.household("other")
	x, r := ticketOf(anna, "ticket")
	reader, thief := w.stranger("reader"), w.stranger("thief")
	stolen := identity.Signed{}
	for _, c := range []struct {
		what, code string
		change     func(*ticketMessage, *ticket.Proof)
	}{
		{"no proof", wire.CodeInvalid, func(in *ticketMessage, _ *ticket.Proof) { in.Right, in.Proof = nil, &identity.Signed{} }},
		{"a proof for another holder", wire.CodeUnknown, func(_ *ticketMessage, p *ticket.Proof) { p.Holder = cleo.did() }},
		{"a proof of another caller", wire.CodeUnknown, func(_ *ticketMessage, p *ticket.Proof) { p.Agent = thief.did() }},
		{"a nonce that was not given", wire.CodeUnknown, func(_ *ticketMessage, p *ticket.Proof) { p.Nonce[0]++ }},
		{"another's nonce", wire.CodeUnknown, func(_ *ticketMessage, p *ticket.Proof) { p.Nonce = nonceAt(thief, bo) }},
		{"a nonce of two minutes ago", wire.CodeUnknown, func(*ticketMessage, *ticket.Proof) { w.clock.Advance(2 * time.Minute) }},
		{"a proof of another ticket", wire.CodeUnknown, func(_ *ticketMessage, p *ticket.Proof) { p.ID[0]++ }},
		{"a proof by another key", wire.CodeUnknown, func(in *ticketMessage, p *ticket.Proof) {
			s, _ := ticket.SignProof(reader.key, *p)
			in.Proof = &s
		}},
		{"a right of a household without a pact", wire.CodeUnknown, func(in *ticketMessage, _ *ticket.Proof) {
			r := r
			r.Grid = other.grid()
			resign(t, in, other.key, r)
		}},
		{"a right that another household has signed", wire.CodeUnknown, func(in *ticketMessage, _ *ticket.Proof) { resign(t, in, cleo.key, r) }},
		{"a right that its bearer has signed", wire.CodeUnknown, func(in *ticketMessage, _ *ticket.Proof) { resign(t, in, x.Seed.Key(), r) }},
		{"a right that was made longer", wire.CodeUnknown, func(in *ticketMessage, _ *ticket.Proof) {
			longer := r
			longer.Until++
			forged, _ := ticket.SignRight(anna.key, longer)
			forged.Sig = x.Right.Sig
			in.Right = &forged
		}},
		{"a right for years", wire.CodeRefused, func(in *ticketMessage, _ *ticket.Proof) {
			longer := r
			longer.Until += 366 * 24 * 3600
			resign(t, in, anna.key, longer)
		}},
		{"a right of the longest time, by a clock that is ahead", "", func(in *ticketMessage, _ *ticket.Proof) {
			longest := r
			longest.Until = w.clock.Now().Unix() + ticket.LifeMax + 3600
			resign(t, in, anna.key, longest)
		}},
		{"a true one", "", func(in *ticketMessage, p *ticket.Proof) {
			stolen, _ = ticket.SignProof(x.Seed.Key(), *p)
			in.Proof = &stolen
		}},
		{"the same again", wire.CodeUnknown, func(in *ticketMessage, _ *ticket.Proof) { in.Proof = &stolen }},
	} {
		if code, err := show(reader, bo, x, r, c.change); code != c.code {
			t.Errorf("%s: %v, want %q", c.what, err, c.code)
		}
	}
	// What a holder has seen is of no use to it at another.
	code, err := bo.call(cleo, "POST", "/ticket", ticketMessage{Right: &x.Right, Proof: &stolen})
	if code != wire.CodeUnknown {
		t.Errorf("replayed by its holder: %v", err)
	}
	code, err = thief.call(cleo, "POST", "/ticket", ticketMessage{Right: &x.Right, Proof: &stolen})
	if code != wire.CodeUnknown {
		t.Errorf("replayed by another: %v", err)
	}
	code, err = anna.call(bo, "POST", "/ticket", ticketMessage{})
	if code != wire.CodeInvalid {
		t.Errorf("shown by a partner's own key: %v", err)
	}
	w.clock.Advance(30 * 24 * time.Hour)
	if code, err := show(reader, bo, x, r, asItIs); code != wire.CodeRefused || !strings.Contains(err.Error(), "the ticket has lapsed") {
		t.Errorf("lapsed: %v", err)
	}
}

// A bearer gets pieces, and nothing else that its household has here.
func TestABearerGetsPiecesAlone(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	anna.save()
	x, r := ticketOf(anna, "ticket")
	reader := w.stranger("reader")
	if code, err := show(reader, bo, x, r, asItIs); code != "" {
		t.Fatal(err)
	}
	class := func() wire.Class {
		t.Helper()
		c, err := bo.f.Classify(t.Context(), reader.did())
		if err != nil || (c.Class == wire.Bearer) != (c.Grid == anna.grid()) {
			t.Fatalf("%+v, %v", c, err)
		}
		return c.Class
	}
	want(t, "the bearer", class(), wire.Bearer)
	for _, route := range bo.f.Routes() {
		if serves := route.Who&wire.Bearer != 0; serves {
			t.Errorf("%s %s is open to bearers", route.Method, route.Path)
		}
	}
	for _, route := range routes {
		if code, err := reader.call(bo, route.method, route.path, nil); code != route.stranger {
			t.Errorf("%s %s: %v, want what a stranger gets, %q", route.method, route.path, err, route.stranger)
		}
	}
	w.clock.Advance(time.Hour - time.Second)
	want(t, "within the hour", class(), wire.Bearer)
	w.clock.Advance(time.Second)
	want(t, "after an hour", class(), wire.Stranger)

	// Many bearers take no place of those who recover.
	lost := w.stranger("lost")
	if _, err := lost.recover(bo, federation.RecoverOptions{}); !errors.Is(err, core.ErrForbidden) {
		t.Fatal(err)
	}
	for i := range 65 {
		m := w.stranger(fmt.Sprint("reader", i))
		if code, err := show(m, bo, x, r, asItIs); code != "" {
			t.Fatal(err)
		}
		if i == 0 {
			reader = m
		}
		m.off()
	}
	want(t, "the oldest of too many", class(), wire.Stranger)

	// A machine that is removed ends what it has signed, of who is inside too.
	reader = w.stranger("last")
	if code, err := show(reader, bo, x, r, asItIs); code != "" {
		t.Fatal(err)
	}
	fresh := w.machine("anna's new machine", "anna")
	removed := anna.amend(func(c *charter.Charter) {
		if err := c.Remove(anna.did(), 0, core.Score{}); err != nil {
			t.Fatal(err)
		}
		c.Agents = append(c.Agents, fresh.agent())
	})
	if code, err := anna.call(bo, "POST", "/charter", charters{[]identity.Signed{removed}}); code != "" {
		t.Fatal(err)
	}
	want(t, "after the revocation", class(), wire.Stranger)
	if code, err := show(reader, bo, x, r, asItIs); code != wire.CodeUnknown {
		t.Errorf("signed by a machine that was removed: %v", err)
	}
}
