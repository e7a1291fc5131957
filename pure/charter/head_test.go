package charter_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

func headOf(m machine) charter.Head {
	return charter.Head{
		V: 1, Grid: core.DID{1}, Agent: m.did(), Charter: core.Score{2}, Epoch: 3, Seq: 4, Root: core.Score{5},
		Size: 600, Salt: seedOf("salt"), Time: 1_700_000_000,
	}
}

func TestHead(t *testing.T) {
	barn := newMachine(t, "barn")
	want := headOf(barn)
	bare := want
	bare.V, bare.Agent = 0, core.DID{} // SignHead knows them
	s, err := charter.SignHead(barn.key, bare)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := charter.OpenHead(s); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("opened %+v, %v", got, err)
	}
	for i := range 8 * len(s.Body) {
		bad := s
		bad.Body = bytes.Clone(s.Body)
		bad.Body[i/8] ^= 1 << (i % 8)
		if _, err := charter.OpenHead(bad); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	large := want
	large.Epoch, large.Seq, large.Size, large.Time = 1<<64-1, 1<<64-1, charter.RootSizeMax, 1<<63-1
	for i := range charter.StoppedMax {
		large.Stopped = append(large.Stopped, [16]byte{0xff, byte(i)})
	}
	if s, err := charter.SignHead(barn.key, large); err != nil || len(s.Body) > charter.HeadSizeMax {
		t.Errorf("the largest head has %d bytes, %v", len(s.Body), err)
	}
	if _, err := charter.SignHead(identity.Key{}, want); err == nil {
		t.Error("signed with no key")
	}
}

func TestHeadRefuses(t *testing.T) {
	barn, attic := newMachine(t, "barn"), newMachine(t, "attic")
	for name, bend := range map[string]func(h *charter.Head){
		"seq 0":                    func(h *charter.Head) { h.Seq = 0 },
		"epoch 0":                  func(h *charter.Head) { h.Epoch = 0 },
		"before 1970":              func(h *charter.Head) { h.Time = -1 },
		"no grid":                  func(h *charter.Head) { h.Grid = core.DID{} },
		"no charter":               func(h *charter.Head) { h.Charter = core.Score{} },
		"no root":                  func(h *charter.Head) { h.Root = core.Score{} },
		"a root of no bytes":       func(h *charter.Head) { h.Size = seal.Overhead - 1 },
		"a root of too many":       func(h *charter.Head) { h.Size = charter.RootSizeMax + 1 },
		"a salt of zeros":          func(h *charter.Head) { h.Salt = [32]byte{} },
		"signed by another":        func(h *charter.Head) { h.Agent = attic.did() },
		"the head of nobody":       func(h *charter.Head) { h.Agent = core.DID{} },
		"tickets that do not rise": func(h *charter.Head) { h.Stopped = [][16]byte{{2}, {1}} },
		"a ticket twice":           func(h *charter.Head) { h.Stopped = [][16]byte{{1}, {1}} },
		"too many tickets": func(h *charter.Head) {
			for i := range charter.StoppedMax + 1 {
				h.Stopped = append(h.Stopped, [16]byte{byte(i)})
			}
		},
		"a size of 2^64 - 1":   func(h *charter.Head) { h.Size = 1<<64 - 1 },
		"the least time of 64": func(h *charter.Head) { h.Time = -1 << 63 },
	} {
		h := headOf(barn)
		bend(&h)
		s, err := identity.Sign(barn.key, identity.KindHead, h)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := charter.OpenHead(s); !errors.Is(err, core.ErrInvalid) || !reflect.DeepEqual(got, charter.Head{}) {
			t.Errorf("%s: opened: %v", name, err)
		}
		if h.Agent != barn.did() {
			continue // SignHead puts its own there
		}
		if _, err := charter.SignHead(barn.key, h); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: signed: %v", name, err)
		}
	}
	asLease, err := identity.Sign(barn.key, identity.KindLease, headOf(barn))
	if err != nil {
		t.Fatal(err)
	}
	shortSalt, err := identity.Sign(barn.key, identity.KindHead, map[string]any{
		"v": 1, "grid": core.DID{1}, "agent": barn.did(), "charter": core.Score{2}, "epoch": 3, "seq": 4, "root": core.Score{5},
		"size": 600, "salt": []byte{1, 2, 3}, "time": 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	later := headOf(barn)
	later.V = 2
	version2, err := identity.Sign(barn.key, identity.KindHead, later)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		s    identity.Signed
		want error
	}{
		"signed as a lease": {asLease, core.ErrCorrupt},
		"a short salt":      {shortSalt, core.ErrInvalid},
		"version 2":         {version2, core.ErrVersion},
		"too large":         {identity.Signed{Body: make([]byte, charter.HeadSizeMax+1)}, core.ErrTooLarge},
	} {
		if _, err := charter.OpenHead(tt.s); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
