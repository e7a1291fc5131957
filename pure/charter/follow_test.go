package charter_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
)

func TestFollow(t *testing.T) {
	h := newHome(t, "home")
	barn, attic, loft, gone := newMachine(t, "barn"), newMachine(t, "attic"), newMachine(t, "loft"), newMachine(t, "gone")
	start := h.charter(t, barn, attic)
	start.Epoch, start.Prev, start.Recoveries = 5, core.Score{4}, 1
	start.Removed = []charter.Removed{{DID: gone.did(), Seq: 2, Head: core.Score{2}}}
	h.secrets = h.secrets.With(3, seedOf("three"))
	prevSigned := h.seal(t, start)
	prev := open(t, prevSigned)
	rotate := func(s charter.Secrets, epoch uint64) charter.Secrets { return s.With(epoch, seedOf("new")) }
	tests := []struct {
		name string
		want string // a part of the error, or nothing
		bend func(c *charter.Charter, s *charter.Secrets)
	}{
		{"nothing changes", "", func(*charter.Charter, *charter.Secrets) {}},
		{"one is added", "", func(c *charter.Charter, _ *charter.Secrets) { c.Agents = append(c.Agents, h.agent(t, loft)) }},
		{"one is added, and the secret is new", "", func(c *charter.Charter, s *charter.Secrets) {
			c.Agents = append(c.Agents, h.agent(t, loft))
			*s = rotate(*s, 6)
		}},
		{"one is removed", "", func(c *charter.Charter, s *charter.Secrets) {
			remove(t, c, attic)
			*s = rotate(*s, 6)
		}},
		{"recovered", "", func(c *charter.Charter, s *charter.Secrets) {
			c.Recoveries++
			c.Agents = append(c.Agents, h.agent(t, loft))
			remove(t, c, attic)
			remove(t, c, barn)
			*s = rotate(*s, 6)
		}},
		{"recovered, over epochs that others have signed", "", func(c *charter.Charter, s *charter.Secrets) {
			c.Recoveries++
			c.Epoch = 9
			*s = rotate(*s, 9)
		}},
		{"removed, and the old secret stays", "the vault secret stays", func(c *charter.Charter, _ *charter.Secrets) { remove(t, c, attic) }},
		{"left out", "gone and not named", func(c *charter.Charter, s *charter.Secrets) {
			c.Agents = slices.DeleteFunc(c.Agents, func(a charter.Agent) bool { return a.DID == attic.did() })
			*s = rotate(*s, 6)
		}},
		{"a removed one is listed again", "listed again", func(c *charter.Charter, _ *charter.Secrets) {
			c.Agents, c.Removed = append(c.Agents, h.agent(t, gone)), nil
		}},
		{"a removal is forgotten", "missing or changed", func(c *charter.Charter, _ *charter.Secrets) { c.Removed = nil }},
		{"a removal is changed", "missing or changed", func(c *charter.Charter, _ *charter.Secrets) { c.Removed[0].Seq = 9 }},
		{"an epoch is left out", "epochs are counted", func(c *charter.Charter, _ *charter.Secrets) { c.Epoch = 7 }},
		{"the same epoch", "epochs are counted", func(c *charter.Charter, _ *charter.Secrets) { c.Epoch = 5 }},
		{"the same epoch, recovered", "epochs are counted", func(c *charter.Charter, _ *charter.Secrets) { c.Epoch, c.Recoveries = 5, 2 }},
		{"a recovery less", "recoveries are counted", func(c *charter.Charter, _ *charter.Secrets) { c.Recoveries = 0 }},
		{"two recoveries", "recoveries are counted", func(c *charter.Charter, _ *charter.Secrets) { c.Recoveries = 3 }},
		{"another before it", "another charter before", func(c *charter.Charter, _ *charter.Secrets) { c.Prev = core.Score{9} }},
		{"another chunker key", "chunker", func(_ *charter.Charter, s *charter.Secrets) { s.Chunker[0]++ }},
		{"a secret is lost", "earlier vault secret", func(_ *charter.Charter, s *charter.Secrets) { s.Vault = s.Vault[1:] }},
		{"a secret is changed", "earlier vault secret", func(_ *charter.Charter, s *charter.Secrets) {
			s.Vault = cloned(s.Vault)
			s.Vault[0].Key[0]++
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := prev.Next(prevSigned.Score(), prev.Time+1), h.secrets
			tt.bend(&c, &s)
			signed, err := charter.Seal(h.root, c, s)
			if err != nil {
				t.Fatal(err)
			}
			err = charter.Follow(prev, prevSigned.Score(), h.secrets, open(t, signed), s)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	other := newHome(t, "other home")
	c := other.charter(t, barn)
	c.Epoch, c.Prev, c.Recoveries = 6, prevSigned.Score(), 1
	if err := charter.Follow(prev, prevSigned.Score(), h.secrets, open(t, other.seal(t, c)), h.secrets); err == nil {
		t.Error("another grid's charter follows")
	}
}

func remove(t testing.TB, c *charter.Charter, m machine) {
	t.Helper()
	slices.SortFunc(c.Agents, func(a, b charter.Agent) int { return a.DID.Compare(b.DID) })
	if err := c.Remove(m.did(), 0, core.Score{}); err != nil {
		t.Fatal(err)
	}
}
