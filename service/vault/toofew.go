package vault

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/manifest"
)

// TooFew is the error of bytes that cannot be read because fewer pieces of them
// can be had than it takes. It is a core.ErrUnreachable where holders did not answer, or
// nobody is known to hold a piece, as after a recovery; else what is missing is lost.
type TooFew struct {
	// Got of the Want pieces that it takes could be had.
	Got, Want int
	// Why has the names of the holders of the others by what is the matter with them, in
	// words that follow a name, as in "could not be reached".
	Why map[string][]string
	// Unknown says that of fewer than Want anybody is known to hold them.
	Unknown bool

	away bool
}

// tooFew describes a segment of which got pieces are here and the others failed.
func (o *opener) tooFew(s manifest.Segment, got int, failures map[int]error) error {
	e := &TooFew{Got: got, Want: int(s.K), Why: map[string][]string{}}
	known := got
	for _, i := range slices.Sorted(maps.Keys(failures)) {
		err := failures[i]
		o.log.Debug("a piece that cannot be had", "segment", fmt.Sprintf("%x", s.ID), "index", i, "err", err)
		held, failed := o.pieces.Held(s.Piece(i))
		if failed != nil {
			return failed
		}
		if len(held) > 0 {
			known++
		}
		for _, h := range held {
			why, name := wire.Plain(err), o.name(h.Grid)
			if !slices.Contains(e.Why[why], name) {
				e.Why[why] = append(e.Why[why], name)
			}
			e.away = e.away || why == wire.Plain(core.ErrUnreachable)
		}
	}
	e.Unknown = known < e.Want // not all need have been placed
	return e
}

// Error says it in words, with everybody's name.
func (e *TooFew) Error() string {
	var why []string
	for _, text := range slices.Sorted(maps.Keys(e.Why)) {
		names := slices.Clone(e.Why[text])
		slices.Sort(names)
		why = append(why, strings.Join(names, ", ")+" "+text)
	}
	if e.Unknown {
		why = append(why, "who has the others is not known")
	}
	if e.Got == 0 && len(e.Why) == 1 && e.away && !e.Unknown {
		names := slices.Sorted(slices.Values(e.Why[wire.Plain(core.ErrUnreachable)]))
		return "nobody who has it can be reached: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("too little of it can be had, %d of the %d pieces it takes: %s", e.Got, e.Want, strings.Join(why, "; "))
}

// Is makes it a core.ErrUnreachable, unless it is lost.
func (e *TooFew) Is(target error) bool {
	return target == core.ErrUnreachable && (e.away || e.Unknown)
}
