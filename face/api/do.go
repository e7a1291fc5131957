package api

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/policy"
)

func (o *owner) put(r *http.Request) answer {
	var in PutRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	exclude := make([]string, len(in.Exclude))
	for i, pattern := range in.Exclude {
		exclude[i] = string(pattern)
	}
	return long(r, func(progress func(grange.Progress)) (any, error) {
		out, err := o.agent.PutPath(r.Context(), in.Name, string(in.Path), &grange.PutOptions{
			Data: in.Data, Parity: in.Parity, Quality: in.Quality, Exclude: exclude, OneFileSystem: in.OneFileSystem, Seed: string(in.Seed), Progress: progress,
		})
		if in.Seed != "" {
			return out, written(in, out, err)
		}
		if err == nil || out.Number > 0 {
			return out, spareless(out, err)
		}
		if len(out.Refused) == 0 && len(out.Problems) == 0 {
			return nil, err
		}
		return out, notStored(out, err)
	})
}

func (in PutRequest) check() error {
	if err := absolute("path", in.Path); err != nil {
		return err
	}
	if in.Seed != "" {
		if err := absolute("seed", in.Seed); err != nil {
			return err
		}
	}
	name, hint := in.Name, ""
	if base := filepath.Base(filepath.Clean(string(in.Path))); name == "" && base != string(filepath.Separator) {
		name, hint = base, "it can be stored under another name: grange put --name N PATH"
	}
	if err := named(name, hint); err != nil {
		return err
	}
	if !slices.Contains([]core.Quality{"", core.Idle, core.Normal, core.Prompt}, in.Quality) {
		return invalid(fmt.Sprintf("quality %.16q: it is idle, normal or prompt", in.Quality), "")
	}
	if in.Data == 0 && in.Parity == 0 {
		return nil
	}
	if err := (erasure.Shape{K: in.Data, M: in.Parity}).Valid(); err != nil {
		return invalid(fmt.Sprintf("spread %d+%d: data and parity pieces are 1 to %d and 0 to %d", in.Data, in.Parity, erasure.DataMax, erasure.ParityMax), "")
	}
	return nil
}

// named refuses what cannot be a version's name; "" is none. Names are text, and JSON
// would make another of one that is not.
func named(name, hint string) error {
	if name == "" {
		return nil
	}
	if err := manifest.CheckName(name); err != nil {
		return invalid(message(err), hint)
	}
	return nil
}

// absolute refuses a path that the agent would find elsewhere than the caller.
func absolute(what string, p grange.Path) error {
	if !filepath.IsAbs(string(p)) {
		return invalid(fmt.Sprintf("%s %.100q is not absolute", what, string(p)), "the agent has a working directory of its own")
	}
	return nil
}

func (in GetRequest) check() error { return absolute("dest", in.Dest) }

func (o *owner) get(r *http.Request) answer {
	var in GetRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	v, err := o.find(r.Context(), in.Name, in.Version)
	if err != nil {
		return failure(nil, err)
	}
	return long(r, func(progress func(grange.Progress)) (any, error) {
		ref := grange.Ref{Name: in.Name, Version: v.Number, Path: string(in.Path)}
		out, err := o.agent.Restore(r.Context(), ref, string(in.Dest), &grange.RestoreOptions{Progress: progress})
		switch {
		case err == nil:
			return out, nil
		case errors.Is(err, grange.ErrPartly):
			return out, Partly(out, "grange check shows who is away")
		case errors.Is(err, fs.ErrExist):
			return nil, Exists(string(in.Dest))
		case errors.Is(err, grange.ErrFull):
			return nil, NoRoom(string(in.Dest))
		case errors.Is(err, fs.ErrNotExist) && in.Path != "" && !o.has(r, v, string(in.Path)):
			return nil, noPath(v, string(in.Path))
		}
		return nil, err
	})
}

// Partly is the error of a restore that did not restore everything.
func Partly(out grange.RestoreResult, hint string) *Error {
	return &Error{
		Code: CodePartly, Message: fmt.Sprintf("restored, but for %s", count(len(out.Problems), "problem", "problems")),
		Hint: "what is there is whole; " + hint,
	}
}

// Exists is the error of a restore to where something is.
func Exists(dest string) *Error {
	return &Error{
		Code: CodeExists, Message: fmt.Sprintf("%s exists: nothing was written", Clean(dest)),
		Hint: "name another destination, which does not exist or is an empty directory",
	}
}

// NoRoom is the error of a restore to a disk that is full.
func NoRoom(dest string) *Error {
	return &Error{
		Code: CodeFull, Message: fmt.Sprintf("the disk of %s is full; what is there is whole", Clean(dest)),
		Hint: "make room; then the same again goes on from there",
	}
}

// has tells whether a version has a path, as far as that can be seen.
func (o *owner) has(r *http.Request, v grange.Version, at string) bool {
	fsys, err := o.agent.FS(r.Context(), grange.Ref{Name: v.Name, Version: v.Number})
	if err != nil {
		return false
	}
	_, err = fs.Stat(fsys, at)
	return err == nil
}

func (in CheckRequest) check() error {
	if in.Now && !in.Mend {
		return invalid(`"now" is for mending`, `"mend": true`)
	}
	return nil
}

func (o *owner) check(r *http.Request) answer {
	var in CheckRequest
	err := read(r, &in)
	if err == nil && in.Name != "" {
		_, err = o.find(r.Context(), in.Name, 0)
	}
	if err != nil {
		return failure(nil, err)
	}
	return long(r, func(progress func(grange.Progress)) (any, error) {
		out, err := o.agent.Check(r.Context(), in.Name, &grange.CheckOptions{Mend: in.Mend, Now: in.Now, Progress: progress})
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, grange.ErrPartly) {
			return nil, err
		}
		return out, amiss(out)
	})
}

// amiss says what a check found, in one line.
func amiss(out grange.CheckResult) *Error {
	lost, away := 0, []string{}
	for _, f := range out.Findings {
		lost += f.Missing + f.Corrupt + f.Gone
		if f.Away > 0 {
			away = append(away, f.Partner)
		}
	}
	e := &Error{Code: CodePartly}
	switch m := out.Mended; {
	case m != nil && m.Unreadable > 0:
		e.Message = fmt.Sprintf("not mended: too few pieces of %s are within reach", count(m.Unreadable, "segment", "segments"))
		e.Hint = "try again when whoever is away is back"
	case m != nil && m.Whole < m.Segments:
		e.Message = fmt.Sprintf("mended in part: %d of %d segments are whole", m.Whole, m.Segments)
		e.Hint = "for more room: grange invite"
	case m == nil && lost+out.Unheld > 0:
		var parts []string
		for _, part := range []struct {
			n    int
			what string
		}{{lost, "lost"}, {out.Unheld, "without a holder"}, {out.Away, "away"}} {
			if part.n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
			}
		}
		e.Message = "not all pieces are there: " + strings.Join(parts, ", ")
		e.Hint = "grange check --mend"
	case out.Away > 0:
		who := "who is away"
		if len(away) > 1 {
			who = "who are away"
		}
		e.Message = fmt.Sprintf("%s at %s, %s", count(out.Away, "piece is", "pieces are"), Clean(strings.Join(away, ", ")), who)
		e.Hint = "wait; or, to make them anew elsewhere: grange check --mend --now"
	default:
		e.Message = "not all of it could be checked: some of what it consists of cannot be read"
		e.Hint = "try again when whoever is away is back"
	}
	return e
}

// room returns what this machine gives and could give.
func (o *owner) room(r *http.Request) (Offer, error) {
	var out Offer
	var err error
	out.Total, out.Used = o.agent.Offer(r.Context())
	out.Free, out.Disk, err = o.agent.Space()
	if err == nil {
		out.Reserve, err = o.agent.Reserve()
	}
	out.Most = max(0, out.Free+out.Used-out.Reserve)
	out.Of = o.agent.OfferOf(r.Context())
	if err == nil {
		out.Promised, out.Units, err = o.agent.Promised(r.Context())
	}
	return out, err
}

func (o *owner) offer(r *http.Request) answer { return value(o.room(r)) }

func (o *owner) setOffer(r *http.Request) answer {
	var in OfferRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if in.On != "" {
		if err := o.agent.KeepOn(r.Context(), string(in.On)); err != nil {
			return failure(nil, err)
		}
	}
	now, err := o.room(r)
	if err != nil || in.On != "" {
		return value(now, err)
	}
	var total int64
	if in.Percent != nil {
		room := now.Free + now.Used
		total = room/100**in.Percent + room%100**in.Percent/100
		if in.Bytes != nil {
			total = min(total, *in.Bytes)
		}
	} else {
		total = *in.Bytes
	}
	if total > now.Most {
		hint := "make room on this disk"
		if most := now.Most / 1_000_000; most > 0 {
			hint = fmt.Sprintf("at most: grange offer %dMB", most)
		}
		return failure(nil, &Error{
			Code: CodeFull,
			Message: fmt.Sprintf("%s is too much: %s are free or given already, and %s of them stay in reserve",
				policy.Bytes(total), policy.Bytes(now.Free+now.Used), policy.Bytes(now.Reserve)),
			Hint: hint,
		})
	}
	if err := o.agent.SetOffer(r.Context(), total); err != nil {
		return failure(nil, err)
	}
	now.Total = total
	return value(now, nil)
}

func (in OfferRequest) check() error {
	set := 0
	for _, has := range []bool{in.Bytes != nil || in.Percent != nil, in.On != ""} {
		if has {
			set++
		}
	}
	switch {
	case set != 1:
		return invalid(`an offer is "bytes", "percent" or both, or "on"`, "")
	case in.Percent != nil && (*in.Percent < 0 || *in.Percent > 100):
		return invalid("percent is 0 to 100", "")
	case in.Bytes != nil && *in.Bytes < 0:
		return invalid("bytes are not below 0", "")
	case in.On != "":
		return absolute("on", in.On)
	}
	return nil
}

func (in InviteRequest) check() error {
	if in.ExpiresSeconds < 0 || in.ExpiresSeconds > math.MaxInt64/int64(time.Second) {
		return invalid("expires_seconds is out of range", "")
	}
	return nil
}

func (o *owner) invite(r *http.Request) answer {
	var in InviteRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	t, err := o.agent.Terms(in.Give, in.Want)
	if err != nil {
		return failure(nil, err)
	}
	t.Expires, t.Uses = time.Duration(in.ExpiresSeconds)*time.Second, in.Uses
	t.Days, t.NoticeDays = in.Days, in.NoticeDays
	return value(o.agent.Invite(r.Context(), t))
}

func (o *owner) terms(r *http.Request) answer {
	var in CodeRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	t, err := o.agent.ReadInvitation(in.Code)
	return value(t, badCode(err))
}

// badCode turns the error of an invitation that cannot be read into one that says
// what to do; nil stays nil.
func badCode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, grange.ErrVersion):
		return err
	}
	return invalid(message(err), "copy the whole line again, from GRANGE: to its end")
}

func (o *owner) accept(r *http.Request) answer {
	var in CodeRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	t, err := o.agent.ReadInvitation(in.Code)
	if err != nil {
		return failure(nil, badCode(err))
	}
	p, err := o.agent.Accept(r.Context(), in.Code, nil)
	return value(p, declined(t.From, err))
}

// declined says why the inviter of that name has not joined; nil stays nil.
func declined(name string, err error) error {
	e := ErrorOf(err)
	_, answered := errors.AsType[*wire.Error](err)
	switch {
	case err == nil:
		return nil
	case e.Code == CodeUnreachable:
		e.Message, e.Hint = Clean(name)+" could not be reached", "both machines must be on: is their 'grange run'? The same command goes on"
	case e.Code == CodeNotFound:
		e.Message, e.Hint = Clean(name)+" does not know this invitation", "ask for a new one"
	case e.Code == CodeRefused || answered && e.Code == CodeFailed:
		e.Message = Clean(name + " " + wire.Plain(err))
	}
	return e
}
