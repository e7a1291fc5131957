package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// slogan is the first line of all help.
const slogan = "grange: your files on friends' disks, theirs on yours. Sealed. No money."

// summaryWidth is the column at which the overview says what a command does.
const summaryWidth = 44

// help writes what --help asks for: of a command, of those that begin with one word,
// or of all.
func help(w io.Writer, width int, ctx *kong.Context) error {
	node := ctx.Selected()
	switch {
	case node == nil:
		overview(w, width, ctx.Model.Node)
	case node.Leaf():
		return commandHelp(w, width, node)
	default:
		fmt.Fprintf(w, "%s.\n\n", strings.ToUpper(node.Help[:1])+node.Help[1:])
		for _, c := range leaves(node) {
			writeItem(w, width, summaryWidth, synopsis(c, false), c.Help)
		}
	}
	return nil
}

// group is the commands of one heading.
type group struct {
	title    string
	commands []*kong.Node
}

// groups returns the commands that are no secret, under their headings.
func groups(root *kong.Node) (out []group) {
	for _, c := range root.Children {
		if c.Hidden {
			continue
		}
		if len(out) == 0 || out[len(out)-1].title != c.Group.Title {
			out = append(out, group{title: c.Group.Title})
		}
		last := &out[len(out)-1]
		last.commands = append(last.commands, leaves(c)...)
	}
	return out
}

// leaves returns a command, or those that begin with its word.
func leaves(c *kong.Node) []*kong.Node {
	if c.Leaf() {
		return []*kong.Node{c}
	}
	return c.Children
}

// overview lists the commands, a line each where it fits.
func overview(w io.Writer, width int, root *kong.Node) {
	fmt.Fprintln(w, slogan)
	for _, g := range groups(root) {
		fmt.Fprintf(w, "\n%s\n", g.title)
		for _, c := range g.commands {
			writeItem(w, width, summaryWidth, synopsis(c, false), c.Help)
		}
	}
	fmt.Fprintf(w, "\nEvery command takes %s; grange COMMAND --help says more.\n", strings.Join(common(root), ", "))
}

// commandHelp says all there is to say of a command.
func commandHelp(w io.Writer, width int, node *kong.Node) error {
	fmt.Fprintf(w, "Usage: grange %s\n\n", synopsis(node, true))
	fmt.Fprintf(w, "%s.\n", strings.ToUpper(node.Help[:1])+node.Help[1:])
	for _, p := range paragraphs(node) {
		fmt.Fprintf(w, "\n%s\n", wrap(p, width, ""))
	}
	const column = 26
	if len(node.Positional) > 0 {
		fmt.Fprintln(w)
		for _, p := range node.Positional {
			writeItem(w, width, column, p.Tag.PlaceHolder, p.Help)
		}
	}
	fmt.Fprintln(w)
	for n := node; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			writeItem(w, width, column, flagText(f), f.Help)
		}
	}
	return nil
}

// paragraphs returns what a command says beyond its one line.
func paragraphs(node *kong.Node) []string {
	d, ok := node.Target.Addr().Interface().(interface{ detail() string })
	if !ok {
		return nil
	}
	return strings.Split(d.detail(), "\n\n")
}

// synopsis returns "get NAME[/PATH] [DEST] [--version V]", with all flags or with
// those for every day.
func synopsis(node *kong.Node, all bool) string {
	parts := []string{node.Path()}
	for _, p := range node.Positional {
		text := p.Tag.PlaceHolder
		if p.IsSlice() {
			text += "..."
		}
		if p.Tag.Optional {
			text = "[" + text + "]"
		}
		parts = append(parts, text)
	}
	for _, f := range node.Flags {
		if f.Tag.Has("aside") && !all {
			continue
		}
		text := longFlag(f)
		switch {
		case f.Required:
		case f.IsSlice():
			text = "[" + text + "]..."
		default:
			text = "[" + text + "]"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// common names the flags that all commands take.
func common(root *kong.Node) (out []string) {
	for _, f := range root.Flags {
		if f.Name != "help" {
			out = append(out, longFlag(f))
		}
	}
	return out
}

// longFlag returns "--name N".
func longFlag(f *kong.Flag) string {
	if f.IsBool() {
		return "--" + f.Name
	}
	return "--" + f.Name + " " + f.PlaceHolder
}

// flagText returns "-q, --quiet".
func flagText(f *kong.Flag) string {
	if f.Short != 0 {
		return "-" + string(f.Short) + ", " + longFlag(f)
	}
	return longFlag(f)
}

// writeItem writes a term, and in the column what it means; on lines of its own
// where the term is too long.
func writeItem(w io.Writer, width, column int, term, text string) {
	pad := strings.Repeat(" ", column)
	meaning := wrap(text, width, pad)
	if len(term)+4 > column {
		fmt.Fprintf(w, "  %s\n%s%s\n", term, pad, meaning)
		return
	}
	fmt.Fprintf(w, "  %-*s%s\n", column-2, term, meaning)
}

// wrap breaks a text into lines of a width; all but the first begin with indent.
func wrap(text string, width int, indent string) string {
	const least = 20
	room := max(width-len(indent), least)
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > room:
			b.WriteString("\n" + indent)
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}
