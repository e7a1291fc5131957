package grange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// Policy is who is answered how.
type Policy struct {
	// File is where a person writes it; Default says that there is none, Text what is in it, or the default.
	File    Path   `json:"file"`
	Default bool   `json:"default"`
	Text    string `json:"text"`
	// Rules are in force since then, the first of those that fit an ask decides.
	Rules []PolicyRule `json:"rules"`
	Since time.Time    `json:"since"`
	// Fault is why the file is not in force, nil if it is.
	Fault *PolicyFault `json:"fault,omitempty"`
}

// PolicyRule is one line of a policy.
type PolicyRule struct {
	// Rule is as it is written, Words what it means.
	Rule  string `json:"rule"`
	Words string `json:"words"`
}

// PolicyFault is what is wrong with a policy.
type PolicyFault struct {
	// Line is counted from 1; 0 where the file cannot be read at all.
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// PolicyTrial is what a policy would have answered to what was asked lately.
type PolicyTrial struct {
	Rules []PolicyRule `json:"rules"`
	// Tried is how many answers were looked at, Untold how many more do not say enough for it.
	Tried  int `json:"tried"`
	Untold int `json:"untold"`
	// Changed would have been another yes or no, or another counter-offer, the newest first.
	Changed []PolicyChange `json:"changed"`
	// Nobody are names for which there are rules, and that nobody known here has now.
	Nobody []string `json:"nobody,omitempty"`
}

// PolicyChange is an answer, and what it would have been.
type PolicyChange struct {
	Decision
	Now Answer `json:"now"`
}

// Answer is what an ask is answered.
type Answer struct {
	Granted bool          `json:"granted"`
	Reason  string        `json:"reason"`
	Policy  string        `json:"policy"`
	Counter *core.Counter `json:"counter,omitempty"`
}

const (
	// policyEvery is how long after one look at the file the next is.
	policyEvery = 2 * time.Second
	// policyTried is on how many answers a policy is tried.
	policyTried = 1_000
)

// policyFile is the file policy.
type policyFile struct {
	path  string
	table policy.Table

	mu sync.Mutex
	// last is what was put in force, or found to be at fault; nil before the first look. next is what the last
	// look saw, if that was something else.
	last, next *seen
	fault      *PolicyFault
}

// seen is what a look at a file found.
type seen struct {
	text  string
	there bool
	err   error
}

func (s seen) same(t seen) bool {
	return s.text == t.text && s.there == t.there && (s.err == nil) == (t.err == nil)
}

// policyPath is where the file policy is: beside config.toml.
func policyPath(settings string) string { return filepath.Join(filepath.Dir(settings), "policy") }

// look reads the file.
func (p *policyFile) look() seen {
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return seen{}
	}
	if err == nil && !info.Mode().IsRegular() { // a FIFO, or a device, would be read for ever
		err = errors.New("it is not a file")
	}
	if err != nil {
		return seen{there: true, err: cause(err)}
	}
	f, err := os.Open(p.path)
	if err != nil {
		return seen{there: true, err: cause(err)}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, policy.TextMax+1))
	return seen{string(raw), true, err}
}

// cause is an error without the path, which is said before it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// parse reads rules, and says what is wrong with them.
func (p *policyFile) parse(s seen) (policy.Rules, *PolicyFault) {
	if s.err != nil {
		return policy.Rules{}, &PolicyFault{Text: s.err.Error(), Hint: "look what it is, whose it is, and its mode"}
	}
	if !s.there {
		s.text = defaultPolicy
	}
	rules, err := p.table.Parse(s.text)
	if e, ok := errors.AsType[*policy.Error](err); ok {
		return rules, &PolicyFault{e.Line, e.Text, e.Hint}
	}
	return rules, nil
}

// readPolicy looks whether the file has changed, and if so puts it in force. A patient look wants to see a change twice:
// an editor may be about to write the rest. What is wrong changes nothing but for what is told.
func (a *Agent) readPolicy(patient bool) error {
	p := &a.policy
	p.mu.Lock()
	defer p.mu.Unlock()
	now, before := p.look(), p.next
	p.next = nil
	if p.last != nil && p.last.same(now) {
		return nil
	}
	if patient && (before == nil || !before.same(now)) {
		p.next = &now
		return nil
	}
	return a.usePolicy(now)
}

// usePolicy puts what was seen in force, if that can be. The caller holds a.policy.mu.
func (a *Agent) usePolicy(s seen) error {
	p := &a.policy
	rules, fault := p.parse(s)
	if fault == nil {
		if err := a.barter.SetRules(rules); err != nil {
			return err
		}
	}
	again := p.last != nil
	p.last, p.fault = &s, fault
	switch {
	case fault != nil:
		a.c.Log.Warn("the policy cannot be read", "file", p.path, "line", fault.Line, "err", fault.Text, "hint", fault.Hint)
		a.alarm(core.DID{}, fault.in(p.path)+"; what was in force stays so")
	case again:
		a.c.Log.Info("a new policy is in force", "file", p.path, "rules", len(rules.All()))
		a.events.send(Event{Time: a.c.Clock.Now(), Kind: "policy", Text: "a new policy is in force"})
	}
	return nil
}

// in says where a fault is, and what it is.
func (f *PolicyFault) in(file string) string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", file, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s", file, f.Line, f.Text)
}

// watchPolicy puts the file in force whenever it has changed.
func (a *Agent) watchPolicy(ctx context.Context) error {
	for {
		if err := a.readPolicy(true); err != nil {
			a.c.Log.Warn("the policy cannot be put in force", "err", err)
		}
		if err := a.c.Clock.Sleep(ctx, policyEvery); err != nil {
			return err
		}
	}
}

// Policy returns who is answered how. It looks at the file first.
func (a *Agent) Policy(context.Context) (Policy, error) {
	if err := a.readPolicy(false); err != nil {
		return Policy{}, err
	}
	return a.policyNow(), nil
}

func (a *Agent) policyNow() Policy {
	p := &a.policy
	p.mu.Lock()
	defer p.mu.Unlock()
	rules, since := a.barter.Rules()
	out := Policy{File: Path(p.path), Text: defaultPolicy, Default: p.last == nil || !p.last.there, Rules: rulesOf(rules), Since: time.Unix(since, 0), Fault: p.fault}
	if !out.Default {
		out.Text = p.last.text
	}
	return out
}

func rulesOf(rules policy.Rules) []PolicyRule {
	out := []PolicyRule{}
	for _, r := range rules.All() {
		out = append(out, PolicyRule{r.String(), rules.Words(r)})
	}
	return out
}

// TryPolicy says what a policy means, and what it would have answered to the last thousand asks. Nothing changes. Errors: a PolicyError.
func (a *Agent) TryPolicy(_ context.Context, text string) (PolicyTrial, error) {
	rules, fault := a.policy.parse(seen{text: text, there: true})
	if fault != nil {
		return PolicyTrial{}, &PolicyError{*fault}
	}
	out := PolicyTrial{Rules: rulesOf(rules), Changed: []PolicyChange{}, Nobody: a.nobody(rules)}
	decisions, err := a.barter.Newest(policyTried)
	if err != nil {
		return out, err
	}
	for _, d := range decisions {
		if !rules.Tells(d.Ask, d.Facts) {
			out.Untold++
			continue
		}
		out.Tried++
		now := rules.Decide(d.Ask, d.Facts)
		if now.Grant != d.Grant || instead(now) != instead(d.Decision) {
			out.Changed = append(out.Changed, PolicyChange{a.decisionOf(d), answerOf(now)})
		}
	}
	return out, nil
}

// instead is how much a denial would have granted.
func instead(d policy.Decision) int64 {
	if d.Counter == nil {
		return 0
	}
	return d.Counter.Amount
}

// SetPolicy writes the file policy anew and puts it in force. Errors: a PolicyError.
func (a *Agent) SetPolicy(_ context.Context, text string) (Policy, error) {
	a.policy.mu.Lock()
	s := seen{text: text, there: true}
	_, fault := a.policy.parse(s)
	var err error
	if fault != nil {
		err = &PolicyError{*fault}
	} else if err = replaceFile(a.policy.path, []byte(text)); err == nil {
		err = a.usePolicy(s)
	}
	a.policy.mu.Unlock()
	if err != nil {
		return Policy{}, err
	}
	return a.policyNow(), nil
}

// PolicyError is a policy that makes no sense. It is an ErrInvalid.
type PolicyError struct{ PolicyFault }

// Error returns "policy:3: …".
func (e *PolicyError) Error() string { return e.In("policy") }

// In is Error where the file has another name.
func (e *PolicyError) In(file string) string { return e.in(file) }

// Is makes a PolicyError an ErrInvalid.
func (e *PolicyError) Is(target error) bool { return target == ErrInvalid }

func answerOf(d policy.Decision) Answer {
	return Answer{Granted: d.Grant, Reason: d.Reason, Policy: d.Policy, Counter: d.Counter}
}

// replaceFile writes a file in one step.
func replaceFile(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// nobody returns the names in rules that no household has from which an ask may come, nor any on whose behalf one may.
func (a *Agent) nobody(rules policy.Rules) (out []string) {
	known := map[string]bool{"": true}
	for _, p := range slices.Concat(a.partners().All(), a.partners().Guests()) {
		known[p.Name] = true
		if p.Via != nil {
			known[p.Via.Name] = true
		}
	}
	for _, r := range rules.All() {
		if !known[r.From] && !strings.HasPrefix(r.From, "did:") {
			known[r.From] = true
			out = append(out, r.From)
		}
	}
	return out
}
