package charter_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"testing/cryptotest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// vectors are the charters of one household, oldest first, and a head.
type vectors struct {
	Entropy  golden.Hex      `json:"entropy"` // the recovery phrase's
	Grid     core.DID        `json:"grid"`
	Machines []machineVector `json:"machines"`
	Charters []charterVector `json:"charters"`
	// Order is the indexes of the charters, oldest first; the last stands.
	Order   []int           `json:"order"`
	Heads   []headVector    `json:"heads"`
	Refused []refusedVector `json:"refused"`
}

type machineVector struct {
	Name string     `json:"name"`
	Seed golden.Hex `json:"seed"`
	Seal golden.Hex `json:"seal"` // the X-Wing seed
	DID  core.DID   `json:"did"`
}

type charterVector struct {
	About      string     `json:"about"`
	Signed     golden.Hex `json:"signed"`
	Score      core.Score `json:"score"`
	Recoveries uint64     `json:"recoveries"`
	Epoch      uint64     `json:"epoch"`
	Prev       core.Score `json:"prev"`
	Time       int64      `json:"time"`
	Agents     []core.DID `json:"agents"`
	Names      []string   `json:"names"`
	Removed    []core.DID `json:"removed"`
	Secrets    golden.Hex `json:"secrets"` // what the vault opens to
}

type headVector struct {
	Signed  golden.Hex `json:"signed"`
	Score   core.Score `json:"score"`
	Agent   core.DID   `json:"agent"`
	Charter core.Score `json:"charter"`
	Epoch   uint64     `json:"epoch"`
	Seq     uint64     `json:"seq"`
	Root    core.Score `json:"root"`
	Size    uint64     `json:"size"`
	Salt    golden.Hex `json:"salt"`
	Time    int64      `json:"time"`
	// Stopped are ids of tickets, joined.
	Stopped golden.Hex `json:"stopped,omitempty"`
}

type refusedVector struct {
	Why    string     `json:"why"`
	Signed golden.Hex `json:"signed"`
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1) // boxes draw randomness
	h := newHome(t, "home")
	barn, attic := newMachine(t, "barn"), newMachine(t, "attic")
	entropy := seedOf("home")
	v := vectors{Entropy: entropy[:], Grid: h.root.DID()}
	for _, m := range []machine{barn, attic} {
		seed, sealSeed := seedOf(m.name), seedOf(m.name+" seal")
		v.Machines = append(v.Machines, machineVector{m.name, seed[:], sealSeed[:], m.did()})
	}
	add := func(about string, c charter.Charter) identity.Signed {
		s := h.seal(t, c)
		v.Charters = append(v.Charters, vectorOf(t, h, about, s))
		return s
	}
	first := add("the first", h.charter(t, barn))
	c := open(t, first).Next(first.Score(), 1_700_000_060)
	c.Agents = append(c.Agents, h.agent(t, attic))
	second := add("a machine is added", c)
	c.Time++
	add("a rival of the one before", c)
	removing := open(t, second).Next(second.Score(), 1_700_000_120)
	remove(t, &removing, barn)
	removing.Removed[0].Seq, removing.Removed[0].Head, removing.Recoveries = 9, core.Score{9}, 1
	h.secrets = h.secrets.With(3, seedOf("home vault 3"))
	third := add("recovered: a machine is removed, and the secret is new", removing)
	v.Order = []int{0, 1, 2, 3}
	if bytes.Compare(v.Charters[1].Score[:], v.Charters[2].Score[:]) < 0 {
		v.Order = []int{0, 2, 1, 3}
	}
	head := headOf(attic)
	head.Grid, head.Charter = h.root.DID(), third.Score()
	for _, stopped := range [][][16]byte{nil, {{1}, {1, 2}}} {
		head.Stopped = stopped
		signed, err := charter.SignHead(attic.key, head)
		if err != nil {
			t.Fatal(err)
		}
		v.Heads = append(v.Heads, headVectorOf(signed, mustMarshal(t, signed), head))
	}
	refuse := func(why string, bend func(c *charter.Charter)) {
		c := open(t, first)
		bend(&c)
		v.Refused = append(v.Refused, refusedVector{why, mustMarshal(t, h.sign(t, c))})
	}
	refuse("epoch 0", func(c *charter.Charter) { c.Epoch = 0 })
	refuse("an agent twice", func(c *charter.Charter) {
		c.Agents, c.Boxes = append(c.Agents, c.Agents[0]), append(c.Boxes, c.Boxes[1])
	})
	refuse("no box for an agent", func(c *charter.Charter) { c.Boxes = c.Boxes[:1] })
	refuse("listed and removed", func(c *charter.Charter) { c.Removed = []charter.Removed{{DID: c.Agents[0].DID}} })
	refuse("an X-Wing key that is none", func(c *charter.Charter) { c.Agents[0].Seal = bytes.Repeat([]byte{0xff}, seal.PublicSize) })
	refuse("another grid", func(c *charter.Charter) { c.Grid = attic.did() })
	return v
}

func vectorOf(t *testing.T, h home, about string, s identity.Signed) charterVector {
	t.Helper()
	c := open(t, s)
	v := charterVector{
		About: about, Signed: mustMarshal(t, s), Score: s.Score(), Recoveries: c.Recoveries, Epoch: c.Epoch,
		Prev: c.Prev, Time: c.Time, Secrets: mustMarshal(t, h.secrets), Removed: []core.DID{},
	}
	names, err := c.Names(h.secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range c.Agents {
		v.Agents, v.Names = append(v.Agents, a.DID), append(v.Names, names[a.DID])
	}
	for _, r := range c.Removed {
		v.Removed = append(v.Removed, r.DID)
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.Kept(t, "charter", makeVectors)
	if len(v.Machines) != 2 || len(v.Charters) != 4 || len(v.Order) != 4 || len(v.Heads) != 2 || len(v.Refused) != 6 {
		t.Fatalf("vectors are missing: %d %d %d %d %d", len(v.Machines), len(v.Charters), len(v.Order), len(v.Heads), len(v.Refused))
	}
	root := identity.RootOf([32]byte(v.Entropy))
	if root.DID() != v.Grid {
		t.Error("the grid is not the root's")
	}
	chain := charter.NewChain(v.Grid)
	for _, c := range v.Charters {
		s := checkCharterVector(t, v, root, c)
		if _, err := chain.Add(s); err != nil {
			t.Errorf("%s: %v", c.About, err)
		}
	}
	for i, s := range chain.All() {
		if s.Score() != v.Charters[v.Order[i]].Score {
			t.Errorf("charter %d of the chain is another", i)
		}
	}
	for _, h := range v.Heads {
		checkHeadVector(t, v, h)
	}
	for _, r := range v.Refused {
		s, err := identity.ParseSigned(r.Signed, charter.SignedSizeMax)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := charter.Open(s); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", r.Why, err)
		}
	}
}

func checkCharterVector(t *testing.T, v vectors, root identity.Key, want charterVector) identity.Signed {
	t.Helper()
	s, err := identity.ParseSigned(want.Signed, charter.SignedSizeMax)
	if err != nil || s.Score() != want.Score {
		t.Fatalf("%s: score %s, %v", want.About, s.Score(), err)
	}
	c := open(t, s)
	recovery, err := seal.NewPrivateKey(identity.RecoverySeed([32]byte(v.Entropy)))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := c.Secrets(core.DID{}, recovery)
	if err != nil || !bytes.Equal(mustMarshal(t, secrets), want.Secrets) {
		t.Errorf("%s: secrets: %v", want.About, err)
	}
	got := vectorOf(t, home{secrets: secrets}, want.About, s)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, want %+v", want.About, got, want)
	}
	for _, m := range v.Machines {
		private, err := seal.NewPrivateKey([32]byte(m.Seal))
		if err != nil {
			t.Fatal(err)
		}
		opened, err := c.Secrets(m.DID, private)
		if c.Lists(m.DID) && (err != nil || !reflect.DeepEqual(opened, secrets)) || !c.Lists(m.DID) && !errors.Is(err, core.ErrNotExist) {
			t.Errorf("%s: the secrets of %s: %v", want.About, m.Name, err)
		}
	}
	again, err := identity.Sign(root, identity.KindCharter, c)
	if err != nil || !bytes.Equal(mustMarshal(t, again), want.Signed) {
		t.Errorf("%s: signed again it differs: %v", want.About, err)
	}
	return s
}

func headVectorOf(s identity.Signed, raw []byte, h charter.Head) headVector {
	v := headVector{raw, s.Score(), h.Agent, h.Charter, h.Epoch, h.Seq, h.Root, h.Size, h.Salt[:], h.Time, nil}
	for _, id := range h.Stopped {
		v.Stopped = append(v.Stopped, id[:]...)
	}
	return v
}

func checkHeadVector(t *testing.T, v vectors, want headVector) {
	t.Helper()
	s, err := identity.ParseSigned(want.Signed, charter.HeadSizeMax+identity.SignedOverhead)
	if err != nil {
		t.Fatal(err)
	}
	h, err := charter.OpenHead(s)
	if err != nil {
		t.Fatal(err)
	}
	got := headVectorOf(s, want.Signed, h)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("head %+v, want %+v", got, want)
	}
	again, err := charter.SignHead(identity.KeyOf([32]byte(v.Machines[1].Seed)), h)
	if err != nil || !bytes.Equal(mustMarshal(t, again), want.Signed) {
		t.Errorf("signed again it differs: %v", err)
	}
}
