package federation

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

// stateReader opens the state that a head of our household names.
type stateReader struct {
	secrets charter.Secrets
	packer  *chunk.Packer
	// fetch gets a sealed page, whose score it has checked.
	fetch func(core.Score) ([]byte, error)
}

// open opens the root of a head's state, and returns how its pages are loaded.
func (r stateReader) open(h charter.Head) (page.Tree, page.Load, error) {
	secret, ok := r.secrets.At(h.Epoch)
	if !ok {
		return page.Tree{}, nil, fmt.Errorf("it is sealed with the secret of epoch %d, which no charter has: %w", h.Epoch, core.ErrInvalid)
	}
	box, err := r.fetch(h.Root)
	if err != nil {
		return page.Tree{}, nil, err
	}
	if uint64(len(box)) != h.Size {
		return page.Tree{}, nil, fmt.Errorf("a root of %d bytes, and the head says %d: %w", len(box), h.Size, core.ErrInvalid)
	}
	text, err := seal.OpenState(&secret.Key, &h.Salt, box)
	if err != nil {
		return page.Tree{}, nil, err
	}
	tree, err := page.DecodeTree(text)
	return tree, r.load, err
}

// load gets one page and opens it, checking every score.
func (r stateReader) load(encoded []byte) ([]byte, error) {
	ref, err := manifest.ParseRef(encoded)
	if err != nil {
		return nil, err
	}
	if len(ref.Page) != core.ScoreSize || ref.Size > page.SizeMax {
		return nil, fmt.Errorf("a reference that is none to a page of the state: %w", core.ErrInvalid)
	}
	sealed, err := r.fetch(core.Score(ref.Page))
	if err != nil {
		return nil, err
	}
	packed, err := seal.OpenChunk(ref.Key, ref.Packed, sealed, nil)
	if err != nil {
		return nil, err
	}
	plain, err := r.packer.Unpack(nil, packed, int(ref.Size))
	if err != nil {
		return nil, err
	}
	if core.ScoreOf(plain) != ref.Plain {
		return nil, fmt.Errorf("page %s: other bytes are in it: %w", ref.Plain.Short(), core.ErrCorrupt)
	}
	return plain, nil
}
