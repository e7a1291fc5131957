package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestKeysArePrintedNowhere(t *testing.T) {
	var key Key
	copy(key[:], bytes.Repeat([]byte{0xab, 'K'}, 16))
	private, err := NewPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	type ref struct{ Key Key }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t"} {
		for _, v := range []any{key, &key, private, *private} {
			if got := fmt.Sprintf(verb, v); got != "[key]" {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
		for _, v := range []any{ref{key}, []Key{key}, map[string]Key{"a": key}} {
			if got := fmt.Sprintf(verb, v); !strings.Contains(got, "[key]") || leaks(got) {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
	if key.String() != "[key]" || key.GoString() != "[key]" {
		t.Error("String or GoString shows the key")
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "key", key, "ref", ref{key}, "private", private, "pointer", &key)
	}
	if leaks(log.String()) {
		t.Errorf("logged: %s", log.String())
	}
	if out, err := json.Marshal(ref{key}); err == nil {
		t.Errorf("JSON: %s", out)
	}
}

// leaks tells whether text has the test key's bytes in one of fmt's ways.
func leaks(text string) bool {
	text = strings.ToLower(text)
	for _, shown := range []string{"ab4b", "ab 4b", "171", "253", "10101011", "\xabk", "kkk", "u+00ab"} {
		if strings.Contains(text, shown) {
			return true
		}
	}
	return false
}

func TestKeyBinary(t *testing.T) {
	key := Key(*bytesOf("key"))
	b, err := key.MarshalBinary()
	if err != nil || !bytes.Equal(b, key[:]) {
		t.Fatalf("%x, %v", b, err)
	}
	var back Key
	if err := back.UnmarshalBinary(b); err != nil || back != key {
		t.Errorf("read back: %v", err)
	}
	for _, n := range []int{0, 31, 33} {
		if err := back.UnmarshalBinary(make([]byte, n)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if back != key {
		t.Error("a refused key was kept")
	}
}
