package pact

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

func code(t testing.TB) string {
	t.Helper()
	c, err := invitation().Code()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// armour makes a code of any bytes, with a checksum that fits.
func armour(raw []byte) string {
	return codec.Line("GRANGE:", raw)
}

func TestInvitationRoundTrip(t *testing.T) {
	c := code(t)
	if !strings.HasPrefix(c, "GRANGE:") || strings.ContainsFunc(c, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsLower(r) }) {
		t.Errorf("code %s", c)
	}
	tolerated := map[string]string{
		"as it is":          c,
		"in small letters":  strings.ToLower(c),
		"in mixed letters":  c[:20] + strings.ToLower(c[20:30]) + c[30:],
		"among white space": " \t\n" + c + "\r\n\u00a0",
		"wrapped":           wrap(c, 20, "\r\n"),
		"hyphenated":        wrap(c, 4, "-"),
		"soft hyphens":      wrap(c, 4, "\u00ad"),
		"true hyphens":      wrap(c, 4, "\u2010"),
		"all of it":         wrap(strings.ToLower(c), 1, " -\n"),
	}
	for name, text := range tolerated {
		got, err := ParseInvitation(text)
		if err != nil || !reflect.DeepEqual(got, invitation()) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func wrap(s string, every int, with string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && i%every == 0 {
			b.WriteString(with)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// A single wrong character is found, wherever it stands and whatever it is.
func TestInvitationWrongCharacter(t *testing.T) {
	c := code(t)
	others := "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:+/=.,;!\x00\x7f"
	for i := range c {
		for _, r := range others + "é\u017f\u212a\ufffd- " { // long s and the kelvin sign have plain capitals or small letters
			if byte(r) == c[i] && r < 0x80 {
				continue
			}
			got, err := ParseInvitation(c[:i] + string(r) + c[i+1:])
			want := core.ErrCorrupt
			if i < len("GRANGE:") {
				want = core.ErrInvalid
			}
			if !errors.Is(err, want) || !reflect.DeepEqual(got, Invitation{}) {
				t.Fatalf("%q at %d: %v", r, i, err)
			}
		}
		if _, err := ParseInvitation(c[:i] + "\xff" + c[i+1:]); err == nil {
			t.Fatalf("a byte that is no character at %d is read", i)
		}
		if _, err := ParseInvitation(c[:i] + c[i+1:]); err == nil {
			t.Fatalf("a character missing at %d is not found", i)
		}
		if _, err := ParseInvitation(c[:i]); err == nil {
			t.Fatalf("an end missing at %d is not found", i)
		}
		if i+1 < len(c) && c[i] != c[i+1] {
			if _, err := ParseInvitation(c[:i] + c[i+1:i+2] + c[i:i+1] + c[i+2:]); err == nil {
				t.Fatalf("two characters changed about at %d are not found", i)
			}
		}
	}
}

// Where the last character has bits to spare, these too are looked at.
func TestInvitationSpareBits(t *testing.T) {
	lengths := make(map[int]bool)
	for n := range 5 {
		i := invitation()
		i.Name = strings.Repeat("a", n)
		c, err := i.Code()
		if err != nil {
			t.Fatal(err)
		}
		lengths[len(c)%8] = true
		for _, r := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" {
			if byte(r) == c[len(c)-1] {
				continue
			}
			if _, err := ParseInvitation(c[:len(c)-1] + string(r)); !errors.Is(err, core.ErrCorrupt) {
				t.Errorf("a name of %d, last character %q: %v", n, r, err)
			}
		}
	}
	if len(lengths) != 5 {
		t.Errorf("codes end in %d ways only", len(lengths))
	}
}

// unchecked makes a code of an invitation that Code would refuse.
func unchecked(t *testing.T, change func(*Invitation)) string {
	t.Helper()
	i := invitation()
	change(&i)
	b, err := codec.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return armour(b)
}

func TestInvitationErrors(t *testing.T) {
	c := code(t)
	tests := []struct {
		name, code string
		want       error
		text       string
	}{
		{"nothing", "", core.ErrInvalid, "invitation: invalid: not an invitation code; one begins with GRANGE:"},
		{"something else", "https://example.org", core.ErrInvalid, "invitation: invalid: not an invitation code; one begins with GRANGE:"},
		{"the prefix alone", "GRANGE:", core.ErrCorrupt, "invitation: corrupt: a character of the code is wrong or missing"},
		{"a zero for an O", c[:8] + "0" + c[9:], core.ErrCorrupt, "invitation: corrupt: character 9 of the code, '0', is wrong; there are only A to Z and 2 to 7"},
		{"the end is missing", c[:len(c)-1], core.ErrCorrupt, "invitation: corrupt: a character of the code is wrong or missing"},
		{"of version 2", unchecked(t, func(i *Invitation) { i.V = 2 }), core.ErrVersion, "invitation: unknown version 2, want 1"},
		{"no CBOR", armour([]byte("hello")), core.ErrInvalid, ""},
		{"empty", armour(nil), core.ErrInvalid, ""},
		{"too many characters", "GRANGE:" + strings.Repeat("A", CodeSizeMax-6), core.ErrTooLarge, "invitation: too large: 4097 characters, at most 4096"},
		{"too much of anything", strings.Repeat(" ", CodeTextSizeMax+1), core.ErrTooLarge, "invitation: too large: 16385 bytes, at most 16384"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i, err := ParseInvitation(test.code)
			if !errors.Is(err, test.want) || !reflect.DeepEqual(i, Invitation{}) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.text != "" && err.Error() != test.text {
				t.Errorf("got %q, want %q", err, test.text)
			}
		})
	}
}

func TestInvitationChecks(t *testing.T) {
	bad := map[string]func(*Invitation){
		"no agent":                func(i *Invitation) { i.Agent = core.DID{} },
		"no grid":                 func(i *Invitation) { i.Grid = core.DID{} },
		"no secret":               func(i *Invitation) { i.Secret = Secret{} },
		"a name too long":         func(i *Invitation) { i.Name = strings.Repeat("a", InvitationNameSizeMax+1) },
		"a name in colour":        func(i *Invitation) { i.Name = "\x1b[31manna" },
		"a name of two lines":     func(i *Invitation) { i.Name = "anna\nbob" },
		"a name turned round":     func(i *Invitation) { i.Name = "anna\u202ebob" },
		"an address too many":     func(i *Invitation) { i.Addrs = make([]string, AddrsMax+1) },
		"an empty address":        func(i *Invitation) { i.Addrs = []string{""} },
		"an address of no kind":   func(i *Invitation) { i.Addrs = []string{"192.0.2.7"} },
		"an address too long":     func(i *Invitation) { i.Addrs = []string{"/" + strings.Repeat("a", AddrSizeMax)} },
		"an address in colour":    func(i *Invitation) { i.Addrs = []string{"/\x1b[31m"} },
		"expired since 1970":      func(i *Invitation) { i.Expires = 0 },
		"never to expire":         func(i *Invitation) { i.Expires = math.MaxInt64 },
		"terms without a policy":  func(i *Invitation) { i.Terms.InviterPolicy = "" },
		"terms without any lease": func(i *Invitation) { i.Terms.LeaseDays = 0 },
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseInvitation(unchecked(t, change)); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("read: %v", err)
			}
			i := invitation()
			change(&i)
			if c, err := i.Code(); !errors.Is(err, core.ErrInvalid) || c != "" {
				t.Errorf("written: %v", err)
			}
		})
	}
	garbled := invitation()
	garbled.Name = "an\xff"
	if _, err := garbled.Code(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a name that is no UTF-8: %v", err)
	}
}

func TestInvitationSizes(t *testing.T) {
	i := invitation()
	i.Name = "👩‍👧 " + strings.Repeat("ü", 26)
	i.Addrs = make([]string, AddrsMax)
	for n := range i.Addrs {
		i.Addrs[n] = "/" + strings.Repeat("a", AddrSizeMax-1)
	}
	check := func() int {
		t.Helper()
		c, err := i.Code()
		if err != nil {
			t.Fatal(err)
		}
		if len(c) > CodeSizeMax {
			t.Errorf("a code of %d characters", len(c))
		}
		if got, err := ParseInvitation(c); err != nil || !reflect.DeepEqual(got, i) {
			t.Errorf("got %+v, %v", got, err)
		}
		b, err := codec.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		return len(b)
	}
	if check(); len(i.Name) != InvitationNameSizeMax {
		t.Errorf("a name of %d bytes", len(i.Name))
	}

	// It may be filled to the byte, and not one byte beyond.
	for n := range i.Addrs {
		i.Addrs[n] = "/" + strings.Repeat("a", 229)
	}
	const resourceSize = 1 + 20 + 1 // with an amount of 1
	for n := 0; check()+resourceSize <= invitationSizeMax; n++ {
		i.Terms.InviterGives[core.Resource(fmt.Sprintf("resource-%011d", n))] = 1
	}
	i.Addrs[0] += strings.Repeat("a", invitationSizeMax-check())
	if size := check(); size != invitationSizeMax {
		t.Errorf("%d bytes, want %d", size, invitationSizeMax)
	}
	i.Addrs[0] += "a"
	if c, err := i.Code(); !errors.Is(err, core.ErrTooLarge) || c != "" {
		t.Errorf("one byte beyond: %v", err)
	}
}

func TestInvitationProof(t *testing.T) {
	i := invitation()
	proof := InvitationProof(i.Secret, i.Agent, bobAgent.DID())
	if !i.Proves(bobAgent.DID(), proof[:]) {
		t.Error("the acceptor's proof is refused")
	}
	if i.Proves(key(9).DID(), proof[:]) {
		t.Error("another's proof is taken")
	}
	if i.Proves(bobAgent.DID(), proof[:31]) || i.Proves(bobAgent.DID(), nil) {
		t.Error("a short proof is taken")
	}
	proof[31] ^= 1
	if i.Proves(bobAgent.DID(), proof[:]) {
		t.Error("a wrong proof is taken")
	}
	other := i
	other.Secret[15]++
	if i.ID() == other.ID() || i.ID() == [16]byte(i.Secret) {
		t.Error("the id does not hide the secret")
	}
	if swapped := InvitationProof(i.Secret, bobAgent.DID(), i.Agent); i.Proves(bobAgent.DID(), swapped[:]) {
		t.Error("the two sides can be changed about")
	}
}

func TestInvitationMatch(t *testing.T) {
	i := invitation()
	if err := i.Match(pact()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Pact){
		"another invitation": func(p *Pact) { p.Invitation[0]++ },
		"another inviter":    func(p *Pact) { p.Inviter = key(9).DID() },
		"that ends":          func(p *Pact) { p.Until = p.From + 90*day },
		"better terms":       func(p *Pact) { p.Terms.InviterGives = map[core.Resource]int64{core.Storage: 99 * storageGB} },
	} {
		p := pact()
		change(&p)
		if err := i.Match(p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	i = timed()
	p := i.Pact(bobGrid.DID(), start)
	if err := i.Match(p); err != nil || p.Until != start+90*day {
		t.Errorf("for 90 days: until %d, %v", p.Until, err)
	}
	for _, until := range []int64{0, p.Until - 1, p.Until + day} {
		p.Until = until
		if err := i.Match(p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("for 90 days, until %d: %v", until, err)
		}
	}
}

// Whatever a program prints, the secret is not in it.
func TestSecretHidden(t *testing.T) {
	i := invitation()
	i.Secret = Secret([]byte("very secret 0123"))
	inJSON, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("invited", "invitation", i, "secret", i.Secret)
	slog.New(slog.NewTextHandler(&log, nil)).Info("invited", "invitation", i, "secret", i.Secret)
	for _, text := range []string{
		string(inJSON), log.String(), fmt.Sprint(i), fmt.Sprintf("%+v", i), fmt.Sprintf("%#v", i), fmt.Sprintf("%x", i), fmt.Sprintf("%d", i.Secret), fmt.Sprintf("%s", i.Secret),
	} {
		if strings.Contains(text, "118") || strings.Contains(text, "very secret") || strings.Contains(text, "76657279") || !strings.Contains(text, "[secret]") {
			t.Errorf("the secret shows in %s", text)
		}
	}
}
