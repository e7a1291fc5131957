package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

func (c *completionCommand) run(_ context.Context, a *app) error {
	root, err := model()
	if err != nil {
		return err
	}
	switch c.Shell {
	case "bash":
		completeBash(a.out, root)
	case "zsh":
		completeZsh(a.out, root)
	default:
		completeFish(a.out, root)
	}
	return nil
}

// visible returns all commands that are no secret.
func visible(root *kong.Node) (out []*kong.Node) {
	for _, g := range groups(root) {
		out = append(out, g.commands...)
	}
	return out
}

// first returns what can stand first on a command line: the commands of one word, and
// the first word of the others.
func first(root *kong.Node) (out []*kong.Node) {
	for _, c := range visible(root) {
		if c.Parent != root {
			c = c.Parent
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// names joins the last words of commands.
func names(commands []*kong.Node) string {
	var out []string
	for _, c := range commands {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// words returns what can stand after a command: flags, and the values of an
// argument that has a list of them.
func words(nodes ...*kong.Node) string {
	var out []string
	for _, n := range nodes {
		for _, f := range n.Flags {
			out = append(out, "--"+f.Name)
		}
		for _, p := range n.Positional {
			if p.Tag.Enum != "" {
				out = append(out, strings.Split(p.Tag.Enum, ",")...)
			}
		}
	}
	return strings.Join(out, " ")
}

func completeBash(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, `# bash completion of grange
_grange() {
	local word=${COMP_WORDS[COMP_CWORD]} command= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--dir) ((i++)) ;;
		-*) ;;
		*) command="${command:+$command }${COMP_WORDS[i]}" ;;
		esac
	done
	local words=
	case $command in
`)
	for _, c := range visible(root) {
		fmt.Fprintf(w, "\t%s) words='%s' ;;\n", bashPattern(c), words(c, root))
	}
	for _, c := range first(root) {
		if !c.Leaf() {
			fmt.Fprintf(w, "\t%s) words='%s %s' ;;\n", c.Name, names(c.Children), words(root))
		}
	}
	fmt.Fprintf(w, "\t'') words='%s %s' ;;\n", names(first(root)), words(root))
	fmt.Fprint(w, `	esac
	local fit= w
	for w in $words; do
		[[ $w == -* && $word != -* ]] || fit+=" $w"
	done
	COMPREPLY=($(compgen -W "$fit" -- "$word"))
}
complete -o default -o bashdefault -F _grange grange
`)
}

// bashPattern matches a command and its arguments.
func bashPattern(c *kong.Node) string {
	name := strings.ReplaceAll(c.Path(), " ", `\ `)
	return name + "|" + name + `\ *`
}

// shellText quotes for zsh's _arguments and for fish.
var (
	zshText  = strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	fishText = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
)

func completeZsh(w io.Writer, root *kong.Node) {
	fmt.Fprint(w, `#compdef grange
# zsh completion of grange
_grange() {
	local -a commands
	commands=(
`)
	for _, c := range first(root) {
		fmt.Fprintf(w, "\t\t'%s:%s'\n", c.Name, zshText.Replace(c.Help))
	}
	fmt.Fprint(w, `	)
	local context state line
	_arguments -C \
`)
	zshFlags(w, "\t\t", root)
	fmt.Fprint(w, `		'1: :->command' \
		'*:: :->rest'
	case $state in
	command) _describe command commands ;;
	rest)
		case $words[1] in
`)
	for _, c := range first(root) {
		if c.Leaf() {
			zshCommand(w, "\t\t", root, c)
			continue
		}
		fmt.Fprintf(w, "\t\t%s)\n\t\t\t_arguments -C \\\n", c.Name)
		zshFlags(w, "\t\t\t\t", root)
		fmt.Fprintf(w, "\t\t\t\t'1: :(%s)' '*:: :->rest'\n\t\t\tcase $words[1] in\n", names(c.Children))
		for _, leaf := range c.Children {
			zshCommand(w, "\t\t\t", root, leaf)
		}
		fmt.Fprint(w, "\t\t\tesac ;;\n")
	}
	fmt.Fprint(w, `		esac ;;
	esac
}
if [[ $funcstack[1] == _grange ]]; then
	_grange "$@"
else
	compdef _grange grange
fi
`)
}

// zshCommand completes what follows a command.
func zshCommand(w io.Writer, indent string, root, c *kong.Node) {
	fmt.Fprintf(w, "%s%s)\n%s\t_arguments \\\n", indent, c.Name, indent)
	zshFlags(w, indent+"\t\t", c, root)
	fmt.Fprintf(w, "%s\t\t%s ;;\n", indent, zshArgument(c))
}

func zshFlags(w io.Writer, indent string, nodes ...*kong.Node) {
	for _, n := range nodes {
		for _, f := range n.Flags {
			value := ""
			if !f.IsBool() {
				value = ":" + zshText.Replace(f.PlaceHolder) + ":_files"
			}
			fmt.Fprintf(w, "%s'--%s[%s]%s' \\\n", indent, f.Name, zshText.Replace(f.Help), value)
		}
	}
}

func zshArgument(c *kong.Node) string {
	for _, p := range c.Positional {
		if p.Tag.Enum != "" {
			return fmt.Sprintf("'1: :(%s)'", strings.ReplaceAll(p.Tag.Enum, ",", " "))
		}
	}
	return "'*: :_files'"
}

func completeFish(w io.Writer, root *kong.Node) {
	fmt.Fprintln(w, "# fish completion of grange")
	for _, f := range root.Flags {
		fishFlag(w, "", f)
	}
	for _, c := range first(root) {
		fmt.Fprintf(w, "complete -c grange -n __fish_use_subcommand -f -a %s -d '%s'\n", c.Name, fishText.Replace(c.Help))
	}
	for _, c := range visible(root) {
		when := fmt.Sprintf(" -n '__fish_seen_subcommand_from %s'", c.Name)
		if group := c.Parent; group != root {
			fmt.Fprintf(w, "complete -c grange -n '__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from %s' -f -a %s -d '%s'\n",
				group.Name, names(group.Children), c.Name, fishText.Replace(c.Help))
			when = fmt.Sprintf(" -n '__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s'", group.Name, c.Name)
		}
		for _, f := range c.Flags {
			fishFlag(w, when, f)
		}
		for _, p := range c.Positional {
			if p.Tag.Enum != "" {
				fmt.Fprintf(w, "complete -c grange%s -f -a '%s'\n", when, strings.ReplaceAll(p.Tag.Enum, ",", " "))
			}
		}
	}
}

func fishFlag(w io.Writer, when string, f *kong.Flag) {
	short, needs := "", ""
	if f.Short != 0 {
		short = " -s " + string(f.Short)
	}
	if !f.IsBool() {
		needs = " -r"
	}
	fmt.Fprintf(w, "complete -c grange%s -l %s%s%s -d '%s'\n", when, f.Name, short, needs, fishText.Replace(f.Help))
}
