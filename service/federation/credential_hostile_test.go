package federation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/voucher"
)

// shows sends a credential as it is made by change.
func (m *machine) shows(at *machine, c voucher.Chain, change func(*credentialMessage)) (string, error) {
	m.w.t.Helper()
	invoked, err := c.Invoke(m.key, voucher.Call{Holder: at.did(), Resource: core.Storage, Amount: 1_000, At: m.w.clock.Now().Unix()})
	if err != nil {
		m.w.t.Fatal(err)
	}
	in := credentialMessage{Charter: chartersOf(m.w.t, m)[0], Name: m.name}
	if in.Chain, err = invoked.Marshal(); err != nil {
		m.w.t.Fatal(err)
	}
	change(&in)
	return m.call(at, "POST", "/credential", in)
}

type credentialMessage struct {
	Charter identity.Signed  `json:"charter"`
	Chain   []byte           `json:"chain,omitempty"`
	Token   *identity.Signed `json:"token,omitempty"`
	Name    string           `json:"name"`
}

func TestHostileCredentials(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	cleo := w.household("cleo")
	chain := voucherOf(club, anna, 5_000)
	for name, c := range map[string]struct {
		change func(*credentialMessage)
		code   string
	}{
		"another household's charter": {func(m *credentialMessage) { m.Charter = chartersOf(t, cleo)[0] }, wire.CodeRefused},
		"the club's charter":          {func(m *credentialMessage) { m.Charter = chartersOf(t, club)[0] }, wire.CodeRefused},
		"a forged charter":            {func(m *credentialMessage) { m.Charter.Sig = slices.Repeat([]byte{1}, 64) }, wire.CodeInvalid},
		"no chain":                    {func(m *credentialMessage) { m.Chain = nil }, wire.CodeInvalid},
		"a chain without invocation":  {func(m *credentialMessage) { m.Chain, _ = chain.Marshal() }, wire.CodeInvalid},
		"a long chain":                {func(m *credentialMessage) { m.Chain = make([]byte, voucher.SizeMax+1) }, wire.CodeInvalid},
		"a name that shows as others": {func(m *credentialMessage) { m.Name = "\x1b[2J" }, wire.CodeInvalid},
		"too much":                    {func(m *credentialMessage) { m.Chain = make([]byte, 65<<10) }, wire.CodeTooLarge},
	} {
		w.clock.Advance(time.Minute)
		code, err := anna.shows(bo, chain, c.change)
		if code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		want(t, name, bo.classOf(anna), "stranger false")
	}
	// Replayed by another machine, and at another holder that has a pact with the club too.
	w.befriend(cleo, club)
	w.clock.Advance(time.Minute)
	var seen []byte
	if _, err := anna.shows(bo, chain, func(m *credentialMessage) { seen = m.Chain }); err != nil {
		t.Fatal(err)
	}
	dan := w.household("dan")
	code, err := dan.shows(bo, voucherOf(club, dan, 1_000), func(m *credentialMessage) { m.Chain = seen })
	want(t, fmt.Sprint("by another machine: ", err), code, wire.CodeRefused)
	code, err = anna.shows(cleo, chain, func(m *credentialMessage) { m.Chain = seen })
	want(t, fmt.Sprint("at another holder: ", err), code, wire.CodeRefused)
	want(t, "dan", bo.classOf(dan), "stranger false")
	code, _ = club.call(bo, "POST", "/credential", credentialMessage{Charter: chartersOf(t, club)[0], Name: "club", Chain: seen})
	want(t, "a partner's", code, wire.CodeInvalid)
}

// A machine may show few credentials a minute, whatever they are.
func TestCredentialsAreCounted(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	chain := voucherOf(club, anna, 5_000)
	for range 4 {
		code, _ := anna.shows(bo, chain, func(m *credentialMessage) { m.Chain = nil })
		want(t, "a try", code, wire.CodeInvalid)
	}
	_, err := anna.shows(bo, chain, func(*credentialMessage) {})
	wantError(t, "one more", err, core.ErrBusy)
	dan := w.household("dan")
	dan.mustUse(bo, voucherOf(club, dan, 1))
	w.clock.Advance(time.Minute)
	anna.mustUse(bo, chain)
}
