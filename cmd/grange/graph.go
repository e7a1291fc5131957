package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange"
)

type pactsCommand struct {
	gridFlag
	Graph bool `help:"Draw who keeps what for whom."`
	Dot   bool `help:"The same as a graph for Graphviz: grange pacts --dot | dot -Tsvg"`
}

func (pactsCommand) detail() string {
	return `In a graph each line is one household that has something of yours, or of which you have something; who is your guest by the voucher of a grid stands below that grid. In the DOT an edge leads from who keeps to for whom.`
}

func (c *pactsCommand) run(ctx context.Context, a *app) error {
	if c.Graph && c.Dot {
		return usage("--graph or --dot, not both", "")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		if c.Graph || c.Dot {
			all, err := s.Ledger(ctx, "")
			if err != nil {
				return err
			}
			a.value(all)
			g := graphOf(all)
			if c.Dot {
				a.say("%s", g.dot())
			} else {
				a.say("%s", strings.Join(g.text(), "\n"))
			}
			return nil
		}
		pacts, err := s.Pacts(ctx)
		if err != nil {
			return err
		}
		a.value(pacts)
		if len(pacts) == 0 {
			a.say("No partner yet. Next: grange invite")
			return nil
		}
		a.pacts(pacts, true)
		return nil
	})
}

// graph is who keeps what for whom, as far as this machine's books tell.
type graph struct {
	partners []grange.Ledger
	guests   map[grange.DID][]grange.Ledger // by the grid on whose behalf they are here
}

func graphOf(all []grange.Ledger) graph {
	g := graph{guests: map[grange.DID][]grange.Ledger{}}
	known := map[grange.DID]bool{}
	for _, l := range all {
		known[l.Partner] = true
	}
	for _, l := range all {
		if l.Via != nil && known[l.Via.Grid] && l.Via.Grid != l.Partner {
			g.guests[l.Via.Grid] = append(g.guests[l.Via.Grid], l)
		} else {
			g.partners = append(g.partners, l)
		}
	}
	return g
}

// text returns a tree, line by line.
func (g graph) text() []string {
	rows := [][2]string{}
	for i, l := range g.partners {
		branch, trunk := "|-- ", "|   "
		if i == len(g.partners)-1 {
			branch, trunk = "`-- ", "    "
		}
		rows = append(rows, [2]string{branch + clean(l.Name), kept(l)})
		guests := g.guests[l.Partner]
		for j, guest := range guests {
			branch := "|-- "
			if j == len(guests)-1 {
				branch = "`-- "
			}
			rows = append(rows, [2]string{trunk + branch + clean(guest.Name), kept(guest)})
		}
	}
	wide := 0
	for _, row := range rows {
		wide = max(wide, utf8.RuneCountInString(row[0]))
	}
	out := []string{"you"}
	for _, row := range rows {
		out = append(out, fmt.Sprintf("%-*s  %s", wide, row[0], row[1]))
	}
	return out
}

func kept(l grange.Ledger) string {
	text := fmt.Sprintf("keeps %s for you, you %s", amount(l.Has), amount(l.Keeps))
	switch {
	case l.Via == nil:
	case l.Via.Account != nil:
		text += ", by its account"
	default:
		text += ", by its voucher"
	}
	if l.Errand != nil {
		text += "; you are a guest there, by " + clean(l.Errand.By.String())
	}
	return text
}

// dot returns the graph in the language of Graphviz.
func (g graph) dot() string {
	var b strings.Builder
	b.WriteString("digraph grange {\n\trankdir=LR\n\tnode [shape=box]\n\tyou [style=bold]\n")
	node := func(l grange.Ledger) string {
		id := strconv.Quote(l.Partner.String())
		fmt.Fprintf(&b, "\t%s [label=%s]\n", id, strconv.Quote(clean(l.Name)))
		if l.Has > 0 {
			fmt.Fprintf(&b, "\t%s -> you [label=%s]\n", id, strconv.Quote(amount(l.Has)))
		}
		if l.Keeps > 0 {
			fmt.Fprintf(&b, "\tyou -> %s [label=%s]\n", id, strconv.Quote(amount(l.Keeps)))
		}
		return id
	}
	for _, l := range g.partners {
		grid := node(l)
		for _, guest := range g.guests[l.Partner] {
			fmt.Fprintf(&b, "\t%s -> %s [style=dashed arrowhead=none]\n", node(guest), grid)
		}
	}
	b.WriteString("}")
	return b.String()
}
