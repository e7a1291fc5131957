package disk

import "fmt"

// Space returns what Free does, and how large that file system is in all, in
// bytes. Errors: core.ErrAway.
func (s *Store) Space() (free, total int64, err error) {
	if free, err = s.Free(); err != nil {
		return 0, 0, err
	}
	if total, err = totalBytes(s.blobs.dir); err != nil {
		return 0, 0, fmt.Errorf("size of the disk: %w", err)
	}
	return free, total, nil
}
