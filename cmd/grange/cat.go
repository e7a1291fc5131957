package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type catCommand struct {
	What    string        `arg:"" name:"NAME/PATH" placeholder:"NAME/PATH" help:"A file of a version; NAME alone where that is one file."`
	Range   byteRange     `placeholder:"A-B" help:"Bytes A to B alone, counted from 0, both included; A- is to the end."`
	Version versionNumber `aside:"" placeholder:"V" help:"This version; else the newest."`
}

func (catCommand) detail() string {
	return `Fetches what it writes, and no more: a part of a large file costs little.`
}

// byteRange is "A-B" or "A-".
type byteRange struct {
	set bool
	api.Range
}

// UnmarshalText reads a range.
func (r *byteRange) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	r.set, r.From, r.Length = true, from, -1
	if ok && err == nil && last != "" {
		var to int64
		to, err = strconv.ParseInt(last, 10, 64)
		r.Length = to - from + 1
		ok = r.Length > 0
	}
	if !ok || err != nil || from < 0 {
		return fmt.Errorf("%.40q is no range; one is like 0-99 or 100-", text)
	}
	return nil
}

func (c *catCommand) run(ctx context.Context, a *app) error {
	name, at, err := nameAndPath(c.What)
	if err != nil {
		return err
	}
	if a.json {
		return usage("cat writes bytes, which are no JSON value", "without --json")
	}
	part := api.Range{Length: -1}
	if c.Range.set {
		part = c.Range.Range
	}
	return a.with(ctx, func(s *session) error {
		err := s.Cat(ctx, grange.Ref{Name: name, Version: uint64(c.Version), Path: at}, part, a.out)
		if a.out.err != nil {
			return nil // it is told at the end, unless whoever read has had enough
		}
		return err
	})
}
