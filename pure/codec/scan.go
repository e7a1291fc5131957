package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// The major types of RFC 8949 §3.1.
const (
	majorUint byte = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// The simple values that have an encoding here.
const (
	simpleFalse = 20
	simpleTrue  = 21
	simpleNull  = 22
)

// itemsMin and bytesPerItem bound the items of one encoding: as many as itemsMin, and
// one more for each bytesPerItem bytes. An item of one byte can cost the
// decoder a Go value of a hundred; what is honest and large is mostly hashes.
const (
	itemsMin     = 32 << 10
	bytesPerItem = 8
)

// ItemsMax returns how many items an encoding of so many bytes may have. Who decodes another
// encoding of the same messages holds it to the same.
func ItemsMax(size int) int { return itemsMin + size/bytesPerItem }

// scanner reads one encoding from its start. It allocates nothing but errors.
type scanner struct {
	data  []byte
	off   int
	items int // how many more there may be
}

func newScanner(data []byte) *scanner {
	return &scanner{data: data, items: ItemsMax(len(data))}
}

// scan checks that data is one item in core deterministic form, within the limits.
func scan(data []byte) error {
	s := newScanner(data)
	if err := s.item(0); err != nil {
		return err
	}
	if s.off != len(data) {
		return s.invalid("bytes after the end")
	}
	return nil
}

func (s *scanner) invalid(what string) error {
	return fmt.Errorf("%w: CBOR at byte %d: %s", core.ErrInvalid, s.off, what)
}

// head reads a major type and its argument, which must be in its shortest form.
func (s *scanner) head() (major byte, arg uint64, err error) {
	if s.off >= len(s.data) {
		return 0, 0, s.invalid("cut short")
	}
	first := s.data[s.off]
	major, low := first>>5, first&0x1f
	if low < 24 {
		s.off++
		return major, uint64(low), nil
	}
	if major == majorSimple {
		return 0, 0, s.invalid("a float or an unknown simple value")
	}
	if low > 27 {
		return 0, 0, s.invalid("an indefinite or unknown length")
	}
	size := 1 << (low - 24)
	if len(s.data)-s.off-1 < size {
		return 0, 0, s.invalid("cut short")
	}
	var least uint64
	switch rest := s.data[s.off+1:]; size {
	case 1:
		arg, least = uint64(rest[0]), 24
	case 2:
		arg, least = uint64(binary.BigEndian.Uint16(rest)), 1<<8
	case 4:
		arg, least = uint64(binary.BigEndian.Uint32(rest)), 1<<16
	default:
		arg, least = binary.BigEndian.Uint64(rest), 1<<32
	}
	if arg < least {
		return 0, 0, s.invalid("a number that is not in its shortest form")
	}
	s.off += 1 + size
	return major, arg, nil
}

// text returns the n bytes that follow.
func (s *scanner) text(n uint64) ([]byte, error) {
	if n > uint64(len(s.data)-s.off) {
		return nil, s.invalid("cut short")
	}
	b := s.data[s.off : s.off+int(n)]
	s.off += int(n)
	return b, nil
}

// item passes over one item at the given depth of nesting.
func (s *scanner) item(depth int) error {
	if s.items--; s.items < 0 {
		return s.invalid("too many items for its size")
	}
	major, arg, err := s.head()
	if err != nil {
		return err
	}
	switch major {
	case majorUint:
		return nil
	case majorNegative:
		if arg > math.MaxInt64 {
			return s.invalid("an integer below 64 bits")
		}
		return nil
	case majorBytes, majorText:
		b, err := s.text(arg)
		if err == nil && major == majorText && !utf8.Valid(b) {
			return s.invalid("text that is not UTF-8")
		}
		return err
	case majorArray, majorMap:
		if depth == NestingMax {
			return s.invalid("nested too deep")
		}
		if major == majorMap {
			return s.pairs(arg, depth+1)
		}
		for range arg { // a lying count soon finds the end of the bytes
			if err := s.item(depth + 1); err != nil {
				return err
			}
		}
		return nil
	case majorTag:
		return s.invalid("a tag")
	}
	if arg != simpleFalse && arg != simpleTrue && arg != simpleNull {
		return s.invalid("an unknown simple value")
	}
	return nil
}

// pairs passes over the n pairs of a map.
func (s *scanner) pairs(n uint64, depth int) error {
	var before []byte
	for range n {
		if s.off < len(s.data) && s.data[s.off]>>5 != majorText {
			return s.invalid("a map key that is not text")
		}
		key, err := s.raw(depth)
		if err != nil {
			return err
		}
		if bytes.Compare(before, key) >= 0 {
			return s.invalid("map keys that do not rise")
		}
		before = key
		if err := s.item(depth); err != nil {
			return err
		}
	}
	return nil
}

// raw passes over an item and returns its encoding.
func (s *scanner) raw(depth int) ([]byte, error) {
	start := s.off
	if err := s.item(depth); err != nil {
		return nil, err
	}
	return s.data[start:s.off], nil
}

// versionOf returns the "v" of the outermost map of data, which has been scanned.
func versionOf(data []byte) (uint64, bool) {
	s := newScanner(data)
	major, pairs, err := s.head()
	if err != nil || major != majorMap {
		return 0, false
	}
	for range pairs {
		key, err := s.raw(1)
		if err != nil || len(key) > 2 { // shorter keys come first
			return 0, false
		}
		if string(key) == "\x61v" {
			major, v, err := s.head()
			return v, err == nil && major == majorUint
		}
		if s.item(1) != nil {
			return 0, false
		}
	}
	return 0, false
}

// covers tells whether every value in got stands in message too, but for fields
// that message leaves out. Both are in deterministic form.
func covers(message, got *scanner) bool {
	majorM, argM, errM := message.head()
	majorG, argG, errG := got.head()
	if errM != nil || errG != nil || majorM != majorG {
		return false
	}
	switch majorM {
	case majorMap:
		return coversPairs(message, got, argM, argG)
	case majorArray:
		if argM != argG {
			return false
		}
		for range argM {
			if !covers(message, got) {
				return false
			}
		}
		return true
	case majorBytes, majorText:
		m, errM := message.text(argM)
		g, errG := got.text(argG)
		return errM == nil && errG == nil && bytes.Equal(m, g)
	}
	return argM == argG
}

func coversPairs(message, got *scanner, pairsM, pairsG uint64) bool {
	got.items = math.MaxInt // its zero fields may outnumber the message's
	var keyM []byte
	for range pairsG {
		keyG, err := got.raw(1)
		if err != nil {
			return false
		}
		for {
			if keyM == nil && pairsM > 0 {
				pairsM--
				if keyM, err = message.raw(1); err != nil {
					return false
				}
			}
			if keyM == nil || bytes.Compare(keyM, keyG) >= 0 {
				break
			}
			if message.item(1) != nil {
				return false
			}
			keyM = nil
		}
		if !bytes.Equal(keyM, keyG) {
			if got.item(1) != nil {
				return false
			}
			continue
		}
		keyM = nil
		if !covers(message, got) {
			return false
		}
	}
	if keyM != nil {
		if message.item(1) != nil {
			return false
		}
	}
	for range 2 * pairsM {
		if message.item(1) != nil {
			return false
		}
	}
	return true
}
