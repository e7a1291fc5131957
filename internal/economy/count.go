package economy

// Day is what was on the evening of one.
type Day struct {
	// Given is how many bytes each household keeps for others under leases and was not found to have lost, Had what others so keep for it.
	Given, Had []int64
	// Wanted and Offered are of all together, what liars offer not counted.
	Wanted, Offered int64
	// Scarce is by kind what they have with those who refused something to one that cooperates on that day, and whose rule is reciprocal:
	// who is served how where there is too little.
	Scarce [kinds]Served
}

// Served is how many bytes lie under so many pacts.
type Served struct{ Bytes, Pacts int64 }

// count writes down what is on the evening of a day.
func (w *World) count() {
	n := len(w.households)
	d := Day{Given: make([]int64, n), Had: make([]int64, n)}
	for i := range w.households {
		h := &w.households[i]
		if h.kind != Lying {
			d.Offered += h.offer
		}
		d.Wanted += int64(h.want) * pieceSize
		for _, p := range h.partners {
			b := &w.books[i][p]
			b.given += b.held
			if w.refused[i] && h.kind.cooperates() {
				to := &d.Scarce[w.households[p].kind]
				to.Bytes += b.held
				to.Pacts++
			}
		}
		for _, s := range h.segments {
			if s.kept && h.kind.honest() && s.there() < needed {
				w.Lost++
			}
			for _, p := range s.pieces {
				if p.until <= w.day {
					continue
				}
				w.books[i][p.holder].had += pieceSize
				if !p.missing {
					d.Had[i] += pieceSize
					d.Given[p.holder] += pieceSize
				}
			}
		}
	}
	w.Days = append(w.Days, d)
}

// Mean returns for each day what a household of a kind has of something, in bytes.
func (w *World) Mean(k Kind, of func(Day) []int64) []float64 {
	var out []float64
	for _, d := range w.Days {
		sum, n := 0.0, 0.0
		for i, amount := range of(d) {
			if w.households[i].kind == k {
				sum, n = sum+float64(amount), n+1
			}
		}
		out = append(out, sum/max(n, 1))
	}
	return out
}

// Service returns what a kind is served where there is too little, in proportion to what those are who give as they get, over
// the days from one to another, both included.
func (w *World) Service(k Kind, from, to int) float64 {
	var mine, fair Served
	for _, d := range w.Days[from-1 : to] {
		mine.Bytes, mine.Pacts = mine.Bytes+d.Scarce[k].Bytes, mine.Pacts+d.Scarce[k].Pacts
		fair.Bytes, fair.Pacts = fair.Bytes+d.Scarce[Fair].Bytes, fair.Pacts+d.Scarce[Fair].Pacts
	}
	if mine.Pacts == 0 || fair.Bytes == 0 {
		return 0
	}
	return float64(mine.Bytes) / float64(mine.Pacts) / float64(fair.Bytes) * float64(fair.Pacts)
}

// standing is what a household has earned by the books of those who barter: what it gives less what it has lost, in bytes.
func (w *World) standing(i int) (sum int64) {
	for _, p := range w.households[i].partners {
		if w.households[p].kind.cooperates() {
			o := w.other(i, p)
			sum += max(0, o.Gives-o.Missing)
		}
	}
	return sum
}

// traded is what a household gave and had by its own books in byte-days, but for what it has with the generous, who take
// less than they give because they want to.
func (w *World) traded(i int) (given, had int64) {
	for _, p := range w.households[i].partners {
		if w.households[p].kind != Generous {
			given, had = given+w.books[i][p].given, had+w.books[i][p].had
		}
	}
	return given, had
}

// balance is what one household has given another less what it had of it, in byte-days, by its own books.
func (w *World) balance(a, b int) int64 { return w.books[a][b].given - w.books[a][b].had }
