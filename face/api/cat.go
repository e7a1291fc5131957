package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"

	"github.com/grange-grid/grange"
)

// typeBytes is the media type of a file's bytes.
const typeBytes = "application/octet-stream"

// catBlock is how much of a file is read at once, in bytes. The first block is had before
// the answer begins, so that what cannot be read at all is an error.
const catBlock = 256 << 10

// cat answers with the bytes of a file.
func (o *owner) cat(r *http.Request) answer {
	var number, from, length uint64
	for _, p := range []struct {
		name string
		into *uint64
	}{{"version", &number}, {"from", &from}, {"length", &length}} {
		text := param(r, p.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return failure(nil, invalid(fmt.Sprintf("%s %.40q is no number", p.name, text), ""))
		}
		*p.into = n
	}
	v, err := o.find(r.Context(), param(r, "name"), number)
	if err != nil {
		return failure(nil, err)
	}
	f, size, err := o.open(r.Context(), v, param(r, "path"))
	if err != nil {
		return failure(nil, err)
	}
	if from > uint64(size) {
		return failure(nil, invalid(fmt.Sprintf("it has %d bytes, and none from %d on", size, from), ""))
	}
	rest := size - int64(from)
	if param(r, "length") != "" {
		rest = min(rest, int64(length))
	}
	block := make([]byte, min(rest, catBlock))
	if _, err := f.ReadAt(block, int64(from)); err != nil && !errors.Is(err, io.EOF) {
		return failure(nil, err)
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", typeBytes)
		w.Header().Set("Content-Length", strconv.FormatInt(rest, 10))
		w.WriteHeader(http.StatusOK)
		if _, err := w.Write(block); err != nil {
			return // whoever does not read has gone
		}
		done := int64(len(block))
		// An answer that is too short is asked for again, and then has its error.
		_, _ = io.Copy(w, io.NewSectionReader(f, int64(from)+done, rest-done))
	}
}

// open finds a regular file of a version: of one that was put alone, without its path too.
func (o *owner) open(ctx context.Context, v grange.Version, at string) (io.ReaderAt, int64, error) {
	fsys, err := o.agent.FS(ctx, grange.Ref{Name: v.Name, Version: v.Number})
	if err != nil {
		return nil, 0, err
	}
	if at == "" && v.Single {
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			return nil, 0, err
		}
		if len(entries) != 1 {
			return nil, 0, fmt.Errorf("a file that was put alone is %d: %w", len(entries), grange.ErrCorrupt)
		}
		at = entries[0].Name()
	}
	if at == "" {
		at = "."
	}
	info, err := fs.Stat(fsys, at)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) { // as .. is
		return nil, 0, noPath(v, at)
	}
	if err != nil {
		return nil, 0, err
	}
	shown := Clean(path.Join(v.Name, at))
	switch {
	case info.IsDir():
		return nil, 0, invalid(shown+" is a directory", "grange ls "+shown)
	case !info.Mode().IsRegular():
		return nil, 0, invalid(shown+" is a symlink", "grange ls "+shown)
	}
	f, err := fsys.Open(at)
	if err != nil {
		return nil, 0, err
	}
	file, ok := f.(io.ReaderAt)
	if !ok {
		return nil, 0, &fs.PathError{Op: "read", Path: at, Err: errors.ErrUnsupported}
	}
	return file, info.Size(), nil
}

// Range is a part of a file.
type Range struct {
	// From is the first byte, counted from 0; Length how many there are, at most to the end of the
	// file; below 0 is all of them.
	From, Length int64
}

// Cat writes a file's bytes to w. What breaks off in the middle is gone on with, as long
// as anything comes.
func (c *Client) Cat(ctx context.Context, r grange.Ref, part Range, w io.Writer) error {
	for {
		n, err := c.catOnce(ctx, r, part, w)
		if err == nil || n == 0 || ctx.Err() != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		part.From += n
		if part.Length >= 0 {
			part.Length -= n
		}
	}
}

func (c *Client) catOnce(ctx context.Context, r grange.Ref, part Range, w io.Writer) (int64, error) {
	query := url.Values{"name": {r.Name}, "path": {r.Path}, "from": {strconv.FormatInt(part.From, 10)}}
	if r.Version > 0 {
		query.Set("version", strconv.FormatUint(r.Version, 10))
	}
	if part.Length >= 0 {
		query.Set("length", strconv.FormatInt(part.Length, 10))
	}
	req, err := request(ctx, http.MethodGet, "cat", query, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, gone(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, failed(ctx, resp, nil)
	}
	want, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64)
	if err != nil {
		return 0, gone(ctx, err)
	}
	n, err := io.Copy(w, resp.Body)
	if err == nil && n < want {
		err = io.ErrUnexpectedEOF
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return n, err
}
