package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode"

	"github.com/grange-grid/grange/face/api"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitNotFound    = 4
	exitPartly      = 5
	exitNobody      = 6
	exitInterrupted = 130
)

// exitOf returns the exit code of an error's code.
func exitOf(code string) int {
	switch code {
	case api.CodeInvalid:
		return exitUsage
	case api.CodeRefused, api.CodeInvitationUsed, api.CodeInvitationExpired:
		return exitRefused
	case api.CodeNotFound:
		return exitNotFound
	case api.CodePartly:
		return exitPartly
	case api.CodeUnreachable:
		return exitNobody
	case api.CodeInterrupted:
		return exitInterrupted
	}
	return exitFailed
}

// reported is an error that was shown already; it is the exit code that is left of it.
type reported int

func (r reported) Error() string { return "exit " + strconv.Itoa(int(r)) }

// report shows an error, if it is one that was not shown, and returns the exit code.
func (a *app) report(err error) int {
	if code, ok := errors.AsType[reported](err); ok {
		return int(code)
	}
	if err == nil && a.out.err != nil && !errors.Is(a.out.err, syscall.EPIPE) { // who closed the pipe has enough
		err = fmt.Errorf("write to stdout: %w", a.out.err)
	}
	if err == nil {
		return exitDone
	}
	e := api.ErrorOf(err)
	if a.json {
		_, _ = a.err.Write(encode(map[string]*api.Error{"error": e}))
		return exitOf(e.Code)
	}
	message := e.Message
	if e.Code == api.CodeInterrupted {
		message = "interrupted"
	}
	fmt.Fprintf(a.err, "grange: %s\n", api.Clean(message))
	if e.Hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", api.Clean(e.Hint))
	}
	return exitOf(e.Code)
}

// cause returns what is the matter with a file, without its path and the system's word
// for what was tried, which a message has in words of its own.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// say writes a line of result to stdout, unless the result is JSON.
func (a *app) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// tell writes a line that is not the result itself, unless nobody wants words.
func (a *app) tell(format string, args ...any) {
	if !a.quiet {
		a.say(format, args...)
	}
}

// warn writes a line to stderr.
func (a *app) warn(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// note writes a line to stderr that is no error, unless nobody wants words.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		a.warn(format, args...)
	}
}

// value writes the one JSON value, if the result is to be JSON.
func (a *app) value(v any) {
	if a.json {
		_, _ = a.out.Write(encode(v)) // checked remembers
	}
}

// encode returns a line of JSON in which everything prints: a name with an
// escape sequence in it must not reach the terminal as one.
func encode(v any) []byte {
	var raw, out bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte("{}\n") // all that is shown is made of types that marshal
	}
	for _, r := range strings.TrimSuffix(raw.String(), "\n") {
		switch {
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// table writes rows in columns, under a heading.
func (a *app) table(rows ...[]string) {
	if a.json {
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // checked remembers
}

// The colours that mean something here.
const (
	green = "32"
	red   = "31"
)

// paint colours a text on a terminal.
func (a *app) paint(color, text string) string {
	if !a.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// clean is how every name and path from elsewhere gets onto the screen.
func clean(text string) string { return api.Clean(text) }
