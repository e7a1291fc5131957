package p2p

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/grange-grid/grange/core"
)

// The key of RFC 8032 §7.1, test 1, as a DID and as a peer ID.
const (
	knownDID  = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
	knownPeer = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV"
)

func TestDIDAndPeerIDNameOneKey(t *testing.T) {
	did, err := core.ParseDID(knownDID)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peerID(did)
	if err != nil || id.String() != knownPeer {
		t.Errorf("peer ID %s, %v, want %s", id, err, knownPeer)
	}
	if back, err := didOf(id); err != nil || back != did {
		t.Errorf("back to %v, %v", back, err)
	}
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if did, err := didOf(other); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a secp256k1 key is %v, %v, want ErrInvalid", did, err)
	}
}

func TestParseAddr(t *testing.T) {
	for _, good := range []string{"/ip4/192.0.2.1/tcp/4711", "/ip6/2001:db8::1/udp/4711/quic-v1", "/dns4/example.org/tcp/1"} {
		did, err := ParseAddr(good + "/p2p/" + knownPeer)
		if err != nil || did.String() != knownDID {
			t.Errorf("%s: %v, %v", good, did, err)
		}
	}
	for _, bad := range []string{
		"", "x", "/ip4/192.0.2.1/tcp/4711", "/p2p/" + knownPeer, "/ip4/192.0.2.1/tcp/4711/p2p/", "/ip4/192.0.2.1/tcp/4711/p2p/QmQ",
		"/ip4/192.0.2.1/tcp/99999/p2p/" + knownPeer, "/ip4/192.0.2.1/tcp/1/p2p/" + knownPeer[:len(knownPeer)-1],
		"/dns4/" + strings.Repeat("a", addrSizeMax) + "/tcp/1/p2p/" + knownPeer,
	} {
		if did, err := ParseAddr(bad); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v, %v, want ErrInvalid", bad, did, err)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("/ip4/192.0.2.1/tcp/4711/p2p/" + knownPeer)
	f.Add("/ip6/2001:db8::1/udp/4711/quic-v1/p2p/" + knownPeer)
	f.Add("/ip4/192.0.2.1/tcp/4711")
	f.Add("/p2p/" + knownPeer)
	f.Add("/dns4/example.org/tcp/1/p2p-circuit/p2p/" + knownPeer)
	f.Fuzz(func(t *testing.T, text string) {
		did, err := ParseAddr(text)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("%v, want ErrInvalid", err)
			}
			return
		}
		id, err := peerID(did)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := didOf(id); err != nil || back != did {
			t.Fatalf("%v became %v, %v", did, back, err)
		}
	})
}
