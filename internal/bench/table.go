package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// sample is one measurement.
type sample struct {
	took   time.Duration
	memory int64
}

// row is what all rivals took for one thing.
type row struct {
	what    string
	bytes   int64
	samples map[string][]sample
}

type table struct {
	rows   []*row
	rivals []string // in the order in which they came
}

func (t *table) add(what string, bytes int64, rival string, s sample) {
	if !slices.Contains(t.rivals, rival) {
		t.rivals = append(t.rivals, rival)
	}
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.what == what })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{what: what, bytes: bytes, samples: map[string][]sample{}})
	}
	t.rows[i].samples[rival] = append(t.rows[i].samples[rival], s)
}

// median returns the sample in the middle by time, with the most memory of all.
func median(samples []sample) sample {
	s := slices.Clone(samples)
	slices.SortFunc(s, func(a, b sample) int { return int(a.took - b.took) })
	out := s[len(s)/2]
	for _, one := range s {
		out.memory = max(out.memory, one.memory)
	}
	return out
}

// print writes a line for each row and rival: how long, how fast, how often the first rival's time, and memory.
func (t *table) print(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "what\twho\ttime\trate\tgrange takes\tmemory")
	for _, r := range t.rows {
		ours := median(r.samples[t.rivals[0]])
		for i, rival := range t.rivals {
			if len(r.samples[rival]) == 0 {
				continue
			}
			s := median(r.samples[rival])
			what, rate, ratio, memory := "", "", "", ""
			if i == 0 {
				what = r.what
			} else {
				ratio = fmt.Sprintf("%.2f × that", ours.took.Seconds()/s.took.Seconds())
			}
			if r.bytes > 0 {
				rate = fmt.Sprintf("%.0f MB/s", float64(r.bytes)/1e6/s.took.Seconds())
			}
			if s.memory > 0 {
				memory = fmt.Sprintf("%d MiB", s.memory>>20)
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", what, rival, short(s.took), rate, ratio, memory)
		}
	}
	out.Flush()
	fmt.Fprintln(w, "Memory: grange's is above its idle agent's; that of others is all they take.")
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
