package economy

import (
	"fmt"
	"math"
	"strings"
)

// Line is what a chart shows: one number for each day from the first.
type Line struct {
	Name   string
	Points []float64
}

// The measures of a chart, in pixels.
const (
	chartWide, chartHigh = 720, 400
	plotLeft, plotTop    = 64, 56
	plotWide, plotHigh   = 470, 284
)

// hues are told apart by those who see few colours (Okabe and Ito), and each line has dashes of its own.
var (
	hues   = [...]string{"#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7"}
	dashes = [...]string{"none", "8 3", "2 3", "12 3 2 3", "5 5"}
)

// Chart draws at most five lines over the days as an SVG, in the colours of the page that shows it, be that light or dark.
func Chart(title, unit string, most float64, lines []Line) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">
<title>%s</title>
<style>
  .page { fill: #fff } .text { fill: #222 } .grid { stroke: #ddd }
  @media (prefers-color-scheme: dark) { .page { fill: #16181c } .text { fill: #ddd } .grid { stroke: #3a3d44 } }
</style>
<rect class="page" width="100%%" height="100%%"/>
<text class="text" x="%d" y="26" font-size="16">%s</text>
`, chartWide, chartHigh, title, plotLeft, title)
	days := 0
	for _, l := range lines {
		days = max(days, len(l.Points))
	}
	x := func(day int) float64 { return plotLeft + plotWide*float64(day-1)/float64(max(days-1, 1)) }
	y := func(v float64) float64 { return plotTop + plotHigh*(1-math.Min(v, most)/most) }
	for i := range 6 {
		v := most * float64(i) / 5
		fmt.Fprintf(&out, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="text" x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			plotLeft, y(v), plotLeft+plotWide, y(v), plotLeft-8, y(v)+4, v)
	}
	for day := 1; day <= days; day++ {
		if day == 1 || day%5 == 0 {
			fmt.Fprintf(&out, `<text class="text" x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(day), plotTop+plotHigh+20, day)
		}
	}
	fmt.Fprintf(&out, `<text class="text" x="%d" y="%d" text-anchor="middle">day</text>`+"\n", plotLeft+plotWide/2, plotTop+plotHigh+42)
	fmt.Fprintf(&out, `<text class="text" transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotTop+plotHigh/2, unit)
	for i, l := range lines {
		stroke := fmt.Sprintf(`fill="none" stroke="%s" stroke-width="2.5" stroke-dasharray="%s"`, hues[i], dashes[i])
		var points []string
		for day, v := range l.Points {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(day+1), y(v)))
		}
		at := plotTop + 10 + 22*i
		fmt.Fprintf(&out, `<polyline %s points="%s"/>`+"\n", stroke, strings.Join(points, " "))
		fmt.Fprintf(&out, `<line %s x1="%d" y1="%d" x2="%d" y2="%d"/><text class="text" x="%d" y="%d">%s</text>`+"\n",
			stroke, plotLeft+plotWide+14, at, plotLeft+plotWide+44, at, plotLeft+plotWide+50, at+4, l.Name)
	}
	out.WriteString("</svg>\n")
	return []byte(out.String())
}
