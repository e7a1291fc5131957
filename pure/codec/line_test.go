package codec

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestLine(t *testing.T) {
	const prefix = "GRANGE-X:"
	raw := []byte("what is sent")
	line := Line(prefix, raw)
	if want := LineBytes(prefix, len(line)); want != len(raw) {
		t.Errorf("%d characters have room for %d bytes, and hold %d", len(line), want, len(raw))
	}
	for _, text := range []string{line, strings.ToLower(line), " " + line[:12] + "-\r\n" + line[12:] + "\n"} {
		if got, err := ParseLine(prefix, text, len(line)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		"":                          core.ErrInvalid,
		line[1:]:                    core.ErrInvalid,
		line + "A":                  core.ErrTooLarge,
		line[:len(line)-1]:          core.ErrCorrupt,
		prefix:                      core.ErrCorrupt,
		line[:len(line)-1] + "1":    core.ErrCorrupt,
		line[:11] + "A" + line[12:]: core.ErrCorrupt,
	} {
		if got, err := ParseLine(prefix, text, len(line)-1); !errors.Is(err, want) || got != nil {
			t.Errorf("%q: %q, %v, want %v", text, got, err, want)
		}
	}
	_, err := ParseLine(prefix, line[:len(line)-3]+"!AA", len(line))
	if want := "character 33 of the code, '!'"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("GRANGE-X:", []byte{})
	f.Add(Line("GRANGE-X:", []byte("seed")), []byte("seed"))
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		const sizeMax = 1 << 10
		if got, err := ParseLine("GRANGE-X:", text, sizeMax); err == nil && Squeeze(Line("GRANGE-X:", got)) != Squeeze(text) {
			t.Errorf("%q is %q again", text, Line("GRANGE-X:", got))
		}
		if got, err := ParseLine("GRANGE-X:", Line("GRANGE-X:", raw), 2*len(raw)+sizeMax); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%x: %x, %v", raw, got, err)
		}
	})
}
