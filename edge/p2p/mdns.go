package p2p

import (
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"

	"github.com/grange-grid/grange/core"
)

// serviceName is what agents look for on a local network.
const serviceName = "_grange._udp"

// announce tells the local network of this agent, and remembers where known ones are. Strangers'
// addresses are not kept: anyone on the network could name any number of them.
func (p *Peers) announce(known func(core.DID) bool) (io.Closer, error) {
	service := mdns.NewMdnsService(bare{net: p.swarm}, serviceName, finder(func(found peer.AddrInfo) {
		did, err := didOf(found.ID)
		if err != nil || !known(did) {
			return
		}
		p.swarm.Peerstore().AddAddrs(found.ID, found.Addrs[:min(len(found.Addrs), dialAddrsMax)], addrTime)
	}))
	if err := service.Start(); err != nil {
		_ = service.Close()
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	return service, nil
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
