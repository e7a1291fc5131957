package main

import (
	"testing"

	"github.com/grange-grid/grange"
)

func TestFindingsNameATroubleOnce(t *testing.T) {
	a, _, errs, _ := testApp()
	out := grange.CheckResult{
		Segments: 1, Findings: []grange.Finding{{Partner: "bo", Err: "could not be reached"}, {Partner: "cleo", Err: "is busy"}},
		Mended: &grange.MendResult{Refused: map[string]string{"bo": "could not be reached", "cleo": "said no: full"}},
	}
	a.findings(out)
	if want := "cleo is busy.\nbo could not be reached.\ncleo said no: full.\n"; errs.String() != want {
		t.Errorf("mending: %q, want %q", errs, want)
	}
	errs.Reset()
	out.Mended = nil
	a.findings(out)
	if want := "bo could not be reached.\ncleo is busy.\n"; errs.String() != want {
		t.Errorf("checking: %q, want %q", errs, want)
	}
}
