package query

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAQueryInsideAPart(t *testing.T) {
	for _, test := range []struct {
		part    string
		in, out []string
	}{
		{`tags = "#cats" and n > 1`, []string{`n > 1 and tags = "#cats" and x = 1 order -n limit 2`, `n >= 2 and n < 9 and tags = "#cats"`}, []string{`tags = "#cats" and n >= 1`, `tags = "#cats"`, ``, `tags = "#cats" and n > 1 or x = 1`}},
		{``, []string{``, `a = 1`}, nil},
		{`a in (1, 2)`, []string{`a = 1`, `a in (2, 1)`, `a = 3 and a = 2`}, []string{`a in (1, 3)`, `a >= 1 and a <= 1`, `a != 3`, `b = 1`}},
		{`has a`, []string{`a = null`, `a in (1, 2)`, `a > 1`, `has a and b = 1`}, []string{`a != 1`, `not has a`, `has b`, `a.b = 1`}},
		{`a > 1 and a <= 5`, []string{`a = 5`, `a in (2, 3)`, `a >= 2 and a < 5`, `a > 1 and a < 9 and a <= 5`}, []string{`a = 1`, `a in (2, 6)`, `a > 1`, `a > 1 and a < "x"`, `a >= 1 and a <= 5`, `b = 3`}},
		{`s >= "ab"`, []string{`s starts "ab"`, `s starts "abc"`, `s = "ac"`, `s > "ab"`}, []string{`s starts "a"`, `s >= "a"`, `s >= 3`}},
		{`s starts "ab"`, []string{`s starts "abc"`, `s = "ab"`}, []string{`s starts "a"`, `s >= "ab"`, `s = 1`}},
		{`a = 1 or b = 1`, []string{`(a = 1 or b = 1) and c = 1`}, []string{`a = 1`}},
	} {
		part := mustParse(t, test.part)
		for want, texts := range map[bool][]string{true: test.in, false: test.out} {
			for _, text := range texts {
				if got := mustParse(t, text).Inside(part); got != want {
					t.Errorf("%s inside %s: %v", text, test.part, got)
				}
			}
		}
	}
}

func TestWhatIsInsideIsThere(t *testing.T) {
	inside := 0
	rapid.Check(t, func(t *rapid.T) {
		q, part := drawQuery(t), drawQuery(t)
		if !q.Inside(part) {
			return
		}
		inside++
		for i := range 20 {
			if r := drawRow(t, i); q.Match(r) && !Match(part.Where, r) {
				t.Fatalf("%s is said to be inside %s, but not %s", q, part, r.Doc.JSON())
			}
		}
	})
	t.Logf("%d were inside", inside)
}
