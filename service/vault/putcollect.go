package vault

import (
	"fmt"

	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// gathered is what is known of the file at hand: its Refs wait here until its last byte has been read.
type gathered struct {
	first []manifest.Ref
	more  tail
	segs  segmentSet
}

// clear makes it the next file's.
func (g *gathered) clear() error {
	g.first, g.segs = nil, segmentSet{}
	return g.more.clear()
}

// collect turns the reader's events into the manifest's records, and those into
// pages, which go down the pipe like any chunk.
func (p *put) collect() (page.Tree, error) {
	b := page.NewBuilder(p.storePage)
	file := gathered{segs: segmentSet{}, more: tail{books: p.v.c.Books}}
	if err := file.more.drop(); err != nil { // of a put that was broken off
		return page.Tree{}, err
	}
	for {
		e, more, err := receive(p.ctx, p.events)
		if err != nil {
			return page.Tree{}, err
		}
		if !more {
			return b.Finish()
		}
		switch e.kind {
		case eventForget:
			if err := file.clear(); err != nil {
				return page.Tree{}, err
			}
		case eventChunks:
			if err := p.gather(&file, e.jobs); err != nil {
				return page.Tree{}, err
			}
		case eventEntry:
			if err := p.addEntry(b, e, &file); err != nil {
				return page.Tree{}, fmt.Errorf("%.200q: %w", e.path, err)
			}
			if len(file.first) > 0 {
				if err := file.clear(); err != nil {
					return page.Tree{}, err
				}
			}
		}
	}
}

// gather waits until chunks lie in segments and keeps their Refs.
func (p *put) gather(file *gathered, jobs []*job) error {
	refs := make([]manifest.Ref, len(jobs))
	for i, j := range jobs {
		if err := p.wait(j); err != nil {
			return err
		}
		refs[i] = j.ref
		file.segs.add(j.ref.Segment)
	}
	if file.first == nil {
		file.first = refs
		return nil
	}
	raw, err := manifest.More{Chunks: refs}.Marshal()
	if err != nil {
		return err
	}
	return file.more.add(raw)
}

// addEntry writes the records of a file, or of what else there is.
func (p *put) addEntry(b *page.Builder, e event, file *gathered) error {
	key, err := manifest.Key(e.path)
	if err != nil {
		return err
	}
	e.entry.Chunks = file.first
	value, err := e.entry.Marshal()
	if err != nil {
		return err
	}
	if err := b.Add(key, value); err != nil {
		return err
	}
	n := uint32(0)
	for raw, err := range file.more.all() {
		if err != nil {
			return err
		}
		n++
		part, err := manifest.PartKey(e.path, n)
		if err == nil {
			err = b.Add(part, raw)
		}
		if err != nil {
			return err
		}
	}
	if e.entry.Kind == manifest.KindFile {
		p.files++
		p.bytes += e.entry.Size
		p.same += e.same
	}
	for id := range file.segs {
		p.segs[id] = struct{}{}
	}
	return nil
}

// storePage sends one page of the manifest down the pipe.
func (p *put) storePage(raw []byte) ([]byte, error) {
	j, _, err := p.chunk(raw, true)
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
