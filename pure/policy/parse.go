package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// Limits of a text of rules.
const (
	TextMax  = 16 << 10 // bytes
	rulesMax = 200
)

// The words that have a meaning of their own.
const (
	wordAny  = "any"
	wordFrom = "from"
)

// Error is what is wrong with a text of rules. It is a core.ErrInvalid.
type Error struct {
	// Line is counted from 1.
	Line int
	// Text says what is wrong, Hint what to write instead.
	Text, Hint string
}

// Error returns "line 3: …".
func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Is makes an Error a core.ErrInvalid.
func (e *Error) Is(target error) bool { return target == core.ErrInvalid }

// Parse reads rules, one a line:
//
//	WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]...
//
// WHY is a kind of why, or "any"; QUALITY, RESOURCE and WHO narrow it down. What follows a # that begins a word is a
// comment. A word with a space in it stands in double quotes. Errors: *Error.
func (t Table) Parse(text string) (Rules, error) {
	out := Rules{table: t}
	if len(text) > TextMax {
		return Rules{}, &Error{1, fmt.Sprintf("%d bytes; at most %d are read", len(text), TextMax), "leave out what is not needed"}
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words, err := split(strings.TrimRight(line, "\r\n"))
		if err == nil && len(words) > 0 {
			var rule Rule
			if rule, err = t.rule(words); err == nil {
				rule.Line = number
				err = out.add(rule)
			}
		}
		if err != nil {
			err.Line = number
			return Rules{}, err
		}
	}
	return out, nil
}

// add puts a rule at the end, if that makes a difference.
func (r *Rules) add(rule Rule) *Error {
	for _, before := range r.rules {
		if before.covers(rule) {
			return &Error{Text: fmt.Sprintf("this is never reached: line %d answers all that it is for", before.Line), Hint: fmt.Sprintf("put it above line %d, or leave it out", before.Line)}
		}
	}
	if len(r.rules) == rulesMax {
		return &Error{Text: fmt.Sprintf("more than %d rules", rulesMax), Hint: "leave out what is not needed"}
	}
	r.rules = append(r.rules, rule)
	return nil
}

// rule reads one from its words.
func (t Table) rule(words []string) (Rule, *Error) {
	var r Rule
	if r.Why = core.WhyKind(words[0]); r.Why == wordAny {
		r.Why = ""
	} else if _, ok := t.Whys[r.Why]; !ok {
		return r, &Error{Text: fmt.Sprintf("no reason %.40q", words[0]), Hint: "a line begins with " + strings.Join(append(texts(t.whys()), wordAny), ", ")}
	}
	words = words[1:]
	if len(words) > 0 && slices.Contains(qualities, core.Quality(words[0])) {
		r.Quality, words = core.Quality(words[0]), words[1:]
	}
	if len(words) > 0 {
		if _, ok := t.Resources[core.Resource(words[0])]; ok {
			r.Resource, words = core.Resource(words[0]), words[1:]
		}
	}
	if len(words) > 0 && words[0] == wordFrom {
		if len(words) == 1 || words[1] == "" {
			return r, &Error{Text: "from whom is missing", Hint: "from is followed by a partner's name or DID"}
		}
		r.From, words = words[1], words[2:]
		if strings.HasPrefix(r.From, "did:") {
			var err error
			if r.grid, err = core.ParseDID(r.From); err != nil {
				return r, &Error{Text: err.Error(), Hint: "grange pacts --json has the DID of each partner"}
			}
		}
	}
	var err *Error
	r.Policy, err = t.policy(r.Resource, words)
	return r, err
}

// policy reads a policy and its options. The resource is the one that its line names, or "".
func (t Table) policy(resource core.Resource, words []string) (Policy, *Error) {
	known := "policies are " + list(slices.Sorted(maps.Keys(t.Policies)))
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return nil, &Error{Text: "the policy is missing", Hint: known}
	}
	make, ok := t.Policies[words[0]]
	if !ok && len(words) > 1 && !strings.Contains(words[1], "=") {
		return nil, &Error{
			Text: fmt.Sprintf("%.40q is no quality, no resource and no policy", words[0]),
			Hint: "a line is WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]; resources are " + list(t.resources()),
		}
	}
	if !ok {
		return nil, &Error{Text: fmt.Sprintf("no policy %.40q", words[0]), Hint: known}
	}
	o := &Options{values: map[string]string{}}
	o.unit, o.named = t.unit(resource)
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		_, twice := o.values[key]
		switch {
		case !ok:
			return nil, &Error{Text: fmt.Sprintf("%.40q is no option", word), Hint: "options are KEY=VALUE, without spaces around the ="}
		case twice:
			return nil, &Error{Text: fmt.Sprintf("%s is there twice", key), Hint: "leave one out"}
		case value == "":
			return nil, &Error{Text: fmt.Sprintf("%.40q has no value", key), Hint: "leave it out"}
		}
		o.values[key] = value
	}
	p := make(o)
	if o.err != nil {
		return nil, o.err
	}
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if !slices.Contains(o.known, key) {
			hint := words[0] + " has no options"
			if len(o.known) > 0 {
				hint = "options of " + words[0] + " are " + list(o.known)
			}
			return nil, &Error{Text: fmt.Sprintf("%s has no option %.40q", words[0], key), Hint: hint}
		}
	}
	return p, nil
}

// split cuts a line into words.
func split(line string) (words []string, err *Error) {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
		return nil, &Error{Text: "there is something in it that does not print", Hint: "the file is plain text, in UTF-8"}
	}
	for rest := strings.TrimLeft(line, " \t"); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, " \t") {
		var word strings.Builder
		for rest != "" && !strings.ContainsRune(" \t", rune(rest[0])) {
			if rest[0] != '"' {
				end := strings.IndexAny(rest, " \t\"")
				if end < 0 {
					end = len(rest)
				}
				word.WriteString(rest[:end])
				rest = rest[end:]
				continue
			}
			text, tail, ok := strings.Cut(rest[1:], `"`)
			if !ok {
				return nil, &Error{Text: "a quotation mark has no other", Hint: `a word with a space in it is like "anna and bo"`}
			}
			word.WriteString(text)
			rest = tail
		}
		words = append(words, word.String())
	}
	return words, nil
}

// quoted returns a word so that split reads it again. No word has a quotation mark in it.
func quoted(word string) string {
	if word == "" || word[0] == '#' || strings.ContainsAny(word, " \t") {
		return `"` + word + `"`
	}
	return word
}

func texts[T ~string](all []T) (out []string) {
	for _, s := range all {
		out = append(out, string(s))
	}
	return out
}
