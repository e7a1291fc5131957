package voucher

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
)

// passOf is a pass for bo, with a voucher that anna has narrowed and one that the club itself gave.
func passOf() Pass {
	p := Pass{V: codec.Version, Grid: grid, Name: "clubhouse", From: &Place{club.DID(), []string{"/ip4/192.0.2.7/tcp/4726"}}}
	for i, name := range []string{"cleo", "dan"} {
		c := chainOf(2)
		if i > 0 {
			c = must(Issue(club, grid, terms(bo, core.Storage, gb)))
		}
		p.Homes = append(p.Homes, Home{keyOf(name).DID(), name, []Place{{keyOf(name + "'s machine").DID(), []string{"/dns4/" + name + ".example/tcp/4726"}}}, must(c.Marshal())})
	}
	slices.SortFunc(p.Homes, func(a, b Home) int { return a.Grid.Compare(b.Grid) })
	return p
}

func TestPass(t *testing.T) {
	p := passOf()
	line := must(p.Line())
	got, err := ParsePass(strings.ToLower(line[:70]) + "-\n " + line[70:])
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Fatalf("%+v, %v", got, err)
	}
	if agent, err := got.Open(); err != nil || agent != bo.DID() {
		t.Errorf("for %s, %v", agent.Short(), err)
	}
	empty := p
	empty.Homes = []Home{}
	if got, err := ParsePass(must(empty.Line())); err != nil || len(got.Homes) != 0 {
		t.Errorf("without a voucher yet: %+v, %v", got, err)
	}
}

func TestHostilePasses(t *testing.T) {
	long := strings.Repeat("a", AddrSizeMax)
	for name, change := range map[string]func(*Pass){
		"no grid":               func(p *Pass) { p.Grid = core.DID{} },
		"a name that moves":     func(p *Pass) { p.Name = "club\x1b[2J" },
		"a long name":           func(p *Pass) { p.Name = long },
		"nothing":               func(p *Pass) { p.From, p.Homes = nil, nil },
		"a giver without a DID": func(p *Pass) { p.From = &Place{} },
		"no address":            func(p *Pass) { p.From.Addrs = []string{"example"} },
		"a long address":        func(p *Pass) { p.Homes[0].Agents[0].Addrs = []string{"/" + long} },
		"many addresses":        func(p *Pass) { p.From.Addrs = slices.Repeat([]string{"/ip4/192.0.2.7/tcp/1"}, AddrsMax+1) },
		"no machine":            func(p *Pass) { p.Homes[0].Agents = nil },
		"many machines":         func(p *Pass) { p.Homes[0].Agents = slices.Repeat(p.Homes[0].Agents, PlacesMax+1) },
		"many homes":            func(p *Pass) { p.Homes = slices.Repeat(p.Homes[:1], PassHomesMax+1) },
		"homes that fall":       func(p *Pass) { slices.Reverse(p.Homes) },
		"a home twice":          func(p *Pass) { p.Homes[1] = p.Homes[0] },
		"no chain":              func(p *Pass) { p.Homes[0].Chain = nil },
		"one that was used":     func(p *Pass) { p.Homes[0].Chain = must(shown(2).Marshal()) },
		"for another machine":   func(p *Pass) { p.Homes[1].Chain = must(chainOf(1).Marshal()) },
		"on another's pacts": func(p *Pass) {
			p.Homes[0].Chain = must(must(Issue(club, holder.DID(), terms(bo, core.Storage, gb))).Marshal())
		},
	} {
		p := passOf()
		change(&p)
		if _, err := p.Line(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s, written: %v", name, err)
		}
		raw, err := codec.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePass(codec.Line(PassPrefix, raw)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s, read: %v", name, err)
		}
	}
	p := passOf()
	c := must(Parse(p.Homes[0].Chain))
	c.Links[0][10] ^= 1 // in its signature
	p.Homes[0].Chain = must(c.Marshal())
	raw, err := codec.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	line := must(passOf().Line())
	for text, want := range map[string]error{
		codec.Line(PassPrefix, raw): core.ErrCorrupt, line[:len(line)-1]: core.ErrCorrupt, "GRANGE:ABC": core.ErrInvalid, "": core.ErrInvalid,
		PassPrefix + strings.Repeat("A", PassLineSizeMax): core.ErrTooLarge, strings.Repeat(" ", PassTextSizeMax+1): core.ErrTooLarge,
	} {
		if _, err := ParsePass(text); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
	}
}

// passVectors are a pass and its line.
type passVectors struct {
	About string     `json:"about"`
	Pass  golden.Hex `json:"pass"`
	Line  string     `json:"line"`
	// For is the machine that can use it.
	For core.DID `json:"for"`
}

func TestPassVectors(t *testing.T) {
	v := golden.File(t, "pass", func(t *testing.T) passVectors {
		line := must(passOf().Line())
		return passVectors{
			About: "A pass of two homes, docs/SPEC.md §6.2.", Pass: must(codec.ParseLine(PassPrefix, line, PassLineSizeMax)), Line: line, For: bo.DID(),
		}
	})
	p, err := ParsePass(v.Line)
	if err != nil || !reflect.DeepEqual(p, passOf()) || codec.Line(PassPrefix, v.Pass) != v.Line {
		t.Errorf("%+v, %v", p, err)
	}
	if agent, err := p.Open(); err != nil || agent != v.For {
		t.Errorf("for %s, %v", agent.Short(), err)
	}
}

func FuzzPass(f *testing.F) {
	v := golden.Read[passVectors](f, "pass")
	f.Add([]byte(v.Pass))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		line := codec.Line(PassPrefix, raw)
		p, err := ParsePass(line)
		if err != nil {
			return
		}
		if again, err := p.Line(); err != nil || again != line {
			t.Errorf("%s is %s again, %v", line, again, err)
		}
	})
}
