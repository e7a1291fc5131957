package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// The codes of SPEC §7.
const (
	CodeInvalid           = "request.invalid"
	CodeUnknown           = "agent.unknown"
	CodeRevoked           = "agent.revoked"
	CodeRefused           = "refused"
	CodeNotFound          = "not.found"
	CodeVersion           = "version.unknown"
	CodeInvitationUsed    = "invitation.used"
	CodeInvitationExpired = "invitation.expired"
	CodeHeadStale         = "head.stale"
	CodeHeadBase          = "head.base"
	CodeCharterStale      = "charter.stale"
	CodeTooLarge          = "too.large"
	CodeHostWrong         = "host.wrong"
	CodeCorrupt           = "piece.corrupt"
	CodeBusy              = "busy"
	CodeFull              = "disk.full"
	CodeAway              = "disk.away"
	CodeInternal          = "internal"
)

// Limits of an error's texts, in bytes.
const (
	messageSizeMax = 512
	hintSizeMax    = 512
	codeSizeMax    = 64
)

// retrySecondsMax bounds what a peer can ask one to wait.
const retrySecondsMax = 3600

// Error is an error that travels. On the answering side it chooses the code; on the
// calling side it is what came, and errors.Is tells its kind.
type Error struct {
	// Code is one of SPEC §7.
	Code string `json:"code"`
	// Message is one line for a person.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Counter is what would be granted, or the number that the code's row in SPEC names.
	Counter *core.Counter `json:"counter,omitempty"`
	// Evidence is the CBOR of a Signed that proves what is said; not verified here.
	Evidence []byte `json:"evidence,omitempty"`
	// RetrySeconds travels as Retry-After; 0 says nothing.
	RetrySeconds int `json:"-"`

	// status is what a caller got with a code that it does not know; else 0.
	status int
}

// row is what there is to know of a code.
type row struct {
	code   string
	status int
	kind   error
}

// rows has the code for a kind before the other codes of that kind.
var rows = [...]row{
	{CodeInvalid, http.StatusBadRequest, core.ErrInvalid},
	{CodeUnknown, http.StatusForbidden, core.ErrForbidden},
	{CodeRevoked, http.StatusForbidden, core.ErrRevoked},
	{CodeRefused, http.StatusForbidden, core.ErrRefused},
	{CodeNotFound, http.StatusNotFound, core.ErrNotExist},
	{CodeVersion, http.StatusNotFound, core.ErrVersion},
	{CodeInvitationUsed, http.StatusForbidden, core.ErrRefused},
	{CodeInvitationExpired, http.StatusForbidden, core.ErrRefused},
	{CodeHeadStale, http.StatusConflict, core.ErrStale},
	{CodeHeadBase, http.StatusConflict, core.ErrStale},
	{CodeCharterStale, http.StatusConflict, core.ErrStale},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, core.ErrTooLarge},
	{CodeHostWrong, http.StatusMisdirectedRequest, core.ErrInvalid},
	{CodeCorrupt, http.StatusGone, core.ErrCorrupt},
	{CodeBusy, http.StatusServiceUnavailable, core.ErrBusy},
	{CodeFull, http.StatusInsufficientStorage, core.ErrFull},
	{CodeAway, http.StatusServiceUnavailable, core.ErrAway},
	{CodeInternal, http.StatusInternalServerError, nil},
}

func rowOf(code string) (row, bool) {
	for _, r := range rows {
		if r.code == code {
			return r, true
		}
	}
	return row{}, false
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Is tells whether target is the kind of core's errors that the code stands for. A
// code from a newer version counts as the first code with the same status.
func (e *Error) Is(target error) bool {
	if r, ok := rowOf(e.Code); ok {
		return r.kind != nil && r.kind == target
	}
	for _, r := range rows {
		if r.status == e.status {
			return r.kind != nil && r.kind == target
		}
	}
	return target == core.ErrInvalid
}

// messages stand for kinds whose own text may tell of this machine's disk.
var messages = map[string]string{
	CodeNotFound: "not here",
	CodeUnknown:  "this is for partners",
	CodeRevoked:  "this machine was removed from its household",
	CodeCorrupt:  "the bytes have rotted",
	CodeFull:     "no room on the disk",
	CodeAway:     "the disk is not mounted",
	CodeBusy:     "at a limit; ask again later",
}

// asError finds the code of err. For what is no *Error, no *core.Denial and no kind that
// travels, it is internal, and the peer is told no more.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if _, known := rowOf(e.Code); !known {
			return &Error{Code: CodeInternal, Message: "internal error"}
		}
		return e
	}
	if d, ok := errors.AsType[*core.Denial](err); ok {
		return &Error{Code: CodeRefused, Message: d.Reason, Counter: d.Counter, RetrySeconds: int(min(max(d.Retry, 0), retrySecondsMax))}
	}
	for _, r := range rows {
		if r.kind == nil || !errors.Is(err, r.kind) {
			continue
		}
		message, ok := messages[r.code]
		if !ok {
			message = err.Error()
		}
		return &Error{Code: r.code, Message: message}
	}
	return &Error{Code: CodeInternal, Message: "internal error"}
}

// WriteError answers err in the form of SPEC §7. A *Error is answered as it is,
// a *core.Denial as refused; an error of one of core's kinds by that kind's code:
// ErrStale is head.stale, ErrCorrupt is piece.corrupt, so a handler that means another
// code says so with a *Error. All else is internal: logged here, not told.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	if e.Code == CodeInternal && !errors.Is(err, context.Canceled) {
		logOf(r.Context()).Error("request", "method", r.Method, "path", r.URL.Path, "peer", PeerOf(r.Context()).Short(), "err", err)
	}
	sent := *e
	sent.Message = line(e.Message, messageSizeMax)
	sent.Hint = line(e.Hint, hintSizeMax)
	known, _ := rowOf(e.Code)
	retry := e.RetrySeconds
	if retry == 0 && e.Code == CodeBusy {
		retry = busySeconds
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	writeAnswer(w, r, known.status, sent)
}

// line makes one printable line of at most sizeMax bytes of what a peer says, so that
// it cannot steer the terminal that it is shown on.
func line(text string, sizeMax int) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > sizeMax {
		text = strings.ToValidUTF8(text[:sizeMax], "")
	}
	return strings.TrimSpace(text)
}

// received makes the caller's error of what came with a status that is not 2xx.
func received(status int, retryAfter string, body []byte) error {
	var e Error
	if err := codec.UnmarshalMessage(body, &e, errorSizeMax); err != nil {
		return fmt.Errorf("answer %d without a readable error: %w", status, err)
	}
	long := len(e.Code) > codeSizeMax
	if e.Code = line(e.Code, codeSizeMax); e.Code == "" || long {
		return fmt.Errorf("answer %d without a code: %w", status, core.ErrInvalid)
	}
	e.Message, e.Hint = line(e.Message, messageSizeMax), line(e.Hint, hintSizeMax)
	e.status = status
	if n, err := strconv.Atoi(retryAfter); err == nil && n > 0 {
		e.RetrySeconds = min(n, retrySecondsMax)
	}
	if e.Code == CodeRefused {
		return &core.Denial{Reason: e.Message, Counter: e.Counter, Retry: int64(e.RetrySeconds)}
	}
	return &e
}
