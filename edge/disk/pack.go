package disk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/grange-grid/grange/core"
)

// A pack file begins with its header twice, at 0 and at packStart/2, each
//
//	"grange pack 1\n" filled with zeros to 16 ‖ salt 32 ‖ check 16
//
// the check being the first half of derive_key("grange v1 pack", the 48 bytes before it). Records
// follow from packStart on, one after another.
const (
	packVersion    = "grange pack 1\n"
	packFamily     = "grange pack "
	packContext    = "grange v1 pack"
	packTextSize   = 16
	packHeaderSize = packTextSize + saltSize + 16
	packStart      = 8 << 10
)

const (
	packSuffix    = ".pack"
	packNumberMax = 1<<31 - 1
)

func packName(number uint32) string { return fmt.Sprintf("%03d%s", number, packSuffix) }

// parsePackName returns the number of a pack, or false for what is none.
func parsePackName(name string) (uint32, bool) {
	n, err := strconv.ParseUint(strings.TrimSuffix(name, packSuffix), 10, 31)
	return uint32(n), err == nil && n > 0 && packName(uint32(n)) == name
}

func encodePackHeader(s salt) []byte {
	b := make([]byte, packStart)
	copy(b, packVersion)
	copy(b[packTextSize:], s[:])
	check := core.DeriveKey(packContext, b[:packTextSize+saltSize])
	copy(b[packTextSize+saltSize:packHeaderSize], check[:])
	copy(b[packStart/2:], b[:packHeaderSize])
	return b
}

// parsePackHeader reads the first packStart bytes of a pack, by either of the two headers.
// Errors: core.ErrVersion, core.ErrCorrupt.
func parsePackHeader(b []byte) (salt, error) {
	var unknown error
	for at := 0; at+packHeaderSize <= len(b); at += packStart / 2 {
		h := b[at : at+packHeaderSize]
		check := core.DeriveKey(packContext, h[:packTextSize+saltSize])
		if !bytes.Equal(check[:packHeaderSize-packTextSize-saltSize], h[packTextSize+saltSize:]) {
			continue
		}
		text := strings.TrimRight(string(h[:packTextSize]), "\x00")
		if text == packVersion {
			return salt(h[packTextSize:]), nil
		}
		if strings.HasPrefix(text, packFamily) {
			unknown = fmt.Errorf("%w of a pack: %q, want %q", core.ErrVersion, text, packVersion)
		}
	}
	if unknown != nil {
		return salt{}, unknown
	}
	return salt{}, fmt.Errorf("pack header: %w", core.ErrCorrupt)
}

func readPackHeader(f file) (salt, error) {
	b := make([]byte, packStart)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return salt{}, err
	}
	return parsePackHeader(b[:n])
}

// makePack makes an empty pack that is there after any crash, if nil is returned.
func makePack(fs files, dir string, number uint32) (salt, error) {
	var s salt
	if number > packNumberMax {
		return s, fmt.Errorf("%w: no pack numbers left", core.ErrFull)
	}
	_, _ = rand.Read(s[:]) // it never fails
	name := filepath.Join(dir, packName(number))
	f, err := fs.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return s, err
	}
	_, err = f.WriteAt(encodePackHeader(s), 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		return s, errors.Join(err, fs.Remove(name))
	}
	return s, nil
}

// packScan reads the records of a pack in order.
type packScan struct {
	file file
	salt *salt
	// from is where the first record begins, size where the file ends.
	from, size int64
	// doubt is where bytes begin that may never have been synced: a record behind it
	// counts only if its data is whole.
	doubt int64
	// visit is told each record; what it returns ends the scan.
	visit func(at int64, h header, head int) error

	buf   []byte
	start int64 // of buf in the file
}

// scanned is what a packScan found.
type scanned struct {
	end     int64 // of the last whole record
	garbage int64 // bytes that are none, up to end
}

const (
	scanBufferSize = 16 << 10
	searchSize     = 256 << 10
)

// run visits every whole record. What is damaged is skipped, up to the next record whose
// checksum says that it is one.
func (p *packScan) run() (scanned, error) {
	found := scanned{end: p.from}
	for at := p.from; at < p.size; {
		h, head, err := p.head(at)
		if errors.Is(err, core.ErrCorrupt) || errors.Is(err, core.ErrVersion) || errors.Is(err, errShort) {
			if at, err = p.search(at + 1); err != nil {
				return found, err
			}
			continue
		}
		if err != nil {
			return found, err
		}
		end := at + int64(head) + int64(h.Size)
		if end > p.size {
			break // nothing but a tail that was cut off can be behind
		}
		whole := true
		if at >= p.doubt {
			if whole, err = p.holds(at+int64(head), h); err != nil {
				return found, err
			}
		}
		if whole {
			if err := p.visit(at, h, head); err != nil {
				return found, err
			}
			found.garbage += at - found.end
			found.end = end
		}
		at = end
	}
	return found, nil
}

func (p *packScan) head(at int64) (header, int, error) {
	b, err := p.peek(at, frameSize)
	if err != nil {
		return header{}, 0, err
	}
	h, head, err := parseHead(b, p.salt, uint64(at))
	if !errors.Is(err, errShort) {
		return h, head, err
	}
	if b, err = p.peek(at, headSizeMax); err != nil {
		return header{}, 0, err
	}
	return parseHead(b, p.salt, uint64(at))
}

// peek returns the bytes at a place that are buffered, if they are n at least, else
// it reads; there are fewer at the end of the file.
func (p *packScan) peek(at int64, n int) ([]byte, error) {
	if have := p.start + int64(len(p.buf)) - at; at >= p.start && have > 0 && (have >= int64(n) || at+have == p.size) {
		return p.buf[at-p.start:], nil
	}
	if cap(p.buf) < scanBufferSize {
		p.buf = make([]byte, scanBufferSize)
	}
	p.buf = p.buf[:min(scanBufferSize, p.size-at)]
	p.start = at
	if err := readPatchy(p.file, p.buf, at); err != nil {
		p.buf = p.buf[:0]
		return nil, err
	}
	return p.buf, nil
}

// search returns the next place from at on where a record begins, or the end.
func (p *packScan) search(at int64) (int64, error) {
	window := make([]byte, searchSize)
	for at < p.size {
		b := window[:min(int64(len(window)), p.size-at)]
		if err := readPatchy(p.file, b, at); err != nil {
			return 0, err
		}
		for off := 0; ; off++ {
			i := bytes.Index(b[off:], recordMagic)
			if i < 0 {
				break
			}
			off += i
			if _, _, err := p.head(at + int64(off)); err == nil {
				return at + int64(off), nil
			}
		}
		if at+int64(len(b)) == p.size {
			break
		}
		at += int64(len(b) - len(recordMagic) + 1) // a magic may lie across the border
	}
	return p.size, nil
}

// holds tells whether the data of a record is what its header says.
func (p *packScan) holds(at int64, h header) (bool, error) {
	if h.Gone != nil {
		return true, nil
	}
	data := make([]byte, h.Size)
	if err := readPatchy(p.file, data, at); err != nil {
		return false, err
	}
	return core.ScoreOf(data) == h.Score, nil
}

// readFull fills b from there on; less is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

const sectorSize = 4 << 10

// readPatchy is readFull, but leaves zeros where the disk can no longer read: one bad
// sector must not hide what lies behind it.
func readPatchy(f io.ReaderAt, b []byte, at int64) error {
	err := readFull(f, b, at)
	for off := 0; errors.Is(err, syscall.EIO) && off < len(b); off += sectorSize {
		sector := b[off:min(off+sectorSize, len(b))]
		switch e := readFull(f, sector, at+int64(off)); {
		case errors.Is(e, syscall.EIO):
			clear(sector)
		case e != nil:
			return e
		}
		if off+sectorSize >= len(b) {
			return nil
		}
	}
	return err
}
