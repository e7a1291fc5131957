package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

func queued(b *blobs) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// putWhileSyncing puts first, and all others while the sync of it is under way; it
// returns the number of syncs.
func putWhileSyncing(t *testing.T, s *Store, f *faultFiles, first core.Blob, others []core.Blob) int {
	t.Helper()
	var syncs atomic.Int32
	syncing, gathered := make(chan struct{}), make(chan struct{})
	f.setFail(func(op, _ string) error {
		if op == "sync" && syncs.Add(1) == 1 {
			close(syncing)
			<-gathered
		}
		return nil
	})
	var wg sync.WaitGroup
	put := func(b core.Blob) {
		if err := s.Blobs().Put(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { put(first) })
	<-syncing // a batch was taken, with nothing but first in it
	for _, b := range others {
		wg.Go(func() { put(b) })
	}
	for queued(s.blobs) < len(others) {
		runtime.Gosched()
	}
	close(gathered)
	wg.Wait()
	return int(syncs.Load())
}

// While one sync is under way, others gather, and the next sync is for all of them.
func TestPutsShareASync(t *testing.T) {
	s, f := faulty(t, made(t), Config{})
	blobs := some(1, 20, 1000)
	put(t, s, blobs[0])
	syncs := putWhileSyncing(t, s, f, blobs[1], blobs[2:])
	if syncs != 2 {
		t.Errorf("%d syncs for 19 blobs, want 2", syncs)
	}
	seamtest.WantAll(t, s.Blobs(), blobs...)
}

// Whoever puts the same blob at once, it is written once.
func TestOneBlobIsWrittenOnce(t *testing.T) {
	s, f := faulty(t, made(t), Config{})
	blob := some(1, 1, 1000)[0]
	putWhileSyncing(t, s, f, blob, slices.Repeat([]core.Blob{blob}, 9))
	e, err := s.blobs.index.find(blob.Score)
	check(t, err)
	if end := s.blobs.current.end; end != packStart+e.length() {
		t.Errorf("the pack has %d bytes, one record %d", end-packStart, e.length())
	}
}

// A Put that still waits for its turn ends with its context, and nothing is kept of it.
func TestAPutThatWaitsCanBeCalledOff(t *testing.T) {
	s := opened(t, made(t), Config{})
	blobs := some(1, 2, 1000)
	s.blobs.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Blobs().Put(ctx, blobs[0]) }()
	go func() { done <- s.Blobs().Put(t.Context(), blobs[1]) }()
	for queued(s.blobs) < 2 {
		runtime.Gosched()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	<-s.blobs.turn
	check(t, <-done)
	seamtest.WantAll(t, s.Blobs(), blobs[1])
}

// A batch is bounded, whatever waits.
func TestABatchIsBounded(t *testing.T) {
	var b blobs
	data := make([]byte, core.BlobSizeMax)
	for range 20 {
		b.queue = append(b.queue, &op{data: data})
	}
	if n := len(b.take()); n != 8 || len(b.queue) != 12 {
		t.Errorf("%d large ones in a batch, %d left", n, len(b.queue))
	}
	b.queue = nil
	for range 2 * batchOpsMax {
		b.queue = append(b.queue, &op{})
	}
	if n := len(b.take()); n != batchOpsMax {
		t.Errorf("%d small ones in a batch", n)
	}
	if batchBytesMax+(&op{data: data}).bound()+core.NoteSizeMax+deletesMax*goneBound > doubtSize {
		t.Error("a batch can be longer than what is looked through after a crash")
	}
}

// The baseline is the same bytes appended to a file and synced, one at a time.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, hands := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, hands), func(b *testing.B) {
				s := opened(b, made(b), Config{})
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range hands {
					wg.Go(func() {
						data := make([]byte, size)
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							copy(data, fmt.Sprint(i))
							if err := s.Blobs().Put(b.Context(), core.Blob{Score: core.ScoreOf(data), Data: data, Note: make([]byte, 100)}); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
			})
		}
		b.Run(fmt.Sprintf("%dKiB/baseline", size>>10), func(b *testing.B) {
			f, err := osFiles{}.Open(filepath.Join(b.TempDir(), "file"), os.O_CREATE|os.O_RDWR)
			check(b, err)
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for i := range b.N {
				_, err := f.WriteAt(data, int64(i)*int64(size))
				check(b, errors.Join(err, f.Sync()))
			}
			check(b, f.Close())
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := opened(b, made(b), Config{})
			blobs := some(1, 64, size)
			put(b, s, blobs...)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			buf := make([]byte, size)
			for i := 0; b.Loop(); i++ {
				_, err := s.Blobs().Get(b.Context(), blobs[i%len(blobs)].Score, buf)
				check(b, err)
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	s := opened(b, made(b), Config{})
	value := make([]byte, 200)
	for i := range b.N {
		check(b, s.Books().Apply(core.Change{Key: fmt.Appendf(nil, "key/%d", i), Value: value}))
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := made(b)
	s := opened(b, dir, Config{})
	put(b, s, some(1, 1000, 4<<10)...)
	closed(b, s)
	for b.Loop() {
		closed(b, opened(b, dir, Config{}))
	}
}
