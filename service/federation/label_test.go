package federation

import (
	"strings"
	"testing"

	"github.com/grange-grid/grange/pure/charter"
)

func TestLabels(t *testing.T) {
	long := strings.Repeat("h", charter.NameSizeMax)
	for _, c := range []struct{ machine, household, text, back string }{
		{"", "anna", "anna", ""},
		{"laptop", "anna", "laptop @ anna", "laptop"},
		{"laptop", long, long, ""},
		{strings.Repeat("é", 40), "anna", strings.Repeat("é", 28) + " @ anna", strings.Repeat("é", 28)},
		{"a @ b", "anna", "anna", ""},
		{"bad\x1b", "anna", "anna", ""},
		{"  ", "anna", "anna", ""},
		{"", "anna @ home", "- @ anna @ home", ""},
		{"pi", "anna @ home", "pi @ anna @ home", "pi"},
	} {
		got := label(c.machine, c.household)
		if got != c.text || len(got) > charter.NameSizeMax {
			t.Errorf("%q of %q: %q, want %q", c.machine, c.household, got, c.text)
		}
		if machine, household := parseLabel(got); machine != c.back || household != c.household {
			t.Errorf("%q is read as %q of %q", got, machine, household)
		}
	}
}
