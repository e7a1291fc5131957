package charter_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
)

// TestChains: whatever the order in which charters come, those who have seen the
// same ones agree.
func TestChains(t *testing.T) {
	tests := []struct{ name, picture, want string }{
		{"nothing has been seen", ``, ``},
		{"the first", `1`, `[1]`},
		{"one after the other", `1 -> 2 -> 3 -> 4`, `1 2 3 [4]`},
		{
			"two machines signed the same epoch, and both stopped", `
			1 -> 2 -> 3
			     \-> 3b`,
			`1 2 3b [3] 3/3b`,
		},
		{
			"the one that stands is carried on", `
			1 -> 2 -> 3 -> 4
			     \-> 3b`,
			`1 2 3b 3 [4] 3/3b`,
		},
		{
			"the one that lost is carried on, and the epoch counts", `
			1 -> 2
			\-> 2b -> 3b`,
			`1 2b 2 [3b] 2/2b`,
		},
		{
			"both are carried on", `
			1 -> 2 -> 3
			\-> 2b -> 3b`,
			`1 2b 2 3b [3] 2/2b 3/3b`,
		},
		{
			"a third for the same place is no better evidence than the second", `
			1 -> 2
			\-> 2b
			\-> 2c`,
			`1 2b [2] 2/2b`,
		},
		{
			"recovered: a thief who goes on signing is never again the newest", `
			1 -> 2 -> R3
			     \-> 3 -> 4 -> 5`,
			`1 2 3 4 5 [R3]`,
		},
		{
			"recovered from old state, below epochs that were not known", `
			1 -> 2 -> 3 -> 4
			\-> R2 -> R2n`,
			`1 2 3 4 R2 [R2n]`,
		},
		{
			"recovered on two new machines at once", `
			1 -> 2 -> R3 -> 4
			     \-> R3b`,
			`1 2 R3b R3 [4] R3/R3b`,
		},
		{
			"forked, and recovered over both", `
			1 -> 2 -> 3
			     \-> 3b -> R4`,
			`1 2 3b 3 [R4] 3/3b`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := draw(t, strings.ReplaceAll(tt.picture, "\t", "    "))
			tried := 0
			for order := range orders(d.names) {
				if tried++; len(d.names) > 5 && tried%11 != 0 { // of 720, one in eleven will do
					continue
				}
				if got := d.describe(t, d.fed(t, order)); got != tt.want {
					t.Fatalf("fed with %v: %s, want %s", order, got, tt.want)
				}
			}
		})
	}
}

func TestChainTellsWhatChanged(t *testing.T) {
	d := draw(t, strings.ReplaceAll(`
		1 -> 2 -> 3
		\-> 2b
		\-> 2c`, "\t", "    "))
	chain := charter.NewChain(d.home.root.DID())
	for _, step := range []struct {
		name    string
		changed bool
		newest  string
	}{
		{"2b", true, "2b"},
		{"2b", false, "2b"},
		{"1", true, "2b"},
		{"2c", true, "2b"},
		{"2", true, "2"},
		{"2c", false, "2"},
		{"3", true, "3"},
		{"2", false, "3"},
		{"2b", false, "3"},
	} {
		changed, err := chain.Add(d.named[step.name])
		if err != nil || changed != step.changed {
			t.Errorf("add %s: %v, %v, want %v", step.name, changed, err, step.changed)
		}
		if _, score := chain.Newest(); score != d.named[step.newest].Score() {
			t.Errorf("after %s the newest is not %s", step.name, step.newest)
		}
	}
}

func TestChainWithoutCharters(t *testing.T) {
	chain := charter.NewChain(core.DID{1})
	c, score := chain.Newest()
	if c.Epoch != 0 || !score.IsZero() || len(chain.All()) != 0 || chain.Rivals() != nil || chain.Lists(core.DID{}) || chain.EverListed(core.DID{}) {
		t.Error("an empty chain holds something")
	}
}

func TestChainRefuses(t *testing.T) {
	ours, theirs := newHome(t, "home"), newHome(t, "other home")
	barn := newMachine(t, "barn")
	good := ours.seal(t, ours.charter(t, barn))
	forged := good
	forged.Sig = bytes.Clone(good.Sig)
	forged.Sig[9] ^= 1
	claimed := theirs.seal(t, theirs.charter(t, barn))
	claimed.By = ours.root.DID()
	// The other root signs a charter that says it is of our grid.
	c := open(t, good)
	byOther, err := identity.Sign(theirs.root, identity.KindCharter, c)
	if err != nil {
		t.Fatal(err)
	}
	bad := open(t, good)
	bad.Epoch = 0
	huge := good
	huge.Body = make([]byte, charter.BodySizeMax+1)
	for name, tt := range map[string]struct {
		s    identity.Signed
		want error
	}{
		"another grid's":              {theirs.seal(t, theirs.charter(t, barn)), core.ErrInvalid},
		"ours, by another root":       {byOther, core.ErrInvalid},
		"another's, said to be ours":  {claimed, core.ErrCorrupt},
		"a wrong signature":           {forged, core.ErrCorrupt},
		"epoch 0":                     {ours.sign(t, bad), core.ErrInvalid},
		"nothing":                     {identity.Signed{}, core.ErrInvalid},
		"nothing, said to be by ours": {identity.Signed{By: ours.root.DID()}, core.ErrCorrupt},
		"a huge one":                  {huge, core.ErrTooLarge},
	} {
		chain := charter.NewChain(ours.root.DID())
		if _, err := chain.Add(good); err != nil {
			t.Fatal(err)
		}
		if changed, err := chain.Add(tt.s); changed || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, changed, err, tt.want)
		}
		if _, score := chain.Newest(); len(chain.All()) != 1 || score != good.Score() {
			t.Errorf("%s: the chain has changed", name)
		}
	}
	if _, err := charter.NewChain(core.DID{}).Add(identity.Signed{}); err == nil {
		t.Error("the chain of nobody takes a charter of nobody")
	}
}

// TestChainKeepsNoHandOnItsInput: the caller reads the next message into the same buffer.
func TestChainKeepsNoHandOnItsInput(t *testing.T) {
	h := newHome(t, "home")
	s := h.seal(t, h.charter(t, newMachine(t, "barn")))
	score := s.Score()
	chain := charter.NewChain(h.root.DID())
	if _, err := chain.Add(s); err != nil {
		t.Fatal(err)
	}
	clear(s.Body)
	clear(s.Sig)
	if chain.All()[0].Score() != score {
		t.Error("the chain's bytes are the caller's")
	}
}

// epochs returns a function that signs a charter for any place, cheaply: they share boxes.
func epochs(t testing.TB, h home, vault int) func(recoveries, epoch uint64, time int64) identity.Signed {
	t.Helper()
	c := open(t, h.seal(t, h.charter(t, newMachine(t, "barn"))))
	c.Vault = append(c.Vault, make([]byte, vault)...)
	return func(recoveries, epoch uint64, time int64) identity.Signed {
		c.Recoveries, c.Epoch, c.Prev, c.Time = recoveries, epoch, core.Score{}, time
		if epoch > 1 {
			c.Prev = core.Score{1}
		}
		return h.sign(t, c)
	}
}

func epochsOf(t testing.TB, chain *charter.Chain) []uint64 {
	t.Helper()
	var all []uint64
	for _, s := range chain.All() {
		all = append(all, open(t, s).Epoch)
	}
	return all
}

func bodiesOf(chain *charter.Chain) (size int) {
	for _, s := range chain.All() {
		size += len(s.Body)
	}
	return size
}

func TestChainFedWithThousands(t *testing.T) {
	h := newHome(t, "home")
	make1 := epochs(t, h, 0)
	chain := charter.NewChain(h.root.DID())
	const most = 1000
	kept := uint64(0)
	for epoch := uint64(most); epoch > 0; epoch-- { // newest first: the rest of the flood is let go
		changed, err := chain.Add(make1(0, epoch, 5))
		if err != nil || changed && kept != most-epoch {
			t.Fatalf("epoch %d, when %d are kept: %v, %v", epoch, kept, changed, err)
		}
		if changed {
			kept++
		}
	}
	one := len(make1(0, most, 5).Body)
	if size := bodiesOf(chain); size > charter.ChainSizeMax || size <= charter.ChainSizeMax-one {
		t.Errorf("%d bytes are kept, want nearly %d", size, charter.ChainSizeMax)
	}
	if one <= charter.ChainSizeMax/charter.ChainMax {
		t.Errorf("the smallest charter has %d bytes: a chain may hold more than %d", one, charter.ChainMax)
	}
	if n := uint64(len(chain.All())); n != kept || n < 700 {
		t.Errorf("%d charters are kept, want %d", n, kept)
	}
	// A revocation must get through, however full the chain is.
	for epoch := uint64(most + 1); epoch <= most+50; epoch++ {
		if changed, err := chain.Add(make1(0, epoch, 5)); err != nil || !changed {
			t.Fatalf("epoch %d: %v, %v", epoch, changed, err)
		}
	}
	all := epochsOf(t, chain)
	if first, last := all[0], all[len(all)-1]; uint64(len(all)) != kept || first != most+50-kept+1 || last != most+50 {
		t.Errorf("%d charters of epochs %d to %d", len(all), first, last)
	}
	if c, _ := chain.Newest(); c.Epoch != most+50 {
		t.Errorf("the newest is of epoch %d", c.Epoch)
	}
}

func TestChainFedWithLargeOnes(t *testing.T) {
	h := newHome(t, "home")
	make1 := epochs(t, h, 50_000)
	chain := charter.NewChain(h.root.DID())
	for epoch := range uint64(120) {
		if _, err := chain.Add(make1(0, epoch+1, 5)); err != nil {
			t.Fatal(err)
		}
		if size := bodiesOf(chain); size > charter.ChainSizeMax {
			t.Fatalf("%d bytes are kept", size)
		}
	}
	if all := epochsOf(t, chain); len(all) < 70 || all[len(all)-1] != 120 {
		t.Errorf("%d charters are kept", len(all))
	}
}

// TestChainFedWithRivals: the root's holder signs one place again and again, to
// push the history out.
func TestChainFedWithRivals(t *testing.T) {
	h := newHome(t, "home")
	make1 := epochs(t, h, 0)
	chain := charter.NewChain(h.root.DID())
	var scores []core.Score
	for time := range int64(200) {
		s := make1(0, 2, time)
		scores = append(scores, s.Score())
		if _, err := chain.Add(s); err != nil {
			t.Fatal(err)
		}
		if time == 100 {
			if changed, err := chain.Add(make1(0, 1, 1)); err != nil || !changed {
				t.Fatalf("epoch 1: %v, %v", changed, err)
			}
		}
	}
	if got := epochsOf(t, chain); !slices.Equal(got, []uint64{1, 2, 2}) {
		t.Fatalf("epochs %v", got)
	}
	slices.SortFunc(scores, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
	rivals := chain.Rivals()
	if len(rivals) != 1 || rivals[0].Standing.Score() != scores[0] || rivals[0].Lesser.Score() != scores[1] {
		t.Error("the two kept are not the two of the lowest scores")
	}
}

func TestChainLists(t *testing.T) {
	h := newHome(t, "home")
	barn, attic, stranger := newMachine(t, "barn"), newMachine(t, "attic"), newMachine(t, "stranger")
	first := h.seal(t, h.charter(t, barn, attic))
	c := open(t, first).Next(first.Score(), 1_800_000_000)
	if err := c.Remove(attic.did(), 0, core.Score{}); err != nil {
		t.Fatal(err)
	}
	h.secrets = h.secrets.With(2, seedOf("vault 2"))
	second := h.seal(t, c)
	check := func(when string, chain *charter.Chain, m machine, lists, ever bool) {
		t.Helper()
		if chain.Lists(m.did()) != lists || chain.EverListed(m.did()) != ever {
			t.Errorf("%s: %s is listed: %v, ever: %v", when, m.name, chain.Lists(m.did()), chain.EverListed(m.did()))
		}
	}
	chain := charter.NewChain(h.root.DID())
	if _, err := chain.Add(second); err != nil {
		t.Fatal(err)
	}
	check("only the second seen", chain, barn, true, true)
	check("only the second seen", chain, attic, false, true) // it is named as removed
	check("only the second seen", chain, stranger, false, false)
	if _, err := chain.Add(first); err != nil {
		t.Fatal(err)
	}
	check("both seen", chain, attic, false, true)
	// The root may list it again: nobody else can tell a mistake from a wish.
	again := open(t, second).Next(second.Score(), 1_800_000_001)
	again.Agents, again.Removed = append(again.Agents, h.agent(t, attic)), nil
	third := h.seal(t, again)
	if _, err := chain.Add(third); err != nil {
		t.Fatal(err)
	}
	check("listed again", chain, attic, true, true)
	if err := charter.Follow(open(t, second), second.Score(), h.secrets, open(t, third), h.secrets); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("but its own commands would sign that: %v", err)
	}
}
