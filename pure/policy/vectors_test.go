package policy

import (
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// vectors is the file's form: rules as they are written, and what they answer.
type vectors struct {
	Units map[core.Resource]string `json:"units"`
	Rules []rulesVector            `json:"rules"`
}

type rulesVector struct {
	Text string `json:"text"`
	// Canonical and Score are of rules, Line is of the error in what are none.
	Canonical string         `json:"canonical,omitempty"`
	Score     core.Score     `json:"score,omitzero"`
	Line      int            `json:"line,omitempty"`
	Answers   []answerVector `json:"answers,omitempty"`
}

type answerVector struct {
	Ask     core.Ask      `json:"ask"`
	Facts   Facts         `json:"facts"`
	Grant   bool          `json:"grant"`
	Reason  string        `json:"reason"`
	Counter *core.Counter `json:"counter,omitempty"`
	Retry   int64         `json:"retry,omitempty"`
	Policy  string        `json:"policy"`
}

func (v answerVector) decision() Decision {
	return Decision{Grant: v.Grant, Reason: v.Reason, Counter: v.Counter, Retry: v.Retry, Policy: v.Policy}
}

// asked are asks with their facts, such that each rule of everything is asked for something.
func asked() (out []answerVector) {
	for _, amount := range []int64{400 * megabyte, 7 * gigabyte, 9 * gigabyte} {
		plain, facts := ask(amount), roomy()
		facts.Pact, facts.Gives, facts.Age, facts.Used, facts.Room, facts.Total = core.Score{1}, 3*gigabyte, 10*day, gigabyte, 9*gigabyte, 20*gigabyte
		facts.Others = []Other{{Offered: 40 * gigabyte, Used: 2 * gigabyte, Gives: 60 * gigabyte, Asks: true}, {Offered: 10 * gigabyte}}
		plain.Why.Ref = facts.Pact[:]
		crowded := facts
		crowded.Others, crowded.Crowd = nil, &Crowd{By: "reciprocal newcomer=1500MB", Of: 1_000, Share: 5 * gigabyte, Kept: 2 * gigabyte, Claimed: 3 * gigabyte}
		late := facts
		late.Overdue = true
		potatoes := plain
		potatoes.Resource, potatoes.Quality, potatoes.Amount = "potatoes", core.Prompt, amount/gigabyte+7
		some := Facts{Now: facts.Now, Partner: "anna and bo", Pact: facts.Pact, Room: 50, Offered: 30, Total: 60, Gives: 9, Missing: 1, Busy: 90}
		idle := plain
		idle.Quality, idle.Why = core.Idle, core.Why{Kind: core.WhyNone}
		member, guestFacts := guest()
		member.Amount, guestFacts.Via.Grid = amount, core.DID{}
		client, clientFacts := customer()
		client.Amount = amount
		none := plain
		none.Why = core.Why{Kind: core.WhyNone}
		out = append(out, []answerVector{
			{Ask: plain, Facts: facts},
			{Ask: plain, Facts: crowded},
			{Ask: plain, Facts: late},
			{Ask: potatoes, Facts: some},
			{Ask: idle, Facts: facts},
			{Ask: member, Facts: guestFacts},
			{Ask: client, Facts: clientFacts},
			{Ask: none, Facts: facts},
		}...)
	}
	return out
}

func writeVectors(t *testing.T) vectors {
	v := vectors{Units: table().Resources}
	for _, text := range []string{everything, "pact even\nany open\n", "voucher voucher\naccount account server=" + core.DID{1}.String(), "", "\npact opn"} {
		rules, err := table().Parse(text)
		one := rulesVector{Text: text}
		if err != nil {
			one.Line = err.(*Error).Line
			v.Rules = append(v.Rules, one)
			continue
		}
		one.Canonical = rules.String()
		if one.Score, err = rules.Score(); err != nil {
			t.Fatal(err)
		}
		for _, a := range asked() {
			d := rules.Decide(a.Ask, a.Facts)
			a.Grant, a.Reason, a.Counter, a.Retry, a.Policy = d.Grant, d.Reason, d.Counter, d.Retry, d.Policy
			one.Answers = append(one.Answers, a)
		}
		v.Rules = append(v.Rules, one)
	}
	return v
}

// Decisions that are in the books are replayed for years: they must come out as they were.
func TestVectors(t *testing.T) {
	v := golden.File(t, "policy", writeVectors)
	known := table()
	known.Resources = v.Units
	if len(v.Rules) < 5 {
		t.Fatalf("%d rules", len(v.Rules))
	}
	for _, one := range v.Rules {
		rules, err := known.Parse(one.Text)
		if one.Line > 0 {
			if e, ok := err.(*Error); !ok || e.Line != one.Line {
				t.Errorf("%q: %v, want an error in line %d", one.Text, err, one.Line)
			}
			continue
		}
		score, scoreErr := rules.Score()
		if err != nil || scoreErr != nil || rules.String() != one.Canonical || score != one.Score {
			t.Errorf("%q: %v, %v, %q, %s", one.Text, err, scoreErr, rules.String(), score)
		}
		for i, a := range one.Answers {
			if got := rules.Decide(a.Ask, a.Facts); !got.Equal(a.decision()) {
				t.Errorf("%q, ask %d: %+v, want %+v", one.Text, i, got, a.decision())
			}
		}
	}
}
