package grange_test

import (
	"syscall"
	"testing"
)

const (
	memoryDir  = "/dev/shm"
	memoryFree = 4 << 30 // bytes that it has to have: partners keep some in reserve
)

// inMemory has a test's directories lie in memory where there is enough of it: what a disk does is tested elsewhere,
// and a month takes many writes.
func inMemory(t *testing.T) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &s); err == nil && s.Bavail*uint64(s.Bsize) >= memoryFree {
		t.Setenv("TMPDIR", memoryDir)
	}
}
