package p2p

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"

	"github.com/grange-grid/grange/core"
)

// serviceName is what agents look for on a local network.
const serviceName = "_grange._udp"

// lookEvery is between looks at the networks that this machine is in.
const lookEvery = 10 * time.Second

// announce tells the local network of this agent, and remembers where known ones are, until ctx ends: anew
// whenever the machine comes into another network. While it is in none there is nobody to tell. Strangers'
// addresses are not kept: anyone on the network could name any number of them.
func (p *Peers) announce(ctx context.Context, known func(core.DID) bool) {
	var service mdns.Service
	var in string
	for ended := false; !ended; ended = p.clock.Sleep(ctx, lookEvery) != nil {
		now := networks()
		if now == in {
			continue
		}
		if service != nil {
			_ = service.Close() // it may have been of a network that is no more
			service = nil
		}
		if in = now; in == "" {
			continue
		}
		service = mdns.NewMdnsService(bare{net: p.swarm}, serviceName, finder(func(found peer.AddrInfo) {
			did, err := didOf(found.ID)
			if err != nil || !known(did) {
				return
			}
			p.swarm.Peerstore().AddAddrs(found.ID, found.Addrs[:min(len(found.Addrs), dialAddrsMax)], addrTime)
		}))
		if err := service.Start(); err != nil {
			p.log.Warn("the local network is not told of this machine", "err", err)
		}
	}
	if service != nil {
		_ = service.Close()
	}
}

// networks names the local networks that this machine is in, with its addresses there; "" for none.
func networks() string {
	all, err := net.Interfaces()
	if err != nil {
		return ""
	}
	var in strings.Builder
	for _, i := range all {
		if i.Flags&(net.FlagUp|net.FlagMulticast) != net.FlagUp|net.FlagMulticast {
			continue
		}
		addrs, err := i.Addrs()
		if err == nil && len(addrs) > 0 {
			fmt.Fprintln(&in, i.Name, addrs)
		}
	}
	return in.String()
}

// bare is as much of a host as mDNS asks for; anything more would panic.
type bare struct {
	host.Host
	net network.Network
}

func (b bare) ID() peer.ID              { return b.net.LocalPeer() }
func (b bare) Network() network.Network { return b.net }

type finder func(peer.AddrInfo)

// HandlePeerFound is called by mDNS.
func (f finder) HandlePeerFound(found peer.AddrInfo) { f(found) }
