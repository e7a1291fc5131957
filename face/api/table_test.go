package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/internal/sim"
)

func TestTable(t *testing.T) {
	ctx := t.Context()
	h := newHome(t, sim.NewNetwork(1), "anna", true)
	if _, err := h.Table(ctx, "posts"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a table that is not there: %v", err)
	}
	if _, err := h.CreateTable(ctx, grange.NewTable{Name: "posts", Indexes: []string{"n"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateTable(ctx, grange.NewTable{Name: "posts"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a table twice: %v", err)
	}

	// Rows are put up to 8 MiB a request, which is more than other requests may have.
	put := PutRowsRequest{Name: "posts"}
	for i := range 20 {
		put.Rows = append(put.Rows, PutRow{Key: fmt.Sprint("k", i), Document: json.RawMessage(fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("x", 50_000)))})
	}
	if keys, err := h.PutRows(ctx, put); err != nil || len(keys) != 20 || keys[19] != "k19" {
		t.Fatalf("put: %v, %v", keys, err)
	}
	put.Rows = []PutRow{{Document: json.RawMessage(`{"text":"` + strings.Repeat("x", TableBodyMax) + `"}`)}}
	if e, ok := errors.AsType[*Error](errOf(h.PutRows(ctx, put))); !ok || e.Code != CodeTooLarge || e.Message != "a body of over 8388608 bytes" {
		t.Errorf("over 8 MiB: %v", e)
	}
	put.Rows = []PutRow{{Key: "twice", Document: json.RawMessage(`{"a":1,"a":2}`)}}
	if e, ok := errors.AsType[*Error](errOf(h.PutRows(ctx, put))); !ok || e.Code != CodeInvalid {
		t.Errorf("a name twice: %v", e)
	}

	// A proof comes only if it is asked for, and can be verified by what it is alone.
	out, err := h.QueryTable(ctx, "posts", grange.TableQuery{Query: "n >= 18"}, false)
	if err != nil || len(out.Rows) != 2 || out.Rows[0].Key != "k18" || out.Index != "n" || out.Provisional || out.Proof != nil {
		t.Errorf("query: %d rows by %q, proof of %d bytes: %v", len(out.Rows), out.Index, len(out.Proof), err)
	}
	out, err = h.QueryTable(ctx, "posts", grange.TableQuery{Query: "n >= 18"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var verified TableAnswer
	if err := h.post(ctx, "table-verify", VerifyTableRequest{Proof: out.Proof}, &verified); err != nil || len(verified.Rows) != 2 {
		t.Errorf("verify: %d rows: %v", len(verified.Rows), err)
	}
	out.Proof[len(out.Proof)/2] ^= 1
	if err := h.post(ctx, "table-verify", VerifyTableRequest{Proof: out.Proof}, &verified); err == nil {
		t.Error("what was tampered with is verified")
	}
	for _, query := range []string{"n = ", "n >= 18 limit -1"} {
		if _, err := h.QueryTable(ctx, "posts", grange.TableQuery{Query: query}, false); !errors.Is(err, grange.ErrInvalid) {
			t.Errorf("%q: %v", query, err)
		}
	}
	if e, ok := errors.AsType[*Error](h.DeleteRows(ctx, "posts", []string{"k1", "none"})); !ok || e.Code != CodeNotFound || e.Message != `no row "none"` {
		t.Errorf("delete what is not there: %v", e)
	}
	if err := h.LeaveTable(ctx, "posts"); err != nil {
		t.Error(err)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestATableIsWatched(t *testing.T) {
	h := newHome(t, sim.NewNetwork(1), "anna", false)
	if _, err := h.CreateTable(t.Context(), grange.NewTable{Name: "posts"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// What is written before anybody listens is not told: it is written until it is.
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = h.PutRows(ctx, PutRowsRequest{Name: "posts", Rows: []PutRow{{Key: "a", Document: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}}}) // it ends with ctx
		}
	}()
	for c, err := range h.WatchTable(ctx, "posts", "n >= 0") {
		if err != nil || c.Row.Key != "a" || !strings.HasPrefix(string(c.Row.Document), `{"n":`) {
			t.Errorf("%+v, %v", c, err)
		}
		break
	}
	for _, err := range h.WatchTable(ctx, "posts", "n >=") {
		if !errors.Is(err, grange.ErrInvalid) {
			t.Errorf("a query that is none: %v", err)
		}
	}
}

// TestOtherBodiesStaySmall: the room for rows is not there for other resources.
func TestOtherBodiesStaySmall(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/v1/table-erase", strings.NewReader(`{"name":"`+strings.Repeat("x", bodySizeMax)+`"}`))
	r.Header.Set("Content-Type", typeJSON)
	w := httptest.NewRecorder()
	Handler(nil).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
