package identity_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tyler-smith/go-bip39/wordlists"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// TestPhraseIsBIP39: the vectors of 256 bits of
// https://github.com/trezor/python-mnemonic/blob/master/vectors.json.
func TestPhraseIsBIP39(t *testing.T) {
	for _, tt := range []struct {
		fill byte
		want string
	}{
		{0x00, strings.Repeat("abandon ", 23) + "art"},
		{0x7f, strings.Repeat("legal winner thank year wave sausage worth useful ", 2) + "legal winner thank year wave sausage worth title"},
		{0x80, strings.Repeat("letter advice cage absurd amount doctor acoustic avoid ", 2) + "letter advice cage absurd amount doctor acoustic bless"},
		{0xff, strings.Repeat("zoo ", 23) + "vote"},
	} {
		var entropy [32]byte
		for i := range entropy {
			entropy[i] = tt.fill
		}
		if got := identity.Phrase(entropy); got != tt.want {
			t.Errorf("%02x: %q, want %q", tt.fill, got, tt.want)
		}
		if got, err := identity.ParsePhrase(tt.want); err != nil || got != entropy {
			t.Errorf("%02x: read as %x, %v", tt.fill, got, err)
		}
	}
}

func TestPhraseAsPeopleTypeIt(t *testing.T) {
	entropy := seedOf("phrase")
	words := strings.Fields(identity.Phrase(entropy))
	if len(words) != identity.PhraseWords {
		t.Fatalf("%d words", len(words))
	}
	four := make([]string, len(words))
	for i, w := range words {
		four[i] = w[:min(4, len(w))]
	}
	for name, text := range map[string]string{
		"as written":         strings.Join(words, " "),
		"upper case":         strings.ToUpper(strings.Join(words, " ")),
		"in lines":           "\n " + strings.Join(words, "\t\r\n") + "  \n",
		"four letters":       strings.Join(four, " "),
		"four letters, caps": strings.ToUpper(strings.Join(four, "\n")),
	} {
		if got, err := identity.ParsePhrase(text); err != nil || got != entropy {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestFourLettersTellWordsApart(t *testing.T) {
	seen := map[string]string{}
	for _, w := range wordlists.English {
		four := w[:min(4, len(w))]
		if other, ok := seen[four]; ok {
			t.Errorf("%s and %s", w, other)
		}
		seen[four] = w
	}
	if len(seen) != 2048 {
		t.Errorf("%d words", len(seen))
	}
}

func TestPhraseErrors(t *testing.T) {
	words := strings.Fields(identity.Phrase(seedOf("phrase")))
	with := func(i int, w string) string {
		changed := append([]string(nil), words...)
		changed[i] = w
		return strings.Join(changed, " ")
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "0 words, want 24"},
		{"a word less", strings.Join(words[1:], " "), "23 words, want 24"},
		{"a word more", strings.Join(words, " ") + " zoo", "25 words, want 24"},
		{"many more", strings.Repeat("zoo ", 100_000), "100000 words, want 24"},
		{"not a word", with(6, "grange"), `word 7, "grange", is not in the list`},
		{"three letters of a word", with(0, "aba"), `word 1, "aba", is not in the list`},
		{"more than the word", with(23, "abandons"), `word 24, "abandons", is not in the list`},
		{"a long word", with(2, strings.Repeat("a", 99)), `word 3, "aaaaaaaaaaaaaaaaaaaa", is not`},
		{"a number", with(1, "2."), `word 2, "2.", is not in the list`},
		{"swapped", strings.Join(append([]string{words[1], words[0]}, words[2:]...), " "), "changed places"},
	} {
		_, err := identity.ParsePhrase(tt.text)
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestWhatGrowsFromThePhrase(t *testing.T) {
	a, b := seedOf("a"), seedOf("b")
	if identity.RootOf(a).DID() == identity.RootOf(b).DID() || identity.RecoverySeed(a) == identity.RecoverySeed(b) {
		t.Error("two phrases give one key")
	}
	if identity.KeyOf(identity.RecoverySeed(a)).DID() == identity.RootOf(a).DID() {
		t.Error("root and recovery key grow from one seed")
	}
	if identity.RootOf(a).DID() != identity.KeyOf(core.DeriveKey("grange v1 grid root", a[:])).DID() {
		t.Error("the root is not derived as the format says")
	}
	if identity.RecoverySeed(a) != core.DeriveKey("grange v1 recovery key", a[:]) {
		t.Error("the recovery key is not derived as the format says")
	}
}

func FuzzParsePhrase(f *testing.F) {
	f.Add(identity.Phrase(seedOf("phrase")))
	f.Add(strings.Repeat("zoo ", 23) + "vote")
	f.Add(strings.Repeat("aban ", 23) + "ART")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		entropy, err := identity.ParsePhrase(text)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) || entropy != [32]byte{} {
				t.Errorf("%q: %x, %v", text, entropy, err)
			}
			return
		}
		if again, err := identity.ParsePhrase(identity.Phrase(entropy)); err != nil || again != entropy {
			t.Errorf("%q: written anew it is %x, %v", text, again, err)
		}
	})
}
