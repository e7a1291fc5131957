package document

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// The heads that are used: the three high bits of a major type, or a whole byte.
const (
	majorUint   = 0
	majorNegint = 1
	majorText   = 3
	majorList   = 4
	majorObject = 5

	headFalse = 0xf4
	headTrue  = 0xf5
	headNull  = 0xf6
	headFloat = 0xfb
)

// check tells what is wrong with s as the one encoding of a document.
func check(s string) error {
	if s == "" || s[0]>>5 != majorObject {
		return fmt.Errorf("%w document: not an object", core.ErrInvalid)
	}
	c := checker{s: s}
	c.item(0)
	if c.fault == "" && c.at != len(s) {
		c.fault = "bytes after its end"
	}
	if c.fault != "" {
		return fmt.Errorf("%w document at byte %d: %s", core.ErrInvalid, c.at, c.fault)
	}
	return nil
}

// checker reads what is hostile. It stops at the first fault, and then at is where it began.
type checker struct {
	s     string
	at    int
	fault string
}

func (c *checker) fail(fault string) bool {
	c.fault = fault
	return false
}

// head reads a head with its argument, which is as short as can be.
func (c *checker) head() (major byte, n uint64, ok bool) {
	if c.at >= len(c.s) {
		return 0, 0, c.fail("ends early")
	}
	b := c.s[c.at]
	major, low := b>>5, b&31
	if low < 24 {
		c.at++
		return major, uint64(low), true
	}
	if low > 27 {
		return 0, 0, c.fail("no definite length")
	}
	size := 1 << (low - 24)
	if len(c.s)-c.at-1 < size {
		return 0, 0, c.fail("ends early")
	}
	for _, b := range []byte(c.s[c.at+1 : c.at+1+size]) {
		n = n<<8 | uint64(b)
	}
	if n < 24 || size > 1 && n>>(size*4) == 0 {
		return 0, 0, c.fail("a number that is not as short as can be")
	}
	c.at += 1 + size
	return major, n, true
}

// item reads a value that stands in depth others.
func (c *checker) item(depth int) bool {
	if c.at >= len(c.s) {
		return c.fail("ends early")
	}
	if b := c.s[c.at]; b>>5 == 7 {
		return c.simple(b)
	}
	start := c.at
	major, n, ok := c.head()
	if !ok {
		return false
	}
	switch major {
	case majorUint, majorNegint:
		if n > IntegerMax-uint64(major) {
			c.at = start
			return c.fail("an integer beyond 2^53")
		}
		return true
	case majorText:
		return c.textBody(start, n)
	case majorList, majorObject:
		if depth == NestingMax {
			c.at = start
			return c.fail(fmt.Sprintf("nested deeper than %d", NestingMax))
		}
		if major == majorObject {
			return c.pairs(n, depth+1)
		}
		for ; n > 0; n-- { // an element is a byte at least: n is used up when the bytes are
			if !c.item(depth + 1) {
				return false
			}
		}
		return true
	}
	c.at = start
	return c.fail("a byte string or a tag")
}

func (c *checker) textBody(start int, n uint64) bool {
	if n > uint64(len(c.s)-c.at) {
		c.at = start
		return c.fail("ends early")
	}
	end := c.at + int(n)
	if !utf8.ValidString(c.s[c.at:end]) {
		c.at = start
		return c.fail("text that is not UTF-8")
	}
	c.at = end
	return true
}

func (c *checker) pairs(n uint64, depth int) bool {
	before := ""
	for ; n > 0; n-- {
		start := c.at
		major, size, ok := c.head()
		if !ok {
			return false
		}
		if major != majorText {
			c.at = start
			return c.fail("a name that is no text")
		}
		if !c.textBody(start, size) {
			return false
		}
		name := c.s[start:c.at]
		if name <= before {
			c.at = start
			return c.fail("names that do not rise")
		}
		before = name
		if !c.item(depth) {
			return false
		}
	}
	return true
}

// simple reads false, true, null or a float.
func (c *checker) simple(b byte) bool {
	switch b {
	case headFalse, headTrue, headNull:
		c.at++
		return true
	case headFloat:
		if len(c.s)-c.at < 9 {
			return c.fail("ends early")
		}
		f := math.Float64frombits(binary.BigEndian.Uint64([]byte(c.s[c.at+1 : c.at+9])))
		if !finite(f) {
			return c.fail("a number that is not finite")
		}
		if isInteger(f) {
			return c.fail("an integer as a float")
		}
		c.at += 9
		return true
	default:
		return c.fail("a simple value, or a float that is not of 64 bits")
	}
}

// finite tells whether f can be in a document.
func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// isInteger tells whether a number is encoded as an integer.
func isInteger(f float64) bool { return math.Abs(f) <= IntegerMax && f == math.Trunc(f) }

func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|27), n)
	}
}

func appendNumber(dst []byte, f float64) []byte {
	switch {
	case !isInteger(f):
		return binary.BigEndian.AppendUint64(append(dst, headFloat), math.Float64bits(f))
	case f < 0:
		return appendHead(dst, majorNegint, uint64(-f)-1)
	default:
		return appendHead(dst, majorUint, uint64(f))
	}
}

// reader reads what was checked.
type reader struct {
	s  string
	at int
}

func (r *reader) head() (major byte, n uint64) {
	b := r.s[r.at]
	r.at++
	low := b & 31
	if low < 24 {
		return b >> 5, uint64(low)
	}
	size := 1 << (low - 24)
	for _, b := range []byte(r.s[r.at : r.at+size]) {
		n = n<<8 | uint64(b)
	}
	r.at += size
	return b >> 5, n
}

func (r *reader) text() string {
	_, n := r.head()
	start := r.at
	r.at += int(n)
	return r.s[start:r.at]
}

func (r *reader) value() Value {
	start := r.at
	switch b := r.s[r.at]; b >> 5 {
	case majorText:
		return Value{kind: Text, raw: r.text()}
	case majorList, majorObject:
		kind := List
		if b>>5 == majorObject {
			kind = Object
		}
		r.skip()
		return Value{kind: kind, raw: r.s[start:r.at]}
	case majorUint:
		_, n := r.head()
		return Value{kind: Number, num: float64(n)}
	case majorNegint:
		_, n := r.head()
		return Value{kind: Number, num: -float64(n) - 1}
	default:
		_, n := r.head()
		switch b {
		case headFalse, headTrue:
			return BoolValue(b == headTrue)
		case headNull:
			return NullValue()
		default:
			return Value{kind: Number, num: math.Float64frombits(n)}
		}
	}
}

// skip goes past a value.
func (r *reader) skip() {
	for left := uint64(1); left > 0; left-- {
		switch major, n := r.head(); major {
		case majorText:
			r.at += int(n)
		case majorList:
			left += n
		case majorObject:
			left += 2 * n
		}
	}
}
