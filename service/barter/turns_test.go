package barter

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
)

// whole is the size of a piece that has the disk for itself.
const whole = turnsRoom - turnCost

// crowd is pieces that wait for one disk, in a synctest bubble.
type crowd struct {
	t     *testing.T
	turns *turns
	first *turn // has the disk until all have come

	mu    sync.Mutex
	order []queueID
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, turns: newTurns(bubble{}, core.DID{'h'})}
	first, err := c.turns.take(t.Context(), queueOf('?', hasteNormal), 0, whole)
	if err != nil {
		t.Fatal(err)
	}
	c.first = first
	return c
}

// bring has n pieces wait.
func (c *crowd) bring(id queueID, gives int64, n int, size int64) {
	for range n {
		go func() {
			w, err := c.turns.take(c.t.Context(), id, gives, size)
			if err != nil {
				c.t.Error(err)
				return
			}
			c.mu.Lock()
			c.order = append(c.order, id)
			c.mu.Unlock()
			time.Sleep(time.Millisecond)
			w.done()
		}()
	}
	synctest.Wait()
}

// among returns how many of the first n were of a queue, when all have gone.
func (c *crowd) among(n int, id queueID) (count int) {
	for _, o := range c.order[:n] {
		if o == id {
			count++
		}
	}
	return count
}

func (c *crowd) end() {
	c.t.Helper()
	c.first.done()
	time.Sleep(time.Second)
	synctest.Wait()
	c.turns.idle(c.t)
}

// idle checks that nothing is left.
func (t *turns) idle(test *testing.T) {
	test.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.atDisk != 0 || len(t.line) != 0 || len(t.queues) != 0 {
		test.Errorf("%d at the disk, %d in line, %d queues", t.atDisk, len(t.line), len(t.queues))
	}
}

func queueOf(name byte, h haste) queueID { return queueID{household: core.DID{name}, haste: h} }

func TestTurnsAreByWeight(t *testing.T) {
	const n = 120
	const first = 75 // a whole number of those that are at the disk at once, whose order is any
	a, b, home := queueOf('a', hasteNormal), queueOf('b', hasteNormal), queueOf('h', hasteNormal)
	for name, test := range map[string]struct {
		a, b           queueID
		givesA, givesB int64
		want           int // of the first
	}{
		"alike":                       {a, b, 7, 7, 38},
		"nobody gives":                {a, b, 0, 0, 38},
		"three times as much":         {a, b, 3_000, 1_000, 56},
		"one gives nothing":           {a, b, 1 << 50, 0, 70}, // of 75: a sixteenth is something
		"prompt":                      {queueOf('a', hastePrompt), b, 5, 5, 60},
		"prompt, of one household":    {queueOf('a', hastePrompt), a, 5, 5, 60},
		"guests of who gives as much": {guest('a'), b, 5, 5, 38},
		"our own gives nothing":       {home, b, 0, 1_000, 38},
		"our own, who gives the most": {home, b, 0, 1, 38},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int64{whole, 1 << 20} { // one at a time, or many
				synctest.Test(t, func(t *testing.T) {
					c := newCrowd(t)
					c.bring(test.a, test.givesA, n, size)
					c.bring(test.b, test.givesB, n, size)
					c.end()
					if got := c.among(first, test.a); got < test.want-3 || got > test.want+3 {
						t.Errorf("%d of %d, not %d", got, first, test.want)
					}
				})
			}
		})
	}
}

// Who wants little does not wait for who wants much; small pieces are no way to more.
func TestTurnsOfAFlood(t *testing.T) {
	flood, light := queueOf('f', hasteNormal), queueOf('l', hasteNormal)
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.bring(flood, 5, queueMost, whole)
		c.bring(light, 5, 1, whole)
		c.end()
		if got := c.among(3, light); got != 1 {
			t.Errorf("the light one went after more than two of the flood's")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.bring(flood, 5, queueMost, turnCost/2)
		c.bring(light, 5, 60, 10*turnCost/2)
		c.end()
		if got := c.among(105, light); got < 20 || got > 22 { // all that are first at the disk; one costs four of the others
			t.Errorf("%d of 105", got)
		}
	})
}

// The guests of one grid have together what one partner has, and are fair to each other.
func TestTurnsOfGuests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		partner := queueOf('p', hasteNormal)
		guests := []queueID{guest('a'), guest('b'), guest('c')}
		for range 60 { // in turn, as all of them know of each other soon
			for _, g := range guests {
				c.bring(g, 5, 1, whole)
			}
			c.bring(partner, 5, 1, whole)
		}
		c.end()
		n := c.among(80, partner)
		if n < 36 || n > 44 {
			t.Errorf("the partner had %d of 80", n)
		}
		for _, g := range guests {
			if got := c.among(80, g); got < 11 || got > 16 {
				t.Errorf("a guest had %d of 80", got)
			}
		}
	})
}

func guest(name byte) queueID {
	return queueID{household: core.DID{name}, via: core.DID{'v'}, haste: hasteNormal}
}

// Idle pieces that wait take little of the memory that others need.
func TestTurnsOfTooMuchThatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for name := range byte(4) {
			c.bring(queueOf(name, hasteIdle), 0, 1, idleMost/4-turnCost)
		}
		if _, err := c.turns.take(t.Context(), queueOf(9, hasteIdle), 0, 1); !errors.Is(err, core.ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		c.bring(queueOf(9, hasteNormal), 0, 1, 1)
		c.end()
	})
}

func TestTurnsByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		idle, normal, own := queueOf('i', hasteIdle), queueOf('n', hasteNormal), queueOf('h', hasteHome)
		c.bring(idle, 1_000, 5, idleMost/5-turnCost)
		c.bring(normal, 0, 5, whole)
		c.bring(own, 0, 5, whole)
		c.end()
		if c.among(5, own) != 5 || c.among(10, normal) != 5 || len(c.order) != 15 {
			t.Errorf("order %v", c.order)
		}
	})
}

// What waits is bounded in number and in time, and whoever gives up takes nobody's turn.
func TestTurnsThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		a := queueOf('a', hasteNormal)
		ctx, cancel := context.WithCancel(t.Context())
		outcomes := make(chan error, queueMost)
		for range queueMost {
			go func() {
				_, err := c.turns.take(ctx, a, 0, 1)
				outcomes <- err
			}()
		}
		synctest.Wait()
		_, err := c.turns.take(ctx, a, 0, 1)
		if e, ok := errors.AsType[*wire.Error](err); !ok || !errors.Is(err, core.ErrBusy) || e.RetrySeconds == 0 {
			t.Errorf("one too many: %v", err)
		}
		c.bring(queueOf('b', hasteNormal), 0, 1, 1) // another household may still
		cancel()
		for range queueMost {
			if err := <-outcomes; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		c.end()
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		if _, err := c.turns.take(t.Context(), queueOf('a', hasteNormal), 0, 1); !errors.Is(err, core.ErrBusy) {
			t.Errorf("a turn that does not come: %v", err)
		}
		c.end()
	})
	// A piece that fits is not kept waiting by a larger one that has given up.
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(bubble{}, core.DID{})
		half, err := turns.take(t.Context(), queueOf('a', hasteNormal), 0, whole/2)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = turns.take(ctx, queueOf('b', hasteNormal), 0, whole) }()
		synctest.Wait()
		var small *turn
		go func() { small, _ = turns.take(t.Context(), queueOf('c', hasteNormal), 0, 1) }()
		synctest.Wait()
		if small != nil {
			t.Error("it went before who came first")
		}
		cancel()
		synctest.Wait()
		if small == nil {
			t.Fatal("it waits for nobody")
		}
		small.done()
		half.done()
		turns.idle(t)
	})
}

// Whatever is taken, given up and ended at once, the disk is never overfull, and nobody is forgotten.
func TestTurnsTogether(t *testing.T) {
	turns := newTurns(sim.NewClock(1), core.DID{3})
	var atOnce sync.Mutex
	var cost int64
	var g sync.WaitGroup
	for seed := range uint64(16) {
		g.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(3) == 0 {
					go cancel()
				}
				id := queueOf(byte(r.IntN(4)), haste(r.IntN(4)))
				w, err := turns.take(ctx, id, r.Int64N(1_000), r.Int64N(whole+1))
				if err == nil {
					atOnce.Lock()
					if cost += w.cost; cost > turnsRoom {
						t.Errorf("%d at the disk", cost)
					}
					atOnce.Unlock()
					turns.busy(id, 5)
					atOnce.Lock()
					cost -= w.cost
					atOnce.Unlock()
					w.done()
				} else if !errors.Is(err, context.Canceled) && (id.haste != hasteIdle || !errors.Is(err, core.ErrBusy)) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	g.Wait()
	turns.idle(t)
}

// Busy is measured: it is who has much under way, as long as the disk is slow for it.
func TestTurnsAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		flood, light := queueOf('f', hasteNormal), queueOf('l', hasteNormal)
		if got := c.turns.busy(flood, 5); got != 0 {
			t.Errorf("nothing waits, and it is busy for %d s", got)
		}
		const n = 100 // of which 1 goes by in a second
		for range n {
			go func() {
				w, err := c.turns.take(t.Context(), flood, 5, whole)
				if err != nil {
					return // after a minute
				}
				time.Sleep(time.Second)
				w.done()
			}()
		}
		synctest.Wait()
		c.first.done()
		time.Sleep(30*time.Second + time.Millisecond)
		idle := flood
		idle.haste = hasteIdle
		if f, i := c.turns.busy(flood, 5), c.turns.busy(idle, 5); f != busyMax || i != busyMax {
			t.Errorf("69 seconds of work, and the flood is to wait for %d, an idle one for %d", f, i)
		}
		if got := c.turns.busy(light, 5); got != 0 {
			t.Errorf("another, who waits for one or two, is to wait for %d", got)
		}
		time.Sleep(29 * time.Second) // at which half of it gives up, and it goes on
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := c.turns.busy(flood, 5); got != 0 {
			t.Errorf("nothing waits any more, and it is busy for %d s", got)
		}
		c.turns.idle(t)
	})
}

// A disk that stands still is busy for all, and after it has gone on for nobody.
func TestTurnsOfADiskThatStandsStill(t *testing.T) {
	clock := sim.NewClock(1)
	turns := newTurns(clock, core.DID{})
	a, b := queueOf('a', hasteNormal), queueOf('b', hasteNormal)
	first, err := turns.take(t.Context(), a, 0, whole)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *turn)
	go func() {
		w, _ := turns.take(t.Context(), a, 0, whole)
		got <- w
	}()
	if err := clock.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := turns.busy(b, 0); n != 0 {
		t.Errorf("at first it is busy for %d s", n)
	}
	for range 50 {
		clock.Advance(time.Second)
		turns.busy(b, 0)
	}
	clock.Jump(-time.Hour) // says nothing
	if n := turns.busy(b, 0); n < 10 {
		t.Errorf("after 50 seconds it is busy for %d s", n)
	}
	first.done()
	(<-got).done()
	if n := turns.busy(b, 0); n != 0 {
		t.Errorf("in the end it is busy for %d s", n)
	}
	turns.idle(t)
}

// BenchmarkTurns is what turns cost for each piece when nobody waits, and for each ask.
func BenchmarkTurns(b *testing.B) {
	turns := newTurns(bubble{}, core.DID{})
	id := queueOf('a', hasteNormal)
	for b.Loop() {
		w, err := turns.take(b.Context(), id, 5, pieceSize)
		if err != nil {
			b.Fatal(err)
		}
		turns.busy(id, 5)
		w.done()
	}
}
