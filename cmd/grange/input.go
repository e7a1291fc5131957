package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// confirm asks a question that is answered by y or n, on a terminal. Elsewhere it
// is an error not to have said --yes.
func (a *app) confirm(ctx context.Context, question, unasked string) (bool, error) {
	if a.yes {
		return true, nil
	}
	if !a.inTerminal {
		return false, usage(unasked, "--yes agrees without being asked")
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := patient(ctx, func() (string, error) { return readLine(a.in) })
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil && answer == "" {
		fmt.Fprintln(a.err)
		return false, nil
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// patient reads something that may never come: it ends with ctx, and the reading
// with the program.
func patient(ctx context.Context, read func() (string, error)) (string, error) {
	type outcome struct {
		text string
		err  error
	}
	got := make(chan outcome, 1)
	go func() {
		text, err := read()
		got <- outcome{text, err}
	}()
	select {
	case o := <-got:
		return o.text, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// lineSizeMax bounds what is read as one line, or as one code, in bytes.
const lineSizeMax = 16 << 10

// readLine reads up to the end of a line and not a byte further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < lineSizeMax {
		n, err := r.Read(b[:])
		if n > 0 && b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return string(line), nil
}

// readAll reads what is given to a command, up to a size in bytes. One byte more
// tells its reader that it was too long.
func readAll(ctx context.Context, r io.Reader, sizeMax int64) (string, error) {
	return patient(ctx, func() (string, error) {
		raw, err := io.ReadAll(io.LimitReader(r, sizeMax+1))
		return string(raw), err
	})
}
