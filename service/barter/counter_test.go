package barter

import (
	"net/http"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// While a counter-offer is being taken, nobody who places at the same time gives the holder up.
func TestACounterOfferIsTakenByAll(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	denied, taken := make(chan struct{}), make(chan struct{})
	var once sync.Once
	real := holder.real("POST /ask")
	holder.instead("POST /ask", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		first := false
		once.Do(func() { first = true })
		if first {
			wire.WriteError(rw, r, &core.Denial{Reason: "not so much", Counter: &core.Counter{Amount: 4_000}})
			close(denied)
			return
		}
		<-taken
		real.ServeHTTP(rw, r)
	}))
	p := mustPlace(t, owner, 100_000)
	var g sync.WaitGroup
	place := func(seed int) {
		s, data := segmentOf(seed, 10, 10, 100)
		if unplaced, err := p.Segment(t.Context(), s, data, upTo(10), nil); err != nil || len(unplaced) > 0 {
			t.Errorf("segment %d: %d pieces have no holder, %v", seed, len(unplaced), err)
		}
	}
	g.Go(func() { place(1) })
	<-denied
	g.Go(func() { place(2) })
	for range 2_000 { // the second is at it by then
		_ = p.Households()
	}
	close(taken)
	g.Wait()
	commit(t, p, true)
	if size, n := holder.now().Used(owner.grid); size != 2_000 || n != 20 {
		t.Errorf("%d bytes of %d pieces are kept", size, n)
	}
}
