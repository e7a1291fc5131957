package barter

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/proof"
)

// roles is a gate with every kind of caller.
type roles map[core.DID]func() (wire.Caller, error)

func (r roles) Classify(_ context.Context, agent core.DID) (wire.Caller, error) { return r[agent]() }

// TestWhoMayDoWhat calls each route as each kind of caller, about a piece that is the
// owner's. Nobody but the owner's household may read it, lease it, prove it or
// learn that it is here.
func TestWhoMayDoWhat(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, foreign := w.homes[0], w.homes[1], w.homes[2]
	grant := owner.mustAsk(t, holder, 1<<20)
	data, inHand := bytesOf(1, 5_000), bytesOf(2, 5_000)
	owner.mustPut(t, holder, grant, data, inHand)
	owner.mustLease(t, holder, data)
	piece, waiting := core.ScoreOf(data), core.ScoreOf(inHand)
	foreignGrant := foreign.mustAsk(t, holder, 1<<20)

	as := func(agent byte, c wire.Caller, err error) (core.DID, func() (wire.Caller, error)) {
		return identity.KeyOf([32]byte{7, agent}).DID(), func() (wire.Caller, error) { return c, err }
	}
	gate := roles{}
	names := map[string]core.DID{}
	for i, role := range []struct {
		name string
		c    wire.Caller
		err  error
	}{
		{"stranger", wire.Caller{Class: wire.Stranger}, nil},
		{"partner", wire.Caller{Class: wire.Partner, Grid: owner.grid}, nil},
		{"admitted", wire.Caller{Class: wire.Admitted, Grid: owner.grid}, nil},
		{"revoked", wire.Caller{}, &wire.Error{Code: wire.CodeRevoked, Message: "gone"}},
		{"foreign", wire.Caller{Class: wire.Partner, Grid: foreign.grid}, nil},
		{"foreign admitted", wire.Caller{Class: wire.Admitted, Grid: foreign.grid}, nil},
	} {
		agent, classify := as(byte(i), role.c, role.err)
		gate[agent], names[role.name] = classify, agent
	}
	self := identity.KeyOf([32]byte{8}).DID()
	peers := w.net.Join(self)
	server := wire.NewServer(self, gate, holder.now().Routes(), w.clock, nil)
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(wire.Listen(peers, w.clock))
		close(ended)
	}()
	t.Cleanup(func() {
		_ = peers.Close()
		<-ended
		_ = server.Close()
	})
	clients := map[string]*wire.Client{}
	for name, agent := range names {
		from := w.net.Join(agent)
		clients[name] = wire.NewClient(from, w.clock, func(core.DID) []string { return peers.Addrs() })
		t.Cleanup(func() {
			clients[name].Close()
			_ = from.Close()
		})
	}

	pact := pactOf(owner.grid, holder.grid)
	ask := core.Ask{Resource: core.Storage, Amount: 10, Seconds: 10, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]}}
	lease := func(of core.Score) func(*wire.Client) error {
		return func(c *wire.Client) error {
			var out leaseAnswer
			in := leaseRequest{Pieces: []core.Piece{{Score: of}}, Seconds: 100}
			if err := c.Call(t.Context(), self, "POST", "/leases", in, &out); err != nil {
				return err
			}
			if out.Lease == nil {
				return core.ErrNotExist
			}
			return nil
		}
	}
	prove := func(of core.Score) func(*wire.Client) error {
		return func(c *wire.Client) error {
			var out proveAnswer
			in := proveRequest{Challenges: []challenge{{Score: of, Block: 2}}}
			if err := c.Call(t.Context(), self, "POST", "/prove", in, &out); err != nil {
				return err
			}
			if p := out.Proofs[0]; p.State != core.PieceOK {
				if len(p.Slice) > 0 {
					t.Error("bytes with a bad state")
				}
				return map[core.PieceState]error{core.PieceMissing: core.ErrNotExist}[p.State]
			}
			return proof.Verify(of, 5_000, 2, out.Proofs[0].Slice)
		}
	}
	get := func(of core.Score) func(*wire.Client) error {
		return func(c *wire.Client) error {
			got, err := c.Fetch(t.Context(), self, "/pieces/"+of.String(), nil, 1<<20)
			if err == nil && !bytes.Equal(got, data) {
				t.Error("other bytes came")
			}
			return err
		}
	}
	list := func(c *wire.Client) error {
		var out leasesAnswer
		if err := c.Call(t.Context(), self, "GET", "/leases", nil, &out); err != nil {
			return err
		}
		if len(out.Leases) == 0 {
			return core.ErrNotExist
		}
		return nil
	}
	put := func(grant []byte) func(*wire.Client) error {
		return func(c *wire.Client) error {
			return c.Send(t.Context(), self, putPath(piece, grant, make([]byte, 16), 0), data)
		}
	}
	unknown, none, revoked := core.ErrForbidden, core.ErrNotExist, core.ErrRevoked
	for _, c := range []struct {
		name string
		call func(*wire.Client) error
		want map[string]error
	}{
		{
			"ask", func(c *wire.Client) error { return c.Call(t.Context(), self, "POST", "/ask", ask, nil) },
			map[string]error{"partner": nil, "admitted": unknown, "foreign": core.ErrRefused, "foreign admitted": unknown},
		},
		{"put", put(grant), map[string]error{"partner": nil, "admitted": unknown, "foreign": none, "foreign admitted": unknown}},
		{"put under a foreign grant", put(foreignGrant), map[string]error{"partner": none, "admitted": unknown, "foreign admitted": unknown, "foreign": nil}},
		{"get", get(piece), map[string]error{"partner": nil, "admitted": nil, "foreign": none, "foreign admitted": none}},
		{"get what waits", get(waiting), map[string]error{"partner": none, "admitted": none, "foreign": none, "foreign admitted": none}},
		{"lease what waits", lease(core.ScoreOf(bytesOf(3, 3))), map[string]error{"partner": none, "admitted": unknown, "foreign": none, "foreign admitted": unknown}},
		{"list", list, map[string]error{"partner": nil, "admitted": nil, "foreign": none, "foreign admitted": none}},
		{"prove", prove(piece), map[string]error{"partner": nil, "admitted": unknown, "foreign": none, "foreign admitted": unknown}},
		{"prove what waits", prove(waiting), map[string]error{"partner": none, "admitted": unknown, "foreign": none, "foreign admitted": unknown}},
		// Last, because the foreign household has brought the bytes itself by now: they are its own too.
		{"lease", lease(waiting), map[string]error{"partner": nil, "admitted": unknown, "foreign": none, "foreign admitted": unknown}},
	} {
		c.want["stranger"], c.want["revoked"] = unknown, revoked
		if len(c.want) != len(names) {
			t.Fatalf("%s: %d callers", c.name, len(c.want))
		}
		for role, want := range c.want {
			if err := c.call(clients[role]); !errors.Is(err, want) {
				t.Errorf("%s as %s: %v, want %v", c.name, role, err, want)
			}
		}
	}
	if err := lease(piece)(clients["foreign"]); err != nil {
		t.Errorf("what the foreign household has put itself: %v", err)
	}
	holder.wantUsed(t, foreign, 5_000, 1, 1<<20+10+1<<20)
	holder.check(t)
}

// A list of leases is its owner's alone, in pages that rise.
func TestLeasesAreListedByOwner(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	grant, foreign := owner.mustAsk(t, holder, 1<<20), other.mustAsk(t, holder, 1<<20)
	for i := range 20 {
		owner.mustPut(t, holder, grant, bytesOf(i, 100))
		owner.mustLease(t, holder, bytesOf(i, 100))
		other.mustPut(t, holder, foreign, bytesOf(1000+i, 100))
		other.mustLease(t, holder, bytesOf(1000+i, 100))
		clock.Advance(1e9)
	}
	path, pages, seen := "/leases", 0, 0
	var last core.Score
	for more := true; more; pages++ {
		var out leasesAnswer
		if err := owner.client.CallLimit(t.Context(), holder.agent(), "GET", path, nil, &out, leasesLimit); err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Leases {
			if compareScores(s.Score(), last) <= 0 {
				t.Fatal("the list does not rise")
			}
			last = s.Score()
			if _, err := holder.now().openOwn(mustMarshal(t, s), owner.grid); err != nil {
				t.Fatal(err)
			}
			seen++
		}
		more = out.More
		path = "/leases?after=" + last.String()
	}
	if pages != 3 || seen != 20 {
		t.Errorf("%d leases on %d pages, want 20 on 3", seen, pages)
	}
}
