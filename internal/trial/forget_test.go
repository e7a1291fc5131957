//go:build unix

package trial

import (
	"fmt"
	"path/filepath"
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
			rng := dice(t)
			v := village(t, "anna", "bo", "cleo")
			anna, victim := v[0], v[0]
			if who == "holder" {
				victim = v[1]
			}
			root := filepath.Dir(anna.dir)
			tree := filepath.Join(root, "tree")
			plant(t, rng, tree)
			acks, hits := acknowledged{}, tally{}
			acks.add(anna.put(0, tree, "--name", "tree").Number, tree)
			for i := range points(t) {
				next := filepath.Join(root, fmt.Sprintf("tree%d", i))
				grow(t, rng, tree, next)
				tree = next
				acks.add(anna.put(0, tree, "--name", "tree").Number, tree)
				b, n := aim(rng, 0), acks.numbers[rng.IntN(len(acks.numbers))]
				args := []string{"undo", "tree"}
				if rng.IntN(3) > 0 {
					args = []string{"rm", "tree", "--version", fmt.Sprint(n)}
				}
				r, hit := b.strike(anna.launch(args...), victim.kill)
				hits.count(hit)
				victim.start()
				if there := anna.listed(); r.code == 0 && args[0] == "rm" && there[n] {
					t.Fatalf("point %d: version %d was removed, and is there: %v", i, n, there)
				}
			}
			hits.report(t)
			for range acks.numbers { // each undoes what was removed last
				if r := anna.run("undo", "tree"); r.code == 4 {
					break
				} else if r.code != 0 {
					t.Fatal(r)
				}
			}
			acks.restorable(anna)
			anna.healthy()
			for _, h := range v[1:] {
				agree(anna, h)
				settled(anna, h)
			}
		})
	}
}
