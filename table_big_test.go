//go:build big

package grange_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
)

// onLoopback is a household of one machine on the real network, whose agent runs until end.
func onLoopback(t *testing.T, name string) (a *grange.Agent, end func()) {
	t.Helper()
	c := grange.Config{Dir: filepath.Join(t.TempDir(), name), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	if err := grange.Create(t.Context(), c, name, nil); err != nil {
		t.Fatal(err)
	}
	a, err := grange.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func([]string) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	done := false
	end = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return a, end
}

// TestAColdClientAsksASecondReplicaBig is scenario 23: of 100,000 posts at a machine that is gone, another one answers for the newest 32 with #cats.
func TestAColdClientAsksASecondReplicaBig(t *testing.T) {
	const posts, batch, wanted = 100_000, 4_000, 32
	ctx := t.Context()
	anna, end := onLoopback(t, "anna")
	bo, _ := onLoopback(t, "bo")
	made, err := anna.CreateTable(ctx, grange.NewTable{Name: "posts", Indexes: []string{"tags,time"}})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for from := 0; from < posts; from += batch {
		rows := make([]grange.TableRow, batch)
		for i := range rows {
			n := from + i
			tag := "#dogs"
			if n%1000 == 0 {
				tag = "#cats"
			}
			text := strings.Repeat(fmt.Sprintf("day %d, ", n), 20)
			rows[i] = grange.TableRow{Key: fmt.Sprintf("post-%06d", n), Document: fmt.Appendf(nil, `{"tags":[%q],"time":%d,"text":%q}`, tag, n, text)}
			size += len(rows[i].Document)
		}
		if _, err := anna.PutRows(ctx, "posts", rows); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := anna.ShareTable(ctx, "posts", "all", grange.TableShare{Read: true}); err != nil {
		t.Fatal(err)
	}
	shared, err := anna.Table(ctx, "posts")
	if err != nil {
		t.Fatal(err)
	}
	joined, err := bo.JoinTable(ctx, shared.Addresses[0], "", nil)
	if err != nil || joined.Rows != posts || joined.Checkpoint != shared.Checkpoint {
		t.Fatalf("joined %d rows at %s, want %d at %s: %v", joined.Rows, joined.Checkpoint, posts, shared.Checkpoint, err)
	}
	end()

	out, err := grange.AskTable(ctx, grange.Config{}, joined.Addresses[0], grange.TableQuery{Query: `tags = "#cats" order -time limit 32`})
	if err != nil || len(out.Rows) != wanted || out.Provisional || made.ID != out.Table {
		t.Fatalf("%d rows, provisional %v: %v", len(out.Rows), out.Provisional, err)
	}
	for i, r := range out.Rows {
		if want := fmt.Sprintf("post-%06d", posts-1000-1000*i); r.Key != want {
			t.Errorf("row %d is %s, want %s", i, r.Key, want)
		}
	}
	t.Logf("%d bytes in %d trips, %d of them proof, of a table with %d bytes of documents", out.Bytes, out.Trips, out.ProofBytes, size)
	if out.Bytes*50 >= size || out.Trips > 3 {
		t.Errorf("%d bytes in %d trips for a table of %d", out.Bytes, out.Trips, size)
	}
	again, err := grange.VerifyTableAnswer(out.Proof, nil)
	if err != nil || len(again.Rows) != wanted || again.Provisional {
		t.Errorf("saved: %d rows, provisional %v: %v", len(again.Rows), again.Provisional, err)
	}
	for at := 0; at < len(out.Proof); at += len(out.Proof)/50 + 1 {
		bad := bytes.Clone(out.Proof)
		bad[at] ^= 1
		if got, err := grange.VerifyTableAnswer(bad, nil); err == nil && !got.Provisional {
			t.Errorf("an answer with byte %d changed is believed", at)
		}
	}
}
