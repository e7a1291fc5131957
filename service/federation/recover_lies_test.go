package federation_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/service/federation"
)

// lie makes a machine change its answers. change gets the path below the prefix, and the answer.
func (m *machine) lie(change func(path string, code int, body []byte) (int, []byte)) {
	m.wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			code, body := change(strings.TrimPrefix(r.URL.Path, wire.Prefix), rec.Code, rec.Body.Bytes())
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(code)
			_, _ = w.Write(body)
		})
	}
	m.restart()
}

// edited changes the answer to GET /heads.
func edited(t *testing.T, edit func(*headsAnswer)) func(string, int, []byte) (int, []byte) {
	return func(path string, code int, body []byte) (int, []byte) {
		if path != "/heads" || code != 200 {
			return code, body
		}
		var a headsAnswer
		if err := codec.UnmarshalMessage(body, &a, 8<<20); err != nil {
			t.Error(err)
		}
		edit(&a)
		return code, record(t, a)
	}
}

// Whatever one partner lies about, the household is recovered from the others, and
// who lied is named; alone, it stops the recovery or is seen through.
func TestRecoverPastALiar(t *testing.T) {
	var stolenHead, strange identity.Signed
	for _, c := range []struct {
		what string
		lie  func(t *testing.T) func(string, int, []byte) (int, []byte)
		// asked is what is said of the liar where the others are honest (its pages are not
		// needed then); alone, whether the liar alone is enough.
		asked federation.Answer
		alone bool
	}{
		{"a forged head", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Head.Sig[3] ^= 1 })
		}, federation.False, false},
		{"another household's head", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Head = stolenHead })
		}, federation.False, false},
		{"a forged charter", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Charters[0].Sig[3] ^= 1 })
		}, federation.False, false},
		{"another household's charter besides", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Charters = append(a.Charters, strange) })
		}, federation.False, true},
		{"a roll that is none", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Roll = &a.Heads[0].Head })
		}, federation.False, true},
		{"a root that is not among the pages", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads[0].Pages = nil })
		}, federation.False, false},
		{"no heads", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return edited(t, func(a *headsAnswer) { a.Heads = nil })
		}, federation.Behind, false},
		{"pages of other bytes", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					body = append(bytes.Clone(body[1:]), 0)
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"pages that are too long", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					body = make([]byte, 1<<20)
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"no pages", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if strings.HasPrefix(path, "/state/") && code == 200 {
					return 404, record(t, wire.Error{Code: wire.CodeNotFound, Message: "gone"})
				}
				return code, body
			}
		}, federation.Agrees, false},
		{"an answer that is none", func(*testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if path == "/heads" && code == 200 {
					return 200, []byte{0xff}
				}
				return code, body
			}
		}, federation.Away, false},
		{"that it knows no such household", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, _ int, body []byte) (int, []byte) {
				if path == "/recover" {
					return 403, record(t, wire.Error{Code: wire.CodeUnknown, Message: "who?"})
				}
				return 200, body
			}
		}, federation.Unknown, false},
		{"that the new machine was removed", func(t *testing.T) func(string, int, []byte) (int, []byte) {
			return func(path string, code int, body []byte) (int, []byte) {
				if path == "/recover" && len(body) < 60 {
					return code, body // the nonce
				}
				return 403, record(t, wire.Error{Code: wire.CodeRevoked, Message: "removed", Evidence: record(t, strange)})
			}
		}, federation.Unknown, false},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			l := loseAnna(t)
			var err error
			if stolenHead, err = charter.SignHead(l.dan.key, charter.Head{
				Grid: l.dan.grid(), Charter: core.Score{1}, Epoch: 1, Seq: 99, Root: core.Score{1}, Size: 100, Salt: [32]byte{1},
			}); err != nil {
				t.Fatal(err)
			}
			strange = l.dan.f.Charters()[0]
			l.cleo.lie(c.lie(t))
			m := l.fresh("new")
			r, err := m.recover(l.bo, federation.RecoverOptions{})
			if err != nil {
				t.Fatalf("from an honest partner: %v", err)
			}
			want(t, "answers", answers(r), "bo agrees, cleo "+string(c.asked)+", dan agrees")
			m.on()
			l.isAnna(m, 1, 2)

			l = loseAnna(t)
			l.cleo.lie(c.lie(t))
			m = l.fresh("new")
			_, err = m.recover(l.cleo, federation.RecoverOptions{})
			if (err == nil) != c.alone {
				t.Fatalf("from the liar: %v", err)
			}
			if err != nil {
				m.off()
				if on := m.tryOn(); on == nil {
					t.Fatal("a recovery that failed left a household behind")
				}
				if _, err := m.recover(l.dan, federation.RecoverOptions{}); err != nil {
					t.Fatalf("and then from an honest one: %v", err)
				}
			}
		})
	}
}

// One page has rotted at one partner, another at another: together they have the state.
// Only the pages with the partners must be whole at the first, else it names no others.
func TestRecoverFromRottenPartners(t *testing.T) {
	l := loseAnna(t)
	l.anna.on()
	first := l.anna.f.PagesFor("p/")
	var rest []core.Score
	for _, s := range l.anna.f.OwnPages() {
		if !first[s] {
			rest = append(rest, s)
		}
	}
	l.anna.off()
	if len(rest) < 3 {
		t.Fatalf("%d pages", len(rest))
	}
	rot := func(m *machine, s core.Score) {
		if !m.disk.Blobs().Rot(s) {
			t.Fatal("it is not there")
		}
	}
	for i, p := range []*machine{l.bo, l.cleo, l.dan} {
		rot(p, rest[i])
	}
	m := l.fresh("new")
	r, err := m.recover(l.bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.on()
	l.isAnna(m, 1, 2)
	if !strings.Contains(answers(r), "bo false") {
		t.Errorf("nothing is said of the rot: %s", answers(r))
	}

	// A partner that gives other bytes for pages is passed over for those pages.
	l = loseAnna(t)
	l.anna.on()
	first = l.anna.f.PagesFor("p/")
	l.anna.off()
	l.bo.lie(func(path string, code int, body []byte) (int, []byte) {
		if score, err := core.ParseScore(strings.TrimPrefix(path, "/state/")); err == nil && code == 200 && !first[score] {
			body = append(bytes.Clone(body[1:]), 0)
		}
		return code, body
	})
	m = l.fresh("new as well")
	if r, err = m.recover(l.bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	m.on()
	l.isAnna(m, 1, 2)
	want(t, "answers", answers(r), "bo false, cleo agrees, dan agrees")

	l = loseAnna(t)
	l.anna.on()
	for s := range l.anna.f.PagesFor("p/") {
		rot(l.bo, s)
	}
	l.anna.off()
	m = l.fresh("newer")
	_, err = m.recover(l.bo, federation.RecoverOptions{})
	wantError(t, "the first names no partners", err, core.ErrCorrupt)
	if _, err = m.recover(l.dan, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
}
