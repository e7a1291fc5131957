package files

import (
	"bytes"
	"slices"
	"strings"
)

// rule is one line of an ignore file.
type rule struct {
	// segs are the pattern's components; one that is "**" stands for any number
	// of directories. A rule that is not anchored has one, for the base name.
	segs     []string
	anchored bool
	dirOnly  bool
	keep     bool // the line began with '!'
}

// rules are the ignore files that count in one directory: its own, and by way
// of up those above it.
type rules struct {
	up   *rules
	base int // length of the directory's path, with the '/' that follows it
	list []rule
}

// gap is the component that stands for any number of directories.
const gap = "**"

// parseIgnore reads an ignore file, in the syntax of gitignore(5).
func parseIgnore(text []byte) []rule {
	var list []rule
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for raw := range bytes.Lines(text) {
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if r, ok := parseRule(trimSpaces(line)); ok {
			list = append(list, r)
		}
	}
	return list
}

// trimSpaces cuts spaces off the end, save those that a backslash protects.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// parseRule reads one pattern; false says that it can match nothing.
func parseRule(pattern string) (rule, bool) {
	var r rule
	pattern, r.keep = strings.CutPrefix(pattern, "!")
	pattern, r.dirOnly = strings.CutSuffix(pattern, "/")
	if pattern == "" {
		return r, false
	}
	if r.anchored = strings.Contains(pattern, "/"); !r.anchored {
		r.segs = []string{pattern}
		return r, true
	}
	r.segs = splitPattern(strings.TrimPrefix(pattern, "/"))
	if r.segs[len(r.segs)-1] == gap {
		r.segs = append(r.segs, "*") // "a/**" is what is in a, not a itself
	}
	return r, true
}

// splitPattern cuts a pattern at its slashes, save those in a set, which no name
// has. A backslash before a slash goes.
func splitPattern(pattern string) []string {
	var segs []string
	var seg []byte
	for i := 0; i <= len(pattern); i++ {
		switch {
		case i == len(pattern) || pattern[i] == '/':
			if len(seg) > 2 && strings.Trim(string(seg), "*") == "" {
				seg = []byte(gap) // git reads more stars as two
			}
			segs = append(segs, string(seg))
			seg = nil
		case pattern[i] == '\\' && i+1 < len(pattern):
			if pattern[i+1] != '/' {
				seg = append(seg, pattern[i], pattern[i+1])
				i++
			}
		default:
			width := 1
			if pattern[i] == '[' {
				width, _ = globSet(pattern[i:], 0)
				width = max(width, 1)
			}
			seg = append(seg, pattern[i:i+width]...)
			i += width - 1
		}
	}
	return segs
}

// ignores tells whether a path is left out: the nearest file with a line that
// matches decides.
func (r *rules) ignores(path string, isDir bool) bool {
	for ; r != nil; r = r.up {
		if ignore, decided := decide(r.list, path[r.base:], isDir); decided {
			return ignore
		}
	}
	return false
}

// decide asks one list, of which the last line that matches counts.
func decide(list []rule, path string, isDir bool) (ignore, decided bool) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	var parts []string
	for _, r := range slices.Backward(list) {
		if r.dirOnly && !isDir {
			continue
		}
		if !r.anchored {
			if glob(r.segs[0], name) {
				return !r.keep, true
			}
			continue
		}
		if parts == nil {
			parts = strings.Split(path, "/")
		}
		if globPath(r.segs, parts) {
			return !r.keep, true
		}
	}
	return false, false
}

// globPath matches components, where a gap stands for any number of them.
// Going back to the last gap alone is enough, as with stars in glob.
func globPath(segs, parts []string) bool {
	s, p, gapAt, retry := 0, 0, -1, 0
	for p < len(parts) {
		switch {
		case s < len(segs) && segs[s] == gap:
			gapAt, retry = s, p
			s++
		case s < len(segs) && glob(segs[s], parts[p]):
			s++
			p++
		case gapAt >= 0:
			retry++
			s, p = gapAt+1, retry
		default:
			return false
		}
	}
	for s < len(segs) && segs[s] == gap {
		s++
	}
	return s == len(segs)
}

// glob matches a pattern with '*', '?', '[…]' and '\' against a name, byte by
// byte, in time at most the product of their lengths.
func glob(pattern, name string) bool {
	i, j, star, retry := 0, 0, -1, 0
	for j < len(name) {
		if i < len(pattern) && pattern[i] == '*' {
			star, retry = i, j
			i++
			continue
		}
		if i < len(pattern) {
			width, ok := globByte(pattern[i:], name[j])
			if width == 0 {
				return false
			}
			if ok {
				i += width
				j++
				continue
			}
		}
		if star < 0 {
			return false
		}
		retry++
		i, j = star+1, retry
	}
	return strings.Trim(pattern[i:], "*") == ""
}

// broken tells whether a component of a pattern can match nothing.
func broken(pattern string) bool {
	for pattern != "" {
		width := 1
		if pattern[0] != '*' {
			width, _ = globByte(pattern, 0)
		}
		if width == 0 {
			return true
		}
		pattern = pattern[width:]
	}
	return false
}

// globByte matches the first element of a pattern, which is not a star, against
// c. The element's width is 0 if it is broken: then the pattern matches nothing.
func globByte(pattern string, c byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) == 1 {
			return 0, false
		}
		return 2, pattern[1] == c
	case '[':
		return globSet(pattern, c)
	}
	return 1, pattern[0] == c
}

// globSet matches "[…]": bytes, ranges, [:classes:], escapes, and '!' or '^' for not.
func globSet(pattern string, c byte) (width int, ok bool) {
	i, not, hit := 1, false, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		not = true
		i++
	}
	for first := i; i < len(pattern); {
		if pattern[i] == ']' && i > first {
			return i + 1, hit != not
		}
		if name, _, found := strings.Cut(pattern[i:], ":]"); found && strings.HasPrefix(name, "[:") && !strings.Contains(name[2:], "]") {
			in, known := inClass(name[2:], c)
			if !known {
				return 0, false
			}
			hit = hit || in
			i += len(name) + 2
			continue
		}
		low, next := setByte(pattern, i)
		high := low
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			high, next = setByte(pattern, next+1)
		}
		hit = hit || low <= c && c <= high
		i = next
	}
	return 0, false
}

// setByte reads one byte of a set, escaped or not, and returns where the next begins.
func setByte(pattern string, i int) (c byte, next int) {
	if pattern[i] == '\\' && i+1 < len(pattern) {
		i++
	}
	return pattern[i], i + 1
}

// inClass tells whether an ASCII byte is in a POSIX class.
func inClass(class string, c byte) (in, known bool) {
	lower, upper := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z'
	digit, graph := '0' <= c && c <= '9', '!' <= c && c <= '~'
	switch class {
	case "alnum":
		return lower || upper || digit, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || c == ' ', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r', true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}
