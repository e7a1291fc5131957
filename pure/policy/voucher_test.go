package policy

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func guest() (core.Ask, Facts) {
	a := ask(2 * gigabyte)
	a.Why.Kind = core.WhyVoucher
	f := roomy()
	f.Partner = "carl"
	f.Via = &Via{Name: "clubhouse", Offered: 20 * gigabyte, Used: 15 * gigabyte, Share: 6 * gigabyte, Until: f.Now + day}
	return a, f
}

func TestVoucher(t *testing.T) {
	r := rules("voucher from clubhouse voucher\nvoucher deny")
	for name, c := range map[string]struct {
		change func(*core.Ask, *Facts)
		want   Decision
	}{
		"within the share": {
			func(*core.Ask, *Facts) {},
			Decision{Grant: true, Policy: "voucher", Reason: "carl; 2 GB left of its share of 6 GB after this, and 3 GB of the grid's 20 GB"},
		},
		"the last byte": {
			func(a *core.Ask, _ *Facts) { a.Amount = 4 * gigabyte },
			Decision{Grant: true, Policy: "voucher", Reason: "carl; 0 B left of its share of 6 GB after this, and 1 GB of the grid's 20 GB"},
		},
		"more than the share": {
			func(a *core.Ask, _ *Facts) { a.Amount = 4*gigabyte + 1 },
			Decision{Policy: "voucher", Reason: "4 GB left of your share of 6 GB; 4.1 GB needed", Counter: most(4 * gigabyte)},
		},
		"the other members have it": {
			func(_ *core.Ask, f *Facts) { f.Via.Used = 19 * gigabyte },
			Decision{Policy: "voucher", Reason: "1 GB left for all members of your grid, of its 20 GB; 2 GB needed", Counter: most(gigabyte)},
		},
		"the pact gives less by now": {
			func(_ *core.Ask, f *Facts) { f.Via.Offered = 9 * gigabyte },
			Decision{Policy: "voucher", Reason: "0 B left for all members of your grid, of its 9 GB; 2 GB needed", Counter: most(0)},
		},
		"it has ended": {
			func(_ *core.Ask, f *Facts) { f.Via.Until = f.Now },
			Decision{Policy: "voucher", Reason: ReasonLapsed},
		},
		"another than was shown": {
			func(a *core.Ask, f *Facts) {
				a.Why.Ref, f.Via.Refs = make([]byte, core.ScoreSize), []core.Score{{1}, {2}}
			},
			Decision{Policy: "voucher", Reason: "you are a guest here, and the ask does not name a voucher that you have shown"},
		},
		"the one that was shown": {
			func(a *core.Ask, f *Facts) {
				a.Why.Ref, f.Via.Refs = make([]byte, core.ScoreSize), []core.Score{{1}, {}}
			},
			Decision{Grant: true, Policy: "voucher", Reason: "carl; 2 GB left of its share of 6 GB after this, and 3 GB of the grid's 20 GB"},
		},
		"of another grid": {
			func(_ *core.Ask, f *Facts) { f.Via.Name, f.Partner = "other", "clubhouse" },
			Decision{Policy: "deny", Reason: "nothing is given here at present"},
		},
		"none was shown": {
			func(_ *core.Ask, f *Facts) { f.Via, f.Partner = nil, "clubhouse" },
			Decision{Policy: "voucher", Reason: "no voucher was shown"},
		},
		"nothing is offered": {
			func(_ *core.Ask, f *Facts) { f.Offered = 0 },
			Decision{Policy: "capacity", Reason: "the voucher gives you nothing; 2 GB needed", Counter: most(0)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, f := guest()
			c.change(&a, &f)
			if got := r.Decide(a, f); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Counter, c.want, c.want.Counter)
			}
		})
	}
}

// Whatever its members ask for, in whatever order: together they never get more than the grid's pact offers,
// nor one of them more than its voucher.
func TestVoucherSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rules("voucher voucher")
		offered := anyNumber.Draw(t, "offered")
		share := rapid.SliceOfN(anyNumber, 1, 6).Draw(t, "shares")
		used, sum := make([]int64, len(share)), int64(0)
		for range 20 {
			i := rapid.IntRange(0, len(share)-1).Draw(t, "member")
			a := anyAsk(t)
			a.Why.Kind = core.WhyVoucher
			f := anyFacts(t)
			f.Used = used[i]
			f.Via = &Via{Offered: offered, Used: sum, Share: share[i], Until: f.Now + 1}
			if checkAnswer(t, r, a, f).Grant {
				used[i] += a.Amount
				sum += a.Amount
			}
			if sum < 0 || sum > max(offered, 0) || used[i] > max(share[i], 0) {
				t.Fatalf("%v of shares %v, %d of %d", used, share, sum, offered)
			}
		}
	})
}
