package accounts

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// FuzzRequests sends bodies as a storage server that is listed: whatever they are, the answer is no fault of the server's, and its
// books can be read.
func FuzzRequests(f *testing.F) {
	key, clock := keyOf("account server"), sim.NewClock(1)
	now := clock.Now().Unix()
	token, err := account.SignToken(key, account.Token{Server: key.DID(), Account: "anna", Plan: "open", Grid: keyOf("anna").DID(), From: now, Until: now + 9, Nonce: [16]byte{1}})
	if err != nil {
		f.Fatal(err)
	}
	report, err := account.SignUsage(one, account.Usage{Server: key.DID(), Account: "anna", Bytes: 7, Seq: 1, Time: now})
	if err != nil {
		f.Fatal(err)
	}
	for _, in := range []any{
		checkRequest{[]checkAsk{{Token: &token}, {Account: "anna"}}}, usageRequest{[]identity.Signed{report, report}}, tokenRequest{Charter: token},
	} {
		raw, err := codec.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		books := sim.NewBooks()
		s, err := NewServer(ServerConfig{Key: key, Books: books, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{s.SetPlan(Plan{"open", 10, 0}), s.Add("anna", "open", keyOf("anna").DID()), errOf(s.SetHolder(one.DID(), true))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, route := range s.Routes() {
			r := httptest.NewRequest(route.Method, route.Path, bytes.NewReader(body))
			w := httptest.NewRecorder()
			route.Handler.ServeHTTP(w, r.WithContext(wire.WithCaller(r.Context(), wire.Caller{Agent: one.DID()})))
			if w.Code == http.StatusInternalServerError {
				t.Errorf("%s %s: %d %s", route.Method, route.Path, w.Code, w.Body)
			}
		}
		if a, err := s.Show("anna"); err != nil || a.Used < 0 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// FuzzAnswer takes in answers of an account server.
func FuzzAnswer(f *testing.F) {
	grid := keyOf("anna").DID()
	for _, a := range []any{
		checkAnswer{[]Standing{{Account: "anna", State: StateGood, Plan: "open", Grid: &grid, Bytes: 7, Used: 1, Seconds: 60}}},
		usageAnswer{Taken: 1, Faults: []fault{{0, "no", 1 << 63, 7}}},
	} {
		raw, err := codec.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := NewHolder(HolderConfig{Key: one, Books: sim.NewBooks(), Clock: sim.NewClock(1), Trusted: func(core.DID) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		name := Name{keyOf("account server").DID(), "anna"}
		h.known[name] = &holding{holdingRecord: holdingRecord{V: 1, Grid: grid}}
		var check checkAnswer
		if codec.UnmarshalMessage(body, &check, len(body)) == nil && len(check.Answers) == 1 && h.heard([]Name{name}, check.Answers) == nil {
			if a := h.Facts(name, grid); a == nil || a.Used < 0 || a.Quota < 0 || a.Until > h.now()+AnswerSecondsMax {
				t.Errorf("%+v", a)
			}
		}
		var used usageAnswer
		if codec.UnmarshalMessage(body, &used, len(body)) == nil {
			if err := h.told([]Name{name}, []int64{7}, used); err != nil {
				t.Error(err)
			}
		}
		again, err := NewHolder(HolderConfig{Key: one, Books: h.c.Books, Clock: h.c.Clock, Trusted: h.c.Trusted})
		if err != nil || len(again.known) > 1 {
			t.Errorf("its books: %v", err)
		}
	})
}
