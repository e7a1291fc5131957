package pact

import (
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestCheckWords(t *testing.T) {
	seen := map[[CheckWordsCount]string]bool{}
	for i := range 1000 {
		words := CheckWords(core.Score{byte(i), byte(i >> 8)})
		for _, w := range words {
			if w == "" {
				t.Fatalf("%d: %q", i, words)
			}
		}
		if seen[words] {
			t.Errorf("%d: %q a second time", i, words)
		}
		seen[words] = true
	}
	want := [CheckWordsCount]string{"soul", "mimic", "metal", "oven"}
	if got := CheckWords(core.Score{1}); got != want {
		t.Errorf("words %q, want %q", got, want)
	}
}
