package vault

import (
	"fmt"

	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// collect turns the reader's events into the manifest's records, and those into
// pages, which go down the pipe like any chunk. A file's Refs wait here, encoded, until
// its last byte has been read: half a megabyte for each gigabyte of one file.
func (p *put) collect() (page.Tree, error) {
	b := page.NewBuilder(p.storePage)
	var groups [][]byte // of the file at hand, each a More record
	for {
		var e event
		select {
		case next, more := <-p.events:
			if !more {
				return b.Finish()
			}
			e = next
		case <-p.ctx.Done():
			return page.Tree{}, p.ctx.Err()
		}
		switch e.kind {
		case eventForget:
			groups = nil
		case eventChunks:
			raw, err := p.group(e.jobs)
			if err != nil {
				return page.Tree{}, err
			}
			groups = append(groups, raw)
		case eventEntry:
			if err := addEntry(b, e, groups); err != nil {
				return page.Tree{}, err
			}
			groups = nil
		}
	}
}

// group waits until the chunks lie in segments and encodes their Refs.
func (p *put) group(jobs []*job) ([]byte, error) {
	refs := make([]manifest.Ref, len(jobs))
	for i, j := range jobs {
		if err := p.wait(j); err != nil {
			return nil, err
		}
		refs[i] = j.ref
		p.segs.add(j.ref.Segment)
	}
	return manifest.More{Chunks: refs}.Marshal()
}

// addEntry writes a file's records: the entry with its first group, then the others.
func addEntry(b *page.Builder, e event, groups [][]byte) error {
	key, err := manifest.Key(e.path)
	if err != nil {
		return fmt.Errorf("%q: %w", e.path, err)
	}
	if len(groups) > 0 {
		first, err := manifest.DecodeMore(groups[0])
		if err != nil {
			return fmt.Errorf("%q: %w", e.path, err)
		}
		e.entry.Chunks = first.Chunks
	}
	value, err := e.entry.Marshal()
	if err != nil {
		return fmt.Errorf("%q: %w", e.path, err)
	}
	if err := b.Add(key, value); err != nil {
		return fmt.Errorf("%q: %w", e.path, err)
	}
	for i := 1; i < len(groups); i++ {
		part, err := manifest.PartKey(e.path, uint32(i))
		if err == nil {
			err = b.Add(part, groups[i])
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.path, err)
		}
	}
	return nil
}

// storePage sends one page of the manifest down the pipe.
func (p *put) storePage(raw []byte) ([]byte, error) {
	j, err := p.chunk(raw)
	if err != nil {
		return nil, err
	}
	if err := p.wait(j); err != nil {
		return nil, err
	}
	p.segs.add(j.ref.Segment)
	p.treeSegs.add(j.ref.Segment)
	return j.ref.Marshal()
}
