package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/grange-grid/grange/core"
)

// Options are what stands behind a policy in its line. A policy reads each that it knows; what it has not
// read, it does not know. The first that makes no sense is the line's error.
type Options struct {
	values map[string]string
	known  []string
	err    *Error
	// unit is of the resource that the line names, if it is named.
	unit  Unit
	named bool
}

func (o *Options) value(key string) (string, bool) {
	o.known = append(o.known, key)
	v, ok := o.values[key]
	return v, ok
}

func (o *Options) wrong(key, value, hint string) {
	if o.err == nil {
		o.err = &Error{Text: fmt.Sprintf("%s=%.40s cannot be", key, value), Hint: hint}
	}
}

// Counted tells whether the line is for one resource, that is not counted in bytes.
func (o *Options) Counted() bool { return o.named && !o.unit.bytes() }

// Text reads a text; "" where there is none.
func (o *Options) Text(key string) string {
	v, _ := o.value(key)
	return v
}

// Percent reads 0% to 1000%.
func (o *Options) Percent(key string, otherwise int64) int64 {
	v, ok := o.value(key)
	if !ok {
		return otherwise
	}
	number, is := strings.CutSuffix(v, "%")
	n, err := strconv.ParseUint(number, 10, 16)
	if !is || err != nil || n > percentMax {
		o.wrong(key, v, key+" is a percentage, such as 25%")
	}
	return int64(n)
}

const percentMax = 1000

// sizes are what an amount of bytes may end with, the greatest first.
var sizes = []struct {
	suffix string
	bytes  int64
}{{"TB", terabyte}, {"GB", gigabyte}, {"MB", megabyte}, {"kB", kilobyte}, {"", 1}}

// Amount reads an amount, of bytes like 10GB and of other things a number.
func (o *Options) Amount(key string, otherwise int64) int64 {
	v, ok := o.value(key)
	if !ok {
		return otherwise
	}
	hint := key + " is an amount, such as 10GB"
	units := sizes
	if o.Counted() {
		units, hint = sizes[len(sizes)-1:], fmt.Sprintf("%s is a number of %s", key, o.unit.Name)
	}
	for _, u := range units {
		number, is := strings.CutSuffix(v, u.suffix)
		if !is {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || int64(n) > math.MaxInt64/u.bytes {
			break
		}
		return int64(n) * u.bytes
	}
	o.wrong(key, v, hint)
	return otherwise
}

// optionAmount writes what Amount reads.
func optionAmount(key string, n int64, counted bool) string {
	for _, u := range sizes {
		if u.bytes == 1 || n > 0 && n%u.bytes == 0 && !counted {
			return fmt.Sprintf("%s=%d%s", key, n/u.bytes, u.suffix)
		}
	}
	return ""
}

// Days reads a number of days, such as 30d.
func (o *Options) Days(key string, otherwise int64) int64 {
	v, ok := o.value(key)
	if !ok {
		return otherwise
	}
	number, is := strings.CutSuffix(v, "d")
	n, err := strconv.ParseUint(number, 10, 16)
	if !is || err != nil || n > daysMax {
		o.wrong(key, v, key+" is a number of days, such as 30d")
	}
	return int64(n)
}

const daysMax = 3650

// DIDs reads names of keys, with commas between.
func (o *Options) DIDs(key string) (out []core.DID) {
	v, ok := o.value(key)
	if !ok {
		return nil
	}
	for text := range strings.SplitSeq(v, ",") {
		d, err := core.ParseDID(text)
		if err != nil {
			o.wrong(key, v, key+" is a DID, such as did:key:z6Mk…, or several with commas between")
			return nil
		}
		out = append(out, d)
	}
	return out
}

// optionText writes what Text reads; nothing for "".
func optionText(key, value string) string {
	if value == "" {
		return ""
	}
	if word := key + "=" + value; !strings.ContainsAny(value, " \t") {
		return word
	}
	return key + `="` + value + `"`
}
