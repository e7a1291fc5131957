package grange_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

const potatoes grange.Resource = "potatoes"

// farm is a household that gives each partner 10 kg of potatoes, of 15 in all, for 5 steps of computing.
func (w *world) farm(eaters ...*machine) *machine {
	w.t.Helper()
	farm := w.machine("farm")
	farm.create()
	farm.stop()
	farm.settings("[resources]\npotatoes = \"kg\"\n[offer]\npotatoes = 15\n")
	farm.open()
	farm.run()
	for _, m := range eaters {
		m.stop()
		m.settings("[resources]\npotatoes = \"kg\"\n[offer]\ncompute = 5\n")
		m.open()
		m.run()
		w.befriendOn(farm, m, grange.Terms{
			Give: 1e9, Want: 1e9, GiveOf: map[string]int64{"potatoes": 10}, WantOf: map[string]int64{"compute": 5},
		})
	}
	return farm
}

func (m *machine) settings(text string) {
	m.w.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, "config.toml"), []byte(text), 0o600); err != nil {
		m.w.t.Fatal(err)
	}
}

// flow is what a machine's ledger has of a resource with another household.
func (m *machine) flow(with *machine, r grange.Resource) grange.Flow {
	m.w.t.Helper()
	for _, f := range m.booksOn(with).Flows {
		if f.Resource == r {
			return f
		}
	}
	m.w.t.Fatalf("%s has no %s in its ledger about %s", m.name, r, with.name)
	return grange.Flow{}
}

// One household asks another for potatoes, has some, and signs for them: both ledgers say so, and each answer is replayed.
func TestSimPotatoes(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t, ctx := w.t, w.t.Context()
		anna, bo := w.found("anna"), w.found("bo")
		farm := w.farm(anna, bo)
		got, err := anna.Ask(ctx, "farm", grange.AskOptions{Resource: potatoes, Amount: 8})
		if err != nil || got.Amount != 8 || got.Unit != "kg" || got.Partner != farm.house || got.Machine != farm.did || time.Until(got.Until) != grange.DefaultAsk || len(got.ID) != 16 {
			t.Fatalf("%+v, %v", got, err)
		}
		for who, want := range map[*machine]int64{anna: 2, bo: 7} { // what the pact gives, and what there is
			_, err := who.Ask(ctx, farm.house.String(), grange.AskOptions{Resource: potatoes, Amount: 9, For: time.Hour})
			denial, ok := errors.AsType[*grange.Denial](err)
			if !ok || denial.Counter == nil || denial.Counter.Amount != want {
				t.Errorf("%s asks for 9: %v", who.name, err)
			}
		}
		for total := uint64(3); total <= 9; total += 3 {
			had, err := anna.Had(ctx, "farm", potatoes, 3)
			if err != nil || had.Total != total || had.Waits || had.Unit != "kg" {
				t.Errorf("signed for 3 more: %+v, %v", had, err)
			}
		}
		if f := anna.flow(farm, potatoes); f.Gives != 10 || f.Has != 9 || f.Given != 0 || len(f.Allowed) != 1 || f.Allowed[0].Drawn != 8 || len(f.Had) != 1 || f.Had[0].Signed != 9 || f.Had[0].Waits {
			t.Errorf("anna's ledger: %+v", f)
		}
		if f := farm.flow(anna, potatoes); f.Given != 10 || f.Used != 9 || f.Gives != 0 || len(f.Granted) != 1 || f.Granted[0].Drawn != 8 || len(f.Gave) != 1 || f.Gave[0].Signed != 9 || f.Gave[0].Machine != anna.did {
			t.Errorf("the farm's ledger: %+v", f)
		}
		if _, err := farm.Ask(ctx, "anna", grange.AskOptions{Resource: core.Compute, Amount: 5}); err != nil {
			t.Error(err)
		}
		decisions := farm.booksOn(anna).Decisions
		if len(decisions) != 2 || decisions[0].Policy != "capacity" || decisions[1].Policy != "open" || decisions[1].Resource != potatoes || decisions[1].Unit != "kg" {
			t.Fatalf("%+v", decisions)
		}
		for _, d := range decisions {
			if d, err := farm.Decision(ctx, d.ID); err != nil || !d.Replay.Same {
				t.Errorf("replayed: %+v, %v", d.Replay, err)
			}
		}
		farm.restart()
		anna.restart()
		w.later(31 * 24 * time.Hour)
		if f := farm.flow(anna, potatoes); f.Used != 0 || len(f.Granted) != 0 || f.Gave[0].Signed != 9 {
			t.Errorf("a month later: %+v", f)
		}
		if f := anna.flow(farm, potatoes); f.Has != 0 || len(f.Allowed) != 0 || f.Had[0].Signed != 9 {
			t.Errorf("a month later: %+v", f)
		}
	})
}

// What is signed for while the other side is away waits for it.
func TestAReceiptWaits(t *testing.T) {
	bubble(t, func(w *world) {
		t, ctx := w.t, w.t.Context()
		anna := w.found("anna")
		farm := w.farm(anna)
		farm.stop()
		for total := uint64(2); total <= 4; total += 2 {
			had, err := anna.Had(ctx, "farm", potatoes, 2)
			if !errors.Is(err, grange.ErrUnreachable) || !had.Waits || had.Total != total {
				t.Errorf("%+v, %v", had, err)
			}
		}
		if f := anna.flow(farm, potatoes); !f.Had[0].Waits || f.Had[0].Signed != 4 || f.Has != 0 {
			t.Errorf("anna's ledger: %+v", f)
		}
		farm.open()
		farm.run()
		w.later(time.Hour)
		if f := farm.flow(anna, potatoes); f.Used != 4 || f.Gave[0].Signed != 4 || f.Gave[0].Receipts != 1 {
			t.Errorf("the farm's ledger: %+v", f)
		}
		if f := anna.flow(farm, potatoes); f.Had[0].Waits || f.Has != 4 {
			t.Errorf("anna's ledger: %+v", f)
		}
	})
}

// What makes no sense is refused before anybody is asked; storage is given back at once.
func TestAsksThatMakeNoSense(t *testing.T) {
	bubble(t, func(w *world) {
		t, ctx := w.t, w.t.Context()
		anna := w.found("anna")
		farm := w.farm(anna)
		for _, o := range []grange.AskOptions{
			{Resource: "moon", Amount: 1},
			{Resource: potatoes},
			{Resource: potatoes, Amount: -1},
			{Resource: potatoes, Amount: 1, For: -time.Hour},
			{Resource: potatoes, Amount: 1, Why: grange.WhyKind(strings.Repeat("y", 65))},
		} {
			if _, err := anna.Ask(ctx, "farm", o); !errors.Is(err, grange.ErrInvalid) {
				t.Errorf("%+v: %v", o, err)
			}
		}
		_, err := anna.Ask(ctx, "nobody", grange.AskOptions{Resource: potatoes, Amount: 1})
		_, err2 := anna.Had(ctx, "nobody", potatoes, 1)
		if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err2, fs.ErrNotExist) {
			t.Errorf("%v, %v", err, err2)
		}
		for _, c := range []struct {
			r grange.Resource
			n int64
		}{{core.Storage, 1}, {"moon", 1}, {potatoes, 0}, {potatoes, -1}, {potatoes, 1<<53 + 1}} {
			if had, err := anna.Had(ctx, "farm", c.r, c.n); had.Waits || !errors.Is(err, grange.ErrInvalid) {
				t.Errorf("signed for %d of %s: %v", c.n, c.r, err)
			}
		}
		got, err := anna.Ask(ctx, "farm", grange.AskOptions{Resource: core.Storage, Amount: 5e8})
		if err != nil || !got.Until.IsZero() {
			t.Errorf("storage: %+v, %v", got, err)
		}
		if _, used := farm.Offer(ctx); used != 0 {
			t.Errorf("%d bytes are promised still", used)
		}
		if _, err := anna.Ask(ctx, "farm", grange.AskOptions{Resource: core.Storage, Amount: 2e9}); !errors.Is(err, grange.ErrRefused) {
			t.Errorf("too much storage: %v", err)
		}
		if _, err := anna.Ask(ctx, "farm", grange.AskOptions{Resource: potatoes, Amount: 1, Why: "friendship"}); err == nil || !strings.Contains(err.Error(), `reason "friendship" is not accepted here; accepted: account, none, pact, voucher`) {
			t.Errorf("an unknown why: %v", err)
		}
		if _, err := anna.Ask(ctx, "farm", grange.AskOptions{Resource: potatoes, Amount: 1, For: 31 * 24 * time.Hour}); !errors.Is(err, grange.ErrRefused) {
			t.Errorf("for too long: %v", err)
		}
	})
}
