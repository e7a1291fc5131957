package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/grange-grid/grange"
)

// progress shows how far long work has come: a bar on a terminal, lines of JSON
// with --json, nothing elsewhere.
type progress struct {
	a     *app
	begun time.Time
	drawn time.Time
	stage string
	bar   bool // there is one on the screen
}

// drawEvery is how often a bar is drawn.
const drawEvery = 100 * time.Millisecond

func (a *app) progress() *progress { return &progress{a: a, begun: a.now()} }

func (p *progress) tell(now grange.Progress) {
	switch {
	case p.a.quiet:
	case p.a.json:
		_, _ = p.a.err.Write(encode(map[string]grange.Progress{"progress": now}))
	case p.a.errTerminal:
		t := p.a.now()
		if t.Sub(p.drawn) < drawEvery && now.Stage == p.stage {
			return
		}
		p.drawn, p.stage, p.bar = t, now.Stage, true
		fmt.Fprintf(p.a.err, "\r\x1b[K%s", bar(now, t.Sub(p.begun)))
	}
}

// end wipes the bar away.
func (p *progress) end() {
	if p.bar {
		fmt.Fprint(p.a.err, "\r\x1b[K")
		p.bar = false
	}
}

// barCells is how wide a bar is.
const barCells = 18

// bar returns "[############------]  62%  1.1 GB  2.4 MB/s  readable in 5 min", as far as is known.
func bar(p grange.Progress, elapsed time.Duration) string {
	var parts []string
	if p.Of > 0 {
		done := min(max(p.Bytes, 0), p.Of)
		part := float64(done) / float64(p.Of)
		cells := int(part * barCells)
		parts = append(parts, fmt.Sprintf("[%s%s]  %2d%%", strings.Repeat("#", cells), strings.Repeat("-", barCells-cells), int(part*100)))
	}
	if p.Bytes > 0 {
		parts = append(parts, amount(p.Bytes))
		if elapsed >= time.Second {
			parts = append(parts, amount(int64(float64(p.Bytes)/elapsed.Seconds()))+"/s")
		}
	}
	stage := clean(p.Stage)
	if d, ok := remaining(p, elapsed); ok && p.Stage == "storing" {
		stage = "readable in " + estimate(d)
	}
	return strings.Join(append(parts, stage), "  ")
}

// remaining says how long the rest takes if it goes on as it has gone so far, once that can be told.
func remaining(p grange.Progress, elapsed time.Duration) (time.Duration, bool) {
	if p.Of <= 0 || p.Bytes <= 0 || elapsed < time.Second {
		return 0, false
	}
	return time.Duration(float64(elapsed) * float64(max(0, p.Of-p.Bytes)) / float64(p.Bytes)), true
}

// estimate returns a time that is only about so long, rounded up: "5 min".
func estimate(d time.Duration) string {
	if d > time.Minute {
		d += time.Minute - 1
	}
	return age(d)
}
