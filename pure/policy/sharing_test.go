package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

var anyNumber = rapid.OneOf(rapid.Int64(), rapid.Int64Range(-10, 10), rapid.Int64Range(0, 20*gigabyte))

// anyFacts are of a partner and a few others, with whatever numbers.
func anyFacts(t *rapid.T) Facts {
	number := func(what string) int64 { return anyNumber.Draw(t, what) }
	f := Facts{
		Partner: "anna", Room: number("room"), Offered: number("offered"), Used: number("used"), Total: number("total"), SecondsMax: number("longest"),
		Gives: number("gives"), Missing: number("missing"), Age: number("age"), Busy: rapid.SampledFrom([]int64{0, 0, -1, 60}).Draw(t, "busy"),
	}
	for range rapid.SampledFrom([]int{0, 1, 2, 5, OthersMax + 1}).Draw(t, "others") {
		f.Others = append(f.Others, Other{
			Offered: number("offered"), Used: number("used"), Asks: rapid.Bool().Draw(t, "asks"), Gives: number("gives"), Missing: number("missing"), Age: number("age"),
		})
	}
	return f
}

func anyAsk(t *rapid.T) core.Ask {
	a := ask(anyNumber.Draw(t, "amount"))
	a.Quality = rapid.SampledFrom(qualities).Draw(t, "quality")
	a.Resource = rapid.SampledFrom([]core.Resource{core.Storage, core.Storage, "potatoes"}).Draw(t, "resource")
	return a
}

// checkSharing asks rules that share for something, of which share is the asker's, and kept is kept for others.
func checkSharing(t *rapid.T, r Rules, f Facts, share, kept int64) {
	a := anyAsk(t)
	d := checkAnswer(t, r, a, f)
	if a.Amount <= 0 || f.SecondsMax > 0 && f.SecondsMax < a.Seconds || f.Busy > 0 && a.Quality != core.Prompt {
		return
	}
	room := a.Amount <= min(max(f.Room, 0), left(f))
	within := room && a.Quality != core.Idle && a.Amount <= over(share, f.Used)
	switch {
	case within && !d.Grant:
		t.Fatalf("refused within the share: %+v", d)
	case d.Grant && !within && a.Amount > over(f.Room, kept):
		t.Fatalf("%d granted of %d, of which %d are kept for others", a.Amount, f.Room, kept)
	case d.Grant && !within && f.Busy > 0:
		t.Fatal("something is lent while there is more to do than can be done")
	}
}

// checkAnswer returns the answer to an ask, which holds what every answer does: there is one line of reason; a grant is within what
// there is; the counter-offer is granted; and the answer is the same again, from fewer facts and from the rules as they are written down.
func checkAnswer(t *rapid.T, r Rules, a core.Ask, f Facts) Decision {
	d := r.Decide(a, f)
	if d.Reason == "" || d.Policy == "" || strings.ContainsAny(d.Reason, "\n\r") || d.Retry < 0 {
		t.Fatalf("%+v", d)
	}
	if d.Grant && (a.Amount <= 0 || a.Amount > f.Room || a.Amount > left(f) || d.Counter != nil || d.Denial() != nil) {
		t.Fatalf("%+v is granted with %+v", a, f)
	}
	if d.Counter != nil {
		if d.Counter.Amount < 0 || d.Counter.Seconds < 0 {
			t.Fatalf("%+v", d.Counter)
		}
		less := a
		less.Amount = d.Counter.Amount
		if d.Counter.Seconds > 0 {
			less.Seconds = min(less.Seconds, d.Counter.Seconds)
		}
		if again := r.Decide(less, f); less.Amount > 0 && !again.Grant {
			t.Fatalf("the counter-offer %+v is refused: %s", d.Counter, again.Reason)
		}
	}
	if again := r.Decide(a, f); !again.Equal(d) {
		t.Fatalf("%+v and then %+v", d, again)
	}
	small := r.Weigh(a, f)
	if (len(f.Others) > OthersMax) != (small.Crowd != nil) || len(small.Others) > OthersMax || !r.Tells(a, small) {
		t.Fatalf("%d others are %d others, %+v", len(f.Others), len(small.Others), small.Crowd)
	}
	if again := rules(r.String()).Decide(a, small); !again.Equal(d) {
		t.Fatalf("%+v, and from what is written down %+v", d, again)
	}
	return d
}

// A Crowd that stands for others is one policy's alone.
func TestCrowd(t *testing.T) {
	f := roomy()
	f.Others = make([]Other, OthersMax+1)
	a := ask(1)
	small := fair().Weigh(a, f)
	if small.Crowd.By != "even" || small.Crowd.Of != OthersMax+1 || !fair().Tells(a, small) || !friends().Tells(a, small) || rules("pact reciprocal").Tells(a, small) {
		t.Errorf("%+v", small.Crowd)
	}
	small = friends().Weigh(a, f)
	if small.Crowd.By != "" || fair().Tells(a, small) || !friends().Tells(a, small) {
		t.Errorf("%+v", small.Crowd)
	}
	if !fair().Tells(a, f) || rules("pact reciprocal").Tells(a, rules("pact reciprocal slack=1%").Weigh(a, f)) {
		t.Error("what can be told")
	}
	f.Others = f.Others[1:]
	if same := fair().Weigh(a, f); same.Crowd != nil || len(same.Others) != OthersMax {
		t.Errorf("%+v", same)
	}
}

// crowded is a household with a thousand partners, of all kinds.
func crowded() Facts {
	f := roomy()
	f.Offered, f.Total, f.Gives = 100*gigabyte, 20_000*gigabyte, 9*gigabyte
	for i := range int64(1_000) {
		f.Others = append(f.Others, Other{
			Offered: (1 + i*i%97) * gigabyte, Used: i * 31 % 50 * gigabyte, Asks: i%3 == 0, Gives: i * 17 % 90 * gigabyte, Missing: i % 2, Age: i * day / 10,
		})
	}
	return f
}

func BenchmarkDecide(b *testing.B) {
	steep := crowded() // each promise is twice the one before: the level rises often
	steep.Total = 1 << 60
	for i := range steep.Others {
		steep.Others[i].Offered = 1 << (i % 62)
	}
	a := ask(gigabyte)
	for _, bench := range []struct {
		name, rules string
		facts       Facts
	}{
		{"open", "pact open", crowded()},
		{"even", "pact even", crowded()},
		{"even-steep", "pact even", steep},
		{"reciprocal", "pact reciprocal", crowded()},
		{"voucher", "voucher voucher\npact open", crowded()},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := rules(bench.rules)
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				f := r.Weigh(a, bench.facts)
				if d := r.Decide(a, f); d.Policy == "why" {
					b.Fatal(d.Reason)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}
