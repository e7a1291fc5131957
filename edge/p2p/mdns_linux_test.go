package p2p_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/p2p"
)

// inNetwork says that this process is the one in a network of its own.
const inNetwork = "GRANGE_TEST_OWN_NETWORK"

// Two agents start on a machine that is in no network. It comes into one, and they find each other there, and
// again in the next.
func TestAgentsFindEachOtherInALocalNetwork(t *testing.T) {
	if os.Getenv(inNetwork) == "" {
		if _, err := exec.LookPath("ip"); err != nil {
			t.Skip("a network is made with ip, of iproute2:", err)
		}
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inNetwork+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
			t.Skip("this machine lets nobody make a network:", err)
		}
		if err != nil {
			t.Fatalf("in a network of its own: %v\n%s", err, out)
		}
		return
	}
	ip(t, "link", "set", "lo", "up")
	var dids [3]core.DID
	var agents [3]*p2p.Peers
	for n := range agents {
		_, dids[n] = keyOf(byte(n + 1))
	}
	known := func(did core.DID) bool { return did != dids[2] }
	for n := range agents {
		_, agents[n] = open(t, byte(n+1), p2p.Config{Listen: []string{"/ip4/0.0.0.0/tcp/0"}, MDNS: true, Known: known, Clock: hasty{}})
	}
	if _, err := agents[0].Dial(t.Context(), dids[1], nil); !errors.Is(err, core.ErrUnreachable) {
		t.Fatalf("without a network: %v", err)
	}
	for _, network := range []string{"10.99.1.1/24", "10.99.2.1/24"} {
		ip(t, "link", "add", "one", "type", "veth", "peer", "name", "two")
		ip(t, "link", "set", "two", "up")
		ip(t, "link", "set", "one", "up")
		ip(t, "addr", "add", network, "dev", "one")
		agents[0].Reset(dids[1])
		found(t, agents[0], dids[1])
		agents[1].Reset(dids[0])
		found(t, agents[1], dids[0])
		if _, err := agents[0].Dial(t.Context(), dids[2], nil); !errors.Is(err, core.ErrUnreachable) {
			t.Errorf("a stranger's address was kept: %v", err)
		}
		ip(t, "link", "del", "one")
	}
}

// hasty is a clock that waits for no more than a hundredth of what it should.
type hasty struct{ machine }

func (hasty) Sleep(ctx context.Context, d time.Duration) error { return machine{}.Sleep(ctx, d/100) }

// found waits until an agent reaches another by what it has found.
func found(t *testing.T, p *p2p.Peers, did core.DID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c, err := p.Dial(ctx, did, nil)
		if err == nil {
			_ = c.Close()
			return
		}
		if err := (machine{}).Sleep(ctx, 100*time.Millisecond); err != nil {
			t.Fatalf("%s was not found: %v", did, err)
		}
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v: %s", args, err, out)
	}
}
