package grange_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": -1, "4096B": 4096, "10GB": 10e9, "10 GB": 10e9, " 10gb ": 10e9, "10G": 10e9, "1.5TB": 15e11, "1.5 MB": 15e5, "0.001kB": 1, "2.5B": 2,
		"1KiB": 1024, "1.5GiB": 3 << 29, "1TiB": 1 << 40, "8191PB": -1, "9223372036854775807B": math.MaxInt64, "9223372036854775808B": -1,
		"9223372036.854775807GB": math.MaxInt64 - 807 + 807, "9223372037GB": -1, "9300000TiB": -1,
		"": -1, "GB": -1, "-1GB": -1, "+1GB": -1, "1.GB": -1, ".5GB": -1, "1.5.5GB": -1, "1,5GB": -1, "1e9": -1, "0x10": -1, "10 XB": -1, "10GBB": -1,
		"1.+5GB": -1, "1.1234567890GB": -1, "NaN": -1, "ten": -1, "1 0GB": -1,
	} {
		n, err := grange.ParseSize(text)
		if (err != nil) != (want < 0) {
			t.Errorf("size %q: %d, %v", text, n, err)
		}
		// Fractions are read by float64, which has 53 bits.
		if d := n - want; want >= 0 && (d > 64 || d < -64 || want < 1<<50 && d != 0) {
			t.Errorf("size %q is %d, want %d", text, n, want)
		}
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]grange.Amounts{
		"10GB": "10GB", "  20%,200GB\t potatoes=5 ": "20%,200GB potatoes=5", "0": "0", "0%": "0%", "1.5x": "1.5x", "": "", "storage=10GB": "storage=10GB",
		"network=5GB": "network=5GB", "potatoes=5kg": "potatoes=5kg", "potatoes=0": "potatoes=0",
	} {
		var a grange.Amounts
		if err := a.UnmarshalText([]byte(text)); err != nil || a != want {
			t.Errorf("%q is %q, %v", text, a, err)
		}
	}
	for text, want := range map[string]string{
		"10":                       `"10" has no unit; sizes are like 50GB or 512MiB`,
		"101%":                     `"101%" is no percentage; one is 0% to 100%, a whole number`,
		"+1%":                      `"+1%" is no percentage; one is 0% to 100%, a whole number`,
		"%":                        `"%" is no percentage; one is 0% to 100%, a whole number`,
		"20%,5":                    `"5" has no unit; sizes are like 50GB or 512MiB`,
		"0x":                       `"0x" is no ratio; one is like 1x or 1.5x, up to 1000x`,
		"1001x":                    `"1001x" is no ratio; one is like 1x or 1.5x, up to 1000x`,
		"10GB 20%":                 `storage is there twice`,
		"potatoes=-1":              `"-1" is no size; sizes are like 50GB or 512MiB`,
		"Potatoes=1":               `"Potatoes" is no resource's name; an amount is like 10GB, 20%,200GB or potatoes=5`,
		"=1":                       `"" is no resource's name; an amount is like 10GB, 20%,200GB or potatoes=5`,
		"9008TB":                   `"9008TB" is too much`,
		"work=1e\x1b":              `"1e\x1b" is no size; sizes are like 50GB or 512MiB`,
		"work=9223372036854775807": `"work=9223372036854775807" is too much`,
	} {
		a := grange.Amounts("before")
		if err := a.UnmarshalText([]byte(text)); err == nil || err.Error() != want || a != "before" {
			t.Errorf("%q: %q, %v", text, a, err)
		}
	}
}

func FuzzAmounts(f *testing.F) {
	for _, text := range []string{"20%,200GB potatoes=5", "1.5x network=1KiB", "0", "=", "%,x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, again grange.Amounts
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(a)); err != nil || again != a {
			t.Errorf("%q is read as %q, and that as %q, %v", text, a, again, err)
		}
	})
}

// What is invited to is what is said, else what config.toml has, else the usual.
func TestTerms(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	must(t, anna.SetOffer(t.Context(), 50e9))
	usual, err := anna.Terms("", "")
	if must(t, err); usual.Give != grange.DefaultAmount || usual.Want != grange.DefaultAmount {
		t.Errorf("the usual is %+v", usual)
	}
	usual, err = anna.Terms("network=1GB", "2x")
	if must(t, err); usual.Give != grange.DefaultAmount || usual.Want != 2*grange.DefaultAmount || usual.GiveOf["network"] != 1e9 {
		t.Errorf("beside network the usual is %+v", usual)
	}
	anna.stop()
	text := "[resources]\npotatoes = \"kg\"\n[invite]\ngive = \"20%,8GB potatoes=5\"\nwant = \"1.5x\"\n"
	must(t, os.WriteFile(filepath.Join(anna.dir, "config.toml"), []byte(text), 0o600))
	anna.open()
	potatoes, kg := map[string]int64{"potatoes": 5}, map[string]string{"potatoes": "kg"}
	for _, test := range []struct {
		give, want grange.Amounts
		terms      grange.Terms
	}{
		{"", "", grange.Terms{Give: 8e9, Want: 12e9, GiveOf: potatoes, Units: kg}},
		{"4GB", "", grange.Terms{Give: 4e9, Want: 6e9, GiveOf: potatoes, Units: kg}},
		{"10% potatoes=0", "1GB", grange.Terms{Give: 5e9, Want: 1e9}},
		{"0 potatoes=0", "potatoes=5 network=1GB", grange.Terms{WantOf: map[string]int64{"potatoes": 5, "network": 1e9}, Units: map[string]string{"potatoes": "kg", "network": ""}}},
		{"potatoes=5kg", "0", grange.Terms{Give: 8e9, GiveOf: potatoes, Units: kg}},
	} {
		if got, err := anna.Terms(test.give, test.want); err != nil || !reflect.DeepEqual(got, test.terms) {
			t.Errorf("give %q, want %q: %+v, %v; want %+v", test.give, test.want, got, err, test.terms)
		}
	}
	for _, test := range []struct{ give, want, text string }{
		{"potatoes=1.5", "", "give: of potatoes a whole number of kg is said, like: potatoes=5: invalid"},
		{"potatoes=1.5kg", "", "give: of potatoes a whole number of kg is said, like: potatoes=5: invalid"},
		{"potatoes=20%", "", "give: potatoes is counted in kg, like: potatoes=5: invalid"},
		{"potatoes=5sacks", "", "give: potatoes is counted in kg, like: potatoes=5: invalid"},
		{"network=5kg", "", "give: network is counted in bytes, like: network=10GB: invalid"},
		{"network=1.5", "", "give: network is counted in bytes, like: network=10GB: invalid"},
		{"99999999TB", "", `give: "99999999TB" is too much: invalid`},
		{"carrots=1", "", `give: "carrots" is not given here; config.toml says what it is counted in, like: [resources] carrots = "kg": invalid`},
		{"potatoes=1GB", "", "give: potatoes is counted in kg, like: potatoes=5: invalid"},
		{"network=1", "", "give: network is counted in bytes, like: network=10GB: invalid"},
		{"storage=10", "", "give: storage is counted in bytes, like: storage=10GB: invalid"},
		{"1.5x", "", "give: a ratio is of what is wanted to what is given: invalid"},
		{"", "20%", "want: a part is of what this machine gives; of theirs say bytes, or a ratio such as 1.5x: invalid"},
		{"0 potatoes=0", "0", "neither side gives anything: there would be nothing to agree on: invalid"},
		{"potatoes=0", "0%", "want: a part is of what this machine gives; of theirs say bytes, or a ratio such as 1.5x: invalid"},
		{"ten", "", `give: "ten" is no size; sizes are like 50GB or 512MiB: invalid`},
	} {
		_, err := anna.Terms(grange.Amounts(test.give), grange.Amounts(test.want))
		if !errors.Is(err, grange.ErrInvalid) || err.Error() != test.text {
			t.Errorf("give %q, want %q: %v", test.give, test.want, err)
		}
	}
	anna.run()
	inv, err := anna.Invite(t.Context(), grange.Terms{Days: 365, NoticeDays: 10})
	must(t, err)
	bo := w.found("bo")
	bo.run()
	p, err := bo.Accept(t.Context(), inv.Code, nil)
	must(t, err)
	if p.Gives != 8e9 || p.Given != 12e9 || p.GivesOf["potatoes"] != 5 || p.Units["potatoes"] != "kg" || p.Until.Sub(p.Since) != 365*24*time.Hour || !p.Ends.Equal(p.Until) || p.Leaving {
		t.Errorf("bo has %+v", p)
	}
	changed, err := anna.Amend(t.Context(), "bo", grange.Amendment{Give: "potatoes=6", Want: "1x"})
	must(t, err)
	if changed.Given != 8e9 || changed.Gives != 8e9 || changed.GivenOf["potatoes"] != 6 || changed.Mine != nil || changed.Units["potatoes"] != "kg" {
		t.Errorf("amended: %+v", changed)
	}
	changed, err = anna.Amend(t.Context(), "bo", grange.Amendment{Days: 600})
	must(t, err)
	if changed.Mine == nil || !changed.Mine.Until.After(changed.Until) || changed.Mine.GivenOf["potatoes"] != 6 {
		t.Errorf("asked to put it off: %+v", changed)
	}
	if _, err := anna.Amend(t.Context(), "bo", grange.Amendment{Days: 4000}); !errors.Is(err, grange.ErrInvalid) {
		t.Errorf("for 4000 days: %v", err)
	}
}
