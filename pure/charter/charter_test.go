package charter_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

func TestSealAndOpen(t *testing.T) {
	h := newHome(t, "home")
	barn, attic, loft := newMachine(t, "barn"), newMachine(t, "attic"), newMachine(t, "loft")
	c := h.charter(t, loft, barn, attic)
	c.Epoch, c.Prev, c.Recoveries = 4, core.Score{4}, 2
	c.Removed = []charter.Removed{{DID: core.DID{9}, Seq: 3, Head: core.Score{3}}, {DID: core.DID{8}}}
	before := fmt.Sprintf("%x", mustMarshal(t, c))
	got := open(t, h.seal(t, c))
	if fmt.Sprintf("%x", mustMarshal(t, c)) != before {
		t.Error("Seal has changed its argument")
	}
	if got.V != 1 || got.Grid != h.root.DID() || got.Epoch != 4 || got.Recoveries != 2 || got.Prev != c.Prev || got.Time != c.Time {
		t.Errorf("got %d %s %d %d %s %d", got.V, got.Grid, got.Epoch, got.Recoveries, got.Prev, got.Time)
	}
	dids := []core.DID{barn.did(), attic.did(), loft.did()}
	slices.SortFunc(dids, core.DID.Compare)
	for i, a := range got.Agents {
		if a.DID != dids[i] || got.Boxes[i+1].To != dids[i] {
			t.Errorf("agent %d is not the one of rank %d", i, i)
		}
	}
	if len(got.Agents) != 3 || !got.Boxes[0].To.IsZero() || len(got.Boxes) != 4 {
		t.Errorf("%d agents, %d boxes", len(got.Agents), len(got.Boxes))
	}
	if want := []charter.Removed{c.Removed[1], c.Removed[0]}; !reflect.DeepEqual(got.Removed, want) {
		t.Errorf("removed %v, want %v", got.Removed, want)
	}
	for reader, k := range map[core.DID]*seal.PrivateKey{{}: h.recovery, barn.did(): barn.seal, attic.did(): attic.seal, loft.did(): loft.seal} {
		if s, err := got.Secrets(reader, k); err != nil || !reflect.DeepEqual(s, h.secrets) {
			t.Errorf("the secrets of %s: %v", reader.Short(), err)
		}
	}
	names, err := got.Names(h.secrets)
	if want := map[core.DID]string{barn.did(): "barn", attic.did(): "attic", loft.did(): "loft"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("names %v, %v", names, err)
	}
	if a, ok := got.Agent(attic.did()); !ok || !bytes.Equal(a.Seal, attic.seal.Public()) || !got.Lists(attic.did()) {
		t.Error("an agent is not found")
	}
	if r, ok := got.RemovedAgent(core.DID{9}); !ok || r.Seq != 3 || got.Lists(core.DID{9}) {
		t.Error("a removed agent is not found, or is listed")
	}
	if _, ok := got.RemovedAgent(attic.did()); ok || got.Lists(core.DID{}) {
		t.Error("a listed agent is taken for a removed one, or nobody is listed")
	}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCompare(t *testing.T) {
	at := func(recoveries, epoch uint64) charter.Charter {
		return charter.Charter{Recoveries: recoveries, Epoch: epoch}
	}
	for _, tt := range []struct {
		a, b           charter.Charter
		aScore, bScore core.Score
		want           int
	}{
		{at(0, 2), at(0, 1), core.Score{9}, core.Score{1}, 1},
		{at(1, 1), at(0, 99), core.Score{9}, core.Score{1}, 1},
		{at(1, 2), at(1, 2), core.Score{1}, core.Score{2}, 1},
		{at(1, 2), at(1, 2), core.Score{31: 1}, core.Score{31: 2}, 1},
		{at(1, 2), at(1, 2), core.Score{1}, core.Score{1}, 0},
		{at(1<<64-1, 1), at(0, 1<<64-1), core.Score{}, core.Score{}, 1},
	} {
		if got := charter.Compare(tt.a, tt.aScore, tt.b, tt.bScore); got != tt.want {
			t.Errorf("%v %v: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := charter.Compare(tt.b, tt.bScore, tt.a, tt.aScore); got != -tt.want {
			t.Errorf("%v %v the other way: %d, want %d", tt.a, tt.b, got, -tt.want)
		}
	}
}

// TestOpenRefuses: each of these is signed by the root itself. A root may be in
// the hands of a thief, or of a program with a fault.
func TestOpenRefuses(t *testing.T) {
	h := newHome(t, "home")
	barn, attic := newMachine(t, "barn"), newMachine(t, "attic")
	base := h.charter(t, barn, attic)
	base.Removed = []charter.Removed{{DID: core.DID{1: 8}, Seq: 1, Head: core.Score{1}}, {DID: core.DID{1: 9}}}
	good := open(t, h.seal(t, base))
	key := func(mutate func(k []byte) []byte) []byte { return mutate(bytes.Clone(good.Agents[0].Seal)) }
	tests := []struct {
		name string
		bend func(c *charter.Charter)
	}{
		{"epoch 0", func(c *charter.Charter) { c.Epoch = 0 }},
		{"epoch 1 after another", func(c *charter.Charter) { c.Prev = core.Score{1} }},
		{"epoch 2 after none", func(c *charter.Charter) { c.Epoch = 2 }},
		{"before 1970", func(c *charter.Charter) { c.Time = -1 }},
		{"another grid", func(c *charter.Charter) { c.Grid = core.DID{5} }},
		{"the grid of nobody", func(c *charter.Charter) { c.Grid = core.DID{} }},
		{"no agents", func(c *charter.Charter) { c.Agents, c.Boxes = nil, c.Boxes[:1] }},
		{"an agent twice", func(c *charter.Charter) { c.Agents[1], c.Boxes[2] = c.Agents[0], c.Boxes[1] }},
		{"agents that fall", func(c *charter.Charter) { swap(c.Agents); swap(c.Boxes[1:]) }},
		{"an agent that is nobody", func(c *charter.Charter) { c.Agents[0].DID, c.Boxes[1].To = core.DID{}, core.DID{} }},
		{"an agent for whom anyone can sign", func(c *charter.Charter) { c.Agents[0].DID, c.Boxes[1].To = core.DID{0: 1}, core.DID{0: 1} }},
		{"the root as an agent", func(c *charter.Charter) {
			c.Agents, c.Boxes = c.Agents[:1], c.Boxes[:2]
			c.Agents[0].DID, c.Boxes[1].To = c.Grid, c.Grid
		}},
		{"an X-Wing key too short", func(c *charter.Charter) { c.Agents[0].Seal = key(func(k []byte) []byte { return k[1:] }) }},
		{"an X-Wing key too long", func(c *charter.Charter) { c.Agents[0].Seal = key(func(k []byte) []byte { return append(k, 0) }) }},
		{"no X-Wing key", func(c *charter.Charter) { c.Agents[0].Seal = nil }},
		{"an X-Wing key that is none", func(c *charter.Charter) {
			c.Agents[0].Seal = key(func(k []byte) []byte { return bytes.Repeat([]byte{0xff}, len(k)) })
		}},
		{"a recovery key too short", func(c *charter.Charter) { c.Recovery = c.Recovery[1:] }},
		{"a recovery key that is none", func(c *charter.Charter) { c.Recovery = bytes.Repeat([]byte{0xff}, len(c.Recovery)) }},
		{"a name of no bytes", func(c *charter.Charter) { c.Agents[0].Name = c.Agents[0].Name[:seal.SmallOverhead] }},
		{"a name too long", func(c *charter.Charter) {
			c.Agents[0].Name = make([]byte, charter.NameSizeMax+seal.SmallOverhead+1)
		}},
		{"a box for nobody in the house", func(c *charter.Charter) {
			c.Boxes = append(c.Boxes, charter.Box{To: core.DID(bytes.Repeat([]byte{0xfe}, 32)), Box: c.Boxes[0].Box})
		}},
		{"a box for another instead", func(c *charter.Charter) { c.Boxes[1].To[5]++ }},
		{"two boxes for one agent", func(c *charter.Charter) { c.Boxes = slices.Insert(c.Boxes, 1, c.Boxes[1]) }},
		{"no box for an agent", func(c *charter.Charter) { c.Boxes = c.Boxes[:2] }},
		{"no box for the recovery key", func(c *charter.Charter) { c.Boxes = c.Boxes[1:] }},
		{"two boxes for the recovery key", func(c *charter.Charter) { c.Boxes[1] = c.Boxes[0] }},
		{"boxes that fall", func(c *charter.Charter) { swap(c.Boxes) }},
		{"a short box", func(c *charter.Charter) { c.Boxes[0].Box = c.Boxes[0].Box[1:] }},
		{"a long box", func(c *charter.Charter) { c.Boxes[0].Box = append(bytes.Clone(c.Boxes[0].Box), 0) }},
		{"no vault", func(c *charter.Charter) { c.Vault = nil }},
		{"a huge vault", func(c *charter.Charter) { c.Vault = make([]byte, 60<<10) }},
		{"listed and removed", func(c *charter.Charter) {
			c.Removed = []charter.Removed{{DID: c.Agents[1].DID}}
		}},
		{"removed twice", func(c *charter.Charter) { c.Removed[1] = c.Removed[0] }},
		{"removed that fall", func(c *charter.Charter) { swap(c.Removed) }},
		{"removed with half a head", func(c *charter.Charter) { c.Removed[0].Head = core.Score{} }},
		{"removed with the other half", func(c *charter.Charter) { c.Removed[0].Seq = 0 }},
		{"version 0", func(c *charter.Charter) { c.V = 0 }},
	}
	if _, err := charter.Open(h.sign(t, good)); err != nil {
		t.Fatalf("the base of the cases below: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.Agents, c.Removed, c.Boxes = slices.Clone(good.Agents), slices.Clone(good.Removed), slices.Clone(good.Boxes)
			tt.bend(&c)
			got, err := charter.Open(h.sign(t, c))
			if want := core.ErrInvalid; tt.name != "version 0" && !errors.Is(err, want) || got.Epoch != 0 {
				t.Errorf("%v, want %v", err, want)
			}
			if tt.name == "version 0" && !errors.Is(err, core.ErrVersion) {
				t.Errorf("%v, want ErrVersion", err)
			}
		})
	}
}

func swap[T any](s []T) { s[0], s[1] = s[1], s[0] }

func TestOpenRefusesWrongSignatures(t *testing.T) {
	h := newHome(t, "home")
	barn := newMachine(t, "barn")
	good := h.seal(t, h.charter(t, barn))
	c := open(t, good)
	byAgent, err := identity.Sign(barn.key, identity.KindCharter, c)
	if err != nil {
		t.Fatal(err)
	}
	asHead, err := identity.Sign(h.root, identity.KindHead, c)
	if err != nil {
		t.Fatal(err)
	}
	flipped := good
	flipped.Body = bytes.Clone(good.Body)
	flipped.Body[len(flipped.Body)/2] ^= 4
	large := good
	large.Body = make([]byte, charter.BodySizeMax+1)
	fields := map[string]any{"v": 2, "grid": c.Grid, "members": 3}
	next, err := identity.Sign(h.root, identity.KindCharter, fields)
	if err != nil {
		t.Fatal(err)
	}
	cut := good
	cut.Body = good.Body[:len(good.Body)-1]
	cut.Sig = identity.SignBytes(h.root, identity.KindCharter, cut.Body)
	for name, tt := range map[string]struct {
		s    identity.Signed
		want error
	}{
		"by an agent":           {byAgent, core.ErrInvalid},
		"signed as a head":      {asHead, core.ErrCorrupt},
		"a flipped bit":         {flipped, core.ErrCorrupt},
		"too large":             {large, core.ErrTooLarge},
		"version 2":             {next, core.ErrVersion},
		"cut short, and signed": {cut, core.ErrInvalid},
		"nothing":               {identity.Signed{}, core.ErrCorrupt},
	} {
		if _, err := charter.Open(tt.s); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	h := newHome(t, "home")
	barn, attic := newMachine(t, "barn"), newMachine(t, "attic")
	lowOrder := attic.seal.Public()
	clear(lowOrder[len(lowOrder)-32:])
	for name, bend := range map[string]func(c *charter.Charter, s *charter.Secrets){
		"an agent twice":       func(c *charter.Charter, _ *charter.Secrets) { c.Agents = append(c.Agents, c.Agents[0]) },
		"no agents":            func(c *charter.Charter, _ *charter.Secrets) { c.Agents = nil },
		"epoch 0":              func(c *charter.Charter, _ *charter.Secrets) { c.Epoch = 0 },
		"a key of low order":   func(c *charter.Charter, _ *charter.Secrets) { c.Agents[1].Seal = lowOrder },
		"no recovery key":      func(c *charter.Charter, _ *charter.Secrets) { c.Recovery = nil },
		"a name sealed abroad": func(c *charter.Charter, _ *charter.Secrets) { c.Agents[0].Name = make([]byte, 60) },
		"listed and removed": func(c *charter.Charter, _ *charter.Secrets) {
			c.Removed = []charter.Removed{{DID: barn.did()}}
		},
		"too many agents": func(c *charter.Charter, _ *charter.Secrets) {
			for i := range charter.AgentsMax - 1 {
				a := c.Agents[0]
				a.DID = core.DID{0: 0xaa, 7: byte(i)}
				c.Agents = append(c.Agents, a)
			}
		},
		"no secrets":               func(_ *charter.Charter, s *charter.Secrets) { *s = charter.Secrets{} },
		"no vault secret":          func(_ *charter.Charter, s *charter.Secrets) { s.Vault = nil },
		"a secret of a later time": func(_ *charter.Charter, s *charter.Secrets) { *s = s.With(2, seedOf("x")) },
		"a secret of zeros":        func(_ *charter.Charter, s *charter.Secrets) { s.Vault[0].Key = [32]byte{} },
		"no chunker key":           func(_ *charter.Charter, s *charter.Secrets) { s.Chunker = [32]byte{} },
	} {
		c, s := h.charter(t, barn, attic), h.secrets
		s.Vault = slices.Clone(s.Vault)
		bend(&c, &s)
		if signed, err := charter.Seal(h.root, c, s); err == nil {
			t.Errorf("%s: signed %d bytes", name, len(signed.Body))
		}
	}
	if _, err := charter.Seal(identity.Key{}, h.charter(t, barn), h.secrets); err == nil {
		t.Error("signed with no key")
	}
}

// TestTheLargestCharterFits: whatever the limits of the lists allow can be carried.
func TestTheLargestCharterFits(t *testing.T) {
	h := newHome(t, "home")
	c := h.charter(t)
	c.Epoch, c.Recoveries, c.Prev, c.Time = 1<<64-1, 1<<64-1, core.Score{1}, 1<<62
	h.secrets.Vault = nil
	for i := range uint64(charter.VaultMax) {
		h.secrets = h.secrets.With(1<<63+i, seedOf("vault"))
	}
	m := newMachine(t, strings.Repeat("n", charter.NameSizeMax))
	for i := range charter.AgentsMax {
		m.key = identity.KeyOf([32]byte{1: byte(i)})
		c.Agents = append(c.Agents, h.agent(t, m))
	}
	for i := range charter.RemovedMax {
		c.Removed = append(c.Removed, charter.Removed{DID: core.DID{byte(i >> 8), byte(i), 1}, Seq: 1 << 63, Head: core.Score{1}})
	}
	s := h.seal(t, c)
	if len(s.Body) > charter.BodySizeMax || len(s.Body) < charter.BodySizeMax*9/10 {
		t.Errorf("a body of %d bytes, the limit is %d", len(s.Body), charter.BodySizeMax)
	}
	b, err := s.Marshal()
	if err != nil || len(b) > charter.SignedSizeMax {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if secrets, err := open(t, s).Secrets(core.DID{}, h.recovery); err != nil || len(secrets.Vault) != charter.VaultMax {
		t.Errorf("%d secrets, %v", len(secrets.Vault), err)
	}
	for name, more := range map[string]func(c *charter.Charter, s *charter.Secrets){
		"agents": func(c *charter.Charter, _ *charter.Secrets) {
			c.Agents = append(c.Agents, h.agent(t, newMachine(t, "one")))
		},
		"removed": func(c *charter.Charter, _ *charter.Secrets) {
			c.Removed = append(c.Removed, charter.Removed{DID: core.DID{255}})
		},
		"secrets": func(_ *charter.Charter, s *charter.Secrets) { *s = s.With(1<<64-1, seedOf("one")) },
	} {
		c, s := c, h.secrets
		more(&c, &s)
		if _, err := charter.Seal(h.root, c, s); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("one more of %s: %v", name, err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	h := newHome(b, "home")
	s := h.seal(b, h.charter(b, newMachine(b, "barn"), newMachine(b, "attic"), newMachine(b, "loft")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := charter.Open(s); err != nil {
			b.Fatal(err)
		}
	}
}
