package golden

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

type sample struct {
	Name string `json:"name"`
	Data Hex    `json:"data"`
	None Hex    `json:"none,omitempty"`
}

func TestOnlyTheWholeFileIsRead(t *testing.T) {
	const good = "{\n \"name\": \"a\",\n \"data\": \"00ff\"\n}\n"
	v, err := parse[sample]([]byte(good))
	if err != nil || v.Name != "a" || !bytes.Equal(v.Data, []byte{0, 0xff}) || v.None != nil {
		t.Fatalf("%+v, %v", v, err)
	}
	for why, bad := range map[string]string{
		"an unknown field":     strings.Replace(good, "}", ", \"x\": 1}", 1),
		"a field twice":        strings.Replace(good, "}", ", \"name\": \"a\"}", 1),
		"a field is missing":   "{\n \"name\": \"a\"\n}\n",
		"a field is null":      strings.Replace(good, `"a"`, "null", 1),
		"a name in upper case": strings.Replace(good, "name", "Name", 1),
		"digits in upper case": strings.Replace(good, "ff", "FF", 1),
		"no digits":            strings.Replace(good, "ff", "fg", 1),
		"an odd digit":         strings.Replace(good, "ff", "f", 1),
		"bytes behind it":      good + "{}",
		"no line's end":        strings.TrimSpace(good),
		"cut short":            good[:20],
		"nothing":              "",
	} {
		if _, err := parse[sample]([]byte(bad)); err == nil {
			t.Errorf("read, with %s: %s", why, bad)
		}
	}
	if err := compare([]byte(good), sample{Name: "a", Data: Hex{0, 0xfe}}); err == nil || !strings.Contains(err.Error(), "line 3 of 5") {
		t.Errorf("another value: %v", err)
	}
}

func TestAFileIsWrittenWithUpdate(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	for _, dir := range []string{"docs/vectors", "pure/room"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("pure/room")
	before := *update
	t.Cleanup(func() { *update = before })
	for _, c := range []struct {
		data byte
		old  string
		want string
	}{
		{1, "", "{\n  \"name\": \"a\",\n  \"data\": \"01\"\n}\n"},
		{2, "{\n \"data\": \"\"\n}\n", "{\n \"name\": \"a\",\n \"data\": \"02\"\n}\n"},
	} {
		file := filepath.Join(root, "docs", "vectors", "room.json")
		if c.old != "" {
			if err := os.WriteFile(file, []byte(c.old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write := func(*testing.T) sample { return sample{Name: "a", Data: Hex{c.data}} }
		*update = true
		File(t, "room", write)
		*update = false
		if got, err := os.ReadFile(file); err != nil || string(got) != c.want {
			t.Errorf("written: %s, %v", got, err)
		}
		if got := File(t, "room", write); !bytes.Equal(got.Data, []byte{c.data}) {
			t.Errorf("read: %+v", got)
		}
	}
}

func TestTheStreamStaysAsItIs(t *testing.T) {
	if score := core.ScoreOf(Stream("stream", 100)); score.Short() != "8fb1aa2f" {
		t.Errorf("the stream that vectors are made of changed: %s", score.Short())
	}
	if len(Stream("a", 0)) != 0 || !bytes.Equal(Stream("a", 33), Stream("a", 64)[:33]) || bytes.Equal(Stream("a", 32), Stream("b", 32)) {
		t.Error("a stream is as long as it is asked for, and each name has its own")
	}
}
