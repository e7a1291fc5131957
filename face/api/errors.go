package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"unicode"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// The codes of errors. Those that the protocol between agents has too mean the
// same there.
const (
	CodeInvalid           = "request.invalid" // the request breaks its form, or names what cannot be
	CodeNotFound          = "not.found"       // no such resource, name, version, path or invitation
	CodeMethod            = "method.wrong"    // the resource is read by GET, or done by POST
	CodeTooLarge          = "too.large"       // over a limit that the message names
	CodeRefused           = "refused"         // a partner's policy said no; counter says to what it would say yes
	CodeInvitationUsed    = "invitation.used"
	CodeInvitationExpired = "invitation.expired"
	CodePartly            = "partly"        // some of it was done, and the result says what
	CodeUnreachable       = "unreachable"   // nobody could be reached
	CodeNoPartner         = "no.partner"    // there is nobody to keep anything
	CodeNoHousehold       = "no.household"  // the directory has no household
	CodeNotRunning        = "not.running"   // that needs an agent that listens
	CodeNoNetwork         = "no.network"    // this machine is in no network
	CodeLocked            = "locked"        // another agent has the directory
	CodeRevoked           = "agent.revoked" // this machine was removed from its household
	CodeUnknown           = "agent.unknown" // no partner knows this household
	CodeUnauthorized      = "unauthorized"  // the token is wrong or missing, or the page is not ours
	CodeExists            = "exists"        // what would be written is there already
	CodeFull              = "disk.full"
	CodeAway              = "disk.away"
	CodeBusy              = "busy"
	CodeVersion           = "version.unknown"
	CodeBooks             = "books.corrupt"
	CodeCorrupt           = "corrupt"     // bytes are not what their name or signature says
	CodeGone              = "agent.gone"  // the agent went away before it had answered
	CodeInterrupted       = "interrupted" // whoever asked has gone
	CodeFailed            = "failed"      // anything else
)

// Error is what went wrong, as it travels and as it is shown.
type Error struct {
	// Code is one of the constants, for programs.
	Code string `json:"code"`
	// Message is one printable line for a person; Hint one line on what to do.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Counter is what the other side would have granted.
	Counter *core.Counter `json:"counter,omitempty"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is tells whether target is the kind of package grange's errors that the code stands for.
func (e *Error) Is(target error) bool {
	row, ok := rowOf(e.Code)
	return ok && row.kind != nil && row.kind == target
}

// row is what there is to know of a code. The order counts: an error of several
// kinds gets the first one's code.
type row struct {
	code   string
	status int
	kind   error
	hint   string
}

// statusPartly is HTTP's Multi-Status: the body has both an error and a result.
const statusPartly = http.StatusMultiStatus

// statusInterrupted is what nginx calls a client that closed its request; nobody reads it.
const statusInterrupted = 499

const noNetwork = "a cable, or the Wi-Fi; it goes on by itself then"

var rows = [...]row{
	{CodePartly, statusPartly, grange.ErrPartly, ""},
	{CodeNoPartner, http.StatusConflict, grange.ErrNoPartner, "grange invite"},
	{CodeNoHousehold, http.StatusConflict, grange.ErrNoHousehold, "grange init; or, to get a lost household back: grange recover"},
	{CodeLocked, http.StatusConflict, grange.ErrLocked, "wait until it has ended, or stop it; commands share the agent of a 'grange run'"},
	{CodeNotRunning, http.StatusConflict, grange.ErrNotHere, "grange run"},
	{CodeNoNetwork, http.StatusConflict, grange.ErrNoNetwork, noNetwork},
	{CodeRevoked, http.StatusForbidden, grange.ErrRevoked, "whoever has the 24 words, or the lines of enough stewards, has removed it, as 'grange recover' on another machine does; if that was not you, tell your partners"},
	{CodeInvitationUsed, http.StatusForbidden, grange.ErrUsed, "ask for a new one: each is for one household"},
	{CodeInvitationExpired, http.StatusForbidden, grange.ErrExpired, "ask for a new one"},
	{CodeRefused, http.StatusForbidden, grange.ErrRefused, ""},
	{CodeFull, http.StatusInsufficientStorage, grange.ErrFull, "make room on this disk"},
	{CodeAway, http.StatusServiceUnavailable, core.ErrAway, "mount the disk"},
	{CodeExists, http.StatusConflict, fs.ErrExist, ""},
	{CodeUnreachable, http.StatusBadGateway, grange.ErrUnreachable, "grange status shows who was seen when"},
	{CodeUnknown, http.StatusForbidden, core.ErrForbidden, "are these the words of the household that you want back, and is the other side its partner?"},
	{CodeVersion, http.StatusNotFound, grange.ErrVersion, "a newer grange may speak it"},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, core.ErrTooLarge, ""},
	{CodeBusy, http.StatusServiceUnavailable, core.ErrBusy, "try again in a minute"},
	{CodeBooks, http.StatusInternalServerError, grange.ErrBooks, "move the folder books out of the directory, then: grange recover --phrase-file F --from ADDRESS"},
	{CodeCorrupt, http.StatusInternalServerError, grange.ErrCorrupt, ""},
	{CodeNotFound, http.StatusNotFound, fs.ErrNotExist, ""},
	{CodeInvalid, http.StatusBadRequest, grange.ErrInvalid, ""},
	{CodeInterrupted, statusInterrupted, context.Canceled, ""},
	{CodeMethod, http.StatusMethodNotAllowed, nil, ""},
	{CodeUnauthorized, http.StatusUnauthorized, nil, ""},
	{CodeGone, http.StatusBadGateway, nil, "its log says why; what was done by then is found again by the next try"},
	{CodeFailed, http.StatusInternalServerError, nil, ""},
}

func rowOf(code string) (row, bool) {
	for _, r := range rows {
		if r.code == code {
			return r, true
		}
	}
	return row{}, false
}

// ErrorOf turns any error into one with a code, a message of one line and, where
// there is one, a hint. Nil stays nil.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Code: codeOf(err), Message: message(err)}
	_, foreign := errors.AsType[*wire.Error](err)
	incomplete := errors.Is(err, grange.ErrPartly) // it has said in its own words who did what
	if few, ok := errors.AsType[*grange.TooFew](err); ok {
		e.Message = Clean(few.Error())
	} else if !incomplete && (foreign && e.Code != CodeRevoked || e.Code == CodeUnreachable) {
		e.Message = Clean("the other side " + wire.Plain(err)) // where it was tried is for the log
	}
	if d, ok := errors.AsType[*grange.Denial](err); ok {
		e.Counter = d.Counter
	}
	switch e.Code {
	case CodeInvitationUsed:
		e.Message = "the invitation was already used"
	case CodeInvitationExpired:
		e.Message = "the invitation has expired"
	}
	row, _ := rowOf(e.Code)
	e.Hint = row.hint
	switch {
	case errors.Is(err, grange.ErrAlready):
		e.Code, e.Hint = CodeExists, "grange pacts shows what you have with each other"
	case errors.Is(err, grange.ErrOwn):
		e.Hint = "send it to a friend, who accepts it"
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(e.Message, "address already in use"):
		e.Hint = "another program has that port; try: grange run --listen /ip4/0.0.0.0/tcp/0"
	}
	return e
}

func codeOf(err error) string {
	said, foreign := errors.AsType[*wire.Error](err)
	if foreign && (said.Code == wire.CodeInvitationUsed || said.Code == wire.CodeInvitationExpired) {
		return said.Code
	}
	for _, r := range rows {
		if r.kind == nil || !errors.Is(err, r.kind) {
			continue
		}
		// What a partner calls invalid or corrupt is no fault of the request to us.
		if foreign && (r.code == CodeInvalid || r.code == CodeCorrupt) {
			break
		}
		return r.code
	}
	return CodeFailed
}

// messageSizeMax bounds a message in bytes.
const messageSizeMax = 2 << 10

// message makes one printable line of an error. The kind's own word is dropped
// where the rest says it better.
func message(err error) string {
	text := Clean(strings.ReplaceAll(err.Error(), "\n", "; "))
	text = strings.ReplaceAll(text, ": "+core.ErrInvalid.Error()+": ", ": ")
	for _, kind := range []error{core.ErrInvalid, core.ErrForbidden, core.ErrBusy, fs.ErrExist} {
		text = strings.TrimSuffix(text, ": "+kind.Error())
	}
	if len(text) > messageSizeMax {
		text = strings.ToValidUTF8(text[:messageSizeMax], "") + "…"
	}
	return text
}

// Clean returns text that comes from elsewhere as it can be shown on a terminal:
// what does not print, or turns the direction of writing, is a '?'.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		const joiner = '\u200d' // of emoji
		if unicode.IsPrint(r) && r != unicode.ReplacementChar || r == joiner {
			return r
		}
		return '?'
	}, text)
}

// Word returns text as a shell reads it for one word, for a command that is shown to be typed: what partners call
// themselves is their choice.
func Word(text string) string {
	text = Clean(text)
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._/+:@%,=-", r)
	}
	if text != "" && !strings.ContainsFunc(text, odd) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// invalid is the error of a request that breaks its form.
func invalid(text, hint string) *Error {
	return &Error{Code: CodeInvalid, Message: text, Hint: hint}
}
