package p2p_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/p2p"
	"github.com/grange-grid/grange/internal/wire"
)

type partners struct{}

func (partners) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	return wire.Caller{Agent: agent, Class: wire.Partner}, nil
}

// overHTTP starts a server that keeps one piece, and a client of it.
func overHTTP(t testing.TB, listen string) (core.DID, *wire.Client) {
	t.Helper()
	var mu sync.Mutex
	var piece []byte
	routes := []wire.Route{
		{Method: "PUT", Path: "/piece", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := wire.ReadBytes(r, nil)
			if err != nil {
				wire.WriteError(w, r, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			piece = b
		})},
		{Method: "PUT", Path: "/refused", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wire.WriteError(w, r, &core.Denial{Reason: "no room"})
		})},
		{Method: "GET", Path: "/piece", Who: wire.Partner, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			wire.WriteBytes(w, piece)
		})},
		{Method: "GET", Path: "/small", Who: wire.Partner, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			wire.WriteBytes(w, []byte("x"))
		})},
	}
	did, host := open(t, 1, p2p.Config{Listen: []string{listen}, Known: everybody})
	srv := wire.NewServer(did, partners{}, routes, machine{}, nil)
	ended := make(chan struct{})
	go func() {
		_ = srv.Serve(wire.Listen(host, machine{}))
		close(ended)
	}()
	_, p := open(t, 2, p2p.Config{Known: everybody})
	client := wire.NewClient(p, machine{}, func(core.DID) []string { return host.Addrs() })
	t.Cleanup(func() {
		client.Close()
		_ = host.Close()
		<-ended
	})
	return did, client
}

func TestHTTPOverStreams(t *testing.T) {
	for name, listen := range map[string]string{"TCP": onTCP, "QUIC": onQUIC} {
		t.Run(name, func(t *testing.T) {
			did, client := overHTTP(t, listen)
			piece := bytes.Repeat([]byte("grange!\n"), 128<<10)
			if err := client.Send(t.Context(), did, "/piece", piece); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 3 * wire.ConnsMax {
				wg.Go(func() {
					if got, err := client.Fetch(t.Context(), did, "/piece", nil, 1<<20); err != nil || !bytes.Equal(got, piece) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					if err := client.Send(t.Context(), did, "/refused", piece); !errors.Is(err, core.ErrRefused) {
						t.Errorf("%v, want ErrRefused", err)
					}
					// The server reads nothing of a body that is far too large: the answer still comes.
					if err := client.Send(t.Context(), did, "/refused", make([]byte, 3<<20)); !errors.Is(err, core.ErrTooLarge) {
						t.Errorf("%v, want ErrTooLarge", err)
					}
				})
			}
			wg.Wait()
			client.Fresh(t.Context(), did)
			if got, err := client.Fetch(t.Context(), did, "/small", nil, 1); err != nil || string(got) != "x" {
				t.Errorf("after Fresh: %q, %v", got, err)
			}
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	for name, listen := range map[string]string{"TCP": onTCP, "QUIC": onQUIC} {
		did, client := overHTTP(b, listen)
		piece := make([]byte, 1<<20)
		b.Run(name+"/GET small", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Fetch(b.Context(), did, "/small", nil, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/PUT 1 MiB", func(b *testing.B) {
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := client.Send(b.Context(), did, "/piece", piece); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/GET 1 MiB", func(b *testing.B) {
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if piece, err = client.Fetch(b.Context(), did, "/piece", piece, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
