package policy

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func give(text string) Rules { return rules("pact reciprocal " + text) }

func TestReciprocal(t *testing.T) {
	gb := func(n int64) int64 { return n * gigabyte }
	old := int64(365 * day)
	for name, c := range map[string]struct {
		amount  int64
		quality core.Quality
		rules   Rules
		facts   Facts
		want    Decision
	}{
		"as much as it gives, and a quarter more": {
			gb(3), core.Normal, give(""),
			Facts{Room: gb(20), Total: gb(50), Offered: gb(40), Used: gb(7), Gives: gb(8), Age: old},
			Decision{Grant: true, Policy: "reciprocal", Reason: "within the 10 GB that anna has earned here; 0 B of it left after this"},
		},
		"a newcomer": {
			gb(1) / 2, core.Normal, give(""),
			Facts{Room: gb(20), Total: gb(25), Offered: gb(40), Others: []Other{{Offered: gb(49), Gives: gb(50), Asks: true, Age: old}}},
			Decision{Grant: true, Policy: "reciprocal", Reason: "within the 0.5 GB that anna has earned here (of 1 GB: all have earned more than there is); 0 B of it left after this"},
		},
		"the allowance shrinks": {
			gb(1), core.Normal, give("slack=0%"),
			Facts{Room: gb(50), Total: gb(50), Offered: gb(40), Age: 15 * day, Others: []Other{{Offered: gb(49) + gb(1)/2, Gives: gb(50), Asks: true, Age: old}}, SecondsMax: 180 * day},
			Decision{
				Policy: "reciprocal", Reason: "you give 0 B, which is good for 0.5 GB here, of which you have 0 B; 0.5 GB free beside what is kept for others; 1 GB needed",
				Counter: most(gb(1) / 2),
			},
		},
		"what it has lost does not count": {
			gb(5), core.Normal, give("slack=0% newcomer=0"),
			Facts{Room: gb(10), Total: gb(50), Offered: gb(40), Gives: gb(8), Missing: gb(6), Others: []Other{{Offered: gb(50), Gives: gb(9), Asks: true}}, SecondsMax: 180 * day},
			Decision{
				Policy: "reciprocal", Reason: "you give 8 GB, and have lost 6 GB of it, which is good for 2 GB here, of which you have 0 B; 2 GB free beside what is kept for others; 5 GB needed",
				Counter: most(gb(2)),
			},
		},
		"what nobody asks for is lent": {
			gb(9), core.Normal, give(""),
			Facts{Room: gb(10), Total: gb(50), Offered: gb(40), Age: old, Others: []Other{{Offered: gb(50), Gives: gb(40), Age: old}}},
			Decision{Grant: true, Policy: "reciprocal", Reason: "anna has earned 0 B here; it is lent what nobody else asks for"},
		},
		"a free rider gets the rest": {
			gb(3), core.Normal, give("slack=0%"),
			Facts{Room: gb(10), Total: gb(50), Offered: gb(40), Age: old, Others: []Other{{Offered: gb(12), Gives: gb(12), Used: gb(4), Age: old, Asks: true}}, SecondsMax: 180 * day},
			Decision{
				Policy: "reciprocal", Reason: "you give 0 B, which is good for 0 B here, of which you have 0 B; 2 GB free beside what is kept for others; 3 GB needed",
				Counter: most(gb(2)),
			},
		},
		"a free rider gets nothing of what those who give want": {
			gb(3), core.Normal, give("slack=0%"),
			Facts{Room: gb(10), Total: gb(50), Offered: gb(40), Age: old, Others: []Other{{Offered: gb(50), Gives: gb(12), Used: gb(40), Age: old, Asks: true}}, SecondsMax: 180 * day},
			Decision{
				Policy: "reciprocal", Reason: "you give 0 B, which is good for 0 B here, of which you have 0 B; 0 B free beside what is kept for others; 3 GB needed",
				Counter: most(0),
			},
		},
		"what is left over is lent in proportion": {
			gb(5), core.Normal, give("slack=0%"),
			Facts{Room: gb(20), Total: gb(60), Offered: gb(40), Used: gb(10), Gives: gb(10), Age: old, Others: []Other{{Offered: gb(50), Gives: gb(30), Used: gb(30), Age: old, Asks: true}}},
			Decision{Grant: true, Policy: "reciprocal", Reason: "anna has earned 10 GB here; it is lent what nobody else asks for"},
		},
		"in proportion, where there is too little": {
			gb(5), core.Normal, give("slack=0%"),
			Facts{Room: gb(20), Total: gb(30), Offered: gb(40), Used: gb(5), Gives: gb(20), Age: old, Others: []Other{{Offered: gb(40), Gives: gb(40), Age: old, Asks: true}}},
			Decision{Grant: true, Policy: "reciprocal", Reason: "within the 10 GB that anna has earned here (of 20 GB: all have earned more than there is); 0 B of it left after this"},
		},
		"idle displaces nobody": {
			gb(2), core.Idle, give("slack=0%"),
			Facts{Room: gb(4), Total: gb(50), Offered: gb(40), Gives: gb(20), Age: old, Others: []Other{{Offered: gb(3), Gives: gb(3), Age: old, Asks: true}}, SecondsMax: 180 * day},
			Decision{
				Policy: "reciprocal", Reason: "you give 20 GB, which is good for 20 GB here, of which you have 0 B; 1 GB free beside what is kept for others; 2 GB needed",
				Counter: most(gb(1)),
			},
		},
		"when busy nothing is lent": {
			gb(2), core.Prompt, give(""),
			Facts{Room: gb(4), Total: gb(50), Offered: gb(40), Age: old, Busy: 30},
			Decision{Policy: "reciprocal", Reason: "busy; ask again in 30 seconds", Retry: 30},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(c.amount)
			a.Quality = c.quality
			c.facts.Partner = "anna"
			if name == "a newcomer" {
				a.Amount = rules("pact reciprocal").All()[0].Policy.(reciprocal).crowd(c.facts, Unit{}).Share
			}
			if got := c.rules.Decide(a, c.facts); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Counter, c.want, c.want.Counter)
			}
		})
	}
}

// Of what is not counted in bytes a newcomer gets only what the line says.
func TestReciprocalPotatoes(t *testing.T) {
	kg := Unit{"potatoes", "kg"}
	for text, want := range map[string]int64{
		"pact reciprocal": 0, "pact reciprocal newcomer=5GB": 0, "pact potatoes reciprocal": 0, "pact potatoes reciprocal newcomer=5": 5,
		"pact storage reciprocal newcomer=5GB\npact potatoes reciprocal newcomer=7": 7,
	} {
		a := ask(1)
		a.Resource = "potatoes"
		rule, ok := rules(text).Rule(a, Facts{})
		if got := rule.Policy.(reciprocal).limit(Other{Offered: 100}, kg, math.MaxInt64); !ok || got != want {
			t.Errorf("%q: %d kg, want %d", text, got, want)
		}
	}
}

// Whatever the numbers: what everybody has earned comes, cut down, to no more than there is; it is in proportion;
// and a partner that gives nothing gets only what nobody else could claim.
func TestReciprocalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := reciprocal{
			newcomer: rapid.SampledFrom([]int64{0, gigabyte, math.MaxInt64}).Draw(t, "newcomer"), patience: rapid.Int64Range(0, daysMax).Draw(t, "patience"),
			slack: rapid.Int64Range(0, percentMax).Draw(t, "slack"),
		}
		f, unit := anyFacts(t), Unit{}
		all := append([]Other{f.asker()}, f.Others...)
		most := math.MaxInt64 / int64(len(all))
		sum, limits := int64(0), int64(0)
		var mine Crowd
		for i := range all {
			g := f
			g.Offered, g.Used, g.Gives, g.Missing, g.Age = all[i].Offered, all[i].Used, all[i].Gives, all[i].Missing, all[i].Age
			g.Others = append(append([]Other{}, all[:i]...), all[i+1:]...)
			c := p.crowd(g, unit)
			limit := p.limit(all[i], unit, most)
			if limit < 0 || c.Share < 0 || c.Share > limit || c.Kept < 0 || c.Kept > c.Claimed {
				t.Fatalf("%+v of %d", c, limit)
			}
			promised := int64(0)
			for _, o := range g.Others {
				if o.Asks {
					promised = plus(promised, over(o.Offered, o.Used))
				}
			}
			if c.Claimed > promised {
				t.Fatalf("%+v, where the others were promised %d more", c, promised)
			}
			if i == 0 {
				mine = c
			}
			sum += c.Share
			limits += limit
		}
		if sum < 0 || sum > max(f.Total, 0) && limits > max(f.Total, 0) || limits <= f.Total && sum != limits {
			t.Fatalf("shares of %d, claims to %d, of %d in all", sum, limits, f.Total)
		}
		r := Rules{table(), []Rule{{Why: core.WhyPact, Policy: p}}}
		checkSharing(t, r, f, mine.Share, mine.Kept)
		f.Gives, f.Age = 0, math.MaxInt64
		a := anyAsk(t)
		if d := r.Decide(a, f); d.Grant && a.Amount > over(f.Room, p.crowd(f, unitOf(a)).Claimed) {
			t.Fatalf("a free rider is granted %d of %d: %+v", a.Amount, f.Room, d)
		}
	})
}

func unitOf(a core.Ask) Unit {
	u, _ := table().unit(a.Resource)
	return u
}

func TestTimes(t *testing.T) {
	for _, c := range [][4]int64{
		{0, 5, 3, 0},
		{7, 2, 3, 4},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{math.MaxInt64, 2, 1, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 1, math.MaxInt64},
	} {
		if got := times(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%d·%d/%d is %d, want %d", c[0], c[1], c[2], got, c[3])
		}
	}
}
