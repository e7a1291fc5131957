package policy

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func fair() Rules { return rules("pact even") }

func TestEven(t *testing.T) {
	gb := func(n int64) int64 { return n * gigabyte }
	for name, c := range map[string]struct {
		amount int64
		facts  Facts
		want   Decision
	}{
		"as much as was promised, where there is enough": {
			gb(8),
			Facts{Room: gb(20), Offered: gb(10), Used: gb(2), Total: gb(30), Others: []Other{{Offered: gb(10), Used: gb(10), Asks: true}, {Offered: gb(10), Used: 0, Asks: true}}},
			Decision{Grant: true, Policy: "even", Reason: "within anna's even share of 10 GB; 0 B of it left after this"},
		},
		"the share is cut down": {
			gb(7),
			Facts{Room: gb(20), Offered: gb(30), Used: gb(3), Total: gb(30), Others: []Other{{Offered: gb(30), Used: 0, Asks: true}, {Offered: gb(30), Used: 0, Asks: true}}},
			Decision{Grant: true, Policy: "even", Reason: "within anna's even share of 10 GB; 0 B of it left after this"},
		},
		"a small promise leaves more to the others": {
			gb(14),
			Facts{Room: gb(30), Offered: gb(30), Total: gb(30), Others: []Other{{Offered: gb(2), Used: 0, Asks: true}, {Offered: gb(30), Used: 0, Asks: true}}},
			Decision{Grant: true, Policy: "even", Reason: "within anna's even share of 14 GB; 0 B of it left after this"},
		},
		"more than the share, while others ask": {
			gb(8),
			Facts{Room: gb(27), Offered: gb(30), Used: gb(3), Total: gb(30), Others: []Other{{Offered: gb(30), Used: 0, Asks: true}, {Offered: gb(30), Used: 0, Asks: true}}, SecondsMax: 180 * day},
			Decision{Policy: "even", Reason: "your even share is 10 GB, of which you have 3 GB; 7 GB free beside what is kept for others; 8 GB needed", Counter: most(gb(7))},
		},
		"more than the share, which nobody asks for": {
			gb(27),
			Facts{Room: gb(27), Offered: gb(30), Used: gb(3), Total: gb(30), Others: []Other{{Offered: gb(30), Used: 0, Asks: false}, {Offered: gb(30), Used: 0, Asks: false}}},
			Decision{Grant: true, Policy: "even", Reason: "anna has more than its even share of 10 GB; it is lent what nobody asks for"},
		},
		"one asks, one does not": {
			gb(18),
			Facts{Room: gb(27), Offered: gb(30), Used: gb(3), Total: gb(30), Others: []Other{{Offered: gb(30), Used: 0, Asks: true}, {Offered: gb(30), Used: 0, Asks: false}}, SecondsMax: 180 * day},
			Decision{Policy: "even", Reason: "your even share is 10 GB, of which you have 3 GB; 17 GB free beside what is kept for others; 18 GB needed", Counter: most(gb(17))},
		},
		"the share is lent to others, who keep it": {
			gb(2),
			Facts{Room: gb(1), Offered: gb(10), Used: 0, Total: gb(20), Others: []Other{{Offered: gb(30), Used: gb(19), Asks: true}}, SecondsMax: 180 * day},
			Decision{Policy: "capacity", Reason: "1 GB free; ask for at most 1 GB", Counter: most(gb(1))},
		},
		"what there is room for": {
			gb(1),
			Facts{Room: gb(1), Offered: gb(10), Used: 0, Total: gb(20), Others: []Other{{Offered: gb(30), Used: gb(19), Asks: true}}},
			Decision{Grant: true, Policy: "even", Reason: "within anna's even share of 10 GB; 9 GB of it left after this"},
		},
		"beyond the share already": {
			1,
			Facts{Room: gb(10), Offered: gb(30), Used: gb(20), Total: gb(30), Others: []Other{{Offered: gb(30), Used: 0, Asks: true}}, SecondsMax: 180 * day},
			Decision{Policy: "even", Reason: "your even share is 15 GB, of which you have 20 GB; 0 B free beside what is kept for others; 1 B needed", Counter: most(0)},
		},
		"nothing is given in all": {
			1,
			Facts{Room: gb(1), Offered: gb(10), Total: -5, Others: []Other{{Offered: gb(30), Used: 0, Asks: true}}, SecondsMax: 180 * day},
			Decision{Grant: true, Policy: "even", Reason: "anna has more than its even share of 0 B; it is lent what nobody asks for"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.facts.Partner = "anna"
			if got := fair().Decide(ask(c.amount), c.facts); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Counter, c.want, c.want.Counter)
			}
		})
	}
}

// sharesBySorting is what even shares come to, worked out in another way.
func sharesBySorting(facts Facts) []int64 {
	shares := []int64{max(facts.Offered, 0)}
	for _, o := range facts.Others {
		shares = append(shares, max(o.Offered, 0))
	}
	rising := slices.Clone(shares)
	slices.Sort(rising)
	left := max(facts.Total, 0)
	for i, promise := range rising {
		level := left / int64(len(rising)-i)
		if promise <= level {
			left -= promise
			continue
		}
		for j := range shares {
			shares[j] = min(shares[j], level)
		}
		break
	}
	return shares
}

// Whatever the numbers: shares are no more than what was promised and, together, no more than the total; nobody
// gets less than another unless it was promised less; the counter-offer is granted; within its share nobody is
// refused what there is room for; and what is kept for those who ask is not lent.
func TestEvenProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFacts(t)
		shares, sum, kept := sharesBySorting(f), int64(0), int64(0)
		highest := level(f)
		for i, share := range shares {
			promise := f.Offered
			if i > 0 {
				promise = f.Others[i-1].Offered
				if f.Others[i-1].Asks {
					kept = plus(kept, over(share, f.Others[i-1].Used))
				}
			}
			if share != max(min(promise, highest), 0) {
				t.Fatalf("shares %v of %+v, level %d", shares, f, highest)
			}
			if sum += share; sum < 0 || sum > max(f.Total, 0) && slices.Max(shares) == highest {
				t.Fatalf("shares %v of %d in all", shares, f.Total)
			}
		}
		if c := (even{}).crowd(f, Unit{}); c.Share != shares[0] || c.Kept != kept {
			t.Fatalf("%+v, want %d and %d", c, shares[0], kept)
		}
		checkSharing(t, fair(), f, shares[0], kept)
	})
}

// What is offered in place of too much is no more than the policy grants, also where the pact or the
// disk is what sets the bound.
func TestEvenCounterIsGranted(t *testing.T) {
	f := Facts{Partner: "anna", Room: 1, Offered: 2, Used: 1, Total: 2, Others: []Other{{Offered: 1, Asks: true}}}
	d := fair().Decide(ask(2), f)
	if d.Grant || d.Counter == nil || d.Counter.Amount != 0 {
		t.Errorf("%+v, counter %+v: want nothing to be offered", d, d.Counter)
	}
}
