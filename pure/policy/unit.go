package policy

import (
	"fmt"
	"strconv"

	"github.com/grange-grid/grange/core"
)

// Unit is what a resource is counted in, and how amounts of it are written.
type Unit struct {
	Resource core.Resource
	// Name is of one or many, such as "kg"; "" is bytes.
	Name string
}

func (u Unit) bytes() bool { return u.Name == "" }

func (u Unit) name() string {
	if u.bytes() {
		return "bytes"
	}
	return u.Name
}

// Text returns n as a person reads it: bytes as Bytes has them, anything else exactly, "12 kg of potatoes".
func (u Unit) Text(n int64) string { return u.text(n, nearest) }

// atMost never says more than n, atLeast never less.
func (u Unit) atMost(n int64) string  { return u.text(n, down) }
func (u Unit) atLeast(n int64) string { return u.text(n, up) }

func (u Unit) text(n int64, r rounding) string {
	if u.bytes() {
		return bytesText(n, r)
	}
	name := u.Name
	if n == 1 && (name == "units" || name == "steps" || name == "collections") { // others are as a person has named them
		name = name[:len(name)-1]
	}
	return fmt.Sprintf("%s %s of %s", grouped(n), name, u.Resource)
}

// grouped returns n with a comma between thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
