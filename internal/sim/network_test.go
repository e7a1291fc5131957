package sim_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
	"github.com/grange-grid/grange/internal/sim"
)

func TestNetworkIsPeers(t *testing.T) {
	seamtest.Peers(t, func(t *testing.T) seamtest.OpenPeers {
		n := sim.NewNetwork(1)
		var count byte
		return func(listens bool) (core.DID, core.Peers) {
			count++
			did := core.DID{count}
			var p core.Peers
			if listens {
				p = n.Join(did)
			} else {
				p = n.JoinDialing(did)
			}
			t.Cleanup(func() { _ = p.Close() })
			return did, p
		}
	})
}

// two joins agents 1 and 2, with a connection between them.
func two(t *testing.T, n *sim.Network) (a, b core.Peers, dial, accept core.Conn) {
	t.Helper()
	a, b = n.Join(core.DID{1}), n.Join(core.DID{2})
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	dial, err := a.Dial(t.Context(), core.DID{2}, b.Addrs())
	if err != nil {
		t.Fatal(err)
	}
	if accept, err = b.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b, dial, accept
}

func read(t *testing.T, c core.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func write(t *testing.T, c core.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

// empty tells that nothing can be read of c now. It is for a synctest bubble.
func empty(t *testing.T, c core.Conn) {
	t.Helper()
	over := make(chan int, 1)
	go func() {
		n, _ := c.Read(make([]byte, 1))
		over <- n
	}()
	synctest.Wait()
	select {
	case n := <-over:
		t.Fatalf("a read ended, with %d bytes", n)
	default:
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	<-over
	_ = c.SetReadDeadline(time.Time{})
}

func TestCutAndDownBreakPathsUntilTheyEnd(t *testing.T) {
	for name, c := range map[string]struct{ fail, mend func(*sim.Network) }{
		"cut":      {func(n *sim.Network) { n.Cut(core.DID{2}, core.DID{1}) }, func(n *sim.Network) { n.Heal(core.DID{1}, core.DID{2}) }},
		"far down": {func(n *sim.Network) { n.Down(core.DID{2}) }, func(n *sim.Network) { n.Up(core.DID{2}) }},
		"self":     {func(n *sim.Network) { n.Down(core.DID{1}) }, func(n *sim.Network) { n.Up(core.DID{1}) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := sim.NewNetwork(1)
			a, b, dial, accept := two(t, n)
			write(t, dial, "before")
			c.fail(n)
			read(t, accept, "before")
			for _, end := range []core.Conn{dial, accept} {
				if k, err := end.Read(make([]byte, 1)); k != 0 || err == nil || err == io.EOF {
					t.Errorf("read %d, %v from a broken path", k, err)
				}
			}
			if _, err := a.Dial(t.Context(), core.DID{2}, b.Addrs()); !errors.Is(err, core.ErrUnreachable) {
				t.Errorf("Dial: %v, want ErrUnreachable", err)
			}
			third := n.Join(core.DID{3})
			if _, err := third.Dial(t.Context(), core.DID{2}, b.Addrs()); (err == nil) != (name != "far down") {
				t.Errorf("Dial from a third: %v", err)
			}
			c.mend(n)
			if _, err := a.Dial(t.Context(), core.DID{2}, nil); err != nil {
				t.Errorf("Dial after it was mended: %v", err)
			}
		})
	}
}

func TestStallHoldsBackUntilHeal(t *testing.T) { synctest.Test(t, stallHoldsBackUntilHeal) }

func stallHoldsBackUntilHeal(t *testing.T) {
	n := sim.NewNetwork(1)
	a, b, dial, accept := two(t, n)
	n.Stall(core.DID{1}, core.DID{2})
	write(t, dial, "late")
	empty(t, accept)
	again, err := a.Dial(t.Context(), core.DID{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, again, "too")
	_ = again.Close()
	other, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	empty(t, other)
	n.Heal(core.DID{1}, core.DID{2})
	read(t, accept, "late")
	if got, err := io.ReadAll(other); string(got) != "too" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestDialWaitsForAStalledPath(t *testing.T) {
	n := sim.NewNetwork(1)
	a, b := n.Join(core.DID{1}), n.Join(core.DID{2})
	n.Stall(core.DID{1}, core.DID{2})
	done := make(chan error, 1)
	go func() {
		_, err := a.Dial(t.Context(), core.DID{2}, b.Addrs())
		done <- err
	}()
	n.Heal(core.DID{1}, core.DID{2})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestStopAfterBreaksInTheMiddle(t *testing.T) {
	n := sim.NewNetwork(1)
	a, _, dial, accept := two(t, n)
	n.StopAfter(core.DID{1}, core.DID{2}, 5)
	write(t, accept, "the other way goes on")
	write(t, dial, "123")
	if k, err := dial.Write([]byte("456")); k != 2 || err == nil {
		t.Errorf("wrote %d, %v, want 2 and an error", k, err)
	}
	read(t, accept, "12345")
	if k, err := accept.Read(make([]byte, 1)); k != 0 || err == nil || err == io.EOF {
		t.Errorf("read %d, %v after the break", k, err)
	}
	n.Heal(core.DID{1}, core.DID{2})
	again, err := a.Dial(t.Context(), core.DID{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, again, "more than five bytes")
}

func TestDelayIsByItsClock(t *testing.T) { synctest.Test(t, delayIsByItsClock) }

func delayIsByItsClock(t *testing.T) {
	n, clock := sim.NewNetwork(1), sim.NewClock(1)
	_, _, dial, accept := two(t, n)
	n.Delay(clock, time.Second)
	write(t, dial, "first ")
	write(t, dial, "second")
	empty(t, accept)
	clock.Advance(500*time.Millisecond - 1)
	empty(t, accept)
	clock.Advance(time.Second + 1)
	read(t, accept, "first second")
}

func TestAnAgentComesBackAtItsAddress(t *testing.T) {
	n := sim.NewNetwork(1)
	a, b, dial, _ := two(t, n)
	addrs := b.Addrs()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if k, err := dial.Read(make([]byte, 1)); err == nil {
		t.Fatalf("read %d bytes from a closed agent", k)
	}
	b = n.Join(core.DID{2})
	if got := b.Addrs(); got[0] != addrs[0] {
		t.Errorf("back at %q, was at %q", got, addrs)
	}
	if _, err := a.Dial(t.Context(), core.DID{2}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Accept(); err != nil {
		t.Fatal(err)
	}
}
