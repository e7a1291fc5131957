package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// exportMagic begins a file that has a whole table.
const exportMagic = "grange table 1\n"

// Part is what a part of an export is.
type Part byte

// The parts: a batch of operations, of the table key's own first; proofs of forks; and, once, at the end, what all of them make.
const (
	PartBatch Part = 1
	PartFork  Part = 2
	PartEnd   Part = 3
)

// exportEndMax bounds the encoding of an ExportEnd in bytes.
const exportEndMax = 64 << 10

// sizeMax is how many bytes a part has at most; 0 of what is none.
func (p Part) sizeMax() int {
	return map[Part]int{PartBatch: feed.BatchSizeMax, PartFork: feed.ForkSize, PartEnd: exportEndMax}[p]
}

// ExportEnd says what the operations of an export make, and who attests it.
type ExportEnd struct {
	V            uint              `json:"v"`
	Checkpoint   Checkpoint        `json:"checkpoint"`
	Attestations []identity.Signed `json:"attestations"`
}

// Marshal encodes it.
func (e ExportEnd) Marshal() ([]byte, error) {
	e.V = codec.Version
	return codec.Marshal(e)
}

// ParseExportEnd reads what Marshal makes; the attestations are of its checkpoint, and signed. Errors: core.ErrInvalid, core.ErrVersion,
// core.ErrTooLarge, ErrForged.
func ParseExportEnd(b []byte) (ExportEnd, error) {
	var e ExportEnd
	err := codec.Unmarshal(b, &e, exportEndMax)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return ExportEnd{}, fmt.Errorf("the end of an export: %w", err)
	}
	return e, nil
}

func (e *ExportEnd) check() error {
	if err := e.Checkpoint.check(); err != nil {
		return err
	}
	if len(e.Attestations) > AttestationsMax {
		return invalid("%d attestations, of %d at most", len(e.Attestations), AttestationsMax)
	}
	for _, s := range e.Attestations {
		at, err := OpenAttestation(s)
		if err != nil {
			return err
		}
		if at.Table != e.Checkpoint.Table || at.Checkpoint != e.Checkpoint.Score() {
			return invalid("an attestation of another checkpoint")
		}
	}
	return nil
}

// Exporter writes an export, part by part.
type Exporter struct {
	w io.Writer
	// Size is how many bytes were written.
	Size int64
}

// NewExporter begins an export.
func NewExporter(w io.Writer) (*Exporter, error) {
	x := &Exporter{w: w}
	return x, x.write([]byte(exportMagic))
}

func (x *Exporter) write(b []byte) error {
	n, err := x.w.Write(b)
	x.Size += int64(n)
	return err
}

// Part writes one. PartEnd is the last.
func (x *Exporter) Part(p Part, content []byte) error {
	if len(content) > p.sizeMax() {
		return fmt.Errorf("part %d of an export has %d bytes: %w", p, len(content), core.ErrTooLarge)
	}
	head := binary.BigEndian.AppendUint32([]byte{byte(p)}, uint32(len(content)))
	return errors.Join(x.write(head), x.write(content))
}

// Importer reads an export, part by part.
type Importer struct {
	r     io.Reader
	ended bool
}

// NewImporter begins to read one. Errors: core.ErrInvalid of another file, and those of r.
func NewImporter(r io.Reader) (*Importer, error) {
	magic := make([]byte, len(exportMagic))
	if err := readAll(r, magic); err != nil {
		return nil, err
	}
	if string(magic) != exportMagic {
		return nil, invalid("a file that does not begin as an exported table does")
	}
	return &Importer{r: r}, nil
}

// readAll fills b. Errors: core.ErrInvalid where there are not so many bytes.
func readAll(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the export of a table stops in the middle")
	}
	return err
}

// Next returns the next part, unread; after PartEnd comes io.EOF. Errors: core.ErrInvalid, core.ErrTooLarge, and those of the reader.
func (x *Importer) Next() (Part, []byte, error) {
	var head [5]byte
	if x.ended {
		if _, err := io.ReadFull(x.r, head[:1]); err != nil {
			return 0, nil, err
		}
		return 0, nil, invalid("bytes after the end of an export")
	}
	if err := readAll(x.r, head[:]); err != nil {
		return 0, nil, err
	}
	p, size := Part(head[0]), binary.BigEndian.Uint32(head[1:])
	switch most := p.sizeMax(); {
	case most == 0:
		return 0, nil, invalid("an export with a part of kind %d", p)
	case uint64(size) > uint64(most):
		return 0, nil, fmt.Errorf("part %d of an export has %d bytes, of %d at most: %w", p, size, most, core.ErrTooLarge)
	}
	content := make([]byte, size)
	x.ended = p == PartEnd
	return p, content, readAll(x.r, content)
}
