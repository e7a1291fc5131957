package charter_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/seal"
)

// box puts text into the vault of c, with a box for m, as the format says and
// without asking the package.
func box(t testing.TB, c *charter.Charter, m machine, key, text []byte) {
	t.Helper()
	info := append([]byte("grange/v1/secrets\x00"), c.Grid[:]...)
	info = binary.BigEndian.AppendUint64(info, c.Recoveries)
	info = binary.BigEndian.AppendUint64(info, c.Epoch)
	b, err := seal.To(m.seal.Public(), info, key)
	if err != nil {
		t.Fatal(err)
	}
	c.Boxes = []charter.Box{{To: m.did(), Box: b}}
	var k [32]byte
	copy(k[:], key)
	c.Vault = seal.Small("grange v1 secrets", &k, text)
}

// TestSecretsRefuses: what a root, or a program with a fault, may have sealed.
func TestSecretsRefuses(t *testing.T) {
	barn := newMachine(t, "barn")
	key := seedOf("charter key")
	good := charter.Secrets{V: 1, Chunker: seedOf("chunker")}.With(2, seedOf("two")).With(7, seedOf("seven"))
	var many charter.Secrets
	many.V, many.Chunker = 1, good.Chunker
	for i := range uint64(charter.VaultMax + 1) {
		many = many.With(i+1, good.Chunker)
	}
	bent := func(bend func(s *charter.Secrets)) []byte {
		s := good
		s.Vault = cloned(s.Vault)
		bend(&s)
		return mustMarshal(t, s)
	}
	text := mustMarshal(t, good)
	for _, tt := range []struct {
		name string
		key  []byte
		text []byte
		want error
	}{
		{"good", key[:], text, nil},
		{"a short key", key[:31], text, core.ErrInvalid},
		{"a long key", append(key[:], 0), text, core.ErrInvalid},
		{"nothing", key[:], nil, core.ErrInvalid},
		{"cut short", key[:], text[:len(text)-1], core.ErrInvalid},
		{"bytes after the end", key[:], append(bytes.Clone(text), 0), core.ErrInvalid},
		{"version 2", key[:], bent(func(s *charter.Secrets) { s.V = 2 }), core.ErrVersion},
		{"no vault secret", key[:], bent(func(s *charter.Secrets) { s.Vault = nil }), core.ErrInvalid},
		{"too many", key[:], mustMarshal(t, many), core.ErrInvalid},
		{"epoch 0", key[:], bent(func(s *charter.Secrets) { s.Vault[0].Epoch = 0 }), core.ErrInvalid},
		{"an epoch twice", key[:], bent(func(s *charter.Secrets) { s.Vault[0].Epoch = 7 }), core.ErrInvalid},
		{"epochs that fall", key[:], bent(func(s *charter.Secrets) { swap(s.Vault) }), core.ErrInvalid},
		{"a later epoch", key[:], bent(func(s *charter.Secrets) { s.Vault[1].Epoch = 8 }), core.ErrInvalid},
		{"a secret of zeros", key[:], bent(func(s *charter.Secrets) { s.Vault[1].Key = [32]byte{} }), core.ErrInvalid},
		{"a chunker key of zeros", key[:], bent(func(s *charter.Secrets) { s.Chunker = [32]byte{} }), core.ErrInvalid},
		{"a field more", key[:], mustMarshal(t, map[string]any{"v": 1, "chunker": good.Chunker, "vault": good.Vault, "x": 1}), core.ErrInvalid},
		{"a short secret", key[:], mustMarshal(t, map[string]any{"v": 1, "chunker": good.Chunker, "vault": []any{map[string]any{"epoch": 1, "key": []byte{1}}}}), core.ErrInvalid},
	} {
		c := charter.Charter{Grid: core.DID{1}, Recoveries: 3, Epoch: 7}
		box(t, &c, barn, tt.key, tt.text)
		got, err := c.Secrets(barn.did(), barn.seal)
		if !errors.Is(err, tt.want) || (tt.want == nil) != reflect.DeepEqual(got, good) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func cloned(v []charter.VaultSecret) []charter.VaultSecret {
	return append([]charter.VaultSecret(nil), v...)
}

// TestBoxesStayInTheirPlace: a box that is carried to another charter, or to another
// reader, does not open.
func TestBoxesStayInTheirPlace(t *testing.T) {
	h := newHome(t, "home")
	barn, attic := newMachine(t, "barn"), newMachine(t, "attic")
	good := open(t, h.seal(t, h.charter(t, barn, attic)))
	for name, move := range map[string]func(c *charter.Charter){
		"another epoch":      func(c *charter.Charter) { c.Epoch++ },
		"another recovery":   func(c *charter.Charter) { c.Recoveries++ },
		"another grid":       func(c *charter.Charter) { c.Grid[0]++ },
		"another's vault":    func(c *charter.Charter) { c.Vault = open(t, h.seal(t, h.charter(t, barn))).Vault },
		"a flipped vault":    func(c *charter.Charter) { c.Vault = bytes.Clone(c.Vault); c.Vault[40] ^= 1 },
		"boxes exchanged":    func(c *charter.Charter) { c.Boxes = []charter.Box{{To: barn.did(), Box: c.Boxes[0].Box}} },
		"an empty vault":     func(c *charter.Charter) { c.Vault = nil },
		"a box of one byte":  func(c *charter.Charter) { c.Boxes = []charter.Box{{To: barn.did(), Box: []byte{1}}} },
		"a box of no bytes":  func(c *charter.Charter) { c.Boxes = []charter.Box{{To: barn.did()}} },
		"a vault of no text": func(c *charter.Charter) { c.Vault = c.Vault[:seal.SmallOverhead] },
	} {
		c := good
		move(&c)
		if _, err := c.Secrets(barn.did(), barn.seal); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	if _, err := good.Secrets(barn.did(), attic.seal); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another's key: %v", err)
	}
	if _, err := good.Secrets(newMachine(t, "stranger").did(), barn.seal); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a stranger: %v", err)
	}
}

// TestARevokedMachineIsShutOut walks through a revocation as the commands do it.
func TestARevokedMachineIsShutOut(t *testing.T) {
	h := newHome(t, "home")
	barn, stolen := newMachine(t, "barn"), newMachine(t, "stolen")
	first := h.seal(t, h.charter(t, barn, stolen))
	old := h.secrets
	c := open(t, first).Next(first.Score(), 1_800_000_000)
	if err := c.Remove(stolen.did(), 12, core.Score{12}); err != nil {
		t.Fatal(err)
	}
	h.secrets = h.secrets.With(c.Epoch, seedOf("rotated"))
	second := h.seal(t, c)
	got := open(t, second)
	if err := charter.Follow(open(t, first), first.Score(), old, got, h.secrets); err != nil {
		t.Error(err)
	}
	if _, err := got.Secrets(stolen.did(), stolen.seal); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("the stolen machine opens the new secrets: %v", err)
	}
	if r, ok := got.RemovedAgent(stolen.did()); !ok || r.Seq != 12 || r.Head != (core.Score{12}) {
		t.Errorf("removed as %+v", r)
	}
	for _, reader := range []struct {
		to core.DID
		k  *seal.PrivateKey
	}{{barn.did(), barn.seal}, {core.DID{}, h.recovery}} {
		s, err := got.Secrets(reader.to, reader.k)
		if err != nil || s.Newest() != (charter.VaultSecret{Epoch: 2, Key: seedOf("rotated")}) {
			t.Errorf("newest secret: %v", err)
		}
		if v, ok := s.At(1); !ok || v != old.Newest() { // old segments stay readable
			t.Error("the first secret is lost")
		}
		if _, ok := s.At(3); ok {
			t.Error("a secret of an epoch that brought none")
		}
	}
	// The names have been sealed anew: the old secret opens none of them.
	if names, err := got.Names(h.secrets); err != nil || names[barn.did()] != "barn" {
		t.Errorf("names %v, %v", names, err)
	}
	if _, err := charter.OpenName(old, got.Agents[0].Name); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("the stolen machine reads a name: %v", err)
	}
	if c := open(t, first); len(c.Agents) != 2 || len(c.Removed) != 0 {
		t.Error("the first charter has changed")
	}
	if err := c.Remove(stolen.did(), 0, core.Score{}); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestNames(t *testing.T) {
	h := newHome(t, "home")
	for _, name := range []string{"a", "Großmutters Rechner", "納屋", strings.Repeat("x", 64)} {
		b, err := charter.SealName(h.secrets, name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got, err := charter.OpenName(h.secrets, b); err != nil || got != name {
			t.Errorf("%q: opened as %q, %v", name, got, err)
		}
	}
	newest := h.secrets.Newest()
	for _, name := range []string{"", strings.Repeat("x", 65), "a\xff", "a\nb", "\x1b[2J", "a\u202eb", "a\u0085"} {
		if _, err := charter.SealName(h.secrets, name); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q is sealed: %v", name, err)
		}
		b := seal.Small("grange v1 name", &newest.Key, []byte(name))
		if _, err := charter.OpenName(h.secrets, b); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q is opened: %v", name, err)
		}
	}
	if _, err := charter.SealName(charter.Secrets{}, "barn"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("sealed with no secret: %v", err)
	}
}

func TestWithLeavesTheOldSecretsAlone(t *testing.T) {
	s := charter.Secrets{}.With(1, seedOf("1")).With(2, seedOf("2"))
	a, b := s.With(3, seedOf("a")), s.With(3, seedOf("b"))
	if a.Newest().Key != seedOf("a") || b.Newest().Key != seedOf("b") || len(s.Vault) != 2 {
		t.Error("two branches share their secrets")
	}
	if (charter.Secrets{}).Newest() != (charter.VaultSecret{}) {
		t.Error("no secrets have a newest one")
	}
}

func TestSecretsArePrintedNowhere(t *testing.T) {
	key := [32]byte(bytes.Repeat([]byte{0xab, 'K'}, 16))
	s := charter.Secrets{V: 1, Chunker: key}.With(1, key)
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		for _, v := range []any{s, &s, s.Newest(), s.Vault, struct{ S charter.Secrets }{s}} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "secrets", s, "newest", s.Newest())
	}
	for _, v := range []any{s, s.Newest(), &s, s.Vault} {
		if text, err := json.Marshal(v); err == nil {
			t.Errorf("JSON: %s", text)
		}
	}
	for _, shown := range []string{"ab4b", "171 75", "10101011", "kkk", "\xabk", "q0ur"} {
		if strings.Contains(strings.ToLower(out.String()), shown) {
			t.Errorf("%q is shown in %s", shown, out.String())
		}
	}
}
