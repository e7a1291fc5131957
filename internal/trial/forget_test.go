//go:build unix

package trial

import (
	"fmt"
	"testing"
	"time"
)

// listed returns which versions of the tree there are.
func (h *house) listed() map[int]bool {
	h.t.Helper()
	var versions []version
	h.value(&versions, 0, "ls", "tree", "--versions")
	out := map[int]bool{}
	for _, v := range versions {
		out[v.Number] = true
	}
	return out
}

// ledger is what one side's books say of one line.
type ledger struct {
	Gave, Had []struct {
		Live    int64
		Differs bool
	}
}

func (h *house) ledgerWith(name string) (l ledger) {
	h.t.Helper()
	var all []ledger
	h.value(&all, 0, "ledger", name)
	if len(all) != 1 {
		h.t.Fatalf("%s has %d ledgers with %s", h.name, len(all), name)
	}
	return all[0]
}

// settled fails unless, as soon as a holder has heard of it, both sides' books have the same bytes
// of the owner's under leases.
func settled(owner, holder *house) {
	owner.t.Helper()
	var had, gave ledger
	for range 100 {
		had, gave = owner.ledgerWith(holder.name), holder.ledgerWith(owner.name)
		if len(had.Had) == len(gave.Gave) && (len(had.Had) == 0 || had.Had[0].Live == gave.Gave[0].Live) {
			for _, l := range append(had.Had, gave.Gave...) {
				if l.Differs {
					owner.t.Errorf("%s and %s differ: %+v, %+v", owner.name, holder.name, had, gave)
				}
			}
			return
		}
		time.Sleep(100 * time.Millisecond) // what was released is on its way
	}
	owner.t.Errorf("%s has had of %s %+v\n%s gave %+v", owner.name, holder.name, had.Had, holder.name, gave.Gave)
}

// TestForgetIsKilled removes versions and brings them back while agents are killed: nothing that is
// listed, or that can be undone, is lost.
func TestForgetIsKilled(t *testing.T) {
	for _, who := range []string{"owner", "holder"} {
		t.Run(who, func(t *testing.T) {
			s := besiege(t, who)
			for i := range points(t) {
				s.grow()
				s.put()
				b, n := aim(s.rng, 0), s.acks.numbers[s.rng.IntN(len(s.acks.numbers))]
				args := []string{"undo", "tree"}
				if s.rng.IntN(3) > 0 {
					args = []string{"rm", "tree", "--version", fmt.Sprint(n)}
				}
				r, hit := b.strike(s.anna.launch(args...), s.victim.kill)
				s.hits.count(hit)
				s.victim.start()
				if there := s.anna.listed(); r.code == 0 && args[0] == "rm" && there[n] {
					t.Fatalf("point %d: version %d was removed, and is there: %v", i, n, there)
				}
			}
			s.hits.report(t)
			for range s.acks.numbers { // each undoes what was removed last
				if r := s.anna.run("undo", "tree"); r.code == 4 {
					break
				} else if r.code != 0 {
					t.Fatal(r)
				}
			}
			s.acks.restorable(s.anna)
			s.anna.healthy()
			for _, h := range s.v[1:] {
				agree(s.anna, h)
				settled(s.anna, h)
			}
		})
	}
}
