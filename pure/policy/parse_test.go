package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

const everything = `# who is answered how
pact prompt potatoes from "anna and bo"	reciprocal newcomer=5 patience=7d slack=10%   # a comment
pact from bo deny reason="not today"
pact storage reciprocal newcomer=1500MB patience=30d

	pact	even
voucher from did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP voucher
account account server=did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP
any idle open
none deny reason=#no`

const canonical = `pact prompt potatoes from "anna and bo" reciprocal newcomer=5 patience=7d slack=10%
pact from bo deny reason="not today"
pact storage reciprocal newcomer=1500MB
pact even
voucher from did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP voucher
account account server=did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP
any idle open
none deny reason=#no
`

func TestParse(t *testing.T) {
	r, err := table().Parse(everything)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String(); got != canonical {
		t.Errorf("got\n%s\nwant\n%s", got, canonical)
	}
	all := r.All()
	if first := all[0]; first.Line != 2 || first.Why != core.WhyPact || first.Quality != core.Prompt || first.Resource != "potatoes" || first.From != "anna and bo" ||
		first.Policy != (reciprocal{newcomer: 5, patience: 7, slack: 10, counted: true}) {
		t.Errorf("%+v", first)
	}
	if all[3].Line != 6 || all[6].Why != "" || all[1].Policy != (deny{"not today"}) {
		t.Errorf("%+v", all)
	}
	var words []string
	for _, rule := range all[:8] {
		words = append(words, r.Words(rule))
	}
	want := []string{
		"Partners, only anna and bo, that ask for potatoes of quality prompt get as much as they give, and 10 % more; newcomers 5, which shrinks to nothing in 7 days; more is lent as long as nobody asks for it.",
		"Partners, only bo, get nothing, and are told: not today.",
		"Partners that ask for storage get as much as they give, and 25 % more; newcomers 1.5 GB, which shrinks to nothing in 30 days; more is lent as long as nobody asks for it.",
		"Partners get an even share where all were promised more than there is; more is lent as long as nobody asks for it.",
		"Members of a partner that is a grid, only did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP, get what their grid has left of its pact, within the share that their voucher gives them.",
		"Holders of an account get what is left of their plan, if a trusted account server vouches for it.",
		"All that ask for anything of quality idle get whatever there is room for, within what was promised to them.",
		"Those who give no reason get nothing, and are told: #no.",
	}
	if !reflect.DeepEqual(words, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(words, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]Error{
		"pakt open":              {1, `no reason "pakt"`, "a line begins with account, none, pact, voucher, any"},
		"\n# x\npact opn":        {3, `no policy "opn"`, "policies are account, deny, even, open, reciprocal and voucher"},
		"pact":                   {1, "the policy is missing", "policies are account, deny, even, open, reciprocal and voucher"},
		"pact slack=3%":          {1, "the policy is missing", "policies are account, deny, even, open, reciprocal and voucher"},
		"pact own":               {1, `no policy "own"`, "policies are account, deny, even, open, reciprocal and voucher"},
		"pact storge open":       {1, `"storge" is no quality, no resource and no policy`, "a line is WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]; resources are compute, network, potatoes and storage"},
		"pact storage idle open": {1, `"idle" is no quality, no resource and no policy`, "a line is WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]; resources are compute, network, potatoes and storage"},
		"pact from":              {1, "from whom is missing", "from is followed by a partner's name or DID"},
		`pact from "" open`:      {1, "from whom is missing", "from is followed by a partner's name or DID"},
		"pact from did:x open":   {1, `DID "did:x": not a did:key of base58`, "grange pacts --json has the DID of each partner"},
		"pact from anna":         {1, "the policy is missing", "policies are account, deny, even, open, reciprocal and voucher"},
		"pact open slack=3%":     {1, `open has no option "slack"`, "open has no options"},
		"pact reciprocal slak=3%": {
			1, `reciprocal has no option "slak"`, "options of reciprocal are newcomer, patience and slack",
		},
		"pact reciprocal slack=3":                 {1, "slack=3 cannot be", "slack is a percentage, such as 25%"},
		"pact reciprocal slack=-3%":               {1, "slack=-3% cannot be", "slack is a percentage, such as 25%"},
		"pact reciprocal slack=1001%":             {1, "slack=1001% cannot be", "slack is a percentage, such as 25%"},
		"pact reciprocal slack=":                  {1, `"slack" has no value`, "leave it out"},
		"pact reciprocal slack":                   {1, `"slack" is no option`, "options are KEY=VALUE, without spaces around the ="},
		"pact reciprocal slack = 3%":              {1, `"slack" is no option`, "options are KEY=VALUE, without spaces around the ="},
		"pact reciprocal slack=3% slack=4%":       {1, "slack is there twice", "leave one out"},
		"pact reciprocal newcomer=NaN":            {1, "newcomer=NaN cannot be", "newcomer is an amount, such as 10GB"},
		"pact reciprocal newcomer=-1GB":           {1, "newcomer=-1GB cannot be", "newcomer is an amount, such as 10GB"},
		"pact reciprocal newcomer=9999999999TB":   {1, "newcomer=9999999999TB cannot be", "newcomer is an amount, such as 10GB"},
		"pact potatoes reciprocal newcomer=1GB":   {1, "newcomer=1GB cannot be", "newcomer is a number of kg"},
		"pact reciprocal patience=1w":             {1, "patience=1w cannot be", "patience is a number of days, such as 30d"},
		"pact reciprocal patience=9999d":          {1, "patience=9999d cannot be", "patience is a number of days, such as 30d"},
		"account account server=anna":             {1, "server=anna cannot be", "server is a DID, such as did:key:z6Mk…, or several with commas between"},
		"pact open\npact idle deny":               {2, "this is never reached: line 1 answers all that it is for", "put it above line 1, or leave it out"},
		"any open\n\npact from bo deny":           {3, "this is never reached: line 1 answers all that it is for", "put it above line 1, or leave it out"},
		`pact from "anna deny`:                    {1, "a quotation mark has no other", `a word with a space in it is like "anna and bo"`},
		"pact open\npact from \x1b[2J deny":       {2, "there is something in it that does not print", "the file is plain text, in UTF-8"},
		"pact from \xff deny":                     {1, "there is something in it that does not print", "the file is plain text, in UTF-8"},
		strings.Repeat("#", TextMax+1):            {1, "16385 bytes; at most 16384 are read", "leave out what is not needed"},
		strings.Repeat("pact open\n", rulesMax+1): {2, "this is never reached: line 1 answers all that it is for", "put it above line 1, or leave it out"},
	} {
		r, err := table().Parse(text)
		got, ok := errors.AsType[*Error](err)
		if !ok || *got != want || !errors.Is(err, core.ErrInvalid) || len(r.All()) != 0 {
			t.Errorf("%.60q: %+v\nwant %+v", text, err, want)
		}
	}
	var many strings.Builder
	for i := range rulesMax + 1 {
		many.WriteString("pact from p" + strings.Repeat("x", i%100) + string(rune('a'+i/100)) + " open\n")
	}
	if _, err := table().Parse(many.String()); err == nil || err.Error() != "line 201: more than 200 rules" {
		t.Errorf("too many rules: %v", err)
	}
}

// Who asks is told by its name only if we gave it that.
func TestFrom(t *testing.T) {
	grid := core.DID{7}
	byName, byDID := rules("any from bo open"), rules("any from "+grid.String()+" open")
	for name, c := range map[string]struct {
		facts     Facts
		name, did bool
	}{
		"a partner":                    {Facts{Grid: grid, Partner: "bo"}, true, true},
		"another":                      {Facts{Grid: core.DID{8}, Partner: "cleo"}, false, false},
		"a guest that calls itself so": {Facts{Partner: "bo", Via: &Via{Name: "club"}}, false, false},
		"a customer that does":         {Facts{Grid: core.DID{8}, Partner: "bo", Account: &Account{}}, false, false},
		"a guest of bo":                {Facts{Partner: "carl", Via: &Via{Name: "bo", Grid: grid}}, true, true},
	} {
		if _, ok := byName.Rule(ask(1), c.facts); ok != c.name {
			t.Errorf("%s, by name: %v", name, ok)
		}
		if _, ok := byDID.Rule(ask(1), c.facts); ok != c.did {
			t.Errorf("%s, by DID: %v", name, ok)
		}
	}
}

// FuzzParse: what is read and written is read as the same; errors have a line of the text, and no rules come with them.
func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add(canonical)
	f.Add("pact open\n\r\npact \"from\" a=b open\nany from \"#x\" deny reason=\"a # b\"")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := table().Parse(text)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Line < 1 || e.Line > 1+strings.Count(text, "\n") || e.Text == "" || e.Hint == "" || len(r.rules) != 0 {
				t.Fatalf("%+v of %q", err, text)
			}
			return
		}
		written := r.String()
		again, err := table().Parse(written)
		if err != nil {
			t.Fatalf("%q is not read again: %v", written, err)
		}
		if again.String() != written || len(again.rules) != len(r.rules) {
			t.Fatalf("%q is written as %q", written, again.String())
		}
		for i, rule := range again.rules {
			rule.Line = r.rules[i].Line
			if !reflect.DeepEqual(rule, r.rules[i]) {
				t.Fatalf("%+v is read as %+v", r.rules[i], rule)
			}
			if words := r.Words(rule); !strings.HasSuffix(words, ".") {
				t.Fatal(words)
			}
		}
		r.Decide(ask(1), roomy())
	})
}
