package pact

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// Limits of Terms.
const (
	// AmountMax bounds each amount of a resource: 2^53, so that it is exact in every
	// language that reads it.
	AmountMax = 1 << 53
	// ResourcesMax is the most resources that a side can give.
	ResourcesMax = 16
	// NameSizeMax is the most bytes of a resource's or a policy's name.
	NameSizeMax = 32
	// UnitSizeMax is the most bytes of a unit's name.
	UnitSizeMax = 16
	// DaysMax bounds every number of days: ten years.
	DaysMax = 3650
)

// Defaults of Terms.
const (
	NoticeDays = 30
	AsideDays  = 14
	LeaseDays  = 180
)

// Terms are what each side gives, and how.
type Terms struct {
	// InviterGives and AcceptorGives are amounts in each resource's unit, 0 to AmountMax.
	InviterGives  map[core.Resource]int64 `json:"inviter_gives"`
	AcceptorGives map[core.Resource]int64 `json:"acceptor_gives"`
	// InviterPolicy and AcceptorPolicy name the policy by which a side decides on the other's asks.
	InviterPolicy  string `json:"inviter_policy"`
	AcceptorPolicy string `json:"acceptor_policy"`
	// NoticeDays is how long leases may outlive the pact, AsideDays how long what is
	// released is kept all the same, LeaseDays the longest lease: 1 to DaysMax each.
	NoticeDays uint `json:"notice_days"`
	AsideDays  uint `json:"aside_days"`
	LeaseDays  uint `json:"lease_days"`
	// Days is for how long the pact is made; 0 leaves the end open.
	Days uint `json:"days,omitempty"`
	// Units are what resources that a side gives are counted in, but for those whose unit is fixed (HasUnit); one
	// that is not there is counted in nobody knows what.
	Units map[core.Resource]string `json:"units,omitempty"`
}

// HasUnit tells whether a resource's unit is the same for all.
func HasUnit(r core.Resource) bool {
	switch r {
	case core.Storage, core.Network, core.Compute, core.Content, core.Work:
		return true
	}
	return false
}

// WithDefaults returns t with the defaults in the place of zero days and empty policies.
func (t Terms) WithDefaults() Terms {
	for _, p := range []*string{&t.InviterPolicy, &t.AcceptorPolicy} {
		if *p == "" {
			*p = policy.NameOpen
		}
	}
	if t.NoticeDays == 0 {
		t.NoticeDays = NoticeDays
	}
	if t.AsideDays == 0 {
		t.AsideDays = AsideDays
	}
	if t.LeaseDays == 0 {
		t.LeaseDays = LeaseDays
	}
	return t
}

// Check returns what is wrong with t, as core.ErrInvalid. A policy or a resource that is
// not known here is not wrong: both are open sets.
func (t Terms) Check() error {
	if err := checkGives("inviter", t.InviterGives); err != nil {
		return err
	}
	if err := checkGives("acceptor", t.AcceptorGives); err != nil {
		return err
	}
	for _, r := range slices.Sorted(maps.Keys(t.Units)) {
		_, ours := t.InviterGives[r]
		_, theirs := t.AcceptorGives[r]
		if !ours && !theirs || HasUnit(r) || !IsUnit(t.Units[r]) {
			return fmt.Errorf("%w: %.40q is counted in %.40q", core.ErrInvalid, r, t.Units[r])
		}
	}
	for _, p := range []string{t.InviterPolicy, t.AcceptorPolicy} {
		if !isName(p) {
			return fmt.Errorf("%w: policy %.40q", core.ErrInvalid, p)
		}
	}
	if t.NoticeDays > DaysMax {
		return fmt.Errorf("%w: %d days of notice, at most %d", core.ErrInvalid, t.NoticeDays, DaysMax)
	}
	for _, d := range []struct {
		name string
		days uint
	}{{"notice_days", t.NoticeDays}, {"aside_days", t.AsideDays}, {"lease_days", t.LeaseDays}} {
		if d.days < 1 || d.days > DaysMax {
			return fmt.Errorf("%w: %s is %d, want 1 to %d", core.ErrInvalid, d.name, d.days, DaysMax)
		}
	}
	if t.Days > DaysMax {
		return fmt.Errorf("%w: for %d days, at most %d", core.ErrInvalid, t.Days, DaysMax)
	}
	return nil
}

// Equal tells whether two terms say the same.
func (t Terms) Equal(u Terms) bool {
	return maps.Equal(t.InviterGives, u.InviterGives) && maps.Equal(t.AcceptorGives, u.AcceptorGives) &&
		t.InviterPolicy == u.InviterPolicy && t.AcceptorPolicy == u.AcceptorPolicy &&
		t.NoticeDays == u.NoticeDays && t.AsideDays == u.AsideDays && t.LeaseDays == u.LeaseDays && t.Days == u.Days &&
		maps.Equal(t.Units, u.Units)
}

func checkGives(side string, gives map[core.Resource]int64) error {
	if len(gives) > ResourcesMax {
		return fmt.Errorf("%w: %s gives %d resources, at most %d", core.ErrInvalid, side, len(gives), ResourcesMax)
	}
	for _, r := range slices.Sorted(maps.Keys(gives)) {
		if !isName(string(r)) {
			return fmt.Errorf("%w: %s gives %.40q", core.ErrInvalid, side, r)
		}
		if amount := gives[r]; amount < 0 || amount > AmountMax {
			return fmt.Errorf("%w: %s gives %d of %s, want 0 to %d", core.ErrInvalid, side, amount, r, int64(AmountMax))
		}
	}
	return nil
}

// IsUnit tells whether s can be the name of a unit: printable, of 1 to UnitSizeMax bytes, without white space at either end.
func IsUnit(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && isPrintable(s, UnitSizeMax)
}

// isName tells whether s can name a resource or a policy: such names are shown on
// terminals and typed on command lines, so they are plain.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= NameSizeMax
}
