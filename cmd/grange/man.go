package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

func (c *manCommand) run(_ context.Context, _ *app) error {
	root, err := model()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.To, 0o755); err != nil {
		return err
	}
	for name, page := range manPages(root) {
		if err := os.WriteFile(filepath.Join(c.To, name), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPages returns every man page by its file's name.
func manPages(root *kong.Node) map[string]string {
	pages := map[string]string{"grange.1": mainPage(root)}
	for _, g := range groups(root) {
		for _, c := range g.commands {
			pages[pageOf(c)+".1"] = commandPage(root, c)
		}
	}
	return pages
}

// pageOf returns the name of a command's page.
func pageOf(c *kong.Node) string { return "grange-" + strings.ReplaceAll(c.Path(), " ", "-") }

// roff writes a man page; see man(7).
type roff struct{ strings.Builder }

// roffText makes a text safe: a backslash, a leading dot and a hyphen mean something else there.
var roffText = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`)

func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, a := range args {
		r.WriteString(` "` + strings.ReplaceAll(roffText.Replace(a), `"`, `""`) + `"`)
	}
	r.WriteByte('\n')
}

func (r *roff) text(text string) {
	text = roffText.Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	r.WriteString(text + "\n")
}

func (r *roff) item(term, text string) {
	r.macro("TP")
	r.macro("B", term)
	r.text(text)
}

func (r *roff) begin(title, name, what string) {
	r.macro("TH", title, "1", "", "grange", "grange")
	r.macro("SH", "NAME")
	r.text(name + " - " + what)
	r.macro("SH", "SYNOPSIS")
}

// exits has the exit codes, in words.
var exits = [...]struct{ code, means string }{
	{"0", "done"},
	{"1", "failed"},
	{"2", "the command line makes no sense"},
	{"3", "refused by a partner's policy"},
	{"4", "not found"},
	{"5", "partly done"},
	{"6", "nobody could be reached"},
	{"130", "interrupted"},
}

func (r *roff) exits() {
	r.macro("SH", "EXIT STATUS")
	for _, e := range exits {
		r.item(e.code, e.means)
	}
}

func mainPage(root *kong.Node) string {
	var r roff
	_, what, _ := strings.Cut(strings.TrimSuffix(slogan, "."), ": ")
	r.begin("GRANGE", "grange", what)
	r.text("grange COMMAND ...")
	r.macro("SH", "DESCRIPTION")
	r.text("Each command calls the agent that runs on the directory; where none does, it opens one itself, which only dials and ends with the command.")
	r.macro("PP")
	r.text("An error is one line that says what was wrong and where, and one that begins with hint: and says what to do.")
	r.macro("SH", "COMMANDS")
	for _, g := range groups(root) {
		for _, c := range g.commands {
			r.item("grange "+synopsis(c, true), strings.ToUpper(c.Help[:1])+c.Help[1:]+".")
		}
	}
	r.flags(root)
	r.macro("SH", "ENVIRONMENT")
	r.item("GRANGE_DIR", "The agent's directory, unless --dir names one.")
	r.item("XDG_DATA_HOME", "Where the directory grange is otherwise.")
	r.item("NO_COLOR", "If it is set, there are no colours.")
	r.macro("SH", "FILES")
	r.item("~/.local/share/grange", "The agent's directory: its key, its books, its partners' pieces, and its socket.")
	r.exits()
	r.macro("SH", "SEE ALSO")
	r.text(seeAlso(root))
	return r.String()
}

func commandPage(root, c *kong.Node) string {
	var r roff
	r.begin(strings.ToUpper(pageOf(c)), pageOf(c), c.Help)
	r.text("grange " + synopsis(c, true))
	if text := paragraphs(c); len(text) > 0 {
		r.macro("SH", "DESCRIPTION")
		for i, p := range text {
			if i > 0 {
				r.macro("PP")
			}
			r.text(p)
		}
	}
	if len(c.Positional) > 0 {
		r.macro("SH", "ARGUMENTS")
		for _, p := range c.Positional {
			r.item(p.Tag.PlaceHolder, p.Help)
		}
	}
	r.flags(c, root)
	r.exits()
	r.macro("SH", "SEE ALSO")
	r.text("grange(1)")
	return r.String()
}

func (r *roff) flags(nodes ...*kong.Node) {
	r.macro("SH", "OPTIONS")
	for _, n := range nodes {
		for _, f := range n.Flags {
			r.item(flagText(f), f.Help)
		}
	}
}

// seeAlso names the pages of all commands.
func seeAlso(root *kong.Node) string {
	var all []string
	for _, g := range groups(root) {
		for _, c := range g.commands {
			all = append(all, pageOf(c)+"(1)")
		}
	}
	return strings.Join(all, ", ")
}
