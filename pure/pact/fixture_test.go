package pact

import (
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// key returns the n-th of a row of keys that never change.
func key(n byte) identity.Key {
	return identity.KeyOf(core.DeriveKey("grange test pact key", []byte{n}))
}

// The people of these tests: two households with an agent each.
var (
	annaGrid, bobGrid   = key(1), key(2)
	annaAgent, bobAgent = key(3), key(4)
)

const (
	storageGB = 1_000_000_000
	start     = 1_800_000_000 // January 2027
)

func scores(n int) []core.Score {
	s := make([]core.Score, n)
	for i := range s {
		s[i] = core.ScoreOf([]byte{byte(i >> 8), byte(i)})
	}
	slices.SortFunc(s, func(a, b core.Score) int { return core.DID(a).Compare(core.DID(b)) })
	return s
}

func terms() Terms {
	return Terms{
		InviterGives:  map[core.Resource]int64{core.Storage: 10 * storageGB},
		AcceptorGives: map[core.Resource]int64{core.Storage: 20 * storageGB},
	}.WithDefaults()
}

func invitation() Invitation {
	return Invitation{
		V: 1, Agent: annaAgent.DID(), Grid: annaGrid.DID(), Name: "anna",
		Addrs:   []string{"/ip4/192.0.2.7/tcp/4726", "/ip4/192.0.2.7/udp/4726/quic-v1"},
		Secret:  Secret{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Expires: start + 7*day, Terms: terms(),
	}
}

// timed is an invitation to a pact for 90 days, of several resources.
func timed() Invitation {
	i := invitation()
	i.Terms.Days = 90
	i.Terms.InviterGives = map[core.Resource]int64{core.Storage: 10 * storageGB, "potatoes": 5}
	i.Terms.Units = map[core.Resource]string{"potatoes": "kg"}
	i.Terms.AcceptorGives = map[core.Resource]int64{core.Compute: 1_000_000}
	return i
}

func pact() Pact { return invitation().Pact(bobGrid.DID(), start) }

func signedPact(t testing.TB) SignedPact {
	t.Helper()
	body, sig, err := SignPact(bobAgent, pact())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Countersign(annaAgent, body, sig)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lease is bob's promise to anna.
func lease() Lease {
	return Lease{
		V: 1, Holder: bobAgent.DID(), Grid: bobGrid.DID(), Owner: annaGrid.DID(), Pact: core.ScoreOf([]byte("pact")),
		Pieces: scores(3), Bytes: 3 << 20, From: start, Until: start + 180*day,
	}
}

func release() Release {
	return Release{V: 1, Owner: annaGrid.DID(), Agent: annaAgent.DID(), Pieces: scores(2), Time: start + 9*day}
}

// receipt is anna's for what bob keeps.
func receipt() Receipt {
	return Receipt{
		V: 1, Pact: core.ScoreOf([]byte("pact")), Provider: bobAgent.DID(), Receiver: annaAgent.DID(), Resource: core.Storage,
		Seq: 7, Total: 3 << 20 * 7 * day, Until: start + 7*day,
	}
}

func admission() Admission {
	return Admission{
		V: 1, Grid: annaGrid.DID(), Agent: key(5).DID(), Partner: bobAgent.DID(),
		Nonce: core.DeriveKey("grange test pact nonce"), Time: start + 10*day,
	}
}

// amendment is the second one of pact's.
func amendment() Pact {
	first := pact()
	body, _, err := SignPact(bobAgent, first)
	if err != nil {
		panic(err)
	}
	return first.Amend(core.ScoreOf(body), 2, map[core.Resource]int64{core.Storage: 15 * storageGB}, map[core.Resource]int64{core.Storage: 20 * storageGB})
}

// notice is bob's to anna.
func notice() Notice {
	return Notice{
		V: 1, Pact: core.ScoreOf([]byte("pact")), By: bobGrid.DID(), Agent: bobAgent.DID(),
		Time: start + 20*day, Until: start + 50*day,
	}
}
