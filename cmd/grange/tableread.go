package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// records yields what is in a file, one after the other, and then io.EOF.
type records func() (record, error)

// lines reads lines of bounded length, without their ends.
type lines struct {
	r *bufio.Reader
	n int
}

// next returns a line; it is valid until the next one.
func (l *lines) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > documentSizeMax {
			return nil, record{line: l.n + 1}.wrong("it is longer than %d bytes", documentSizeMax)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return nil, err
		}
		l.n++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if !utf8.Valid(line) {
			return nil, record{line: l.n}.wrong("it is not UTF-8")
		}
		return line, nil
	}
}

// ndjson reads a JSON value a line. Empty lines are none.
func ndjson(from io.Reader) records {
	l := &lines{r: bufio.NewReaderSize(from, 64<<10)}
	return func() (record, error) {
		for {
			line, err := l.next()
			if err != nil {
				return record{}, err
			}
			if len(bytes.TrimSpace(line)) > 0 {
				return record{line, l.n}, nil
			}
		}
	}
}

// integers are the fields of deb822 that are numbers.
var integers = []string{"size", "installed-size"}

// deb822 reads records of fields as deb822(5) has them: "Name: value", lines that begin with a space or a tab go on, an
// empty line ends a record, # begins a comment. Fields in listed become lists.
func deb822(from io.Reader, listed []string) records {
	l := &lines{r: bufio.NewReaderSize(from, 64<<10)}
	return func() (record, error) {
		fields, order, r, size := map[string]string{}, "", record{}, 0
		for {
			line, err := l.next()
			if err != nil && (!errors.Is(err, io.EOF) || len(fields) == 0) {
				return record{}, err
			}
			text := strings.TrimRight(string(line), " \t")
			if size += len(text); size > documentSizeMax {
				return record{}, record{line: l.n}.wrong("a record of over %d bytes", documentSizeMax)
			}
			switch {
			case text == "" && len(fields) == 0:
			case text == "":
				r.json, err = json.Marshal(values(fields, listed))
				return r, err
			case text[0] == '#':
			case text[0] == ' ' || text[0] == '\t':
				if order == "" {
					return record{}, record{line: l.n}.wrong("it goes on with a field, and there is none")
				}
				fields[order] += "\n" + strings.TrimSpace(text)
			default:
				name, value, ok := strings.Cut(text, ":")
				name = strings.ToLower(strings.TrimSpace(name))
				if !ok || name == "" {
					return record{}, record{line: l.n}.wrong("no \"Field: value\"")
				}
				if _, twice := fields[name]; twice {
					return record{}, record{line: l.n}.wrong("field %q stands twice", clean(name))
				}
				if order = name; len(fields) == 0 {
					r.line = l.n
				}
				fields[name] = strings.TrimSpace(value)
			}
		}
	}
}

// values are those of a document.
func values(fields map[string]string, listed []string) map[string]any {
	out := make(map[string]any, len(fields))
	for name, text := range fields {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case slices.Contains(listed, name):
			items := []string{}
			for item := range strings.SplitSeq(text, ",") {
				if item = strings.TrimSpace(item); item != "" {
					items = append(items, item)
				}
			}
			out[name] = items
		case slices.Contains(integers, name) && err == nil:
			out[name] = n
		default:
			out[name] = text
		}
	}
	return out
}
