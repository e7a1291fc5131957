package federation

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

// vectors are a partner's record, messages, and a whole state as a partner keeps it.
type vectors struct {
	// Partner is a state record, of the household Grid.
	Grid    core.DID `json:"grid"`
	Partner struct {
		Key    golden.Hex   `json:"key"`
		Value  golden.Hex   `json:"value"`
		Grid   core.DID     `json:"grid"`
		Name   string       `json:"name"`
		Agents []AgentAddrs `json:"agents"`
	} `json:"partner"`
	// Amended is the value of such a record after an amendment and a notice.
	Amended golden.Hex `json:"amended"`
	// Messages are bodies, and what is kept of those who are let in, by what they are.
	Messages map[string]golden.Hex `json:"messages"`
	// State is what a head names, opened with the vault secret.
	State struct {
		Secret  golden.Hex                `json:"secret"`
		Head    golden.Hex                `json:"head"`
		Pages   map[core.Score]golden.Hex `json:"pages"`
		Records []recordVector            `json:"records"`
	} `json:"state"`
}

type recordVector struct {
	Key   golden.Hex `json:"key"`
	Value golden.Hex `json:"value"`
}

func seedOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }

// fixture is what the vectors are made of: nothing in it is drawn.
type fixture struct {
	annaRoot, anna, bo identity.Key
	boGrid             core.DID
	record, amended    partnerRecord
	proposed           proposed // what has become record's amendment in amended
	signed             identity.Signed
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	x := fixture{
		annaRoot: identity.KeyOf(seedOf("anna's root")), anna: identity.KeyOf(seedOf("anna's machine")),
		bo: identity.KeyOf(seedOf("bo's machine")), boGrid: identity.KeyOf(seedOf("bo's root")).DID(),
	}
	terms := pact.Terms{
		InviterGives:  map[core.Resource]int64{core.Storage: 10_000_000_000},
		AcceptorGives: map[core.Resource]int64{core.Storage: 20_000_000_000},
	}.WithDefaults()
	inv := pact.Invitation{V: 1, Agent: x.anna.DID(), Grid: x.annaRoot.DID(), Name: "anna", Addrs: []string{"/ip4/192.0.2.1/tcp/4726"}, Secret: pact.Secret{1, 2, 3}, Expires: 1_800_000_000, Terms: terms}
	body, sig, err := pact.SignPact(x.bo, inv.Pact(x.boGrid, 1_700_000_000))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := pact.Countersign(x.anna, body, sig)
	if err != nil {
		t.Fatal(err)
	}
	x.record = partnerRecord{
		V: 1, Grid: x.boGrid, Name: "bo", Pact: signed,
		Agents: []AgentAddrs{{DID: x.bo.DID(), Addrs: []string{"/ip4/192.0.2.2/tcp/4726", "/dns4/bo.example/udp/4726/quic-v1"}}},
	}
	x.amended = x.record
	next := inv.Pact(x.boGrid, 1_700_000_000).Amend(signed.ID(), 1, terms.AcceptorGives, terms.AcceptorGives)
	if x.proposed.Body, x.proposed.Sig, err = pact.SignPact(x.bo, next); err != nil {
		t.Fatal(err)
	}
	amendment, err := pact.Countersign(x.anna, x.proposed.Body, x.proposed.Sig)
	if err != nil {
		t.Fatal(err)
	}
	notice, err := pact.SignNotice(x.anna, pact.Notice{Pact: signed.ID(), By: x.annaRoot.DID(), Agent: x.anna.DID(), Time: 1_700_000_000, Until: 1_702_592_000})
	if err != nil {
		t.Fatal(err)
	}
	x.amended.Amendment, x.amended.Notice = &amendment, &notice
	x.signed, err = pact.SignAdmission(x.annaRoot, pact.Admission{V: 1, Grid: x.annaRoot.DID(), Agent: x.anna.DID(), Partner: x.bo.DID(), Nonce: [32]byte{7}, Time: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// messages returns one message of each kind. The Signed in them stands for any.
func (x fixture) messages() map[string]any {
	score, grid := core.Score{1}, x.annaRoot.DID()
	list := []identity.Signed{x.signed}
	sig := x.record.Pact.Acceptor
	return map[string]any{
		"accept request":              &acceptRequest{Invitation: make([]byte, 16), Proof: make([]byte, 32), Pact: x.record.Pact.Body, Sig: sig, Charters: list, Name: "bo", Addrs: []string{"/a"}},
		"accept answer":               &acceptAnswer{Pact: x.record.Pact, Charters: list, Name: "anna", Addrs: []string{}},
		"credential request":          &credentialRequest{Charter: x.signed, Chain: []byte{1}, Name: "cleo"},
		"credential request, token":   &credentialRequest{Charter: x.signed, Token: &x.signed, Name: "cleo"},
		"guest by an account, kept":   &guestRecord{V: 1, Grid: x.boGrid, Name: "bo", draws: draws{Account: AccountName{core.DID{7}, "bo@example.org"}}, Shown: []shownRecord{{Agent: core.DID{8}, Token: core.Score{9}, Amount: 1, Until: 1_800_000_000}}},
		"errand by an account, kept":  &errandRecord{V: 1, Grid: x.boGrid, Name: "bo", Charter: x.signed, At: AgentAddrs{core.DID{8}, []string{"/a"}}, Account: AccountName{core.DID{7}, "bo@example.org"}, LeaseDays: 30, AsideDays: 14},
		"credential answer":           &credentialAnswer{Charter: x.signed, Name: "bo", Addrs: []string{"/a"}, Amount: 1, Until: 1_800_000_000, LeaseDays: 180, AsideDays: 14},
		"recover request, begin":      &recoverRequest{},
		"recover answer, begun":       &recoverAnswer{Nonce: make([]byte, 32)},
		"recover request, proof":      &recoverRequest{Admission: &x.signed},
		"recover request, charter":    &recoverRequest{Charter: &x.signed},
		"recover answer":              &recoverAnswer{Grid: &grid, Charter: &score},
		"greeting":                    &greeting{Charters: list, Addrs: []string{"/a"}, Name: "bo", Heads: []headSeq{{Agent: x.anna.DID(), Seq: 3}}, Time: 1_700_000_000},
		"greeting, with machines":     &greeting{Charters: list, Addrs: []string{"/a"}, Name: "anna", Heads: []headSeq{}, Time: 1_700_000_000, Machines: x.record.Agents},
		"heads answer, with machines": &headsAnswer{Charters: list, Heads: []heldHead{}, Machines: x.record.Agents},
		"heads answer, with a roll":   &headsAnswer{Charters: list, Heads: []heldHead{}, Roll: &x.signed},
		"amend":                       &termsMessage{Pact: x.proposed.Body, Sig: &x.proposed.Sig},
		"amend, nothing":              &termsMessage{},
		"amend answer":                &termsMessage{Amendment: x.amended.Amendment, Notice: x.amended.Notice},
		"charter request":             &charterRequest{Charters: list},
		"charter answer":              &charterAnswer{Newest: score},
		"head request":                &headRequest{Head: x.signed, Base: 2, Add: []core.Score{score}, Drop: []core.Score{}},
		"head answer":                 &headAnswer{Seq: 3},
		"heads answer":                &headsAnswer{Charters: list, Heads: []heldHead{{Head: x.signed, Pages: []core.Score{score}}}},
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	x := newFixture(t)
	var v vectors
	v.Grid = x.annaRoot.DID()
	v.Partner.Key = key(partnerPrefix, x.boGrid[:])
	v.Partner.Value = encode(t, x.record)
	v.Partner.Grid, v.Partner.Name, v.Partner.Agents = x.boGrid, x.record.Name, x.record.Agents
	v.Amended = encode(t, x.amended)
	v.Messages = map[string]golden.Hex{}
	for what, m := range x.messages() {
		v.Messages[what] = encode(t, m)
	}
	v.State.Records = []recordVector{{v.Partner.Key, v.Partner.Value}}
	for i := range 200 {
		v.State.Records = append(v.State.Records, recordVector{[]byte(fmt.Sprintf("s/%03d", i)), []byte(strings.Repeat("x", i))})
	}
	secret := seedOf("vault secret")
	v.State.Secret = secret[:]
	disk := sim.NewDisk(0)
	for _, r := range v.State.Records {
		if err := disk.Books().Apply(core.Change{Key: key(keyState, r.Key), Value: r.Value}); err != nil {
			t.Fatal(err)
		}
	}
	f := &Federation{c: Config{Books: disk.Books(), Blobs: disk.Blobs()}, packer: chunk.NewPacker()}
	b, err := f.newBuild(t.Context(), charter.VaultSecret{Epoch: 1, Key: secret}, false)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := b.state()
	if err != nil {
		t.Fatal(err)
	}
	h := charter.Head{Grid: v.Grid, Charter: core.Score{1}, Epoch: 1, Seq: 1, Time: 1_700_000_000}
	if err := b.root(tree, &h); err != nil {
		t.Fatal(err)
	}
	signed, err := charter.SignHead(x.anna, h)
	if err != nil {
		t.Fatal(err)
	}
	v.State.Head, _ = signed.Marshal()
	v.State.Pages = map[core.Score]golden.Hex{}
	for score := range b.live {
		if v.State.Pages[score], err = disk.Blobs().Get(t.Context(), score, nil); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	v := golden.Kept(t, "federation", makeVectors)
	x := newFixture(t)

	if !bytes.Equal(v.Partner.Value, encode(t, x.record)) || !bytes.Equal(v.Partner.Key, key(partnerPrefix, x.boGrid[:])) {
		t.Error("the partner's record is written otherwise")
	}
	r := &recovery{grid: v.Grid}
	p, err := r.openPartner(v.Partner.Key, v.Partner.Value)
	if err != nil {
		t.Fatal(err)
	}
	if p.grid != v.Partner.Grid || p.record.Name != v.Partner.Name || !reflect.DeepEqual(p.record.Agents, v.Partner.Agents) {
		t.Errorf("the partner is read as %+v", p.record)
	}

	if !bytes.Equal(v.Amended, encode(t, x.amended)) {
		t.Error("an amended partner's record is written otherwise")
	}
	if p, err = r.openPartner(v.Partner.Key, v.Amended); err != nil {
		t.Fatal(err)
	}
	if p.terms.N != 1 || p.terms.Gives(v.Grid, core.Storage) != 20_000_000_000 || p.notice.Until != 1_702_592_000 || p.id != x.record.Pact.ID() {
		t.Errorf("the amended partner is read as %+v, %+v", p.terms, p.notice)
	}

	messages := x.messages()
	if len(messages) != len(v.Messages) {
		t.Errorf("%d messages, want %d", len(v.Messages), len(messages))
	}
	for what, m := range messages {
		if !bytes.Equal(v.Messages[what], encode(t, m)) {
			t.Errorf("%s: written otherwise", what)
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface()
		if err := codec.UnmarshalMessage(v.Messages[what], got, 1<<20); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: read as %+v, %v", what, got, err)
		}
	}
	checkState(t, v)
}

// checkState reads the state as a recovery does.
func checkState(t *testing.T, v vectors) {
	t.Helper()
	signed, err := identity.ParseSigned(v.State.Head, headSizeMax)
	if err != nil {
		t.Fatal(err)
	}
	h, err := charter.OpenHead(signed)
	if err != nil {
		t.Fatal(err)
	}
	s := sighting{head: h, signed: signed, score: signed.Score()}
	r := &recovery{
		c: Config{Clock: sim.NewClock(1), Wire: pagesOnly(v.State.Pages)}, grid: v.Grid, packer: chunk.NewPacker(),
		secrets:   charter.Secrets{Vault: []charter.VaultSecret{{Epoch: 1, Key: [32]byte(v.State.Secret)}}},
		witnesses: []*witness{{heads: map[core.DID]sighting{h.Agent: s}}},
	}
	tree, load, err := r.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for record, err := range page.Walk(tree, load, nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if w := v.State.Records[n]; !bytes.Equal(record.Key, w.Key) || !bytes.Equal(record.Value, w.Value) {
			t.Fatalf("record %d is %q", n, record.Key)
		}
		n++
	}
	if n != len(v.State.Records) {
		t.Errorf("%d records, want %d", n, len(v.State.Records))
	}
	for score, sealed := range v.State.Pages {
		if core.ScoreOf(sealed) != score {
			t.Errorf("page %v has another's bytes", score)
		}
	}
}

// pagesOnly is a Wire whose other end has some pages, and no more.
type pagesOnly map[core.Score]golden.Hex

func (p pagesOnly) Fetch(_ context.Context, _ core.DID, path string, _ []byte, _ int64) ([]byte, error) {
	score, err := core.ParseScore(strings.TrimPrefix(path, "/state/"))
	if err != nil {
		return nil, err
	}
	if sealed, ok := p[score]; ok {
		return sealed, nil
	}
	return nil, core.ErrNotExist
}

func (pagesOnly) Call(context.Context, core.DID, string, string, any, any) error {
	return core.ErrUnreachable
}

func (pagesOnly) CallLimit(context.Context, core.DID, string, string, any, any, int64) error {
	return core.ErrUnreachable
}

func (pagesOnly) Send(context.Context, core.DID, string, []byte) error { return core.ErrUnreachable }

// What a partner answers to a recovery is taken in only where it verifies.
func FuzzHear(f *testing.F) {
	entropy := seedOf("phrase")
	root, agent := identity.RootOf(entropy), identity.KeyOf(seedOf("agent"))
	k, err := seal.NewPrivateKey(seedOf("seal"))
	if err != nil {
		f.Fatal(err)
	}
	clock := sim.NewClock(1)
	c := Config{Key: agent, Seal: k, Clock: clock}
	signed, err := firstCharter(c, entropy, root, "anna", 1)
	if err != nil {
		f.Fatal(err)
	}
	head, err := charter.SignHead(agent, charter.Head{Grid: root.DID(), Charter: signed.Score(), Epoch: 1, Seq: 1, Root: core.Score{1}, Size: 99, Salt: [32]byte{1}})
	if err != nil {
		f.Fatal(err)
	}
	whole := headsAnswer{Charters: []identity.Signed{signed}, Heads: []heldHead{{Head: head, Pages: []core.Score{{1}}}}}
	noRoot := headsAnswer{Charters: whole.Charters, Heads: []heldHead{{Head: head}}}
	forged := headsAnswer{Heads: []heldHead{{Head: identity.Signed{By: head.By, Body: head.Body, Sig: make([]byte, 64)}, Pages: []core.Score{{1}}}}}
	for _, a := range []headsAnswer{whole, noRoot, forged, {}} {
		b, err := codec.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a headsAnswer
		if codec.UnmarshalMessage(data, &a, 1<<20) != nil {
			return
		}
		r, err := newRecovery(c, entropy, RecoverOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w := &witness{}
		r.hear(w, agent.DID(), a)
		for _, s := range r.chain.All() {
			if opened, err := charter.Open(s); err != nil || opened.Grid != root.DID() {
				t.Fatalf("a charter that does not verify: %v", err)
			}
		}
		for did, s := range w.heads {
			if h, err := charter.OpenHead(s.signed); err != nil || h.Agent != did || h.Grid != root.DID() || h.Seq != s.head.Seq {
				t.Fatalf("a head that does not verify: %v", err)
			}
		}
	})
}

func FuzzPartnerRecord(f *testing.F) {
	v := golden.Read[vectors](f, "federation")
	f.Add([]byte(v.Partner.Key), []byte(v.Partner.Value))
	f.Add([]byte(v.Partner.Key)[1:], []byte(v.Partner.Value))
	f.Add([]byte(v.Partner.Key), []byte(v.Partner.Value)[:50])
	f.Add([]byte(v.Partner.Key), []byte(v.Amended))
	f.Fuzz(func(t *testing.T, k, value []byte) {
		r := &recovery{grid: v.Grid}
		p, err := r.openPartner(k, value)
		if err != nil {
			return
		}
		if again, err := codec.Marshal(p.record); err != nil || !bytes.Equal(again, value) {
			t.Fatalf("two encodings of one record: %v", err)
		}
		if other, ok := p.pact.Other(v.Grid); !ok || other != p.grid || string(k) != partnerPrefix+string(p.grid[:]) {
			t.Fatal("a partner of another household")
		}
	})
}
