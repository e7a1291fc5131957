package grange

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
)

// Amounts are what one side of a pact is to give, as a person says it: words with spaces between them, each of
// which is one of
//
//	10GB          bytes of storage
//	20%           a part of what this machine gives in all, of storage
//	20%,200GB     that, and at most so much
//	1.5x          so many times what we give, of storage: of what we want alone
//	potatoes=5    of another resource, in its unit, which may follow: 5kg; network=5GB of one that is counted in bytes
//
// and no resource is there twice. "" says nothing.
type Amounts string

// UnmarshalText reads amounts. Whether their resources are known is for an Agent to say.
func (a *Amounts) UnmarshalText(text []byte) error {
	if _, err := Amounts(text).parse(); err != nil {
		return err
	}
	*a = Amounts(strings.Join(strings.Fields(string(text)), " "))
	return nil
}

// quantity is what a word of Amounts says.
type quantity struct {
	resource core.Resource
	// number is bytes where inBytes says that it was written so; counted is what is said of a resource that is counted in
	// something else, -1 for no whole number, with what follows it, its unit or nothing.
	number  int64
	inBytes bool
	counted int64
	unit    string
	// percent, if it is not below 0, is said in its place, and number is the most that it comes to.
	percent int64
	// times, if it is not 0, is said in its place, in thousandths.
	times int64
}

const (
	thousandths = 1000
	timesMax    = 1000 * thousandths
)

func (a Amounts) parse() ([]quantity, error) {
	var out []quantity
	for word := range strings.FieldsSeq(string(a)) {
		q, err := parseQuantity(word)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o quantity) bool { return o.resource == q.resource }) {
			return nil, fmt.Errorf("%s is there twice", q.resource)
		}
		out = append(out, q)
	}
	if len(out) > pact.ResourcesMax {
		return nil, fmt.Errorf("%d resources, at most %d", len(out), pact.ResourcesMax)
	}
	return out, nil
}

func parseQuantity(word string) (quantity, error) {
	q := quantity{resource: core.Storage, percent: -1, counted: -1}
	name, value, named := strings.Cut(word, "=")
	if !named {
		value = word
	} else if q.resource = core.Resource(name); !isResource(name) {
		return q, fmt.Errorf("%.40q is no resource's name; an amount is like 10GB, 20%%,200GB or potatoes=5", name)
	}
	var err error
	part, most, bounded := strings.Cut(value, ",")
	number, isPart := strings.CutSuffix(part, "%")
	ratio, isRatio := strings.CutSuffix(value, "x")
	q.unit = strings.TrimLeft(value, "0123456789.")
	plain, bad := strconv.ParseUint(strings.TrimSuffix(value, q.unit), 10, 63)
	if bad == nil {
		q.counted = int64(plain)
	}
	switch {
	case isPart && q.resource == core.Storage:
		if q.percent, err = strconv.ParseInt(number, 10, 8); err != nil || q.percent < 0 || q.percent > 100 || number[0] == '+' {
			return q, fmt.Errorf("%.40q is no percentage; one is 0%% to 100%%, a whole number", part)
		}
		if q.number = pact.AmountMax; bounded {
			q.number, err = ParseSize(most)
		}
	case isRatio && q.resource == core.Storage:
		if q.times, err = decimal(ratio, thousandths); err != nil || q.times < 1 || q.times > timesMax {
			return q, fmt.Errorf("%.40q is no ratio; one is like 1x or 1.5x, up to 1000x", value)
		}
	case named && bad == nil && q.unit == "":
		q.number = q.counted
	default:
		q.number, err = ParseSize(value)
		q.inBytes = err == nil
		if q.resource != core.Storage && pact.IsUnit(q.unit) && len(q.unit) < len(value) || named && q.unit == "" && value != "" {
			err = nil // whether that is what it is counted in is not known here
		}
	}
	if err == nil && (q.number > pact.AmountMax || q.counted > pact.AmountMax) {
		err = fmt.Errorf("%.40q is too much", word)
	}
	return q, err
}

// and returns amounts with those of the usual ones whose resource they do not name. Both have been read before.
func (a Amounts) and(usual Amounts) Amounts {
	words := strings.Fields(string(a))
	named, _ := a.parse()
	for word := range strings.FieldsSeq(string(usual)) {
		q, _ := parseQuantity(word)
		if !slices.ContainsFunc(named, func(n quantity) bool { return n.resource == q.resource }) {
			words = append(words, word)
		}
	}
	return Amounts(strings.Join(words, " "))
}

// isResource tells whether a pact can name a resource so.
func isResource(name string) bool {
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-._", r) }
	return name != "" && len(name) <= pact.NameSizeMax && !strings.ContainsFunc(name, odd)
}

// check tells whether all resources are known, each amount is one of its unit, and what depends on something else is
// what we give, ours, or want.
func (a Amounts) check(units map[core.Resource]string, ours bool) error {
	all, err := a.parse()
	if err != nil {
		return err
	}
	for _, q := range all {
		switch unit, known := units[q.resource]; {
		case !known:
			return fmt.Errorf("%q is not given here; config.toml says what it is counted in, like: [resources] %s = \"kg\"", q.resource, q.resource)
		case unit == "" && !q.inBytes && (q.number != 0 || q.unit != "" || q.counted != 0) && q.percent < 0 && q.times == 0:
			return fmt.Errorf("%s is counted in bytes, like: %s=10GB", q.resource, q.resource)
		case unit != "" && q.unit != "" && q.unit != unit:
			return fmt.Errorf("%s is counted in %s, like: %s=5", q.resource, unit, q.resource)
		case unit != "" && q.counted < 0:
			return fmt.Errorf("of %s a whole number of %s is said, like: %[1]s=5", q.resource, unit)
		case ours && q.times > 0:
			return errors.New("a ratio is of what is wanted to what is given")
		case !ours && q.percent >= 0:
			return errors.New("a part is of what this machine gives; of theirs say bytes, or a ratio such as 1.5x")
		}
	}
	return nil
}

// settle turns amounts into numbers, in these units, by resource: of what we give, ours, or of what we want where we give so many bytes.
func (a *Agent) settle(amounts Amounts, units map[core.Resource]string, ours bool, given int64) (map[core.Resource]int64, error) {
	side := "want"
	if ours {
		side = "give"
	}
	if err := amounts.check(units, ours); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", side, err, ErrInvalid)
	}
	total, _ := a.barter.Offer()
	all, _ := amounts.parse()
	out := map[core.Resource]int64{}
	for _, q := range all {
		switch {
		case units[q.resource] != "":
			q.number = q.counted
		case q.percent >= 0:
			q.number = min(total/100*q.percent, q.number)
		case q.times > 0 && given > math.MaxInt64/q.times:
			return nil, fmt.Errorf("%s: so many times of what is given is too much: %w", side, ErrInvalid)
		case q.times > 0:
			q.number = given * q.times / thousandths
		}
		out[q.resource] = q.number
	}
	return out, nil
}

// sizeUnits are what a size may end with. Decimal ones may do without their B.
var sizeUnits = map[string]int64{
	"B": 1,
	"K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// ParseSize reads a number of bytes: "10GB", "1.5 TB", "512MiB", "4096B". Only nothing goes without
// a unit: who writes 50 hardly means bytes.
func ParseSize(text string) (int64, error) {
	t := strings.TrimSpace(text)
	number := strings.TrimRight(t, "kmgtibKMGTIB ")
	unit, ok := sizeUnits[strings.ToUpper(strings.TrimSpace(t[len(number):]))]
	if t == "0" {
		return 0, nil
	}
	n, err := decimal(number, unit)
	if ok && errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%.40q is too much", t)
	}
	if number == t && err == nil {
		return 0, fmt.Errorf("%.40q has no unit; sizes are like 50GB or 512MiB", t)
	}
	if !ok || err != nil {
		return 0, fmt.Errorf("%.40q is no size; sizes are like 50GB or 512MiB", t)
	}
	return n, nil
}

// decimal returns a number such as "1.5" times unit, rounded down.
func decimal(number string, unit int64) (int64, error) {
	whole, fraction, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 0, strconv.ErrRange
	}
	if err != nil || strings.HasPrefix(number, "+") {
		return 0, strconv.ErrSyntax
	}
	if unit > 0 && n > uint64(math.MaxInt64/unit) {
		return 0, strconv.ErrRange
	}
	sum := int64(n) * unit
	const digitsMax = 9
	if !strings.Contains(number, ".") {
		return sum, nil
	}
	part, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil || len(fraction) > digitsMax || strings.HasPrefix(fraction, "+") {
		return 0, strconv.ErrSyntax
	}
	rest := int64(float64(part) / math.Pow10(len(fraction)) * float64(unit))
	if sum > math.MaxInt64-rest {
		return 0, strconv.ErrRange
	}
	return sum + rest, nil
}
