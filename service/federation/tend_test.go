package federation_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Who is greeted and finds that it lacks a head, or that the other does, greets in its turn. Where one can take
// nothing, as with a full disk, two do not go on like that for ever.
func TestTwoDoNotWakeEachOtherWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTwo(t)
		w, anna, bo := x.world, x.anna, x.bo
		x.second.add(bo)
		anna.disk.Books().SetFull(true)
		x.second.write("s/x", "x") // which bo comes to have, and anna's first machine lacks
		_, _ = x.second.f.SaveHead(t.Context())
		const most = 50
		var greetings atomic.Int64
		bo.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/greet") && greetings.Add(1) > most {
					<-r.Context().Done()
					return
				}
				h.ServeHTTP(rw, r)
			})
		}
		bo.off()
		bo.on()
		bo.write("s/y", "y")
		ctx, stop := cancelable(t)
		done := make(chan error, 2)
		for _, m := range []*machine{anna, bo} {
			go func() { done <- m.f.Run(ctx) }()
		}
		synctest.Wait()
		for range 60 {
			w.clock.Advance(time.Second)
			synctest.Wait()
		}
		if n := greetings.Load(); n < 2 || n > 30 {
			t.Errorf("bo was greeted %d times in a minute", n)
		}
		stop()
		for range 2 {
			<-done
		}
		anna.off()
		bo.off()
		x.second.off()
	})
}
