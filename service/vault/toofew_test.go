package vault

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

// words reads a version that cannot be read, and returns the error.
func (f *fixture) words() error {
	f.t.Helper()
	version, err := f.v.Find("docs", 0)
	if err != nil {
		f.t.Fatal(err)
	}
	file, err := f.v.FS(f.t.Context(), version).Open("a")
	if err == nil {
		defer file.Close()
		_, err = io.ReadAll(file)
	}
	return err
}

func TestTooFewSaysWhoIsAway(t *testing.T) {
	f := newFixture(t, 3)
	names := map[core.DID]string{did(0): "bo", did(1): "cleo", did(2): "dan"}
	f.v = New(Config{Books: f.books, Clock: f.v.c.Clock, Barter: f.m, Household: f.home, Name: func(d core.DID) string { return names[d] }})
	f.put(tree{"a": []byte("alpha")})
	for i := range 3 {
		f.m.homes[did(i)].away = true
	}
	few, ok := errors.AsType[*TooFew](f.words())
	if !ok || few.Error() != "nobody who has it can be reached: bo, cleo, dan" || !errors.Is(few, core.ErrUnreachable) {
		t.Errorf("all away: %v", few)
	}

	f.m.homes[did(0)].away = false
	few, ok = errors.AsType[*TooFew](f.words())
	if !ok || !strings.HasSuffix(few.Error(), " of the 10 pieces it takes: cleo, dan could not be reached") {
		t.Errorf("two of three away: %v", few)
	}

	clear(f.m.leased)
	few, ok = errors.AsType[*TooFew](f.words())
	if !ok || !errors.Is(few, core.ErrUnreachable) || errors.Is(few, fs.ErrNotExist) {
		t.Errorf("holders that are not known: %v", few)
	}
	if want := "too little of it can be had, 0 of the 10 pieces it takes: who has the others is not known"; few.Error() != want {
		t.Errorf("%q, want %q", few, want)
	}
}

func TestTooFewThatIsLostIsNotAway(t *testing.T) {
	f := newFixture(t, 1)
	f.put(tree{"a": []byte("alpha")})
	for score := range f.m.homes[did(0)].pieces {
		f.m.homes[did(0)].pieces[score] = []byte("rotten")
	}
	few, ok := errors.AsType[*TooFew](f.words())
	if !ok || errors.Is(few, core.ErrUnreachable) || !strings.HasSuffix(few.Error(), did(0).String()+" has it no more as it was") {
		t.Errorf("rotten pieces: %v", few)
	}
}

func TestVersionThatNobodyHeardOfIsNone(t *testing.T) {
	f := newFixture(t, 2)
	f.put(tree{"a": []byte("alpha")})
	f.home.deaf = true
	_, err := f.v.Put(t.Context(), "docs", tree{"a": []byte("alpha")}, PutOptions{})
	incomplete, ok := errors.AsType[*Incomplete](err)
	if !ok || !errors.Is(err, core.ErrUnreachable) || len(incomplete.Refused) != 2 {
		t.Fatalf("a put that nobody could be told of: %v", err)
	}
	versions, err := f.v.Versions("docs")
	if err != nil || len(versions) != 1 || versions[0].Seq != 1 {
		t.Errorf("versions after it: %+v, %v", versions, err)
	}
	f.home.deaf = false
	if out := f.put(tree{"a": []byte("alpha")}); out.Version.Seq <= 2 {
		t.Errorf("the next version has number %d, which was used", out.Version.Seq)
	}
}
