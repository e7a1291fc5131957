package files

import (
	"io/fs"
	"path/filepath"
	"testing"
)

// BenchmarkItems walks Go's own source; its baseline is the standard library's
// walk with a stat of every entry.
func BenchmarkItems(b *testing.B) {
	dir := goSource(b)
	s, err := NewSource(dir, SourceOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("items", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := s.Count(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("baseline", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
				if err == nil {
					_, err = d.Info()
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
