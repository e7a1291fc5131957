package manifest

import (
	"bytes"
	"encoding/binary"
)

// PathSizeMax bounds a path in bytes.
const PathSizeMax = 4096

// partMark stands in a key between a path and the number of a record that follows.
// No path has it: its components are not empty.
var partMark = []byte{0, 0}

// Key returns the key of the entry with that path: components that are not empty,
// "." or "..", joined by '/'; the empty path is the root's own. Any other byte but
// zero may stand in it. Errors: core.ErrInvalid.
func Key(path []byte) ([]byte, error) {
	if bytes.IndexByte(path, 0) >= 0 {
		return nil, invalid("path", "%.80q has a zero byte", path)
	}
	key := bytes.ReplaceAll(path, []byte{'/'}, []byte{0})
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return key, nil
}

// PartKey returns the key of the record that has the chunks of a file from
// part × ChunksPerRecord on; part is at least 1. Errors: core.ErrInvalid.
func PartKey(path []byte, part uint32) ([]byte, error) {
	key, err := Key(path)
	if err != nil {
		return nil, err
	}
	if len(key) == 0 || part == 0 {
		return nil, invalid("path", "no part %d of %.80q", part, path)
	}
	return binary.BigEndian.AppendUint32(append(key, partMark...), part), nil
}

// Path returns what Key and PartKey were given, part being 0 for Key. It takes no key
// that they do not make. Errors: core.ErrInvalid.
func Path(key []byte) (path []byte, part uint32, err error) {
	entry, number, follows := bytes.Cut(key, partMark)
	if follows {
		if len(number) != 4 {
			return nil, 0, invalid("path", "key %.80q", key)
		}
		if part = binary.BigEndian.Uint32(number); part == 0 || len(entry) == 0 {
			return nil, 0, invalid("path", "no part %d of %.80q", part, entry)
		}
	}
	if bytes.IndexByte(entry, '/') >= 0 {
		return nil, 0, invalid("path", "a '/' in a component of %.80q", entry)
	}
	if err := checkKey(entry); err != nil {
		return nil, 0, err
	}
	return bytes.ReplaceAll(entry, []byte{0}, []byte{'/'}), part, nil
}

// checkKey checks the key of an entry, which has no '/'.
func checkKey(key []byte) error {
	if len(key) > PathSizeMax {
		return invalid("path", "%d bytes, at most %d", len(key), PathSizeMax)
	}
	for len(key) > 0 {
		component, rest, more := bytes.Cut(key, []byte{0})
		switch string(component) {
		case "", ".", "..":
			return invalid("path", "a component %q", component)
		}
		if more && len(rest) == 0 {
			return invalid("path", "an empty component at its end")
		}
		key = rest
	}
	return nil
}

// parent returns the key of the directory that an entry stands in; not of the root.
func parent(key []byte) []byte { return key[:max(0, bytes.LastIndexByte(key, 0))] }
