package p2p

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/grange-grid/grange/core"
)

// quicDelay is how long QUIC waits for TCP: on the networks that were measured
// TCP with TLS carries two to four times as much.
const quicDelay = 500 * time.Millisecond

// dialDelay is how long each further address waits for the one before it.
const dialDelay = 50 * time.Millisecond

// addrSizeMax is the longest address that is read, in bytes.
const addrSizeMax = 512

// peerID returns the peer ID of an agent.
func peerID(did core.DID) (peer.ID, error) {
	key, err := crypto.UnmarshalEd25519PublicKey(did[:])
	if err != nil {
		return "", fmt.Errorf("peer ID of %s: %w", did.Short(), err)
	}
	return peer.IDFromPublicKey(key)
}

// didOf returns the agent of a peer ID. A peer whose key is not ed25519 is none.
func didOf(id peer.ID) (core.DID, error) {
	var did core.DID
	key, err := id.ExtractPublicKey()
	if err != nil {
		return did, fmt.Errorf("peer %s: %w", id, err)
	}
	if key.Type() != crypto.Ed25519 {
		return did, fmt.Errorf("peer %s: %w: its key is not ed25519", id, core.ErrInvalid)
	}
	raw, err := key.Raw()
	if err != nil {
		return did, fmt.Errorf("peer %s: %w", id, err)
	}
	return did, did.UnmarshalBinary(raw)
}

// ParseAddr reads a multiaddr that ends with the /p2p part of an agent, and returns the agent.
// Errors are of kind core.ErrInvalid.
func ParseAddr(addr string) (core.DID, error) {
	_, id, err := splitAddr(addr)
	if err == nil && id == "" {
		err = fmt.Errorf("address %q: %w: it has no /p2p part", addr, core.ErrInvalid)
	}
	if err != nil {
		return core.DID{}, err
	}
	did, err := didOf(id)
	if err != nil {
		return core.DID{}, fmt.Errorf("address %q: %w: %w", addr, core.ErrInvalid, err)
	}
	return did, nil
}

// splitAddr reads a multiaddr with or without a /p2p part.
func splitAddr(addr string) (ma.Multiaddr, peer.ID, error) {
	if len(addr) > addrSizeMax {
		return nil, "", fmt.Errorf("address %.40q…: %w: over %d bytes", addr, core.ErrInvalid, addrSizeMax)
	}
	m, err := ma.NewMultiaddr(addr)
	if err != nil {
		return nil, "", fmt.Errorf("address %q is no multiaddr: %w", addr, core.ErrInvalid) // what the library says is longer, and says no more
	}
	transport, id := peer.SplitAddr(m)
	if transport == nil {
		return nil, "", fmt.Errorf("address %q: %w: it says whose it is but not where", addr, core.ErrInvalid)
	}
	return transport, id, nil
}

// ipOf returns the IP address in a multiaddr, if it has one.
func ipOf(m ma.Multiaddr) netip.Addr {
	if m == nil {
		return netip.Addr{}
	}
	ip, err := manet.ToIP(m)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func isQUIC(m ma.Multiaddr) bool {
	_, err := m.ValueForProtocol(ma.P_QUIC_V1)
	return err == nil
}

// rank orders the addresses of one peer: TCP, then QUIC.
func rank(addrs []ma.Multiaddr) []network.AddrDelay {
	sorted := slices.Clone(addrs)
	slices.SortStableFunc(sorted, func(a, b ma.Multiaddr) int {
		switch {
		case isQUIC(a) == isQUIC(b):
			return 0
		case isQUIC(b):
			return -1
		default:
			return 1
		}
	})
	ranked := make([]network.AddrDelay, len(sorted))
	var delay time.Duration
	for i, m := range sorted {
		if i > 0 {
			delay += dialDelay
			if isQUIC(m) && !isQUIC(sorted[i-1]) {
				delay += quicDelay
			}
		}
		ranked[i] = network.AddrDelay{Addr: m, Delay: delay}
	}
	return ranked
}
