package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func ask(amount int64) core.Ask {
	return core.Ask{Resource: core.Storage, Amount: amount, Seconds: 180 * day, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact}}
}

func roomy() Facts {
	return Facts{Now: 1_800_000_000, Room: 50 * gigabyte, Total: 50 * gigabyte, Offered: 10 * gigabyte, Used: 2 * gigabyte, SecondsMax: 180 * day, Partner: "anna"}
}

// table is as package grange composes it, with potatoes.
func table() Table {
	return Table{
		Whys: map[core.WhyKind]string{core.WhyNone: "Those who give no reason", core.WhyPact: "Partners", core.WhyAccount: "Holders of an account", core.WhyVoucher: "Members of a partner that is a grid"},
		Policies: map[string]func(*Options) Policy{
			"open": Open, "deny": Deny, "even": Even, "reciprocal": Reciprocal, "account": ForAccounts, "voucher": Voucher,
		},
		Resources: map[core.Resource]string{core.Storage: "", core.Network: "", core.Compute: "steps", "potatoes": "kg"},
	}
}

func rules(text string) Rules {
	r, err := table().Parse(text)
	if err != nil {
		panic(err)
	}
	return r
}

func friends() Rules { return rules("pact open") }

func most(amount int64) *core.Counter { return &core.Counter{Amount: amount, Seconds: 180 * day} }

var decisions = []struct {
	name  string
	rules Rules
	ask   func(*core.Ask)
	facts func(*Facts)
	want  Decision
}{
	{
		"a friend", friends(), nil, nil,
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 7.6 GB left of 10 GB after this"},
	},
	{
		"exactly what is left", friends(), func(a *core.Ask) { a.Amount = 8 * gigabyte }, nil,
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 0 B left of 10 GB after this"},
	},
	{
		"the pact is nearly used up", friends(), nil, func(f *Facts) { f.Used = 9_900 * megabyte },
		Decision{Policy: "capacity", Reason: "0.1 GB left of your 10 GB; 0.4 GB needed", Counter: most(100 * megabyte)},
	},
	{
		"more is used than is offered now", friends(), nil, func(f *Facts) { f.Used = 11 * gigabyte },
		Decision{Policy: "capacity", Reason: "0 B left of your 10 GB; 0.4 GB needed", Counter: most(0)},
	},
	{
		"one byte too many", friends(), func(a *core.Ask) { a.Amount = 8*gigabyte + 1 }, nil,
		Decision{Policy: "capacity", Reason: "8 GB left of your 10 GB; 8.1 GB needed", Counter: most(8 * gigabyte)},
	},
	{
		"the pact offers nothing", friends(), nil, func(f *Facts) { f.Offered = 0 },
		Decision{Policy: "capacity", Reason: "the pact gives you nothing; 0.4 GB needed", Counter: most(0)},
	},
	{
		"the disk is nearly full", friends(), func(a *core.Ask) { a.Amount = 5 * gigabyte }, func(f *Facts) { f.Room = 4 * gigabyte },
		Decision{Policy: "capacity", Reason: "4 GB free; ask for at most 4 GB", Counter: most(4 * gigabyte)},
	},
	{
		"the disk is nearer than the pact", friends(), func(a *core.Ask) { a.Amount = 9 * gigabyte }, func(f *Facts) { f.Room = 4*gigabyte + 99*megabyte },
		Decision{Policy: "capacity", Reason: "4 GB free; ask for at most 4 GB", Counter: most(4*gigabyte + 99*megabyte)},
	},
	{
		"the disk is as near as the pact", friends(), func(a *core.Ask) { a.Amount = 9 * gigabyte }, func(f *Facts) { f.Room = 8 * gigabyte },
		Decision{Policy: "capacity", Reason: "8 GB left of your 10 GB; 9 GB needed", Counter: most(8 * gigabyte)},
	},
	{
		"the disk is full", friends(), nil, func(f *Facts) { f.Room = -1 },
		Decision{Policy: "capacity", Reason: "no room here now; 0.4 GB needed", Counter: most(0)},
	},
	{
		"too long", friends(), func(a *core.Ask) { a.Seconds = 180*day + 1 }, nil,
		Decision{Policy: "capacity", Reason: "180 days is the longest now; 181 days asked for", Counter: most(400 * megabyte)},
	},
	{
		"no bound on how long", friends(), func(a *core.Ask) { a.Seconds = 1 << 50 }, func(f *Facts) { f.SecondsMax = 0 },
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 7.6 GB left of 10 GB after this"},
	},
	{
		"capacity comes before policy", rules("pact deny"), nil, func(f *Facts) { f.Room = 0 },
		Decision{Policy: "capacity", Reason: "no room here now; 0.4 GB needed", Counter: most(0)},
	},
	{
		"denied", rules("pact deny"), nil, nil,
		Decision{Policy: "deny", Reason: "nothing is given here at present"},
	},
	{
		"no why", friends(), func(a *core.Ask) { a.Why = core.Why{Kind: core.WhyNone} }, nil,
		Decision{Policy: "why", Reason: "no reason was given; one is needed: pact"},
	},
	{
		"no why, but none is needed", rules("none open"), func(a *core.Ask) { a.Why = core.Why{Kind: core.WhyNone} }, nil,
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 7.6 GB left of 10 GB after this"},
	},
	{
		"unknown why", rules("none deny\npact open"),
		func(a *core.Ask) { a.Why.Kind = "voucher\x1b[2J" }, nil,
		Decision{Policy: "why", Reason: `reason "voucher\x1b[2J" is not accepted here; accepted: none, pact`},
	},
	{
		"no rules", rules("# none\n"), nil, nil,
		Decision{Policy: "why", Reason: "no reason is good enough here at present"},
	},
	{
		"nothing asked for", friends(), func(a *core.Ask) { a.Amount = 0 }, nil,
		Decision{Policy: "form", Reason: "an ask for 0 bytes; it must be for 1 at least"},
	},
	{
		"less than nothing", friends(), func(a *core.Ask) { a.Amount = -1 << 63 }, nil,
		Decision{Policy: "form", Reason: "an ask for -9223372036854775808 bytes; it must be for 1 at least"},
	},
	{
		"for no time", friends(), func(a *core.Ask) { a.Seconds = 0 }, nil,
		Decision{Policy: "form", Reason: "an ask for 0 seconds; it must be for 1 at least"},
	},
	{
		"unknown resource", friends(), func(a *core.Ask) { a.Resource = "comfort" }, nil,
		Decision{Policy: "form", Reason: `"comfort" is not given here; compute, network, potatoes and storage are`},
	},
	{
		"unknown quality", friends(), func(a *core.Ask) { a.Quality = "now!" }, nil,
		Decision{Policy: "form", Reason: `quality "now!" is not understood here; idle, normal and prompt are`},
	},
	{
		"the books stand against it: notice was given", friends(), func(a *core.Ask) { a.Amount = 0 }, func(f *Facts) { f.Ends, f.Overdue = 1_800_000_000, true },
		Decision{Policy: "pact", Reason: "the pact ends on 2027-01-15"},
	},
	{
		"another pact", friends(), func(a *core.Ask) { a.Why.Ref = []byte{1} }, func(f *Facts) { f.Pact = core.Score{1} },
		Decision{Policy: "pact", Reason: "the pact that the ask names is not ours"},
	},
	{
		"the right pact", friends(), func(a *core.Ask) { a.Why.Ref = make([]byte, 32); a.Why.Ref[0] = 1 }, func(f *Facts) { f.Pact = core.Score{1} },
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 7.6 GB left of 10 GB after this"},
	},
	{
		"a receipt is overdue", friends(), nil, func(f *Facts) { f.Overdue = true },
		Decision{Policy: "receipt", Reason: "receipt overdue"},
	},
	{
		"busy", friends(), nil, func(f *Facts) { f.Busy, f.Room = 121, 0 },
		Decision{Policy: "busy", Reason: "busy; ask again in 3 minutes", Retry: 121},
	},
	{
		"busy, but it is urgent", friends(), func(a *core.Ask) { a.Quality = core.Prompt }, func(f *Facts) { f.Busy = 120 },
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 7.6 GB left of 10 GB after this"},
	},
	{
		"another machine of ours",
		Rules{table: table()},
		nil, func(f *Facts) { f.Home = true },
		Decision{Grant: true, Policy: "own", Reason: "a machine of this household; 49 GB left of what this one gives after this"},
	},
	{
		"potatoes", rules("pact open"), func(a *core.Ask) { a.Resource, a.Amount = "potatoes", 8 }, func(f *Facts) { f.Room, f.Offered, f.Used = 5_000, 1_234, 0 },
		Decision{Grant: true, Policy: "open", Reason: "anna is a friend; 1,226 kg of potatoes left of 1,234 kg of potatoes after this"},
	},
	{
		"too many potatoes", rules("pact open"), func(a *core.Ask) { a.Resource, a.Amount = "potatoes", 12 }, func(f *Facts) { f.Room, f.Offered, f.Used = 5_000, 20, 9 },
		Decision{Policy: "capacity", Reason: "11 kg of potatoes left of your 20 kg of potatoes; 12 kg of potatoes needed", Counter: most(11)},
	},
	{
		"no potatoes", rules("pact open"), func(a *core.Ask) { a.Resource, a.Amount = "potatoes", 0 }, nil,
		Decision{Policy: "form", Reason: "an ask for 0 kg; it must be for 1 at least"},
	},
	{
		"a reason of one's own", rules(`pact deny reason="on holiday until May"`), nil, nil,
		Decision{Policy: "deny", Reason: "on holiday until May"},
	},
	{
		"nothing fits", rules("pact prompt open"), nil, nil,
		Decision{Policy: "why", Reason: "nothing is said here of asks for storage of quality normal, reason pact"},
	},
}

func TestDecide(t *testing.T) {
	for _, test := range decisions {
		t.Run(test.name, func(t *testing.T) {
			a, f := ask(400*megabyte), roomy()
			if test.ask != nil {
				test.ask(&a)
			}
			if test.facts != nil {
				test.facts(&f)
			}
			if got := test.rules.Decide(a, f); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Counter, test.want, test.want.Counter)
			}
		})
	}
}

// Whatever the numbers: a grant is within both bounds, a denial has a reason,
// and asking again for what the counter-offer says is granted.
func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-10, 10), rapid.Int64Range(0, 20*gigabyte))
		a := ask(number.Draw(t, "amount"))
		a.Seconds = number.Draw(t, "seconds")
		f := Facts{Room: number.Draw(t, "room"), Offered: number.Draw(t, "offered"), Used: number.Draw(t, "used"), SecondsMax: number.Draw(t, "longest")}
		d := friends().Decide(a, f)
		if d.Reason == "" || d.Policy == "" || strings.ContainsAny(d.Reason, "\n\r") {
			t.Fatalf("%+v", d)
		}
		if d.Grant {
			if a.Amount <= 0 || a.Seconds <= 0 || a.Amount > f.Room || a.Amount > f.Offered || f.Used > 0 && a.Amount > f.Offered-f.Used {
				t.Fatalf("%+v granted with %+v", a, f)
			}
			if d.Denial() != nil {
				t.Fatal("a grant is a denial")
			}
			return
		}
		if !errors.Is(d.Denial(), core.ErrRefused) || d.Denial().Reason != d.Reason || d.Denial().Counter != d.Counter {
			t.Fatalf("%+v", d.Denial())
		}
		if d.Counter != nil && d.Counter.Amount > 0 {
			a.Amount = d.Counter.Amount
			if d.Counter.Seconds > 0 {
				a.Seconds = min(a.Seconds, d.Counter.Seconds)
			}
			if again := friends().Decide(a, f); !again.Grant {
				t.Fatalf("the counter-offer %+v is refused: %s", d.Counter, again.Reason)
			}
		}
	})
}
