package grange_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
)

// A club's name is that of a directory within this machine's, and never leads out of it.
func TestNamesOfClubs(t *testing.T) {
	for _, name := range []string{"clubhouse", "a", "3-villages", strings.Repeat("a", 32)} {
		if err := grange.CheckClubName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	c := grange.Config{Dir: t.TempDir()}
	for _, name := range []string{
		"", ".", "..", "../anna", "a/b", `a\b`, "a.b", "/", "-a", "Club", "club house", "club\x00", "clüb", strings.Repeat("a", 33),
	} {
		err := grange.CreateClub(t.Context(), c, name, nil)
		if !errors.Is(err, grange.ErrInvalid) {
			t.Errorf("%q: %v, want one that is invalid", name, err)
		}
	}
}

func TestHostedClub(t *testing.T) {
	c := grange.Config{Dir: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	if err := grange.Create(t.Context(), c, "anna", nil); err != nil {
		t.Fatal(err)
	}
	words := ""
	save := func(phrase string) error { words = phrase; return nil }
	if err := grange.CreateClub(t.Context(), c, "club", save); err != nil || len(strings.Fields(words)) != 24 {
		t.Fatalf("found a club: %v, %d words", err, len(strings.Fields(words)))
	}
	if err := grange.CreateClub(t.Context(), c, "club", nil); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a second of that name: %v", err)
	}
	a, err := grange.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if names, err := a.Clubs(); err != nil || len(names) != 1 || names[0] != "club" {
		t.Fatalf("clubs %q, %v", names, err)
	}
	club, err := a.Club(t.Context(), "club")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Club(t.Context(), "club"); err != nil || again != club {
		t.Fatalf("opened twice: %v", err)
	}
	home, _ := a.Status(t.Context(), "")
	of, err := club.Status(t.Context(), "")
	if err != nil || of.Household != "club" || of.Grid == home.Grid || of.Machine == home.Machine || of.Offer != 0 {
		t.Fatalf("the club %+v, %v", of, err)
	}
	for _, name := range []string{"none", "../club", "..", "club/../club"} {
		if _, err := a.Club(t.Context(), name); err == nil {
			t.Errorf("club %q was opened", name)
		}
	}
	if _, err := club.Club(t.Context(), "club"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a club of a club: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Club(t.Context(), "club"); !errors.Is(err, grange.ErrNotHere) {
		t.Errorf("a club of an agent that is closed: %v", err)
	}
	again, err := grange.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Club(t.Context(), "club"); err != nil {
		t.Errorf("after a close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// A club's agent gets a port of its own, and listens there the next time too, unless somebody else does by then.
func TestAClubKeepsItsPort(t *testing.T) {
	dir := t.TempDir()
	c := grange.Config{Dir: dir, Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}}
	if err := errors.Join(grange.Create(t.Context(), c, "anna", nil), grange.CreateClub(t.Context(), c, "club", nil)); err != nil {
		t.Fatal(err)
	}
	// addrs runs the machine once, and returns where its club listened.
	addrs := func(c grange.Config) (out []string) {
		a, err := grange.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		ready := func([]string) {
			club, err := a.Club(ctx, "club")
			if err == nil {
				var s grange.Status
				s, err = club.Status(ctx, "")
				out = s.Addrs
			}
			if err != nil {
				t.Error(err)
			}
			cancel()
		}
		go func() { ended <- a.Run(ctx, ready) }()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	first := addrs(c)
	if again := addrs(c); len(first) != 2 || !slices.Equal(again, first) {
		t.Fatalf("at %q, then at %q", first, again)
	}
	tcp, _, _ := strings.Cut(first[0], "/p2p/")
	taken, err := net.Listen("tcp", "127.0.0.1:"+path.Base(tcp))
	if err != nil {
		t.Fatal(err)
	}
	other := addrs(c)
	if len(other) != 2 || slices.ContainsFunc(other, func(s string) bool { return slices.Contains(first, s) && strings.Contains(s, "/tcp/") }) {
		t.Errorf("with its port taken at %q, as at %q", other, first)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if again := addrs(c); !slices.Equal(again, other) {
		t.Errorf("it had moved to %q, then was at %q", other, again)
	}
	c.Listen = c.Listen[:1]
	if fewer := addrs(c); len(fewer) != 1 {
		t.Errorf("told to listen on one: %q", fewer)
	}
}
