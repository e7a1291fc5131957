package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange"
)

// block is what status shows of one name: its newest version, the put of it that is under way, or both.
type block struct {
	name    string
	version *grange.Version
	put     *grange.Work
}

func blocksOf(s grange.Status) []block {
	var out []block
	for i := range s.Versions {
		out = append(out, block{name: s.Versions[i].Name, version: &s.Versions[i]})
	}
	for i, w := range s.Work {
		if w.What != "put" {
			continue
		}
		at := slices.IndexFunc(out, func(b block) bool { return b.name == w.Name })
		if at < 0 {
			out, at = append(out, block{name: w.Name}), len(out)
		}
		out[at].put = &s.Work[i]
	}
	return out
}

// row is a block's first line, in columns.
func (b block) row() []string {
	switch {
	case b.version != nil:
		v := b.version
		return []string{clean(b.name), count(v.Files, "file", "files"), amount(v.Bytes), arrow(slices.Sorted(maps.Keys(v.Worth.At)), v.Worth.Survives)}
	case b.put.Of > 0:
		return []string{clean(b.name), count(b.put.FilesOf, "file", "files"), amount(b.put.Of), arrow(b.put.To, b.put.Survives)}
	}
	return []string{clean(b.name), "", "", ""}
}

// arrow says at whom something is, or will be: "-> bo, cleo, dan (any one may vanish)".
func arrow(names []string, survives int) string {
	if len(names) == 0 {
		return ""
	}
	text := "-> " + clean(strings.Join(names, ", "))
	words := []string{"one", "two", "three", "four", "five", "six"}
	switch {
	case survives > len(words):
		return fmt.Sprintf("%s (any %d may vanish)", text, survives)
	case survives > 0:
		return fmt.Sprintf("%s (any %s may vanish)", text, words[survives-1])
	case survives == 0 && len(names) == 1:
		return text + " (one copy)"
	}
	return text
}

// blocks shows every name: what it is, how its put goes on, and what is to be said of its version.
func (a *app) blocks(blocks []block, s grange.Status) {
	var rows strings.Builder
	w := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', 0)
	for _, b := range blocks {
		fmt.Fprintln(w, strings.Join(b.row(), "\t"))
	}
	_ = w.Flush() // a Builder takes all
	a.say("")
	for i, line := range strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n") {
		a.say("%s", strings.TrimRight(line, " "))
		if put := blocks[i].put; put != nil {
			a.say("%s", bar(put.Progress, a.now().Sub(put.Since)))
		}
		if v := blocks[i].version; v != nil {
			a.say("%s", a.verdict(*v, s))
		}
	}
	for _, p := range s.Pacts {
		if p.Away && p.Has > 0 {
			a.say("%s", a.patience(p, s.Pacts))
		}
	}
}

// verdictBad tells whether a version needs more than it has.
func verdictBad(w grange.Worth) bool { return !w.Readable || w.Survives <= 0 && len(w.At) > 1 }

// verdict says of one version whether it is safe, and if not, what it lacks.
func (a *app) verdict(v grange.Version, s grange.Status) string {
	w := v.Worth
	if !verdictBad(w) {
		uses := fmt.Sprintf("Version %d uses %s.", v.Number, uses(w.At))
		if w.Survives <= 0 {
			return uses
		}
		return a.paint(green, "Safe.") + " " + uses
	}
	var away strings.Builder
	for _, p := range s.Pacts {
		if p.Away && p.Has > 0 {
			fmt.Fprintf(&away, "%s is %s. ", clean(p.Name), a.seen(false, true, p.Seen))
		}
	}
	for _, work := range s.Work {
		left := work.Progress
		left.Bytes = left.Placed
		if d, ok := remaining(left, a.now().Sub(work.Since)); ok && work.What == "spread" && w.Readable {
			return away.String() + "Readable without this machine. Spare: " + estimate(d) + " more."
		}
	}
	if !w.Readable {
		return away.String() + a.paint(red, fmt.Sprintf("Version %d is NOT SAFE: %s.", v.Number, w.Text))
	}
	return away.String() + a.paint(red, fmt.Sprintf("Version %d has NO SPARE: lose %s and it is lost.", v.Number, clean(either(w.Vital))))
}

// uses says how much of each partner's room: "0.9 GB at each", "0.9 GB to 1.2 GB at each".
func uses(at map[string]int64) string {
	sizes := slices.Sorted(maps.Values(at))
	if len(sizes) == 0 {
		return "nothing"
	}
	least, most := amount(sizes[0]), amount(sizes[len(sizes)-1])
	if len(sizes) == 1 {
		return least + " at " + clean(slices.Collect(maps.Keys(at))[0])
	}
	if least != most {
		least += " to " + most
	}
	return least + " at each"
}

// patience says what becomes of the pieces that a partner has who is away.
func (a *app) patience(away grange.Pact, pacts []grange.Pact) string {
	var others []string
	holders, fresh := 0, false
	for _, p := range pacts {
		switch able := !p.Away && !p.Leaving; {
		case p.Has > 0:
			holders++
			if able {
				others = append(others, clean(p.Name))
			}
		case able:
			fresh = true
		}
	}
	another := "another household"
	if ordinals := []string{"second", "third", "fourth", "fifth", "sixth", "seventh"}; holders <= len(ordinals) {
		another = "a " + ordinals[holders-1] + " household"
	}
	where := another
	if !fresh && len(others) > 0 {
		where = list(others) + ", or to " + another
	}
	name := clean(away.Name)
	first, size := utf8.DecodeRuneInString(name)
	name = string(unicode.ToUpper(first)) + name[size:]
	wait := time.Duration(away.PatienceSeconds) * time.Second
	if wait <= 0 {
		return fmt.Sprintf("%s's pieces go to %s.", name, where)
	}
	return fmt.Sprintf("%s's pieces wait %d h, then go to %s.", name, (wait+time.Hour-1)/time.Hour, where)
}
