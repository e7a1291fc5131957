package economy

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

var update = flag.Bool("update", false, "draw docs/economy-*.svg anew")

const (
	many = 50
	days = 30
	// settled is from which day on what was lent before there was too little has come back: a lease and what it is kept for after.
	settled = 16
)

// live tells the story of a month.
func live(t *testing.T, seed uint64, mix Mix, recalls bool) *World {
	t.Helper()
	w, err := New(seed, mix)
	if err != nil {
		t.Fatal(err)
	}
	w.Recalls = recalls
	for range days {
		w.Step()
	}
	return w
}

func had(d Day) []int64   { return d.Had }
func given(d Day) []int64 { return d.Given }

// worlds is how many are simulated: one for each 20 lives of the other simulations.
func worlds(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("GRANGE_SIM_SEEDS")
	switch {
	case text == "" && testing.Short():
		return 1
	case text == "":
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GRANGE_SIM_SEEDS is %q, which is no number of seeds", text)
	}
	return uint64(max(n/20, 3))
}

// In each of the worlds, of whatever mix: who cooperates has what it gives, within a tenth: nine in ten of them in all worlds together, three in
// four in each, gifts not counted. Nobody honest loses what was kept; who was away for a week is served as those who were not; a liar's
// standing falls, and it is served less, but not expelled. Where there is too little a free rider gets at most a twentieth of what those
// have who cooperate, in the mean of all worlds, and in none a sixth.
func TestSimEconomy(t *testing.T) {
	n := worlds(t)
	var rider, lent, away float64
	outside, all := 0, 0
	for seed := range n {
		mix := MixOf(many, rand.New(rand.NewPCG(seed, 2)))
		w := live(t, seed, mix, true)
		t.Logf("seed %d, %v: a free rider %.3f, a liar %.3f, away %.3f; %d given up", seed, mix, w.Service(Selfish, settled, days),
			w.Service(Lying, settled, days), w.Service(Away, settled, days), w.GivenUp)
		checkScarce(t, w)
		out, of := checkFair(t, w)
		outside, all = outside+out, all+of
		checkBalances(t, w)
		checkLiars(t, w)
		if w.Lost > 0 {
			t.Errorf("seed %d: honest households had lost segments on %d evenings", seed, w.Lost)
		}
		served := w.Service(Selfish, settled, days)
		if served > 1.0/6 {
			t.Errorf("seed %d: a free rider gets %.3f of what those get who cooperate", seed, served)
		}
		back := w.Mean(Away, had)[days-1] / w.Mean(Fair, had)[days-1]
		if back < 0.8 {
			t.Errorf("seed %d: who was away has %.2f of what others have", seed, back)
		}
		rider, away = rider+served/float64(n), away+back/float64(n)
		lent += live(t, seed, mix, false).Service(Selfish, settled, days) / float64(n)
	}
	t.Logf("a free rider gets %.3f, and %.3f where leases are renewed whatever the policy says; who was away %.2f", rider, lent, away)
	t.Logf("%d of %d who cooperate gave a tenth more or less than they had", outside, all)
	if outside > all/10 {
		t.Errorf("%d of %d who cooperate gave a tenth more or less than they had", outside, all)
	}
	if rider > 0.05 {
		t.Errorf("a free rider gets %.3f of what those get who cooperate", rider)
	}
	if away < 0.9 {
		t.Errorf("who was away for a week has %.3f of what others have", away)
	}
}

// checkScarce sees to it that there is too little of it all.
func checkScarce(t *testing.T, w *World) {
	t.Helper()
	for _, d := range w.Days[settled-1:] {
		if d.Wanted <= d.Offered || d.Scarce[Fair].Pacts == 0 {
			t.Fatalf("%d wanted of %d: nothing is scarce", d.Wanted, d.Offered)
		}
	}
}

// checkFair returns how many of those who cooperate gave a tenth more or less than they had, and how many there are.
func checkFair(t *testing.T, w *World) (outside, all int) {
	t.Helper()
	var ratios []float64
	for i, h := range w.households {
		if h.kind.cooperates() {
			given, had := w.traded(i)
			ratios = append(ratios, float64(given)/float64(had))
		}
	}
	slices.Sort(ratios)
	for _, r := range ratios {
		if r < 0.9 || r > 1.1 {
			outside++
		}
	}
	median := ratios[len(ratios)/2]
	t.Logf("given to had: %.2f at least, %.2f the median, %.2f at most; %d of %d outside a tenth", ratios[0], median, ratios[len(ratios)-1], outside, len(ratios))
	if median < 0.95 || median > 1.05 || outside > len(ratios)/4 {
		t.Errorf("given to had: median %.2f, %d of %d outside a tenth: %.2f", median, outside, len(ratios), ratios)
	}
	return outside, len(ratios)
}

// checkBalances holds the owners' books, which count pieces, against the holders', which count what comes and goes.
func checkBalances(t *testing.T, w *World) {
	t.Helper()
	for a := range w.households {
		for b := range a {
			if sum := w.balance(a, b) + w.balance(b, a); sum != 0 {
				t.Fatalf("households %d and %d: balances come to %d", a, b, sum)
			}
		}
	}
}

func checkLiars(t *testing.T, w *World) {
	t.Helper()
	mean := map[Kind]int64{}
	for i, h := range w.households {
		mean[h.kind] += w.standing(i) / int64(w.mix[h.kind])
		served := int64(0)
		for _, d := range w.Days[settled-1:] {
			served += d.Had[i]
		}
		if h.kind == Lying && served == 0 {
			t.Errorf("liar %d gets nothing at all", i)
		}
	}
	if mean[Lying] > mean[Fair]/4 {
		t.Errorf("a liar's standing is %d, a fair household's %d", mean[Lying], mean[Fair])
	}
	if served := w.Service(Lying, settled, days); served > 0.5 {
		t.Errorf("a liar gets %.3f of what those get who cooperate", served)
	}
}

// The curves in docs are those of four worlds, in the mean.
func TestSimEconomyCharts(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long: make sim draws them")
	}
	mix := Mix{Fair: 32, Away: 5, Generous: 4, Selfish: 5, Lying: 4}
	var gave, have, served []Line
	for k := range kinds {
		gave, have = append(gave, Line{k.String(), make([]float64, days)}), append(have, Line{k.String(), make([]float64, days)})
	}
	for _, name := range []string{"away for a week", "selfish", "lying", "selfish, no recall", "lying, no recall"} {
		served = append(served, Line{name, make([]float64, days)})
	}
	const n = 4
	for seed := range uint64(n) {
		w, lax := live(t, seed, mix, true), live(t, seed, mix, false)
		for k := range kinds {
			g, h := w.Mean(k, given), w.Mean(k, had)
			for day := range days {
				gave[k].Points[day] += g[day] / n / gigabyte
				have[k].Points[day] += h[day] / n / gigabyte
			}
		}
		for day := range days {
			for i, v := range []float64{
				w.Service(Away, day+1, day+1), w.Service(Selfish, day+1, day+1), w.Service(Lying, day+1, day+1),
				lax.Service(Selfish, day+1, day+1), lax.Service(Lying, day+1, day+1),
			} {
				served[i].Points[day] += 100 * v / n
			}
		}
	}
	for name, svg := range map[string][]byte{
		"given":   Chart("Given: what a household keeps for others", "GB, mean of its kind", 120, gave),
		"had":     Chart("Had: what others keep for a household", "GB, mean of its kind", 120, have),
		"service": Chart("Service where there is too little", "per cent of what a fair household has there", 150, served),
	} {
		path := filepath.Join("..", "..", "docs", "economy-"+name+".svg")
		if *update {
			if err := os.WriteFile(path, svg, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if was, err := os.ReadFile(path); err != nil || !bytes.Equal(was, svg) {
			t.Errorf("%s is not what is drawn now (%v): make economy", path, err)
		}
	}
}
