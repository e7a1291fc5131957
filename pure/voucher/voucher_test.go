package voucher

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

const (
	day  = 24 * 60 * 60
	noon = int64(1_800_000_000)
	gb   = int64(1_000_000_000)
)

func keyOf(name string) identity.Key { return identity.KeyOf(sha256.Sum256([]byte(name))) }

func nonceOf(name string) [NonceSize]byte {
	sum := sha256.Sum256([]byte(name))
	return [NonceSize]byte(sum[:NonceSize])
}

// The clubhouse has a machine, club; anna, bo, cleo, dan and eve pass on what it gives.
var (
	grid   = keyOf("clubhouse").DID()
	club   = keyOf("club")
	anna   = keyOf("anna")
	bo     = keyOf("bo")
	holder = keyOf("holder")
	people = []identity.Key{club, anna, bo, keyOf("cleo"), keyOf("dan"), keyOf("eve")}
)

func terms(to identity.Key, resource core.Resource, amount int64) Terms {
	return Terms{Audience: to.DID(), Resource: resource, Amount: amount, From: noon, Until: noon + 7*day, Nonce: nonceOf(to.DID().String())}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// chainOf has n links: of 10 GB of anything, then of 1 GB less of storage each.
func chainOf(n int) Chain {
	c := must(Issue(club, grid, terms(people[1], "", 10*gb)))
	for i := 1; i < n; i++ {
		c = must(c.Narrow(people[i], terms(people[i+1], core.Storage, (10-int64(i))*gb)))
	}
	return c
}

func shown(n int) Chain {
	return must(chainOf(n).Invoke(people[n], Call{Holder: holder.DID(), Resource: core.Storage, Amount: 5 * gb, At: noon + 60, Nonce: nonceOf("call")}))
}

func factsOf(n int) Facts {
	return Facts{
		Now: noon + 120, Caller: people[n].DID(), Holder: holder.DID(), Grid: keyOf("holder's grid").DID(),
		Lists: func(g, agent core.DID) bool { return g == grid && agent == club.DID() },
	}
}

func TestVerify(t *testing.T) {
	for n := 1; n <= LinksMax; n++ {
		c := shown(n)
		r, err := Verify(must(Parse(must(c.Marshal()))), factsOf(n))
		if err != nil {
			t.Fatalf("%d links: %v", n, err)
		}
		if r.Subject != grid || r.Resource != core.Storage || r.Amount != 5*gb || r.From != noon || r.Until != noon+7*day || r.Agent != people[n].DID() || r.ID != c.ID() {
			t.Errorf("%d links: %+v", n, r)
		}
		if len(r.Via) != n || r.Via[0] != club.DID() || r.Via[n-1] != people[n-1].DID() {
			t.Errorf("%d links: via %v", n, r.Via)
		}
		if bare := chainOf(n); bare.ID() != c.ID() {
			t.Errorf("%d links: the invocation has changed the id", n)
		}
	}
}

func TestHoldersGridMayBeCalled(t *testing.T) {
	c := must(chainOf(1).Invoke(anna, Call{Holder: factsOf(1).Grid, Resource: core.Storage, Amount: gb, At: noon, Nonce: nonceOf("call")}))
	if _, err := Verify(c, factsOf(1)); err != nil {
		t.Error(err)
	}
}

func TestTheGridItselfMayIssue(t *testing.T) {
	c := must(Issue(keyOf("clubhouse"), grid, terms(anna, core.Storage, gb)))
	c = must(c.Invoke(anna, Call{Holder: holder.DID(), Resource: core.Storage, Amount: gb, At: noon, Nonce: nonceOf("call")}))
	f := factsOf(1)
	f.Lists = func(core.DID, core.DID) bool { return false }
	if _, err := Verify(c, f); err != nil {
		t.Error(err)
	}
}

// What the facts say of a chain that is right by itself.
func TestVerifyByTheFacts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Facts)
		want   string // "" is yes
	}{
		"to another holder":            {func(f *Facts) { f.Holder = bo.DID() }, "invocation: refused: it is for another holder"},
		"by another machine":           {func(f *Facts) { f.Caller = keyOf("mallory").DID() }, "invocation: refused: it is by another machine than the one that shows it"},
		"the holder's clock is behind": {func(f *Facts) { f.Now = noon - day + 60 }, ""},
		"and by more than a day":       {func(f *Facts) { f.Now = noon - day - 1 }, "link 1: refused: it is not good yet"},
		"the call's date is to come":   {func(f *Facts) { f.Now = noon - day }, "invocation: refused: its date is to come"},
		"the holder's clock is ahead":  {func(f *Facts) { f.Now = noon + 60 + CallMax + day }, ""},
		"a call of two days ago":       {func(f *Facts) { f.Now = noon + 61 + CallMax + day }, "invocation: refused: it is past its date"},
		"the last second":              {func(f *Facts) { f.Now = noon + 7*day - 1 }, "invocation: refused: it is past its date"},
		"expired":                      {func(f *Facts) { f.Now = noon + 7*day }, "link 1: refused: it has expired"},
		"its first issuer was removed": {func(f *Facts) { f.Lists = func(core.DID, core.DID) bool { return false } }, "link 1: refused: issued by " + club.DID().Short() + ", which is no machine of " + grid.Short()},
		"another one was revoked":      {func(f *Facts) { f.Revoked = map[core.Score]bool{core.ScoreOf([]byte("x")): true} }, ""},
		"the first was revoked":        {func(f *Facts) { f.Revoked = map[core.Score]bool{chainOf(3).IDs()[0]: true} }, "link 1: refused: it was revoked"},
		"the second was revoked":       {func(f *Facts) { f.Revoked = map[core.Score]bool{chainOf(3).IDs()[1]: true} }, "link 2: refused: it was revoked"},
		"the last was revoked":         {func(f *Facts) { f.Revoked = map[core.Score]bool{chainOf(3).IDs()[2]: true} }, "link 3: refused: it was revoked"},
	} {
		f := factsOf(3)
		c.change(&f)
		_, err := Verify(shown(3), f)
		wantError(t, name, err, core.ErrRefused, c.want)
	}
	_, err := Verify(chainOf(2), factsOf(2))
	wantError(t, "without an invocation", err, core.ErrInvalid, "invalid: it has no invocation")
}

func wantError(t *testing.T, name string, err, kind error, want string) {
	t.Helper()
	switch {
	case want == "" && err == nil:
	case err == nil || want == "" || !errors.Is(err, kind) || !strings.HasPrefix(err.Error(), "voucher: "+want):
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

// forge signs whatever change makes of the delegation from one to another.
func forge(k identity.Key, to identity.Key, change func(*delegated)) []byte {
	t := terms(to, core.Storage, gb)
	sub, nonce := grid.String(), t.Nonce[:]
	d := delegated{Body: delegatedBody{Header: header, Payload: delegationPayload{
		Iss: k.DID().String(), Aud: to.DID().String(), Sub: &sub, Cmd: "/grange/storage",
		Pol: []statement{{Op: "<=", At: amountAt, Value: t.Amount}}, Nonce: nonce, Nbf: &t.From, Exp: &t.Until,
	}}}
	change(&d)
	d.Sig = sign(k, must(codec.Marshal(d.Body)))
	return must(codec.Marshal(d))
}

func payload(change func(*delegationPayload)) func(*delegated) {
	return func(d *delegated) { change(&d.Body.Payload) }
}

func at(n int64) *int64 { return &n }

// Whatever is wrong with the second link of a chain is said of the second link.
func TestHostileLinks(t *testing.T) {
	text := func(s string) *string { return &s }
	first := must(Issue(club, grid, terms(anna, core.Storage, 2*gb))).Links[0]
	good := forge(anna, bo, func(*delegated) {})
	if _, err := Open(Chain{Links: [][]byte{first, good}}); err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(good)
	broken[10] ^= 1
	twice := bytes.Clone(good) // "aud" stands twice
	twice = bytes.Replace(twice, []byte("ciss"), []byte("caud"), 1)
	for name, c := range map[string]struct {
		link []byte
		kind error
		want string
	}{
		"forged":                    {broken, core.ErrCorrupt, "corrupt"},
		"by another key":            {bytes.Replace(good, good[3:67], forge(bo, bo, func(*delegated) {})[3:67], 1), core.ErrCorrupt, "corrupt"},
		"empty":                     {nil, core.ErrInvalid, "invalid"},
		"cut":                       {good[:len(good)-1], core.ErrInvalid, "invalid"},
		"and more":                  {append(bytes.Clone(good), 0), core.ErrInvalid, "invalid"},
		"duplicate keys":            {twice, core.ErrInvalid, "invalid"},
		"oversized":                 {make([]byte, TokenSizeMax+1), core.ErrTooLarge, "too large: 1025 bytes, at most 1024"},
		"an invocation":             {shown(1).Invocation, core.ErrInvalid, "invalid"},
		"powerline":                 {forge(anna, bo, payload(func(p *delegationPayload) { p.Sub = nil })), core.ErrInvalid, "invalid: it has no subject: a powerline is not taken"},
		"an empty subject":          {forge(anna, bo, payload(func(p *delegationPayload) { p.Sub = text("") })), core.ErrInvalid, "invalid: it has no subject: a powerline is not taken"},
		"another subject":           {forge(anna, bo, payload(func(p *delegationPayload) { p.Sub = &p.Iss })), core.ErrInvalid, "invalid: its subject is another than the link's before"},
		"a stranger's":              {forge(keyOf("mallory"), bo, func(*delegated) {}), core.ErrInvalid, "invalid: issued by " + keyOf("mallory").DID().Short()},
		"the amount widened":        {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].Value = 2*gb + 1 })), core.ErrInvalid, "invalid: it widens the amount 2000000000 to 2000000001"},
		"the command widened":       {forge(anna, bo, payload(func(p *delegationPayload) { p.Cmd = "/grange" })), core.ErrInvalid, "invalid: it widens the command /grange/storage to /grange"},
		"another command":           {forge(anna, bo, payload(func(p *delegationPayload) { p.Cmd = "/grange/storage2" })), core.ErrInvalid, "invalid: it widens the command /grange/storage to /grange/storage2"},
		"the end widened":           {forge(anna, bo, payload(func(p *delegationPayload) { p.Nbf, p.Exp = at(noon+1), at(noon+7*day+1) })), core.ErrInvalid, "invalid: it widens the end"},
		"a command of others":       {forge(anna, bo, payload(func(p *delegationPayload) { p.Cmd = "/" })), core.ErrInvalid, `invalid: command "/"`},
		"a command below":           {forge(anna, bo, payload(func(p *delegationPayload) { p.Cmd = "/grange/storage/cold" })), core.ErrInvalid, "invalid: command"},
		"a like command":            {forge(anna, bo, payload(func(p *delegationPayload) { p.Cmd = "/granges" })), core.ErrInvalid, "invalid: command"},
		"no end":                    {forge(anna, bo, payload(func(p *delegationPayload) { p.Exp = nil })), core.ErrInvalid, "invalid: it never expires"},
		"no beginning":              {forge(anna, bo, payload(func(p *delegationPayload) { p.Nbf = nil })), core.ErrInvalid, "invalid: it does not say from when it is good"},
		"a long life":               {forge(anna, bo, payload(func(p *delegationPayload) { p.Nbf = at(noon - 1) })), core.ErrInvalid, "invalid: good for 604801 seconds, at most 604800"},
		"a life backwards":          {forge(anna, bo, payload(func(p *delegationPayload) { p.Exp = at(noon) })), core.ErrInvalid, "invalid: good from"},
		"a life that overflows":     {forge(anna, bo, payload(func(p *delegationPayload) { p.Nbf, p.Exp = at(-1<<63), at(1<<63-1) })), core.ErrInvalid, "invalid: good from"},
		"nothing":                   {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].Value = 0 })), core.ErrInvalid, "invalid: an amount of 0"},
		"less than nothing":         {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].Value = -1 })), core.ErrInvalid, "invalid: an amount of -1"},
		"more than there is":        {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].Value = 1 << 62 })), core.ErrInvalid, "invalid: an amount of"},
		"no bound":                  {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol = nil })), core.ErrInvalid, "invalid: its policy does not bound"},
		"another bound":             {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].Op = ">=" })), core.ErrInvalid, "invalid: its policy does not bound"},
		"a bound of something else": {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol[0].At = ".seconds" })), core.ErrInvalid, "invalid: its policy does not bound"},
		"two bounds":                {forge(anna, bo, payload(func(p *delegationPayload) { p.Pol = append(p.Pol, p.Pol[0]) })), core.ErrInvalid, "invalid: its policy does not bound"},
		"a short nonce":             {forge(anna, bo, payload(func(p *delegationPayload) { p.Nonce = p.Nonce[:11] })), core.ErrInvalid, "invalid: a nonce of 11 bytes"},
		"no key":                    {forge(anna, bo, payload(func(p *delegationPayload) { p.Aud = "did:web:example.org" })), core.ErrInvalid, "invalid: audience"},
		"a weak key":                {forge(anna, bo, payload(func(p *delegationPayload) { p.Aud = core.DID{0: 1}.String() })), core.ErrInvalid, "invalid: audience"},
		"signed over JSON":          {forge(anna, bo, func(d *delegated) { d.Body.Header = append(bytes.Clone(header[:7]), 0x72) }), core.ErrInvalid, "invalid: not signed with ed25519 over DAG-CBOR"},
	} {
		_, err := Open(Chain{Links: [][]byte{first, c.link}})
		wantError(t, name, err, c.kind, "link 2: "+c.want)
	}
}

func TestChainsThatAreNone(t *testing.T) {
	_, err := chainOf(5).Narrow(people[5], terms(keyOf("fay"), core.Storage, gb))
	wantError(t, "too long", err, core.ErrInvalid, "invalid: 6 links, want 1 to 5")
	_, err = Parse(must(codec.Marshal(Chain{V: codec.Version})))
	wantError(t, "no link", err, core.ErrInvalid, "invalid: 0 links, want 1 to 5")
	_, err = Parse(make([]byte, SizeMax+1))
	wantError(t, "oversized", err, core.ErrTooLarge, "too large")
	_, err = Parse(must(codec.Marshal(Chain{V: 2, Links: chainOf(1).Links})))
	wantError(t, "of another version", err, core.ErrVersion, "unknown version 2")
	_, err = Parse(must(codec.Marshal(Chain{V: 1, Links: chainOf(1).Links, Invocation: make([]byte, TokenSizeMax+1)})))
	wantError(t, "an oversized invocation", err, core.ErrTooLarge, "invocation: too large")

	back := must(chainOf(1).Narrow(anna, terms(club, core.Storage, gb)))
	_, err = back.Narrow(club, terms(bo, core.Storage, gb))
	wantError(t, "cyclic", err, core.ErrInvalid, "link 3: invalid: a cycle: "+club.DID().Short()+" has issued link 1")
	_, err = back.Invoke(club, Call{Holder: holder.DID(), Resource: core.Storage, Amount: gb, At: noon, Nonce: nonceOf("call")})
	wantError(t, "cyclic at its end", err, core.ErrInvalid, "invocation: invalid: a cycle")
	_, err = chainOf(1).Narrow(bo, terms(club, core.Storage, gb))
	wantError(t, "narrowed by somebody else", err, core.ErrInvalid, "link 2: invalid: issued by "+bo.DID().Short())
	_, err = Issue(identity.Key{}, grid, terms(anna, core.Storage, gb))
	wantError(t, "by nobody", err, core.ErrInvalid, "link 1: invalid: issuer")

	swapped := chainOf(3)
	swapped.Links[0], swapped.Links[1] = swapped.Links[1], swapped.Links[0]
	_, err = Open(swapped)
	wantError(t, "in another order", err, core.ErrInvalid, "link 2: invalid: issued by")
}

func TestHostileInvocations(t *testing.T) {
	c := shown(2)
	ask := Call{Holder: holder.DID(), Resource: core.Storage, Amount: 9 * gb, At: noon, Nonce: nonceOf("call")}
	for name, k := range map[string]struct {
		change func(*Call)
		want   string
	}{
		"all that there is":   {func(*Call) {}, ""},
		"the amount widened":  {func(c *Call) { c.Amount++ }, "invocation: invalid: it widens the amount"},
		"the command widened": {func(c *Call) { c.Resource = core.Compute }, "invocation: invalid: it widens the command"},
		"no resource":         {func(c *Call) { c.Resource = "" }, "invocation: invalid: it names no resource"},
		"nothing":             {func(c *Call) { c.Amount = 0 }, "invocation: invalid: an amount of 0"},
	} {
		in := ask
		k.change(&in)
		_, err := chainOf(2).Invoke(bo, in)
		wantError(t, name, err, core.ErrInvalid, k.want)
	}
	_, err := chainOf(2).Invoke(anna, ask)
	wantError(t, "by another", err, core.ErrInvalid, "invocation: invalid: issued by "+anna.DID().Short())

	other := must(chainOf(1).Narrow(anna, Terms{Audience: bo.DID(), Resource: core.Storage, Amount: 9 * gb, From: noon, Until: noon + day}))
	_, err = Open(Chain{Links: other.Links, Invocation: c.Invocation})
	wantError(t, "of other links", err, core.ErrInvalid, "invocation: invalid: its proofs are not the links")
	_, err = Open(Chain{Links: c.Links[:1], Invocation: c.Invocation})
	wantError(t, "of more links", err, core.ErrInvalid, "invocation: invalid: its proofs are not the links")
	_, err = Open(Chain{Links: c.Links, Invocation: c.Links[1]})
	wantError(t, "a delegation", err, core.ErrInvalid, "invocation: invalid: its proofs are not the links")

	for i := range c.Invocation {
		bad := bytes.Clone(c.Invocation)
		bad[i] ^= 1
		if _, err := Open(Chain{Links: c.Links, Invocation: bad}); err == nil {
			t.Errorf("byte %d changed, and it counts", i)
		}
	}
	// A call that is good for longer, or names nobody.
	long := forgeCall(c, func(p *invocationPayload) { p.Exp = at(noon + CallMax + 1) })
	_, err = Open(Chain{Links: c.Links, Invocation: long})
	wantError(t, "a long life", err, core.ErrInvalid, "invocation: invalid: good for 601 seconds, at most 600")
	nobody := forgeCall(c, func(p *invocationPayload) { p.Aud = nil })
	_, err = Open(Chain{Links: c.Links, Invocation: nobody})
	wantError(t, "no audience", err, core.ErrInvalid, "invocation: invalid: it names no holder")
	never := forgeCall(c, func(p *invocationPayload) { p.Exp = nil })
	_, err = Open(Chain{Links: c.Links, Invocation: never})
	wantError(t, "no end", err, core.ErrInvalid, "invocation: invalid: it does not say")
	elsewhere := forgeCall(c, func(p *invocationPayload) { p.Sub = club.DID().String() })
	_, err = Open(Chain{Links: c.Links, Invocation: elsewhere})
	wantError(t, "another subject", err, core.ErrInvalid, "invocation: invalid: its subject is another than the link's before")
}

// forgeCall signs whatever change makes of bo's invocation of c.
func forgeCall(c Chain, change func(*invocationPayload)) []byte {
	aud, nonce := holder.DID().String(), nonceOf("call")
	d := invoked{Body: invokedBody{Header: header, Payload: invocationPayload{
		Iss: bo.DID().String(), Aud: &aud, Sub: grid.String(), Cmd: "/grange/storage", Args: arguments{Amount: gb},
		Nonce: nonce[:], Iat: at(noon), Exp: at(noon + CallMax),
	}}}
	change(&d.Body.Payload)
	proofs := proofsOf(c.Links)
	d.Sig = sign(bo, withProofs(must(codec.Marshal(d.Body)), proofs))
	return must(d.encode(proofs))
}

// Authority never widens along a chain, however long it is and whoever adds to it: what each link gives is within
// what the one before gave, and what is refused is refused for that.
func TestAuthorityNeverWidens(t *testing.T) {
	resources := []core.Resource{"", core.Storage, core.Compute}
	rapid.Check(t, func(t *rapid.T) {
		var chain Chain
		var had Right
		for i := range rapid.IntRange(1, LinksMax).Draw(t, "links") {
			next := Terms{
				Audience: people[i+1].DID(), Resource: rapid.SampledFrom(resources).Draw(t, "resource"), Amount: rapid.Int64Range(1, 20).Draw(t, "amount"),
				From: noon + rapid.Int64Range(-day, day).Draw(t, "from"), Nonce: nonceOf("n"),
			}
			next.Until = next.From + rapid.Int64Range(1, LifeMax).Draw(t, "life")
			if i == 0 {
				chain = must(Issue(club, grid, next))
				had = must(Open(chain))
				continue
			}
			// Raw, as a forger would write it: Narrow cuts the end.
			wide, err := chain.add(people[i], grid, next)
			widens := had.Resource != "" && next.Resource != had.Resource || next.Amount > had.Amount || next.Until > had.Until
			if widens != (err != nil) {
				t.Fatalf("link %d: %+v on %+v: %v", i+1, next, had, err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "it widens the ") {
					t.Fatalf("link %d: refused for another reason: %v", i+1, err)
				}
				return
			}
			has := must(Open(wide))
			if has.Amount > had.Amount || has.Until > had.Until || has.From < had.From || had.Resource != "" && has.Resource != had.Resource || has.Subject != had.Subject {
				t.Fatalf("link %d: %+v of %+v", i+1, has, had)
			}
			chain, had = wide, has
		}
	})
}
