package document

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func drawScalar(t *rapid.T, label string) Value {
	switch rapid.IntRange(0, 8).Draw(t, label+" kind") {
	case 0:
		return NullValue()
	case 1:
		return BoolValue(rapid.Bool().Draw(t, label))
	case 2:
		return NumberValue(float64(rapid.IntRange(-3, 3).Draw(t, label)))
	case 3, 4:
		return NumberValue(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, label))
	case 5:
		// About where texts are cut off.
		tail := rapid.StringOfN(rapid.RuneFrom([]rune{0, 'a', 'é', '😀'}), 0, 4, -1).Draw(t, label)
		return TextValue(strings.Repeat("x", rapid.IntRange(155, 161).Draw(t, label+" size")) + tail)
	default:
		return TextValue(rapid.StringOf(rapid.RuneFrom([]rune{0, 1, 'a', 'b', 'é', '\uffff', '😀'})).Draw(t, label))
	}
}

func TestKeysHaveTheOrderOfValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawScalar(t, "a"), drawScalar(t, "b")
		x, y := AppendKey(nil, a), AppendKey(nil, b)
		want, got := Compare(a, b), bytes.Compare(x, y)
		if got != want && (got != 0 || Whole(a) || Whole(b)) {
			t.Fatalf("%q and %q: keys %x and %x compare %d, values %d", a.Text(), b.Text(), x, y, got, want)
		}
		if got != 0 && (bytes.HasPrefix(x, y) || bytes.HasPrefix(y, x)) {
			t.Fatalf("of %x and %x one begins with the other", x, y)
		}
		if len(x) > FieldKeyMax {
			t.Fatalf("a key of %d bytes", len(x))
		}
		values, rest, err := ParseKey(append(slices.Concat(x, y), "key"...), 2)
		if err != nil || string(rest) != "key" {
			t.Fatalf("%x %x: rest %q: %v", x, y, rest, err)
		}
		for i, v := range []Value{a, b} {
			if back := values[i]; back != v && (Whole(v) || !strings.HasPrefix(v.raw, back.raw)) {
				t.Fatalf("%q comes back as %q", v.raw, back.raw)
			}
		}
	})
}

func TestKeysOfAllKindsRise(t *testing.T) {
	d := mustDoc(t, `{"v":[null,false,true,-1e300,-1.5,-1,-1e-300,0,5e-324,1,1.5,1e300,"","\u0000","\u0000a","a","a\u0000","aa","é","😀",[],[null],[1],[1,2],[2],{},{"b":1},{"b":2},{"aa":1}]}`)
	list, _ := d.Field(Path{"v"})
	var before []byte
	var last Value
	for v := range list.Elements() {
		key := AppendKey(nil, v)
		switch {
		case Compare(last, v) != -1 || Compare(v, last) != 1 || Compare(v, v) != 0:
			t.Errorf("%s is not below %s", last.AppendJSON(nil), v.AppendJSON(nil))
		case v.Scalar() && bytes.Compare(before, key) >= 0:
			t.Errorf("%x is not below %x", before, key)
		case !v.Scalar() && !bytes.Equal(key, []byte{TagNone}):
			t.Errorf("%s has the key %x", v.AppendJSON(nil), key)
		}
		before, last = key, v
	}
	if n := 4*len(AppendKey(nil, TextValue(strings.Repeat("\x00", 200)))) + NameMax; n != KeyMax || n > 1024 {
		t.Errorf("the longest key has %d bytes, KeyMax is %d", n, KeyMax)
	}
}

func TestKeysThatAreWrongAreRefused(t *testing.T) {
	long := strings.Repeat("61", 158)
	for _, key := range []string{
		"", "06", "ff", "04", "0480000000000000", // ends early, unknown
		"047fffffffffffffff",                                             // -0
		"04fff0000000000000", "040000000000000000", "04fff8000000000000", // no finite number
		"05", "0561", "0500", "056100", "05610001", "0561000261", // no end
		"05ff0000", "05c30000", "05" + long + "c30000", "05" + long + "61ff0000", "05" + long + "61800000", "05" + long + "c3280000", // no UTF-8
		"05" + strings.Repeat("61", 161) + "0000", "05" + strings.Repeat("61", 159) + "00ff0000",
	} {
		b, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		if v, _, err := ParseKey(b, 1); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s is read as %v: %v", key, v, err)
		}
	}
	for _, key := range []string{"05" + long + "61c30000", "05" + long + "c3a90000", "05" + strings.Repeat("61", 157) + "f09f980000", "05" + long + "00ff0000"} {
		b, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, err := ParseKey(b, 1); err != nil || len(rest) != 0 {
			t.Errorf("%s: rest %x: %v", key, rest, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(AppendKey(AppendKey(nil, NumberValue(-1.5)), TextValue("a\x00é")))
	f.Add(AppendKey([]byte{TagNone, TagNull, TagTrue}, TextValue(strings.Repeat("é", 100))))
	f.Fuzz(func(t *testing.T, b []byte) {
		for n := range FieldsMax + 1 {
			values, rest, err := ParseKey(b, n)
			if err != nil {
				if !errors.Is(err, core.ErrInvalid) {
					t.Fatal(err)
				}
				return
			}
			var again []byte
			for _, v := range values {
				again = appendParsed(again, v)
			}
			if !bytes.Equal(append(again, rest...), b) {
				t.Fatalf("%x comes back as %x", b, again)
			}
		}
	})
}

// appendParsed is AppendKey for a text that may end within a letter.
func appendParsed(dst []byte, v Value) []byte {
	if v.kind != Text {
		return AppendKey(dst, v)
	}
	return append(append(append(dst, TagText), strings.ReplaceAll(v.raw, "\x00", "\x00\xff")...), 0, 0)
}

// drawJSON makes a value, and its JSON in some of the ways it can be written.
func drawJSON(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	switch form := rapid.IntRange(0, 7).Draw(t, "form"); {
	case form == 0 && depth > 0:
		var items []string
		for range rapid.IntRange(0, 4).Draw(t, "items") {
			items = append(items, space.Draw(t, "space")+drawJSON(t, depth-1))
		}
		return "[" + strings.Join(items, ",") + "]"
	case form <= 2 && depth > 0:
		return drawObject(t, depth-1)
	default:
		v := drawScalar(t, "scalar")
		if v.kind == Number {
			return fmt.Sprintf(rapid.SampledFrom([]string{"%v", "%.16e", "%.20g"}).Draw(t, "digits"), v.num)
		}
		return string(v.AppendJSON(nil))
	}
}

func drawObject(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	names := rapid.SliceOfNDistinct(rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00é😀\"")), 0, 3, -1), 0, 30, rapid.ID[string]).Draw(t, "names")
	var fields []string
	for _, name := range names {
		fields = append(fields, string(AppendText(nil, name))+space.Draw(t, "space")+":"+drawJSON(t, depth))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestDocumentsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawObject(t, 3)
		d, err := FromJSON([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if again, err := FromJSON(d.JSON()); err != nil || again != d {
			t.Fatalf("%s comes back as %s: %v", d.JSON(), again.JSON(), err)
		}
		if again, err := FromCBOR(d.Bytes()); err != nil || again != d {
			t.Fatalf("%x: %v", d.Bytes(), err)
		}
		before := ""
		for name, v := range d.Value().Fields() {
			if cmp.Or(cmp.Compare(len(before), len(name)), cmp.Compare(before, name)) > 0 {
				t.Fatalf("%q stands before %q", before, name)
			}
			if found, ok := d.Field(Path{name}); !ok || Compare(found, v) != 0 {
				t.Fatalf("%q is not found", name)
			}
			before = name
		}
		if _, ok := d.Field(Path{"absent"}); ok {
			t.Fatal("what is not there is found")
		}
	})
}
