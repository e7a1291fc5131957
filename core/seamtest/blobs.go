package seamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

// Blobs checks a core.Blobs. open makes an empty store with room for 16 MiB at least.
func Blobs(t *testing.T, open func(t *testing.T) core.Blobs) {
	run := func(name string, test func(t *testing.T, b core.Blobs)) {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	run("PutGet", blobsPutGet)
	run("Buffer", blobsBuffer)
	run("Absent", blobsAbsent)
	run("Refused", blobsRefused)
	run("Again", blobsAgain)
	run("Delete", blobsDelete)
	run("Copies", blobsCopies)
	run("All", blobsAll)
	run("Ended", blobsEnded)
	run("OneAtOnce", blobsOneAtOnce)
	run("ManyAtOnce", blobsManyAtOnce)
}

// RandomBlob returns a blob of size random bytes, the same for the same seed, with a short note.
func RandomBlob(seed uint64, size int) core.Blob {
	rng := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return core.Blob{Score: core.ScoreOf(data), Note: fmt.Appendf(nil, "note %d", seed), Data: data}
}

func put(t *testing.T, b core.Blobs, blob core.Blob) {
	t.Helper()
	if err := b.Put(t.Context(), blob); err != nil {
		t.Fatalf("put %d bytes: %v", len(blob.Data), err)
	}
}

// WantBlob checks that b has exactly that blob, by Get and by Stat.
func WantBlob(t *testing.T, b core.Blobs, want core.Blob) {
	t.Helper()
	got, err := b.Get(t.Context(), want.Score, nil)
	if err != nil || !bytes.Equal(got, want.Data) {
		t.Errorf("get %s: %d bytes, %v; want %d", want.Score.Short(), len(got), err, len(want.Data))
	}
	info, err := b.Stat(t.Context(), want.Score)
	if err != nil || info.Score != want.Score || info.Size != int64(len(want.Data)) || !bytes.Equal(info.Note, want.Note) {
		t.Errorf("stat %s: %d bytes, note %q, %v; want %d, %q", want.Score.Short(), info.Size, info.Note, err, len(want.Data), want.Note)
	}
}

// WantNoBlob checks that b does not have the blob.
func WantNoBlob(t *testing.T, b core.Blobs, s core.Score) {
	t.Helper()
	if got, err := b.Get(t.Context(), s, nil); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("get %s: %d bytes, %v; want ErrNotExist", s.Short(), len(got), err)
	}
	if info, err := b.Stat(t.Context(), s); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("stat %s: %+v, %v; want ErrNotExist", s.Short(), info, err)
	}
}

// WantAll checks that All yields exactly these blobs, each once.
func WantAll(t *testing.T, b core.Blobs, want ...core.Blob) {
	t.Helper()
	left := map[core.Score]core.Blob{}
	for _, w := range want {
		left[w.Score] = w
	}
	for info, err := range b.All(t.Context()) {
		if err != nil {
			t.Fatalf("all: %v", err)
		}
		w, ok := left[info.Score]
		if !ok {
			t.Errorf("all yields %s, which is not there or was yielded before", info.Score.Short())
			continue
		}
		if info.Size != int64(len(w.Data)) || !bytes.Equal(info.Note, w.Note) {
			t.Errorf("all says of %s: %d bytes, note %q; want %d, %q", info.Score.Short(), info.Size, info.Note, len(w.Data), w.Note)
		}
		delete(left, info.Score)
	}
	for s := range left {
		t.Errorf("all leaves out %s", s.Short())
	}
}

func blobsPutGet(t *testing.T, b core.Blobs) {
	all := []core.Blob{
		RandomBlob(1, 1), RandomBlob(2, 1000), RandomBlob(3, 64<<10), RandomBlob(4, 1<<20), RandomBlob(5, core.BlobSizeMax),
		{Score: core.ScoreOf(nil), Note: []byte("of nothing")},
		{Score: core.ScoreOf([]byte("no note")), Data: []byte("no note")},
		{Score: core.ScoreOf([]byte("long note")), Data: []byte("long note"), Note: bytes.Repeat([]byte{0xff}, core.NoteSizeMax)},
	}
	for _, blob := range all {
		put(t, b, blob)
		WantBlob(t, b, blob)
	}
	for _, blob := range all {
		WantBlob(t, b, blob)
	}
	WantAll(t, b, all...)
}

func blobsBuffer(t *testing.T, b core.Blobs) {
	blob := RandomBlob(1, 1000)
	put(t, b, blob)
	buf := make([]byte, 7, 2000)
	got, err := b.Get(t.Context(), blob.Score, buf)
	if err != nil || !bytes.Equal(got, blob.Data) {
		t.Fatalf("get: %d bytes, %v", len(got), err)
	}
	if &got[0] != &buf[0] {
		t.Error("a buffer that is large enough was not used")
	}
	got, err = b.Get(t.Context(), blob.Score, make([]byte, 3, 10))
	if err != nil || !bytes.Equal(got, blob.Data) {
		t.Errorf("get into a small buffer: %d bytes, %v", len(got), err)
	}
}

func blobsAbsent(t *testing.T, b core.Blobs) {
	WantNoBlob(t, b, core.ScoreOf([]byte("never put")))
	WantNoBlob(t, b, core.Score{})
	WantAll(t, b)
	if err := b.Delete(t.Context(), core.ScoreOf([]byte("never put")), core.Score{}); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
}

func blobsRefused(t *testing.T, b core.Blobs) {
	wrong := RandomBlob(1, 1000)
	wrong.Data[500] ^= 1
	if err := b.Put(t.Context(), wrong); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("put with a flipped bit: %v", err)
	}
	if err := b.Put(t.Context(), core.Blob{Data: []byte("zero score")}); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("put with the zero score: %v", err)
	}
	large := RandomBlob(2, core.BlobSizeMax+1)
	if err := b.Put(t.Context(), large); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("put a byte too many: %v", err)
	}
	noted := RandomBlob(3, 10)
	noted.Note = make([]byte, core.NoteSizeMax+1)
	if err := b.Put(t.Context(), noted); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("put a note that is a byte too long: %v", err)
	}
	for _, blob := range []core.Blob{wrong, large, noted} {
		WantNoBlob(t, b, blob.Score)
	}
	WantAll(t, b)
}

func blobsAgain(t *testing.T, b core.Blobs) {
	first := RandomBlob(1, 1000)
	put(t, b, first)
	second := first
	second.Note = []byte("another note")
	put(t, b, second)
	WantBlob(t, b, first)
	WantAll(t, b, first)
	if err := b.Delete(t.Context(), first.Score); err != nil {
		t.Fatal(err)
	}
	put(t, b, second)
	WantBlob(t, b, second)
	WantAll(t, b, second)
}

func blobsDelete(t *testing.T, b core.Blobs) {
	var all []core.Blob
	var scores []core.Score
	for i := range 40 {
		all = append(all, RandomBlob(uint64(i), 100*i))
		put(t, b, all[i])
		scores = append(scores, all[i].Score)
	}
	// One of them twice, and some that were never there.
	if err := b.Delete(t.Context(), append(scores[:30:30], scores[0], core.ScoreOf([]byte("never put")))...); err != nil {
		t.Fatal(err)
	}
	for i, blob := range all {
		if i < 30 {
			WantNoBlob(t, b, blob.Score)
		} else {
			WantBlob(t, b, blob)
		}
	}
	WantAll(t, b, all[30:]...)
}

func blobsCopies(t *testing.T, b core.Blobs) {
	given, want := RandomBlob(1, 1000), RandomBlob(1, 1000)
	put(t, b, given)
	clear(given.Data)
	clear(given.Note)
	WantBlob(t, b, want)
	got, err := b.Get(t.Context(), want.Score, nil)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	info, err := b.Stat(t.Context(), want.Score)
	if err != nil {
		t.Fatal(err)
	}
	clear(info.Note)
	for info := range b.All(t.Context()) {
		clear(info.Note)
	}
	WantBlob(t, b, want)
}

func blobsAll(t *testing.T, b core.Blobs) {
	var all []core.Blob
	for i := range 50 {
		all = append(all, RandomBlob(uint64(i), 10+i))
		put(t, b, all[i])
	}
	n := 0
	for range b.All(t.Context()) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Fatalf("%d yielded before the break", n)
	}
	// What is not touched while All runs is yielded once, whatever else happens.
	seen := map[core.Score]int{}
	for info, err := range b.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[info.Score]++; len(seen) == 1 {
			put(t, b, RandomBlob(1000, 10))
			if err := b.Delete(t.Context(), all[0].Score); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, blob := range all[1:] {
		if seen[blob.Score] != 1 {
			t.Errorf("%s was yielded %d times", blob.Score.Short(), seen[blob.Score])
		}
	}
	WantAll(t, b, append(all[1:], RandomBlob(1000, 10))...)
}

func blobsEnded(t *testing.T, b core.Blobs) {
	kept, blob := RandomBlob(1, 100), RandomBlob(2, 100)
	put(t, b, kept)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Put(ctx, blob); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Get(ctx, kept.Score, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if err := b.Delete(ctx, kept.Score); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	var last error
	for _, err := range b.All(ctx) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("all: %v", last)
	}
	WantNoBlob(t, b, blob.Score)
	WantBlob(t, b, kept)
}

func blobsOneAtOnce(t *testing.T, b core.Blobs) {
	blob := RandomBlob(1, 100<<10)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := b.Put(t.Context(), blob); err != nil {
				t.Errorf("put: %v", err)
			}
			WantBlob(t, b, blob)
		})
	}
	wg.Wait()
	WantAll(t, b, blob)
}

func blobsManyAtOnce(t *testing.T, b core.Blobs) {
	shared := RandomBlob(999, 5000)
	put(t, b, shared)
	var mu sync.Mutex
	want := []core.Blob{shared}
	var wg sync.WaitGroup
	for w := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(12) {
				blob := RandomBlob(w*100+i, int(1+i*1000))
				if err := b.Put(t.Context(), blob); err != nil {
					t.Errorf("put: %v", err)
				}
				WantBlob(t, b, blob)
				WantBlob(t, b, shared)
				if i%3 == 0 {
					if err := b.Delete(t.Context(), blob.Score); err != nil {
						t.Errorf("delete: %v", err)
					}
					WantNoBlob(t, b, blob.Score)
					continue
				}
				mu.Lock()
				want = append(want, blob)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	WantAll(t, b, want...)
}
