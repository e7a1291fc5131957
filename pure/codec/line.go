package codec

import (
	"encoding/base32"
	"fmt"
	"strings"
	"unicode"

	"github.com/grange-grid/grange/core"
)

// lineCheckSize is how many bytes of the score of a line's bytes stand behind them.
const lineCheckSize = 4

var lineEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Line returns bytes as one line that people send: prefix, which ends with ':', then base32 of raw and the
// first four bytes of its score.
func Line(prefix string, raw []byte) string {
	sum := core.ScoreOf(raw)
	return prefix + lineEncoding.EncodeToString(append(append(make([]byte, 0, len(raw)+lineCheckSize), raw...), sum[:lineCheckSize]...))
}

// ParseLine reads what Line returns, however it was wrapped, hyphenated or put in small letters, of at
// most sizeMax characters without what is ignored. Errors: core.ErrInvalid if it does not begin with
// prefix; core.ErrCorrupt if characters are wrong or missing; core.ErrTooLarge.
func ParseLine(prefix, line string, sizeMax int) ([]byte, error) {
	text := Squeeze(line)
	if len(text) > sizeMax {
		return nil, fmt.Errorf("%w: %d characters, at most %d", core.ErrTooLarge, len(text), sizeMax)
	}
	payload, ok := strings.CutPrefix(text, Squeeze(prefix))
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with %s", core.ErrInvalid, prefix)
	}
	for n, r := range []rune(payload) {
		if (r < 'A' || r > 'Z') && (r < '2' || r > '7') {
			return nil, fmt.Errorf("%w: character %d of the code, %q, is wrong; there are only A to Z and 2 to 7", core.ErrCorrupt, len(prefix)+n+1, r)
		}
	}
	wrong := fmt.Errorf("%w: a character of the code is wrong or missing", core.ErrCorrupt)
	raw, err := lineEncoding.DecodeString(payload)
	// The last character has bits that decoding drops.
	if err != nil || len(raw) < lineCheckSize || lineEncoding.EncodeToString(raw) != payload {
		return nil, wrong
	}
	raw, check := raw[:len(raw)-lineCheckSize], raw[len(raw)-lineCheckSize:]
	if sum := core.ScoreOf(raw); string(sum[:lineCheckSize]) != string(check) {
		return nil, wrong
	}
	return raw, nil
}

// LineBytes returns how many bytes fit into a line of size characters.
func LineBytes(prefix string, size int) int { return (size-len(prefix))*5/8 - lineCheckSize }

// Squeeze drops what a line may contain without meaning, and raises its letters. Only
// ASCII letters are raised: others that have such a capital are wrong characters.
func Squeeze(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.Is(unicode.Hyphen, r):
			return -1
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, line)
}
