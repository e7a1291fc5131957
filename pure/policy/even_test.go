package policy

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func fair() Table { return Table{ByWhy: map[core.WhyKind]Policy{core.WhyPact: Even}} }

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

// Whatever the numbers: shares are no more than what was promised and, together, no more than the total; nobody
// gets less than another unless it was promised less; the counter-offer is granted; within its share nobody is
// refused what there is room for; and what is kept for those who ask is not lent.
func TestEvenProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-10, 10), rapid.Int64Range(0, 20*gigabyte))
		f := Facts{Partner: "anna", Room: number.Draw(t, "room"), Offered: number.Draw(t, "offered"), Used: number.Draw(t, "used"), Total: number.Draw(t, "total")}
		for range rapid.IntRange(0, 5).Draw(t, "others") {
			f.Others = append(f.Others, Other{Offered: number.Draw(t, "offered"), Used: number.Draw(t, "used"), Asks: rapid.Bool().Draw(t, "asks")})
		}
		shares, sum, kept := fairShare(f), int64(0), int64(0)
		level := slices.Max(shares)
		for i, share := range shares {
			promise := f.Offered
			if i > 0 {
				promise = f.Others[i-1].Offered
				if f.Others[i-1].Asks {
					kept += max(share-max(f.Others[i-1].Used, 0), 0)
				}
			}
			if share != max(min(promise, level), 0) {
				t.Fatalf("shares %v of %+v", shares, f)
			}
			if sum += share; sum < 0 || sum > max(f.Total, 0) {
				t.Fatalf("shares %v of %d in all", shares, f.Total)
			}
		}
		a := ask(number.Draw(t, "amount"))
		d := fair().Decide(a, f)
		if d.Reason == "" || d.Policy == "" || strings.ContainsAny(d.Reason, "\n\r") {
			t.Fatalf("%+v", d)
		}
		within := a.Amount > 0 && a.Amount <= f.Room && a.Amount <= shares[0]-max(f.Used, 0)
		switch {
		case within && !d.Grant:
			t.Fatalf("refused within the share: %+v", d)
		case d.Grant && !within && a.Amount > f.Room-kept:
			t.Fatalf("%d granted of %d, of which %d are kept for others", a.Amount, f.Room, kept)
		case !d.Grant && d.Counter != nil && d.Counter.Amount > 0:
			a.Amount = d.Counter.Amount
			if again := fair().Decide(a, f); !again.Grant {
				t.Fatalf("the counter-offer %+v is refused: %s", d.Counter, again.Reason)
			}
		}
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
