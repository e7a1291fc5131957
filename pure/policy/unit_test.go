package policy_test

import (
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// One is said as one of the units that everybody knows; what others are called is a person's word.
func TestUnitText(t *testing.T) {
	for _, c := range []struct {
		unit policy.Unit
		n    int64
		want string
	}{
		{policy.Unit{Resource: core.Work, Name: "units"}, 1, "1 unit of work"},
		{policy.Unit{Resource: core.Work, Name: "units"}, 0, "0 units of work"},
		{policy.Unit{Resource: core.Compute, Name: "steps"}, 1, "1 step of compute"},
		{policy.Unit{Resource: core.Compute, Name: "steps"}, 1_000, "1,000 steps of compute"},
		{policy.Unit{Resource: core.Content, Name: "collections"}, 1, "1 collection of content"},
		{policy.Unit{Resource: "potatoes", Name: "kg"}, 1, "1 kg of potatoes"},
		{policy.Unit{Resource: "jam", Name: "glas"}, 1, "1 glas of jam"},
		{policy.Unit{Resource: core.Network}, 1, "1 B"},
	} {
		if got := c.unit.Text(c.n); got != c.want {
			t.Errorf("%d of %+v: %q, want %q", c.n, c.unit, got, c.want)
		}
	}
}
