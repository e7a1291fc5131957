package charter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

func seedOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }

// machine is an agent with its private halves.
type machine struct {
	name string
	key  identity.Key
	seal *seal.PrivateKey
}

func newMachine(t testing.TB, name string) machine {
	t.Helper()
	private, err := seal.NewPrivateKey(seedOf(name + " seal"))
	if err != nil {
		t.Fatal(err)
	}
	return machine{name: name, key: identity.KeyOf(seedOf(name)), seal: private}
}

func (m machine) did() core.DID { return m.key.DID() }

// home is a household with its secrets, as its owner has it.
type home struct {
	root     identity.Key
	recovery *seal.PrivateKey
	secrets  charter.Secrets
}

func newHome(t testing.TB, name string) home {
	t.Helper()
	entropy := seedOf(name)
	recovery, err := seal.NewPrivateKey(identity.RecoverySeed(entropy))
	if err != nil {
		t.Fatal(err)
	}
	secrets := charter.Secrets{V: 1, Chunker: seedOf(name + " chunker")}.With(1, seedOf(name+" vault 1"))
	return home{root: identity.RootOf(entropy), recovery: recovery, secrets: secrets}
}

// charter returns the first charter of a household, unsealed.
func (h home) charter(t testing.TB, machines ...machine) charter.Charter {
	t.Helper()
	c := charter.Charter{Epoch: 1, Time: 1_700_000_000, Recovery: h.recovery.Public()}
	for _, m := range machines {
		c.Agents = append(c.Agents, h.agent(t, m))
	}
	return c
}

func (h home) agent(t testing.TB, m machine) charter.Agent {
	t.Helper()
	name, err := charter.SealName(h.secrets, m.name)
	if err != nil {
		t.Fatal(err)
	}
	return charter.Agent{DID: m.did(), Seal: m.seal.Public(), Name: name}
}

func (h home) seal(t testing.TB, c charter.Charter) identity.Signed {
	t.Helper()
	s, err := charter.Seal(h.root, c, h.secrets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign signs c as it is, without the checks of Seal.
func (h home) sign(t testing.TB, c charter.Charter) identity.Signed {
	t.Helper()
	s, err := identity.Sign(h.root, identity.KindCharter, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, s identity.Signed) charter.Charter {
	t.Helper()
	c, err := charter.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drawing is a household's charters by the names that they have in a picture.
type drawing struct {
	home  home
	names []string // in the order of the picture
	named map[string]identity.Signed
}

// draw makes the charters of a picture:
//
//	1 -> 2 -> 3 -> 4
//	     \-> 3b
//	     \-> R4
//
// An arrow goes from a charter to the next epoch; a line that starts with \ branches off
// the charter above it. A name that starts with R counts one recovery more than
// the charter before it. Of charters for one place the first drawn stands: the later
// are signed again, a second later, until their score is the higher one.
func draw(t testing.TB, picture string) *drawing {
	t.Helper()
	d := &drawing{home: newHome(t, "home"), named: map[string]identity.Signed{}}
	first := d.home.charter(t, newMachine(t, "barn"))
	above := map[int]string{} // column → the lowest name there so far
	for line := range strings.Lines(picture) {
		parent, arrow := "", false
		for column := 0; column < len(line); {
			word := line[column:]
			if i := strings.IndexAny(word, " \t\r\n"); i >= 0 {
				word = word[:i]
			}
			switch {
			case word == "":
				column++
				continue
			case word == "->":
				arrow = true
			case word == `\->`:
				parent, arrow = above[column], true
			case arrow != (parent != ""):
				t.Fatalf("%q: %q has no arrow to it, or one from nowhere", line, word)
			default:
				d.add(t, first, parent, word)
				parent, arrow = word, false
				for i := range word {
					above[column+i] = word
				}
			}
			column += len(word)
		}
	}
	return d
}

func (d *drawing) add(t testing.TB, c charter.Charter, parent, name string) {
	t.Helper()
	if parent != "" {
		prev := d.named[parent]
		before := open(t, prev)
		c = before.Next(prev.Score(), before.Time+60)
	}
	if strings.HasPrefix(name, "R") {
		c.Recoveries++
	}
	if _, twice := d.named[name]; twice {
		t.Fatalf("%s is drawn twice", name)
	}
	s := d.home.seal(t, c)
	for d.standsOverRival(t, s) {
		c.Time++
		s = d.home.seal(t, c)
	}
	d.names = append(d.names, name)
	d.named[name] = s
}

func (d *drawing) standsOverRival(t testing.TB, s identity.Signed) bool {
	t.Helper()
	c := open(t, s)
	for _, other := range d.named {
		o := open(t, other)
		if o.Recoveries == c.Recoveries && o.Epoch == c.Epoch && charter.Compare(c, s.Score(), o, other.Score()) > 0 {
			return true
		}
	}
	return false
}

// nameOf is the drawn name of a signed charter.
func (d *drawing) nameOf(s identity.Signed) string {
	for name, other := range d.named {
		if other.Score() == s.Score() {
			return name
		}
	}
	return "?"
}

// fed returns a chain that was given the named charters in that order.
func (d *drawing) fed(t testing.TB, names []string) *charter.Chain {
	t.Helper()
	chain := charter.NewChain(d.home.root.DID())
	for _, name := range names {
		if _, err := chain.Add(d.named[name]); err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
	}
	return chain
}

// describe writes what a chain holds: all charters, the newest in brackets, and
// its rivals as standing/lesser.
func (d *drawing) describe(t testing.TB, chain *charter.Chain) string {
	t.Helper()
	var words []string
	all := chain.All()
	for _, s := range all {
		words = append(words, d.nameOf(s))
	}
	newest, score := chain.Newest()
	if len(all) > 0 {
		last := all[len(all)-1]
		if last.Score() != score || open(t, last).Epoch != newest.Epoch {
			t.Error("the newest is not the last of all")
		}
		words[len(words)-1] = "[" + words[len(words)-1] + "]"
	}
	for _, r := range chain.Rivals() {
		words = append(words, fmt.Sprintf("%s/%s", d.nameOf(r.Standing), d.nameOf(r.Lesser)))
	}
	return strings.Join(words, " ")
}

// orders yields every order of names.
func orders(names []string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		var permute func(n int) bool
		names = slices.Clone(names)
		permute = func(n int) bool {
			if n <= 1 {
				return yield(names)
			}
			for i := range n {
				if !permute(n - 1) {
					return false
				}
				if n%2 == 0 {
					i, n := i, n
					names[i], names[n-1] = names[n-1], names[i]
				} else {
					names[0], names[n-1] = names[n-1], names[0]
				}
			}
			return true
		}
		permute(len(names))
	}
}
