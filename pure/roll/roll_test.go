package roll

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

var signer = identity.KeyOf(core.ScoreOf([]byte("club's machine")))

func did(name string) core.DID { return identity.KeyOf(core.ScoreOf([]byte(name))).DID() }

// roll is of a club of three homes and a person.
func example() Roll {
	r := Roll{V: 1, Grid: did("club"), N: 1_800_000_000, Time: 1_800_000_000, Members: []Member{
		{DID: did("anna"), Kind: KindGrid, Name: "anna", May: []string{MayStore}},
		{DID: did("bo"), Kind: KindGrid, Name: "bo", May: []string{"invite", MayStore}, Share: 40},
		{DID: did("cleo"), Kind: KindGrid, Name: "cleo", May: []string{MayStore}},
		{DID: did("dan"), Kind: KindPerson, Name: "dan’s phone"},
	}, Revoked: []Revoked{{ID: core.ScoreOf([]byte("a")), Until: 1_800_500_000}, {ID: core.ScoreOf([]byte("b")), Until: 1_800_600_000}}}
	slices.SortFunc(r.Members, func(a, b Member) int { return a.DID.Compare(b.DID) })
	slices.SortFunc(r.Revoked, func(a, b Revoked) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return r
}

type vectors struct {
	About string     `json:"about"`
	Seed  golden.Hex `json:"seed"`
	By    core.DID   `json:"by"`
	Body  golden.Hex `json:"body"`
	Sig   golden.Hex `json:"sig"`
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "roll", func(t *testing.T) vectors {
		s, err := Sign(signer, example())
		if err != nil {
			t.Fatal(err)
		}
		seed := core.ScoreOf([]byte("club's machine"))
		return vectors{About: "A roll, docs/SPEC.md §6.4; seed is that of the machine that signs.", Seed: seed[:], By: s.By, Body: s.Body, Sig: s.Sig}
	})
	r, err := Open(identity.Signed{By: v.By, Body: v.Body, Sig: v.Sig})
	if err != nil || !reflect.DeepEqual(r, example()) {
		t.Errorf("%+v, %v", r, err)
	}
	if identity.KeyOf([32]byte(v.Seed)).DID() != v.By {
		t.Error("it is not signed by that seed")
	}
}

func TestRollsThatAreRefused(t *testing.T) {
	for what, change := range map[string]func(*Roll){
		"no grid":                func(r *Roll) { r.Grid = core.DID{} },
		"no number":              func(r *Roll) { r.N = 0 },
		"a time before 1970":     func(r *Roll) { r.Time = -1 },
		"members do not rise":    func(r *Roll) { slices.Reverse(r.Members) },
		"a member twice":         func(r *Roll) { r.Members = append(r.Members, r.Members[3]) },
		"itself":                 func(r *Roll) { r.Grid = r.Members[0].DID },
		"no DID":                 func(r *Roll) { r.Members[0].DID = core.DID{} },
		"a kind":                 func(r *Roll) { r.Members[0].Kind = "club" },
		"a name":                 func(r *Roll) { r.Members[0].Name = "a\x1b[2Jb" },
		"a long name":            func(r *Roll) { r.Members[0].Name = strings.Repeat("a", NameSizeMax+1) },
		"a share":                func(r *Roll) { r.Members[0].Share = 101 },
		"shares":                 func(r *Roll) { r.Members[0].Share, r.Members[1].Share, r.Members[2].Share = 60, 41, 0 },
		"an empty word":          func(r *Roll) { r.Members[0].May = []string{""} },
		"words that do not rise": func(r *Roll) { r.Members[0].May = []string{"b", "a"} },
		"many words":             func(r *Roll) { r.Members[0].May = strings.Split("a b c d e f g h i", " ") },
		"revoked do not rise":    func(r *Roll) { slices.Reverse(r.Revoked) },
		"revoked for ever":       func(r *Roll) { r.Revoked[0].Until = math.MaxInt64 },
		"too many members":       func(r *Roll) { r.Members = make([]Member, MembersMax+1) },
	} {
		r := example()
		change(&r)
		if _, err := Sign(signer, r); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: signed, %v", what, err)
		}
		body, err := codec.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		s := identity.Signed{By: signer.DID(), Body: body, Sig: identity.SignBytes(signer, identity.KindRoll, body)}
		if _, err := Open(s); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: opened, %v", what, err)
		}
	}
	s, err := Sign(signer, example())
	if err != nil {
		t.Fatal(err)
	}
	s.By = did("another")
	if _, err := Open(s); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("by another: %v", err)
	}
}

func TestWhichStands(t *testing.T) {
	low, high := core.Score{1}, core.Score{2}
	older, newer := Roll{N: 4}, Roll{N: 5}
	for _, c := range []struct {
		r     Roll
		score core.Score
		over  Roll
		other core.Score
		want  bool
	}{
		{newer, high, older, low, true},
		{older, low, newer, high, false},
		{newer, low, newer, high, true},
		{newer, high, newer, low, false},
		{newer, low, newer, low, false},
	} {
		if got := c.r.Stands(c.score, c.over, c.other); got != c.want {
			t.Errorf("%d %x over %d %x: %v", c.r.N, c.score[:1], c.over.N, c.other[:1], got)
		}
	}
}

func TestPortions(t *testing.T) {
	r := example()
	for _, c := range []struct {
		member, home string
		offered      int64
		want         int64
	}{
		{"bo", "anna", 1000, 400},
		{"cleo", "anna", 1000, 600},
		{"anna", "bo", 1000, 500},
		{"cleo", "bo", 999, 499},
		{"anna", "anna", 1000, 0},
		{"dan", "anna", 1000, 0},
		{"eva", "anna", 1000, 0},
		{"bo", "anna", 0, 0},
		{"bo", "anna", -5, 0},
		{"bo", "anna", 99, 39},
		{"bo", "anna", math.MaxInt64, math.MaxInt64/100*40 + 2},
	} {
		if got := r.Portion(did(c.member), did(c.home), c.offered); got != c.want {
			t.Errorf("%s of %d at %s: %d, want %d", c.member, c.offered, c.home, got, c.want)
		}
	}
}

// FuzzPortions: whatever the shares, together they are no more than the offer.
func FuzzPortions(f *testing.F) {
	f.Add([]byte{0, 40, 0, 200}, int64(1000))
	f.Fuzz(func(t *testing.T, shares []byte, offered int64) {
		r := Roll{V: 1, Grid: did("club"), N: 1}
		for i, s := range shares[:min(len(shares), 20)] {
			m := Member{DID: core.DID{byte(i + 1)}, Kind: KindGrid, Share: uint(s)}
			if i%3 != 2 {
				m.May = []string{MayStore}
			}
			r.Members = append(r.Members, m)
		}
		if r.check() != nil {
			return
		}
		for home := range 21 {
			sum := int64(0)
			for _, m := range r.Members {
				sum += r.Portion(m.DID, core.DID{byte(home)}, offered)
			}
			if sum < 0 || sum > max(offered, 0) {
				t.Errorf("shares %v of %d come to %d", shares, offered, sum)
			}
		}
	})
}

// FuzzOpen opens bodies as if a machine of the club had signed them.
func FuzzOpen(f *testing.F) {
	s, err := Sign(signer, example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Body)
	f.Add(s.Body[:len(s.Body)-1])
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Open(identity.Signed{By: signer.DID(), Body: body, Sig: identity.SignBytes(signer, identity.KindRoll, body)})
		if err != nil {
			return
		}
		if again, err := Sign(signer, r); err != nil || !bytes.Equal(again.Body, body) {
			t.Errorf("%x is %x again, %v", body, again.Body, err)
		}
	})
}

func TestLeast(t *testing.T) {
	const late = 253402300799 // the year 9999
	for _, c := range []struct {
		epoch uint64
		now   int64
		want  uint64
	}{{0, 0, 1}, {0, -5, 1}, {1, 1_800_000_000, 1<<40 + 1_800_000_000}, {2, 1, 2<<40 + 1}, {1, 1 << 50, 2<<40 - 1}, {1 << 60, late, (1<<23-1)<<40 + late}} {
		if got := Least(c.epoch, c.now); got != c.want {
			t.Errorf("epoch %d at %d: %d, want %d", c.epoch, c.now, got, c.want)
		}
	}
	if Least(3, late) >= Least(4, 0) {
		t.Error("a later epoch's is no greater")
	}
}
