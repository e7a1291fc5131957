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

// writePolicy has a person write the file policy.
func (m *machine) writePolicy(text string) {
	m.w.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, "policy"), []byte(text), 0o600); err != nil {
		m.w.t.Fatal(err)
	}
}

// policy is who is answered how, by the file as it is.
func (m *machine) policy() grange.Policy {
	m.w.t.Helper()
	p, err := m.Policy(m.w.t.Context())
	if err != nil {
		m.w.t.Fatal(err)
	}
	return p
}

func ruleTexts(rules []grange.PolicyRule) string {
	var out []string
	for _, r := range rules {
		out = append(out, r.Rule)
	}
	return strings.Join(out, "; ")
}

// The file policy answers partners from when it is read on, an error in it changes nothing, and each
// answer is replayed by the rules that stood then.
func TestPolicyFile(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		anna, bo := w.found("anna"), w.found("bo")
		const standard = "pact open; voucher voucher; account account; none deny"
		if p := bo.policy(); !p.Default || ruleTexts(p.Rules) != standard || p.Fault != nil || !strings.HasPrefix(p.Text, "# Who is answered how") {
			t.Errorf("by default: %+v", p)
		}
		anna.run()
		bo.run()
		w.befriend(bo, anna)
		bo.writePolicy("pact from anna deny reason=\"on holiday\" # until May\npact open\n")
		if p := bo.policy(); p.Default || ruleTexts(p.Rules) != `pact from anna deny reason="on holiday"; pact open` ||
			p.Rules[0].Words != "Partners, only anna, get nothing, and are told: on holiday." || !strings.Contains(p.Text, "until May") {
			t.Errorf("%+v", p)
		}
		if _, err := anna.Put(t.Context(), "docs", randomTree(1, 20_000).fs(), nil); !errors.Is(err, grange.ErrRefused) && !errors.Is(err, grange.ErrPartly) {
			t.Errorf("stored where nothing is given: %v", err)
		}
		first := bo.ledger(anna).Decisions[0]
		if first.Granted || first.Policy != "deny" || first.Reason != "on holiday" || first.Replay != nil {
			t.Errorf("%+v", first)
		}

		// What would have been answered otherwise.
		trial, err := bo.TryPolicy(t.Context(), "pact even")
		if err != nil || trial.Tried == 0 || trial.Untold != 0 || len(trial.Changed) != trial.Tried || trial.Changed[0].Granted || !trial.Changed[0].Now.Granted || trial.Changed[0].Now.Policy != "even" {
			t.Errorf("%+v, %v", trial, err)
		}
		if trial, err := bo.TryPolicy(t.Context(), `pact deny reason="in May"`); err != nil || len(trial.Changed) != 0 || trial.Tried == 0 {
			t.Errorf("%+v, %v", trial, err)
		}

		// An error: what was in force stays so, also over a restart.
		bo.writePolicy("pact open\npact opn\n")
		for range 2 {
			p := bo.policy()
			if p.Fault == nil || p.Fault.Line != 2 || p.Fault.Text != `no policy "opn"` || !strings.HasPrefix(p.Fault.Hint, "policies are account, ") || len(p.Rules) != 2 || p.Rules[1].Rule != "pact open" {
				t.Errorf("%+v", p)
			}
			status, err := bo.Status(t.Context(), "")
			if want := filepath.Join(bo.dir, "policy") + `:2: no policy "opn"`; err != nil || status.Policy != want {
				t.Errorf("status says %q, want %q", status.Policy, want)
			}
			if faults, texts := bo.faults(); !strings.Contains(faults, grange.FaultPolicy) || !strings.Contains(texts, "the 2 rules from before are in force") {
				t.Errorf("the doctor finds %s: %s", faults, texts)
			}
			bo.restart()
		}

		// Put in force by a program.
		if _, err := bo.SetPolicy(t.Context(), "pact from anna even\nany x"); err == nil || err.Error() != `policy:2: no policy "x"` || !errors.Is(err, grange.ErrInvalid) {
			t.Errorf("%v", err)
		}
		events := make(chan grange.Event, 100)
		go func() {
			for e := range bo.Events(t.Context()) {
				events <- e
			}
			close(events)
		}()
		w.later(time.Minute)
		p, err := bo.SetPolicy(t.Context(), "pact from anna even # as of today\n")
		if err != nil || p.Fault != nil || ruleTexts(p.Rules) != "pact from anna even" || p.Since.After(time.Now()) {
			t.Errorf("%+v, %v", p, err)
		}
		if raw, err := os.ReadFile(filepath.Join(bo.dir, "policy")); err != nil || string(raw) != "pact from anna even # as of today\n" {
			t.Errorf("the file: %q, %v", raw, err)
		}
		anna.put("docs", randomTree(1, 20_000))
		last := bo.ledger(anna).Decisions[0]
		if !last.Granted || last.Policy != "even" || last.Resource != core.Storage || last.Unit != "" || last.Why != core.WhyPact {
			t.Errorf("%+v", last)
		}
		bo.stop()
		for e := range events {
			if e.Kind == "policy" && e.Text == "a new policy is in force" {
				last.Machine = core.DID{} // it was told
			}
		}
		if !last.Machine.IsZero() {
			t.Error("nobody was told of the new policy")
		}

		// Each is replayed by its own rules.
		bo.writePolicy("")
		bo.open()
		if p := bo.policy(); len(p.Rules) != 0 || p.Default {
			t.Errorf("%+v", p)
		}
		for id, rule := range map[uint64]string{first.ID: `pact from anna deny reason="on holiday"`, last.ID: "pact from anna even"} {
			d, err := bo.Decision(t.Context(), id)
			if r := d.Replay; err != nil || r == nil || !r.Kept || !r.Same || r.Rule != rule || r.Granted != d.Granted || r.Reason != d.Reason {
				t.Errorf("%+v is replayed as %+v, %v", d, r, err)
			}
		}
		if _, err := bo.Decision(t.Context(), 1<<40); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such decision: %v", err)
		}
	})
}

// What is no file, or too long, is told, and what was in force stays so.
func TestPolicyIsAFile(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	anna.writePolicy("pact even")
	anna.policy()
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "it is not a file"},
		"a long one":  {func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) }, "16385 bytes; at most 16384 are read"},
		"a device":    {func(path string) error { return os.Symlink("/dev/zero", path) }, "it is not a file"},
	} {
		path := filepath.Join(anna.dir, "policy")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		if p := anna.policy(); p.Fault == nil || p.Fault.Text != c.want || ruleTexts(p.Rules) != "pact even" {
			t.Errorf("%s: %+v, %+v", name, p, p.Fault)
		}
	}
}

// A resource of one's own has a name and a unit.
func TestSettingsNameResources(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	anna.writePolicy("pact potatoes reciprocal newcomer=5\n")
	if p := anna.policy(); p.Fault == nil || p.Fault.Text != `"potatoes" is no quality, no resource and no policy` {
		t.Errorf("%+v", p.Fault)
	}
	anna.configure("[resources]\npotatoes = \"kg\"\n")
	if p := anna.policy(); p.Fault != nil || ruleTexts(p.Rules) != "pact potatoes reciprocal newcomer=5" {
		t.Errorf("%+v", p)
	}
}
