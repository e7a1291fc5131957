// Command grange keeps your files on friends' disks and theirs on yours.
//
// It is made of package grange and its API, face/api: each command calls the agent
// that runs on the directory or, where none does, opens one in this process, by the
// same requests either way. What is here is how that meets people: flags, words,
// tables, exit codes. docs/man has a page for each command, made from the same
// source as --help.
//
// It decides nothing that a program which embeds package grange would not get too.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/grange-grid/grange/face/api"
)

// gcPercent is how much garbage there may be, in percent of what is in use: most of that is a few large
// buffers, which cost a collector nothing, so that little memory is bought with little time.
const gcPercent = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(program(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// command is what each command's struct does.
type command interface {
	run(ctx context.Context, a *app) error
}

// program runs one command line and returns its exit code.
func program(args []string, in, out, errs *os.File) int {
	a := newApp(in, out, errs)
	var c cli
	asked := false
	k, err := parser(&c, kong.Writers(a.out, a.err),
		kong.Exit(func(int) { asked = true }),
		kong.Help(func(_ kong.HelpOptions, ctx *kong.Context) error { return help(a.out, a.width, ctx) }))
	if err != nil {
		return a.report(err)
	}
	switch {
	case len(args) == 0:
		overview(a.out, a.width, k.Model.Node)
		return a.report(nil)
	case args[0] == "--version":
		args = append([]string{"version"}, args[1:]...)
	case args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	}
	parsed, err := k.Parse(args)
	if asked {
		return a.report(nil)
	}
	// Of a command line that makes no sense nothing may have been taken in.
	a.json = c.JSON || err != nil && asksJSON(args)
	a.quiet, a.yes = c.Quiet, c.Yes
	if err != nil {
		return a.report(misused(err))
	}
	if err := a.useDir(c.Dir); err != nil {
		return a.report(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err = parsed.Selected().Target.Addr().Interface().(command).run(ctx, a)
	_, shown := errors.AsType[reported](err)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeInterrupted {
		shown = true // it may have a hint
	}
	if err != nil && !shown && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a.report(err)
}

// asksJSON tells whether --json is among the flags.
func asksJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json")
}

// misused is the error of a command line that cannot be understood.
func misused(err error) error {
	const overviewHint = "grange --help"
	hint := overviewHint
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil && parse.Context.Selected() != nil {
		hint = "grange " + parse.Context.Selected().Path() + " --help"
	}
	// The parser's angle brackets are for arguments without a name of their own.
	message := strings.NewReplacer("[<", "", ">]", "", "<", "", ">", "").Replace(err.Error())
	if missing, ok := strings.CutPrefix(message, "expected \""); ok {
		message = strings.TrimSuffix(strings.TrimSuffix(missing, "\""), " ...") + " is missing"
	}
	flag, rest, _ := strings.Cut(message, ": ")
	if strings.HasPrefix(rest, "missing value") || strings.HasPrefix(rest, "expected ") && strings.Contains(rest, " value but got ") {
		message = flag + " needs a value"
	}
	if what, ok := strings.CutPrefix(message, "unexpected argument "); ok && hint == overviewHint {
		message = "there is no command " + what
	}
	return usage(message, hint)
}

// app is what every command has: where it reads and writes, and the flags of all.
type app struct {
	in  io.Reader
	out *checked
	err io.Writer
	// These say which of the three are terminals.
	inTerminal, outTerminal, errTerminal bool
	// width of the terminal in columns; color says that colours are wanted.
	width int
	color bool
	now   func() time.Time

	dir              string // absolute
	named            bool   // by --dir
	json, quiet, yes bool
}

const (
	widthDefault = 80
	widthMax     = 100 // longer lines are hard to read
)

func newApp(in, out, errs *os.File) *app {
	a := &app{
		in: in, out: &checked{w: out}, err: errs, width: widthDefault, now: time.Now,
		inTerminal: isTerminal(in), outTerminal: isTerminal(out), errTerminal: isTerminal(errs),
	}
	if a.outTerminal {
		if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 0 {
			a.width = min(width, widthMax)
		}
	}
	a.color = a.outTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return a
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// checked remembers that something could not be written, so that a full disk
// behind a redirection is not taken for success.
type checked struct {
	w   io.Writer
	err error
}

func (c *checked) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// usage is the error of arguments that make no sense.
func usage(message, hint string) *api.Error {
	return &api.Error{Code: api.CodeInvalid, Message: message, Hint: hint}
}
