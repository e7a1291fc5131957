package api

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// spareless says in its own words what a version that was made lacks. A partner who
// took nothing leaves no piece that is known to be missing, and no spare either.
func spareless(out grange.PutResult, err error) error {
	w := out.Worth
	refused := err == nil && w.Survives <= 0 && len(out.Refused) > 0
	if !refused && !errors.Is(err, grange.ErrPartly) {
		return err
	}
	again := "once there is room: grange check --mend; for more of it: " + MoreRoom(out.Full)
	if len(out.Refused) > 0 && onlyAway(out.Refused) {
		again = "it has its spare again when they are back; if they stay away: grange check --mend --now"
	}
	e := &Error{Code: CodePartly}
	switch {
	case w.Pieces < w.Wanted && w.Survives <= 0:
		e.Message, e.Hint = fmt.Sprintf("stored, but without spare: %d of %d pieces", w.Pieces, w.Wanted), again
	case w.Pieces < w.Wanted:
		e.Message, e.Hint = fmt.Sprintf("stored, but with less spare than asked for: %d of %d pieces", w.Pieces, w.Wanted), again
	case refused:
		e.Message, e.Hint = "stored, but without spare", again
	case len(out.Problems) > 0:
		e.Message = fmt.Sprintf("stored, but for %s that could not be read", count(len(out.Problems), "file", "files"))
	case len(out.Refused) > 0:
		e.Message = "stored, but not every holder knows yet that it is the newest"
		e.Hint = "a running agent tells them when they are back: grange run"
	default:
		e.Message = message(err)
	}
	return e
}

// onlyAway tells whether nobody said no: those who took nothing were out of reach.
func onlyAway(refused map[string]string) bool {
	away := wire.Plain(core.ErrUnreachable)
	for _, why := range refused {
		if why != away {
			return false
		}
	}
	return true
}

// notStored is the error of a put that made no version. What refused it counts more
// than that some of it was placed, which is only to be found again.
func notStored(out grange.PutResult, err error) error {
	e := ErrorOf(err)
	if e.Code != CodePartly {
		return e
	}
	const again = "what was placed is found again by the next put"
	switch {
	case errors.Is(err, grange.ErrRefused), errors.Is(err, grange.ErrFull):
		e.Code, e.Hint = CodeRefused, MoreRoom(out.Full)
		if i := out.Incomplete; i != nil {
			e.Message = i.String() + "."
		}
	case errors.Is(err, grange.ErrUnreachable):
		e.Code, e.Message = CodeUnreachable, "not stored: too few partners could be reached"
		e.Hint = "try again when they are back; " + again
	default:
		e.Code, e.Hint = CodeFailed, again
	}
	return e
}

// MoreRoom says how to get more room, where those partners, by name, have none left by their pact,
// of so many bytes.
func MoreRoom(full map[string]int64) string {
	const invite = "grange invite"
	if len(full) == 0 {
		return invite
	}
	name := slices.Min(slices.Collect(maps.Keys(full)))
	who := name
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' }) || strings.HasPrefix(name, "-") {
		who = "WHO" // a shell would make something else of it
	}
	const mega, giga = 1_000_000, 1_000_000_000
	more := 2 * min(full[name], math.MaxInt64/4)
	want := fmt.Sprintf("%dMB", (more+mega-1)/mega)
	if more%giga == 0 {
		want = fmt.Sprintf("%dGB", more/giga)
	}
	return fmt.Sprintf("grange pact amend %s --want %s, or: %s", who, want, invite)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
