// Package p2p is core.Peers over go-libp2p: agents find each other by key, over TCP with
// TLS 1.3 or QUIC, and each connection is a stream of protocol /grange/http/1. It is the only
// importer of libp2p and of what belongs to it (multiaddr, multistream, quic-go), and
// where DIDs and peer IDs are turned into each other.
//
// The parts are put together by hand, swarm and transports, without libp2p's root package or
// a host. The root package links WebRTC, WebTransport, relays, NAT traversal and a
// dependency injector, which make twice the program; a host runs the identify protocol,
// which tells whoever connects one's addresses and protocols, and asks a stranger for
// theirs. Neither is needed: who a peer is comes from its TLS certificate, its addresses
// from pacts. So there are no relays, no AutoNAT, no port mapping, and no connection
// manager: partners are as many as there are pacts, strangers at most StrangersMax, and
// nothing has to be trimmed.
//
// It dials nobody by itself, mDNS included, and redials nobody.
package p2p
