package vault

import (
	"io"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// leftover is what an earlier restore has left of the file at hand, read chunk by chunk from its
// beginning.
type leftover struct {
	io.ReadCloser // nil: there is nothing, or nothing more that is right
	buf           []byte
}

// has tells whether the next chunk is there. From the first that is not, none is.
func (l *leftover) has(ref manifest.Ref) bool {
	if l.ReadCloser == nil {
		return false
	}
	if uint64(cap(l.buf)) < ref.Size {
		l.buf = make([]byte, ref.Size)
	}
	b := l.buf[:ref.Size]
	if _, err := io.ReadFull(l, b); err != nil || core.ScoreOf(b) != ref.Plain {
		l.close()
		return false
	}
	return true
}

func (l *leftover) close() {
	if l.ReadCloser != nil {
		_ = l.Close() // it was read alone
		l.ReadCloser = nil
	}
}
