// Package golden holds the rooms to their vectors, which stand in docs/vectors, one
// file a room: what is stored and signed today must be read for years, so a test
// reads the bytes that were written once, and not only those that it writes itself.
//
// A vectors file is the JSON of a type of the room's test. It is read strictly: no
// field is unknown, and what was read, written again, is the file to the byte.
// "make vectors" writes all of them anew, with the flag -update, and git shows what changed.
//
// The package knows neither formats nor rooms: what the vectors mean, a room's test
// checks. Only tests import it, and from packages two folders below the module's root.
package golden

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/grange-grid/grange/core"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// Hex is bytes that JSON holds as hexadecimal digits, in lower case.
type Hex []byte

// MarshalText gives JSON the digits.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText reads the digits.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// File returns the vectors of a room, and fails the test unless they are what write makes now.
func File[T any](t *testing.T, room string, write func(*testing.T) T) T {
	t.Helper()
	v := Kept(t, room, write)
	text, err := os.ReadFile(path(room))
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(text, write(t)); err != nil {
		t.Errorf("what is written now is not docs/vectors/%s.json: %v", room, err)
	}
	return v
}

// Kept is File for vectors that another Go, or another release of a library, may write
// otherwise without a fault, such as boxes that draw randomness. They are not compared
// with what write makes: the test has to open them.
func Kept[T any](t *testing.T, room string, write func(*testing.T) T) T {
	t.Helper()
	if *update {
		old, err := os.ReadFile(path(room))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text, err := marshal(write(t), indent(old))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path(room), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Read[T](t, room)
}

// Read returns the vectors of a room, as seeds for a fuzz target.
func Read[T any](t testing.TB, room string) T {
	t.Helper()
	text, err := os.ReadFile(path(room))
	if err != nil {
		t.Fatal(err)
	}
	v, err := parse[T](text)
	if err != nil {
		t.Fatalf("docs/vectors/%s.json: %v", room, err)
	}
	return v
}

// Stream returns size bytes that look random and depend on name alone: the scores of
// name ‖ u64 0, name ‖ u64 1, … joined, big-endian. Vectors are made of it, so it stays as it is.
func Stream(name string, size int) []byte {
	out := make([]byte, 0, size+core.ScoreSize)
	for i := uint64(0); len(out) < size; i++ {
		score := core.ScoreOf(binary.BigEndian.AppendUint64([]byte(name), i))
		out = append(out, score[:]...)
	}
	return out[:size]
}

func path(room string) string {
	return filepath.Join("..", "..", "docs", "vectors", room+".json")
}

func parse[T any](text []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, err
	}
	// A field twice or missing, digits in upper case, bytes behind the end: the decoder lets these pass.
	return v, compare(text, v)
}

// compare tells where the JSON of v is not text.
func compare(text []byte, v any) error {
	made, err := marshal(v, indent(text))
	if err != nil || bytes.Equal(made, text) {
		return err
	}
	got, want := bytes.Split(made, []byte("\n")), bytes.Split(text, []byte("\n"))
	n := 0
	for n < min(len(got), len(want))-1 && bytes.Equal(got[n], want[n]) {
		n++
	}
	return fmt.Errorf("line %d of %d is %.200q, and would be %.200q", n+1, len(want), want[n], got[n])
}

func marshal(v any, indent string) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", indent)
	return append(text, '\n'), err
}

// indent returns what a level of text is indented by, so that a file that is written
// anew differs only in what it says.
func indent(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	if n := len(rest) - len(bytes.TrimLeft(rest, " ")); n > 0 {
		return string(rest[:n])
	}
	return "  "
}
