package accounts

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

// usageWorld has anna, with an account, and two storage servers.
func usageWorld(t *testing.T) *world {
	w := newWorld(t)
	w.plan()
	w.list(one.DID(), two.DID())
	w.must(w.s.Add("anna", "open", newCustomer(t, "anna").grid()))
	return w
}

func (w *world) reported(as core.DID, taken uint64, fault string, reports ...identity.Signed) {
	w.t.Helper()
	out, err := w.report(as, reports...)
	if err != nil || out.Taken != taken {
		w.t.Errorf("%d taken, want %d: %v", out.Taken, taken, err)
	}
	if fault == "" && len(out.Faults) > 0 || fault != "" && (len(out.Faults) == 0 || !strings.Contains(out.Faults[0].Message, fault)) {
		w.t.Errorf("faults %+v, want %q", out.Faults, fault)
	}
}

func (w *world) uses(want int64) {
	w.t.Helper()
	if got := w.standing(one.DID(), "anna").Used; got != want {
		w.t.Errorf("anna uses %d, want %d", got, want)
	}
}

func TestUsageAddsUp(t *testing.T) {
	w := usageWorld(t)
	w.reported(one.DID(), 1, "", w.usage(one, "anna", 1, 3*gb, 0))
	w.reported(two.DID(), 1, "", w.usage(two, "anna", 7, 4*gb, 12))
	w.uses(7 * gb)
	w.reported(one.DID(), 1, "", w.usage(one, "anna", 2, 1*gb, 5))
	w.uses(5 * gb)
	w.reported(one.DID(), 2, "", w.usage(one, "anna", 3, 2*gb, 6), w.usage(one, "anna", 4, 8*gb, 7)) // two in one request
	w.uses(12 * gb)
	a, err := w.s.Show("anna")
	if err != nil || a.Used != 12*gb || len(a.At) != 2 || a.State != StateGood {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = w.s.SetHolder(two.DID(), false)
	w.must(err)
	w.uses(8 * gb)
	w.list(two.DID())
	w.open()
	if got, err := w.s.Show("anna"); err != nil || got.Used != 12*gb {
		t.Errorf("listed again, from the books: %+v, %v", got, err)
	}
}

func TestReportsThatAreNotTaken(t *testing.T) {
	w := usageWorld(t)
	first := w.usage(one, "anna", 5, gb, 100)
	w.reported(one.DID(), 1, "", first)
	w.reported(one.DID(), 1, "", first) // a retry
	elsewhere, err := account.SignUsage(one, account.Usage{Server: two.DID(), Account: "anna", Seq: 6, Time: w.now()})
	w.must(err)
	ahead, err := account.SignUsage(one, account.Usage{Server: w.key.DID(), Account: "anna", Seq: 6, Total: 100, Time: w.now() + account.SkewMax + 1})
	w.must(err)
	broken := w.usage(one, "anna", 6, 2*gb, 100)
	broken.Sig[0] ^= 1
	for name, c := range map[string]struct {
		report identity.Signed
		fault  string
	}{
		"an older one":            {w.usage(one, "anna", 4, 0, 100), "report 4 comes after report 5"},
		"a total that falls":      {w.usage(one, "anna", 6, 0, 99), "a total below that of report 5"},
		"another's":               {w.usage(two, "anna", 6, 0, 100), "signed by another than the caller"},
		"for another server":      {elsewhere, "for another account server"},
		"of tomorrow":             {ahead, "over a day ahead"},
		"of an unknown account":   {w.usage(one, "bo", 1, 0, 0), "account bo is not here"},
		"with a broken signature": {broken, "corrupt"},
	} {
		t.Run(name, func(t *testing.T) { w.reported(one.DID(), 0, c.fault, c.report) })
	}
	w.uses(gb)
	// What is right beside them is taken.
	w.reported(one.DID(), 1, "account bo", w.usage(one, "bo", 1, 0, 0), w.usage(one, "anna", 6, 2*gb, 100))
	w.uses(2 * gb)
	if _, err := w.report(one.DID()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("no reports: %v", err)
	}
}

func TestEquivocationIsKeptAndShown(t *testing.T) {
	w := usageWorld(t)
	taken, other := w.usage(one, "anna", 5, gb, 100), w.usage(one, "anna", 5, 0, 100)
	w.reported(one.DID(), 1, "another report with this number was taken", taken, other)
	w.reported(one.DID(), 0, "another report with this number was taken", w.usage(one, "anna", 5, 7, 100))
	w.uses(gb)
	w.reported(one.DID(), 1, "", w.usage(one, "anna", 6, 2*gb, 100))
	w.open()
	a, err := w.s.Show("anna")
	if err != nil || len(a.At) != 1 || a.At[0].Rival == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	for name, c := range map[string][2]identity.Signed{"taken": {*a.At[0].Taken, taken}, "other": {*a.At[0].Rival, other}} {
		if !bytes.Equal(c[0].Body, c[1].Body) {
			t.Errorf("%s: other evidence", name)
		}
		if _, err := account.OpenUsage(c[0]); err != nil {
			t.Errorf("%s proves nothing: %v", name, err)
		}
	}
	holders, err := w.s.StorageServers()
	if err != nil || len(holders) != 2 {
		t.Fatal(holders, err)
	}
	for _, h := range holders {
		if (len(h.Rivals) == 1) != (h.Agent == one.DID()) {
			t.Errorf("%+v", h)
		}
	}
}
