package table

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

func TestDefinitionIsReadAsItWasWritten(t *testing.T) {
	house := keyOf("house").DID()
	d := definition(anna, bo)
	d.Indexes = []Index{index("tags,time"), {"slug", true}}
	d.Folds = map[string]Fold{"likes": Counter, "tags": Set, "title": Multi}
	d.Write.All, d.Write.Quota = true, 1000
	d.GrantWrite(Grant{clara.DID(), &house, "Clara", 5, 6, 7, true})
	d.GrantRead(Reader{bo.DID(), &house, "Bo"})
	d.Attest = []core.DID{anna.DID()}
	b, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseDefinition(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Marshal()
	if err != nil || !bytes.Equal(b, again) || !d.SameRows(got) || got.LeaveOf(clara.DID()) != (Leave{true, 5, 6, 7, true}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBadDefinitionsAreRefused(t *testing.T) {
	long := strings.Repeat("x", NameSizeMax+1)
	many := func(n int) (out []identity.Key) {
		for i := range n {
			out = append(out, keyOf(fmt.Sprint(i)))
		}
		return out
	}
	for name, bad := range map[string]func(d *Definition){
		"name has 1 to 64":                func(d *Definition) { d.Name = "" },
		"a table's name":                  func(d *Definition) { d.Name = long },
		"without control":                 func(d *Definition) { d.Name = "a\x00" },
		"17 indexes":                      func(d *Definition) { d.Indexes = make([]Index, 17) },
		"index time twice":                func(d *Definition) { d.Indexes = []Index{index("time"), index("a"), index("time")} },
		"index unique a twice":            func(d *Definition) { d.Indexes = []Index{{"a", true}, {"a", true}} },
		"index a, b is written a,b":       func(d *Definition) { d.Indexes = []Index{index("a, b")} },
		"index a,,b":                      func(d *Definition) { d.Indexes = []Index{index("a,,b")} },
		"index : ":                        func(d *Definition) { d.Indexes = []Index{index("")} },
		"index @key":                      func(d *Definition) { d.Indexes = []Index{index("@key")} },
		"17 folds":                        func(d *Definition) { d.Folds = folds(17) },
		`no fold is called "sum"`:         func(d *Definition) { d.Folds = map[string]Fold{"n": "sum"} },
		"fold is of a field":              func(d *Definition) { d.Folds = map[string]Fold{"": Set} },
		"whose name has":                  func(d *Definition) { d.Folds = map[string]Fold{long: Set} },
		"65 machines that attest":         func(d *Definition) { d.Attest = make([]core.DID, 65) },
		"grants to write":                 func(d *Definition) { slices.Reverse(d.Write.Grants) },
		"grants to write: more than 1024": func(d *Definition) { *d = definition(many(1025)...) },
		"grants to read": func(d *Definition) {
			d.Read.Grants = []Reader{{Who: anna.DID()}, {Who: anna.DID()}}
		},
		"label of 65": func(d *Definition) { d.Write.Grants[0].Label = long },
		"label of 66": func(d *Definition) { d.Read.Grants = []Reader{{Label: long + "x"}} },
	} {
		d := definition(anna, bo)
		bad(&d)
		if b, err := d.Marshal(); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	d := definition(many(1024)...)
	if _, err := d.Marshal(); err != nil {
		t.Errorf("1,024 grants: %v", err)
	}
}

func folds(n int) map[string]Fold {
	out := map[string]Fold{}
	for i := range n {
		out[fmt.Sprint(i)] = Set
	}
	return out
}

func TestBytesThatAreNoDefinition(t *testing.T) {
	b, err := definition(anna).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte{0x61, 'v', 1})
	version := bytes.Clone(b)
	version[at+2] = 2
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":           {nil, core.ErrInvalid},
		"cut off":           {b[:len(b)-1], core.ErrInvalid},
		"with more":         {append(bytes.Clone(b), 0), core.ErrInvalid},
		"another version":   {version, core.ErrVersion},
		"a field too much":  {bytes.Replace(bytes.Clone(b), []byte("dname"), []byte("dnamf"), 1), core.ErrInvalid},
		"too long":          {make([]byte, DefinitionSizeMax+1), core.ErrTooLarge},
		"unknown fold":      {bytes.Replace(folded(t), []byte("cset"), []byte("csex"), 1), core.ErrInvalid},
		"index not as such": {bytes.Replace(indexed(t), []byte("fa,b,cd"), []byte("fa,b,c "), 1), core.ErrInvalid},
	} {
		if d, err := ParseDefinition(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func folded(t *testing.T) []byte {
	b, err := Definition{Name: "x", Folds: map[string]Fold{"a": Set}}.Marshal()
	if err != nil || !bytes.Contains(b, []byte("cset")) {
		t.Fatal(err)
	}
	return b
}

func indexed(t *testing.T) []byte {
	b, err := Definition{Name: "x", Indexes: []Index{index("a,b,cd")}}.Marshal()
	if err != nil || !bytes.Contains(b, []byte("fa,b,cd")) {
		t.Fatal(err)
	}
	return b
}

func TestWhoMayWrite(t *testing.T) {
	d := definition(anna)
	d.Write.Quota = 500
	d.GrantWrite(Grant{Who: bo.DID(), Quota: 1000, Since: 9, Until: 3, Stopped: true})
	for _, c := range []struct {
		who        identity.Key
		all        bool
		seq, bytes uint64
		want       error
	}{
		{anna, false, 1 << 40, math.MaxUint64, nil},
		{bo, false, 3, 1000, nil},
		{bo, false, 4, 10, ErrLeave},
		{bo, true, 4, 10, ErrLeave}, // a grant goes before "all"
		{bo, false, 3, 1001, ErrQuota},
		{clara, false, 1, 1, ErrLeave},
		{clara, true, 1, 500, nil},
		{clara, true, 1, 501, ErrQuota},
	} {
		d.Write.All = c.all
		if err := d.LeaveOf(c.who.DID()).Stands(c.seq, c.bytes); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s, all %t, operation %d, %d bytes: %v, want %v", c.who.DID().Short(), c.all, c.seq, c.bytes, err, c.want)
		}
	}
}

func TestGrantsShareNoArray(t *testing.T) {
	d := definition(anna, bo)
	e := d
	e.GrantWrite(Grant{Who: anna.DID(), Stopped: true})
	e.GrantWrite(Grant{Who: clara.DID()})
	if d.LeaveOf(anna.DID()).Stopped || d.LeaveOf(clara.DID()).Given || !e.LeaveOf(anna.DID()).Stopped || !e.LeaveOf(clara.DID()).Given {
		t.Errorf("%+v, %+v", d.Write.Grants, e.Write.Grants)
	}
	if _, err := e.Marshal(); err != nil {
		t.Error(err)
	}
}

func TestWhoMayRead(t *testing.T) {
	d := definition(anna)
	d.GrantWrite(Grant{Who: bo.DID(), Stopped: true})
	d.GrantRead(Reader{Who: clara.DID()})
	dora := keyOf("dora").DID()
	may := func() (out [4]bool) {
		for i, who := range []core.DID{anna.DID(), bo.DID(), clara.DID(), dora} {
			out[i] = d.MayRead(who)
		}
		return out
	}
	if got := may(); got != [4]bool{true, false, true, false} {
		t.Errorf("by grants: %v", got)
	}
	d.Attest = []core.DID{dora}
	if got := may(); got != [4]bool{true, false, true, true} {
		t.Errorf("with dora's word: %v", got)
	}
	if d.Read.All = true; may() != [4]bool{true, true, true, true} {
		t.Error("all may not read what all may read")
	}
}

func TestWhatMakesOtherRows(t *testing.T) {
	one := func() Definition {
		d := definition(anna)
		d.Indexes, d.Folds, d.Attest = []Index{index("a")}, map[string]Fold{"x": Set}, []core.DID{anna.DID()}
		return d
	}
	for name, c := range map[string]struct {
		change func(d *Definition)
		same   bool
	}{
		"name":       {func(d *Definition) { d.Name = "other" }, true},
		"grants":     {func(d *Definition) { d.GrantWrite(Grant{Who: bo.DID()}) }, true},
		"an index":   {func(d *Definition) { d.Indexes = append(slices.Clone(d.Indexes), index("b")) }, false},
		"unique":     {func(d *Definition) { d.Indexes = []Index{{"a", true}} }, false},
		"fold":       {func(d *Definition) { d.Folds = map[string]Fold{"x": Multi} }, false},
		"fold of":    {func(d *Definition) { d.Folds = map[string]Fold{"y": Set} }, false},
		"no fold":    {func(d *Definition) { d.Folds = nil }, false},
		"who erases": {func(d *Definition) { d.Attest = nil }, false},
	} {
		d, e := one(), one()
		c.change(&e)
		if d.SameRows(e) != c.same || e.SameRows(d) != c.same {
			t.Errorf("%s: same %t", name, d.SameRows(e))
		}
	}
}

func FuzzParseDefinition(f *testing.F) {
	d := definition(anna, bo)
	d.Indexes, d.Folds = []Index{index("tags,time"), {"slug", true}}, map[string]Fold{"a": Set}
	b, err := d.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDefinition(b)
		if err != nil {
			return
		}
		again, err := d.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written %x, %v", b, again, err)
		}
		d.MayRead(anna.DID())
		d.LeaveOf(anna.DID())
	})
}
