package document

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// numberSizeMax is how long a number's text may be: float64 has 767 digits at most.
const numberSizeMax = 1000

// ParseNumber reads a number as JSON writes it. It is refused where the float64 nearest to it,
// written with as many digits as are there, is another number: 9007199254740993, 1e400. The shortest
// number that gives its float64 is always kept.
func ParseNumber(s string) (float64, error) {
	if len(s) > numberSizeMax {
		return 0, errors.New("a number of more than 1000 characters: write it as text, in quotes")
	}
	if !isNumber(s) {
		return 0, errors.New("not a number of JSON")
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !kept(s, f) {
		return 0, errors.New("a number that float64 does not keep: write it as text, in quotes")
	}
	return f + 0, nil
}

// isNumber holds s to the grammar of RFC 8259 §6.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	s = s[whole:]
	if strings.HasPrefix(s, ".") {
		n := digits(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s != "" && s[0]|32 == 'e' {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		n := digits(s)
		return n > 0 && n == len(s)
	}
	return s == ""
}

func digits(s string) (n int) {
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// kept tells whether f has the digits of s, which is a number.
func kept(s string, f float64) bool {
	if a := math.Abs(f); len(s) <= 15 && a >= 1e-290 { // float64 has 15 digits, where it has not begun to run out of them
		return true
	}
	want, exp := significant(s)
	if want == "" || f == 0 {
		return want == "" && f == 0
	}
	for _, n := range []int{len(want) - 1, -1} { // the shortest of 2⁻¹⁰¹⁷ and others is not the nearest of its length
		if got, e := significant(strconv.FormatFloat(f, 'e', n, 64)); got == want && e == exp {
			return true
		}
	}
	return false
}

// significant returns the digits of a number without zeros at either end, and the power of
// ten of the first, which is not meant where there are none.
func significant(s string) (all string, exp int) {
	s = strings.TrimPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		exp, _ = strconv.Atoi(s[i+1:]) // beyond an int, ParseFloat has said so, or all digits are zero
		s = s[:i]
	}
	whole, part, _ := strings.Cut(s, ".")
	exp += len(whole) - 1
	all = whole + part
	stripped := strings.TrimLeft(all, "0")
	exp -= len(all) - len(stripped)
	return strings.TrimRight(stripped, "0"), exp
}

// AppendNumber appends a number as ECMAScript prints it (ECMA-262, Number::toString).
func AppendNumber(dst []byte, f float64) []byte {
	if a := math.Abs(f); f != 0 && (a < 1e-6 || a >= 1e21) {
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		// Go writes e-07 where ECMAScript has e-7.
		if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
		return dst
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}
