package barter

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// sinkBlobs keeps nothing.
type sinkBlobs struct{ core.Blobs }

func (sinkBlobs) Put(context.Context, core.Blob) error { return nil }

// Eight pieces of 1 MiB that come at once, again and again, need eight bodies and no more.
func TestPutsAreFlat(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	holder.blobs = sinkBlobs{holder.disk.Blobs()}
	holder.open()
	const workers, rounds = 8, 40
	grant := owner.mustAsk(t, holder, workers*pieceSize)
	pieces := make([][]byte, workers)
	for i := range pieces {
		pieces[i] = bytesOf(i, pieceSize)
	}
	put := func(data []byte) {
		r := httptest.NewRequest("PUT", wire.Prefix+putPath(core.ScoreOf(data), grant, make([]byte, 16), 0), bytes.NewReader(data))
		r.SetPathValue("score", core.ScoreOf(data).String())
		r = r.WithContext(wire.WithCaller(r.Context(), wire.Caller{Grid: owner.grid, Class: wire.Partner}))
		answer := httptest.NewRecorder()
		if holder.now().handlePut(answer, r); answer.Code != http.StatusCreated {
			t.Errorf("answer %d", answer.Code)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var g sync.WaitGroup
	for _, data := range pieces {
		g.Go(func() {
			for range rounds {
				put(data)
			}
		})
	}
	g.Wait()
	runtime.ReadMemStats(&after)
	// The garbage collector may empty the pool now and then, and the race detector makes it forget.
	if took := after.TotalAlloc - before.TotalAlloc; took > workers*rounds*pieceSize/2 {
		t.Errorf("%d bytes were taken for %d that came", took, workers*rounds*pieceSize)
	}
}
