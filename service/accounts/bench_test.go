package accounts

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/clock"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// The benchmarks run over pebble on the disk, with this many accounts, each used at two storage servers.
const (
	benchAccounts = 1_000_000
	benchTokens   = 20_000 // made beforehand
)

// million makes the accounts' books once, and opens them for each benchmark.
func million(b *testing.B) (s *Server, opening time.Duration) {
	b.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("grange-accounts-%d", os.Getpid()))
	if _, err := os.Stat(dir); err != nil {
		fill(b, dir)
	}
	store, err := disk.Open(dir, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	begun := clock.System{}.Now()
	books, err := store.Separate("accounts", false)
	if err == nil {
		s, err = NewServer(ServerConfig{Key: keyOf("account server"), Books: books, Clock: clock.System{}})
	}
	if err != nil {
		b.Fatal(err)
	}
	return s, clock.System{}.Now().Sub(begun)
}

func idOf(i int) string { return fmt.Sprintf("customer-%07d", i*7919%benchAccounts) }

func gridOf(i int) core.DID { return core.DID(core.ScoreOf([]byte(idOf(i)))) }

func fill(b *testing.B, dir string) {
	b.Helper()
	if err := disk.Create(dir, nil); err != nil {
		b.Fatal(err)
	}
	store, err := disk.Open(dir, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	books, err := store.Separate("accounts", true)
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Key: keyOf("account server"), Books: books, Clock: clock.System{}})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.SetPlan(Plan{"open", 10 * gb, 0}); err != nil {
		b.Fatal(err)
	}
	for _, holder := range []identity.Key{one, two} {
		if _, err := s.SetHolder(holder.DID(), true); err != nil {
			b.Fatal(err)
		}
	}
	records := map[string]any{}
	for i := range benchAccounts {
		id := idOf(i)
		records[string(accountKey(id))] = accountRecord{V: 1, Plan: "open", Grid: gridOf(i), Added: 1}
		records[string(didKey(gridPrefix, gridOf(i), id))] = struct{}{}
		for _, holder := range []identity.Key{one, two} {
			records[string(usageKey(id, holder.DID()))] = usageRecord{1, gb, 1, 1, 1, make([]byte, 64)}
		}
		if len(records) >= 4000 || i == benchAccounts-1 {
			if err := save(books, records); err != nil {
				b.Fatal(err)
			}
			clear(records)
		}
	}
}

// BenchmarkMillion has all of it, so that the books are made once.
func BenchmarkMillion(b *testing.B) {
	defer func() {
		_ = os.RemoveAll(filepath.Join(os.TempDir(), fmt.Sprintf("grange-accounts-%d", os.Getpid())))
	}()
	b.Run("decide by name", benchByName)
	b.Run("decide by token", benchByToken)
	b.Run("answer requests of 128 tokens", benchRequests)
	b.Run("take reports", benchReports)
}

func benchByName(b *testing.B) {
	s, opening := million(b)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out, err := s.standing(checkAsk{Account: idOf(int(n.Add(1)))}); err != nil || out.State != StateGood || out.Used != 2*gb {
				b.Error(out, err)
			}
		}
	})
	perSecond(b, 1)
	b.ReportMetric(opening.Seconds()*1000, "ms-to-start")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapInuse+m.StackInuse)/1e6, "MB-heap")
	b.ReportMetric(resident()/1e6, "MB-resident")
}

func perSecond(b *testing.B, each int) {
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), "decisions/s")
}

// resident is what the process has of memory, in bytes; 0 where that is not told.
func resident() (bytes float64) {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(strings.Fields(string(raw))[1], &bytes)
	return bytes * float64(os.Getpagesize())
}

func benchSigned(b *testing.B, s *Server) []identity.Signed {
	b.Helper()
	out := make([]identity.Signed, benchTokens)
	for i := range out {
		t, err := account.SignToken(s.c.Key, account.Token{
			Server: s.c.Key.DID(), Account: idOf(i), Plan: "open", Grid: gridOf(i), Bytes: gb, From: s.now(), Until: s.now() + TokenSeconds, Nonce: [16]byte{1},
		})
		if err != nil {
			b.Fatal(err)
		}
		out[i] = t
	}
	return out
}

func benchByToken(b *testing.B) {
	s, _ := million(b)
	tokens := benchSigned(b, s)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out, err := s.standing(checkAsk{Token: &tokens[n.Add(1)%benchTokens]}); err != nil || out.State != StateGood {
				b.Error(out, err)
			}
		}
	})
	perSecond(b, 1)
}

// benchRequests has whole requests, CBOR and all but the connection.
func benchRequests(b *testing.B) {
	s, _ := million(b)
	tokens := benchSigned(b, s)
	var bodies [][]byte
	for from := 0; from+asksMax <= len(tokens); from += asksMax {
		var in checkRequest
		for i := range asksMax {
			in.Asks = append(in.Asks, checkAsk{Token: &tokens[from+i]})
		}
		raw, err := codec.Marshal(in)
		if err != nil {
			b.Fatal(err)
		}
		bodies = append(bodies, raw)
	}
	h := wire.Handle(s.handleCheck)
	ctx := wire.WithCaller(context.Background(), wire.Caller{Agent: one.DID()})
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(bodies[int(n.Add(1))%len(bodies)])))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r.WithContext(ctx))
			if w.Code != http.StatusOK {
				b.Error(w.Code)
			}
		}
	})
	perSecond(b, asksMax)
}

// benchReports takes requests of 128 reports, signed before.
func benchReports(b *testing.B) {
	s, _ := million(b)
	seq := uint64(1)
	for b.Loop() {
		b.StopTimer()
		seq++
		reports := make([]identity.Signed, reportsMax)
		for i := range reports {
			var err error
			reports[i], err = account.SignUsage(one, account.Usage{Server: s.c.Key.DID(), Account: idOf(i * 7), Bytes: gb, Total: seq, Seq: uint64(s.now())<<20 + seq, Time: s.now()})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if out, err := s.take(one.DID(), reports); err != nil || out.Taken != reportsMax {
			b.Fatal(out, err)
		}
	}
	b.ReportMetric(float64(b.N*reportsMax)/b.Elapsed().Seconds(), "reports/s")
}
