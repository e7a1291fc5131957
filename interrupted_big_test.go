//go:build big

package grange_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// films are large files that nothing compresses, made as they are read.
type films struct {
	n    int
	size int64
}

type filmInfo struct {
	name string
	size int64
	dir  bool
}

func (i filmInfo) Name() string       { return i.name }
func (i filmInfo) Size() int64        { return i.size }
func (i filmInfo) ModTime() time.Time { return time.Unix(1e9, 0) }
func (i filmInfo) IsDir() bool        { return i.dir }
func (i filmInfo) Sys() any           { return nil }
func (i filmInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

type film struct {
	filmInfo
	io.Reader
}

func (f film) Stat() (fs.FileInfo, error) { return f.filmInfo, nil }
func (f film) Close() error               { return nil }

func (f films) Open(name string) (fs.File, error) {
	if name == "." {
		return film{filmInfo{name: ".", dir: true}, nil}, nil
	}
	var seed [32]byte
	var n uint64
	if _, err := fmt.Sscanf(name, "film %d", &n); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	binary.LittleEndian.PutUint64(seed[:], n)
	return film{filmInfo{name: name, size: f.size}, io.LimitReader(rand.NewChaCha8(seed), f.size)}, nil
}

func (f films) ReadDir(string) (out []fs.DirEntry, err error) {
	for i := range f.n {
		out = append(out, fs.FileInfoToDirEntry(filmInfo{name: fmt.Sprintf("film %04d", i), size: f.size}))
	}
	return out, nil
}

// uplink is a machine's slow way out. It counts what goes through, and tells of one byte.
type uplink struct {
	core.Peers
	rate int64 // bytes a second

	mu   sync.Mutex
	free time.Time
	sent int64
	at   int64
	then func()
}

type uplinkConn struct {
	core.Conn
	up *uplink
}

func (u *uplink) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	c, err := u.Peers.Dial(ctx, to, addrs)
	if err != nil {
		return nil, err
	}
	return uplinkConn{c, u}, nil
}

func (c uplinkConn) Write(b []byte) (int, error) {
	c.up.pass(int64(len(b)))
	return c.Conn.Write(b)
}

func (u *uplink) pass(n int64) {
	u.mu.Lock()
	now := time.Now()
	if u.free.Before(now) {
		u.free = now
	}
	u.free = u.free.Add(time.Duration(n) * time.Second / time.Duration(u.rate))
	u.sent += n
	wait, then := u.free.Sub(now), u.then
	if u.sent < u.at {
		then = nil
	}
	if then != nil {
		u.then = nil
	}
	u.mu.Unlock()
	if then != nil {
		then()
	}
	time.Sleep(wait)
}

// TestFirstPutIsInterruptedBig breaks a long first put off again and again, by a power cut or by a person: what was sent
// on one day is not sent again on the next, but for the last half minute, and what is under way.
func TestFirstPutIsInterruptedBig(t *testing.T) {
	const days = 3
	source := films{n: 24, size: 32 << 20}
	bubble(t, func(w *world) {
		disks := newRAMDisks("")
		w.disks = disks
		homes := w.households("anna", "bo", "cleo", "dan")
		anna := homes[0]
		up := &uplink{rate: 500_000}
		anna.wrap = func(p core.Peers) core.Peers {
			up.Peers = p
			return up
		}
		anna.restart()
		var kept int64
		for day := range days {
			ctx, cancel := context.WithCancel(w.t.Context())
			disk := disks.at(anna.dir)
			disk.OnCrash(func() { w.net.Down(anna.did) })
			up.mu.Lock()
			up.at, up.then = int64(day+1)*2*int64(source.n)*source.size/(days+1), disk.Crash
			if day%2 == 1 {
				up.then = cancel
			}
			up.mu.Unlock()
			_, err := anna.Put(ctx, "films", source, nil)
			if err == nil {
				t.Errorf("day %d: it was not interrupted", day)
			}
			cancel()
			anna.restart()
			w.net.Up(anna.did)
			w.later(24 * time.Hour)
			has := int64(0)
			for _, p := range homes[1:] {
				has += anna.pact(p).Has
			}
			t.Logf("day %d: %d MB sent, %d MB kept; %v", day, up.sent/1e6, has/1e6, err)
			if has <= kept {
				t.Errorf("day %d: no progress: %d bytes are kept, %d the day before", day, has, kept)
			}
			kept = has
		}
		out, err := anna.Put(w.t.Context(), "films", source, nil)
		must(w.t, err)
		kept = 0
		for _, p := range homes[1:] {
			kept += anna.pact(p).Has
		}
		t.Logf("%d MB sent, %d MB kept", up.sent/1e6, kept/1e6)
		if out.Worth.Survives < 1 || out.Files != int64(source.n) {
			t.Errorf("%+v", out)
		}
		if up.sent > kept*11/10 {
			t.Errorf("%d bytes were sent for %d that are kept", up.sent, kept)
		}
		if _, err := anna.Check(w.t.Context(), "films", &grange.CheckOptions{}); err != nil {
			t.Error(err)
		}
	})
}
