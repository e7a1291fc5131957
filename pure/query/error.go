package query

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// Error says what is wrong with a query's text, and where. It is core.ErrInvalid.
type Error struct {
	// Column is where, in letters, from 1; one more than there are is the end.
	Column int
	// Problem is what was expected there.
	Problem string
	text    string
}

// Error returns the problem on one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%v query: column %d: %s", core.ErrInvalid, e.Column, e.Problem)
}

// Unwrap says that it is core.ErrInvalid.
func (e *Error) Unwrap() error { return core.ErrInvalid }

// Picture returns two lines: the text around the column, and a caret below it.
func (e *Error) Picture() string {
	const around = 36 // letters on each side, so that it fits a terminal
	letters := []rune(strings.ToValidUTF8(e.text, "\uFFFD"))
	for i, r := range letters {
		if r < ' ' {
			letters[i] = ' '
		}
	}
	at := min(e.Column-1, len(letters))
	from, to := max(0, at-around), min(len(letters), at+around)
	line, caret := string(letters[from:to]), at-from
	if from > 0 {
		line, caret = "…"+line, caret+1
	}
	if to < len(letters) {
		line += "…"
	}
	return line + "\n" + strings.Repeat(" ", caret) + "^"
}

// column counts letters as a person does who looks for one: a byte that is no letter is one too.
func column(text string, at int) int { return utf8.RuneCountInString(text[:at]) + 1 }

// nearest returns the word that was meant, with a question mark, "" if none is near.
func nearest(word string, words []string) string {
	best, distance := "", min(2, len(word)/2)+1
	for _, w := range words {
		if d := edits(strings.ToLower(word), w); d < distance {
			best, distance = w, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// edits is how many letters are to be put in, left out or changed, or swapped with the
// next, to make b of a (the optimal string alignment distance).
func edits(a, b string) int {
	if len(a) > len(b)+2 {
		return len(a)
	}
	before, above := []int(nil), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
