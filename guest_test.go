package grange_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
	"github.com/grange-grid/grange/service/federation"
)

// key is the machine's own.
func (m *machine) key() identity.Key {
	m.w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, "agent.key"))
	if err != nil {
		m.w.t.Fatal(err)
	}
	k, err := identity.ParseAgentKey(raw)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return k.Key()
}

// voucher is what a club's machine gives to a member's: so much storage for a week.
func (m *machine) voucher(to core.DID, amount int64) voucher.Chain {
	m.w.t.Helper()
	now := time.Now().Unix()
	c, err := voucher.Issue(m.key(), m.house, voucher.Terms{Audience: to, Resource: core.Storage, Amount: amount, From: now, Until: now + 7*24*3600})
	if err != nil {
		m.w.t.Fatal(err)
	}
	return c
}

// uses shows a voucher to another machine, as what hands vouchers out will.
func (m *machine) uses(at *machine, c voucher.Chain) {
	m.w.t.Helper()
	raw, err := c.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	if _, err := m.UseVoucher(m.w.t.Context(), federation.AgentAddrs{DID: at.did, Addrs: at.addrs()}, raw); err != nil {
		m.w.t.Fatal(err)
	}
}

// ledger is what a machine's books say about another household.
func (m *machine) booksOn(with *machine) grange.Ledger {
	m.w.t.Helper()
	all, err := m.Ledgers(m.w.t.Context(), with.house.String())
	if err != nil || len(all) != 1 {
		m.w.t.Fatalf("%s on %s: %+v, %v", m.name, with.name, all, err)
	}
	return all[0]
}

// clubhouse is a club, with homes that each give it so much, and members who have no pact with anybody.
func (w *world) clubhouse(give int64, homes, members []string) (club *machine, hs, ms []*machine) {
	w.t.Helper()
	start := func(name string) *machine {
		m := w.found(name)
		m.run()
		return m
	}
	club = start("club")
	for _, name := range homes {
		h := start(name)
		w.befriendOn(h, club, grange.Terms{Give: give, Want: 0})
		hs = append(hs, h)
	}
	for _, name := range members {
		ms = append(ms, start(name))
	}
	return club, hs, ms
}

// A member of a club stores at the homes that give the club something, reads it back while the club is off, goes on when a
// voucher is renewed, and is refused when there is none; every byte is on the club's behalf.
func TestAMemberStoresThroughItsClub(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		club, homes, members := w.clubhouse(50e6, []string{"bo", "cleo"}, []string{"anna"})
		anna := members[0]
		for _, h := range homes {
			anna.uses(h, club.voucher(anna.did, 20e6))
		}
		club.stop() // from here on nobody asks it
		want := randomTree(1, 3_000_000)
		anna.put("photos", want)
		anna.mustHave("photos", want)
		var keeps int64
		for _, h := range homes {
			l := h.booksOn(anna)
			if l.Via == nil || l.Via.Grid != club.house || l.Via.Name != "club" || !slices.Equal(l.Via.Chain, []grange.DID{club.did}) || l.Via.Offered != 50e6 || l.Via.Share != 20e6 || l.Name != "anna of club" {
				t.Errorf("%s's ledger: %+v, via %+v", h.name, l, l.Via)
			}
			if len(l.Decisions) == 0 || l.Decisions[0].Facts.Via == nil || l.Decisions[0].Facts.Via.Grid != club.house || l.Decisions[0].Partner != "anna of club" {
				t.Errorf("%s's decisions: %+v", h.name, l.Decisions)
			}
			if mine := anna.booksOn(h); mine.Has != l.Keeps || l.Keeps == 0 || mine.Given != 0 || mine.Gives != 20e6 {
				t.Errorf("anna has %d at %s, who keeps %d", mine.Has, h.name, l.Keeps)
			}
			keeps += l.Keeps
		}
		if keeps < 3_000_000 {
			t.Errorf("%d bytes are kept in all", keeps)
		}
		// Restarts of either side change nothing, nor does a holder that has forgotten who anna is.
		homes[0].restart()
		anna.restart()
		anna.mustHave("photos", want)
		// A week later the voucher has ended: nothing new, but everything can be read.
		w.later(8 * 24 * time.Hour)
		out, err := anna.Put(t.Context(), "more", randomTree(2, 100_000).fs(), nil)
		if err == nil || !strings.Contains(fmt.Sprint(out.Refused), "your voucher has ended; show a newer one") {
			t.Errorf("after the voucher's end: %v, %v", err, out.Refused)
		}
		anna.mustHave("photos", want)
		for _, h := range homes {
			anna.uses(h, club.voucher(anna.did, 20e6))
		}
		anna.put("more", randomTree(2, 100_000))
		anna.mustHave("more", randomTree(2, 100_000))
	})
}

// Whatever members ask for, at once and together, a home keeps no more for them and their club than it gives the club.
func TestMembersAreBoundedTogether(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		const give = 4_000_000
		club, homes, members := w.clubhouse(give, []string{"bo"}, []string{"anna", "dan", "eve"})
		for _, m := range members {
			m.uses(homes[0], club.voucher(m.did, give))
		}
		done := make(chan string, len(members))
		for i, m := range members {
			go func() {
				out, err := m.Put(t.Context(), "photos", randomTree(uint64(i), 1_500_000).fs(), nil)
				done <- fmt.Sprint(m.name, ": ", err, out.Refused)
			}()
		}
		refused := 0
		for range members {
			if text := <-done; strings.Contains(text, "left of your") || strings.Contains(text, "nothing is left of your share") {
				refused++
			} else if !strings.Contains(text, "<nil>") {
				t.Error(text)
			}
		}
		var sum int64
		for _, m := range members {
			sum += homes[0].booksOn(m).Keeps
		}
		if sum > give || sum == 0 || refused == 0 {
			t.Errorf("%d bytes of %d are kept, %d members were refused", sum, int64(give), refused)
		}
	})
}

// Two members of a club keep for each other, each as a guest of the other, and neither needs a pact with it.
func TestMembersKeepForEachOther(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		club, homes, _ := w.clubhouse(50e6, []string{"bo", "cleo"}, nil)
		bo, cleo := homes[0], homes[1]
		bo.uses(cleo, club.voucher(bo.did, 20e6))
		cleo.uses(bo, club.voucher(cleo.did, 20e6))
		trees := map[*machine]tree{bo: randomTree(1, 500_000), cleo: randomTree(2, 500_000)}
		for m, tree := range trees {
			if _, err := m.Put(t.Context(), "photos", tree.fs(), nil); err != nil && !strings.Contains(err.Error(), "club") {
				t.Errorf("%s: %v", m.name, err)
			}
		}
		club.stop()
		for m, tree := range trees {
			m.mustHave("photos", tree)
		}
		for _, p := range [][2]*machine{{bo, cleo}, {cleo, bo}} {
			l, other := p[0].booksOn(p[1]), p[1].booksOn(p[0])
			if l.Keeps == 0 || l.Keeps != other.Has || l.Via == nil || l.Via.Grid != club.house {
				t.Errorf("%s keeps %d for %s, who has %d; via %+v", p[0].name, l.Keeps, p[1].name, other.Has, l.Via)
			}
		}
	})
}

// Who leaves a club, is in none for a while and joins another keeps what it has: it can be read, it moves to the new club's homes when
// the old one's vouchers have ended for long, and nobody asks the club that is gone.
func TestSimANomadChangesClubs(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t := w.t
		club, homes, members := w.clubhouse(50e6, []string{"bo", "cleo"}, []string{"anna"})
		anna, want := members[0], randomTree(1, 500_000)
		for _, h := range homes {
			anna.uses(h, club.voucher(anna.did, 20e6))
		}
		anna.put("photos", want)
		club.stop()
		w.later(20 * 24 * time.Hour) // in no club
		anna.mustHave("photos", want)
		other, shelter := w.found("other"), w.found("dan")
		other.run()
		shelter.run()
		w.befriendOn(shelter, other, grange.Terms{Give: 50e6})
		anna.uses(shelter, other.voucher(anna.did, 20e6))
		more := randomTree(2, 500_000)
		anna.put("more", more)
		if l := shelter.booksOn(anna); l.Via == nil || l.Via.Grid != other.house || l.Keeps < 500_000 {
			t.Errorf("the new home's ledger: %+v, via %+v", l, l.Via)
		}
		w.later(2 * time.Hour) // pieces move from where there is no voucher any more
		for _, h := range homes {
			h.stop()
		}
		anna.mustHave("photos", want)
		anna.mustHave("more", more)
	})
}

// guest is let in at anna's by a voucher of cleo's household, with nothing there.
func (p *peerWorld) guest() *raw {
	t := p.t
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	k, root := identity.KeyOf([32]byte{11}), identity.KeyOf([32]byte{12})
	box, err := seal.NewPrivateKey([32]byte{13})
	must(err)
	secrets := charter.Secrets{V: 1, Chunker: [32]byte{1}, Vault: []charter.VaultSecret{{Epoch: 1, Key: [32]byte{2}}}}
	name, err := charter.SealName(secrets, "machine")
	must(err)
	signed, err := charter.Seal(root, charter.Charter{
		V: 1, Grid: root.DID(), Epoch: 1, Time: 1, Agents: []charter.Agent{{DID: k.DID(), Seal: box.Public(), Name: name}}, Recovery: box.Public(),
	}, secrets)
	must(err)
	now := time.Now().Unix()
	c, err := voucher.Issue(p.friend.key(), p.friend.house, voucher.Terms{Audience: k.DID(), Resource: core.Storage, Amount: 1e6, From: now, Until: now + 3600})
	must(err)
	c, err = c.Invoke(k, voucher.Call{Holder: p.to.did, Resource: core.Storage, Amount: 1e6, At: now})
	must(err)
	chain, err := c.Marshal()
	must(err)
	r := p.raw("guest", k.DID())
	if got := r.do(p.to, "POST", "/credential", fields{"charter": signed, "chain": chain, "name": "guest"}); got.String() != ok {
		t.Fatal(got, got.err.Message)
	}
	return r
}

// Where this machine is a guest counts like a partner: it is greeted by the doctor, and what is with one that is away is worth nothing now.
func TestAHomeIsAway(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		club, homes, members := w.clubhouse(50e6, []string{"bo", "cleo"}, []string{"anna"})
		anna, bo := members[0], homes[0]
		for _, h := range homes {
			anna.uses(h, club.voucher(anna.did, 20e6))
		}
		anna.put("photos", randomTree(1, 3_000_000))
		// looks returns what the doctor says of one thing, and how many households may vanish.
		looks := func(what string) (string, int) {
			examined, err := anna.Doctor(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s, err := anna.Status(t.Context(), "")
			if err != nil || len(s.Errands) != 2 || len(s.Versions) != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			i := slices.IndexFunc(examined, func(e grange.Examined) bool { return e.What == what })
			if examined[i].Fault != "" {
				t.Errorf("%+v", examined[i])
			}
			return examined[i].Text, s.Versions[0].Worth.Survives
		}
		if text, survives := looks("network"); survives != 1 || !strings.Contains(text, "bo, cleo answered") && !strings.Contains(text, "cleo, bo answered") {
			t.Errorf("all here: %q, any %d may vanish", text, survives)
		}
		bo.stop()
		if text, survives := looks("network"); survives != 0 || !strings.Contains(text, "cleo answered; bo could not be reached") {
			t.Errorf("bo is away: %q, any %d may vanish", text, survives)
		}
		for _, e := range anna.Errands() {
			if away := e.Name == "bo"; e.Away != away || e.Here == away || e.Seen.IsZero() || e.Has == 0 || e.Gives != 20e6 || e.Leaving {
				t.Errorf("%+v", e)
			}
		}
		if g := homes[1].Guests(); len(g) != 1 || g[0].Name != "anna" || g[0].By.Name != "club" || g[0].Keeps == 0 || g[0].Share != 20e6 || g[0].Until.IsZero() {
			t.Errorf("%+v", g)
		}
		dan := w.found("dan")
		dan.run()
		dan.uses(homes[1], club.voucher(dan.did, 1e6))
		if e := dan.Errands(); len(e) != 1 || e[0].Has != 0 {
			t.Errorf("%+v", e)
		}
		w.later(9 * 24 * time.Hour)
		if e := dan.Errands(); len(e) != 0 {
			t.Errorf("where there is nothing, and no voucher: %+v", e)
		}
		examined, err := anna.Doctor(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, e := range examined {
			if e.What == "guest" && e.Fault != grange.FaultVoucher {
				t.Errorf("the vouchers have ended: %+v", e)
			}
		}
	})
}
