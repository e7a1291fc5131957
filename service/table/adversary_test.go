package table

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// liar is what a stranger reaches: it asks an honest machine, and passes on something else.
type liar struct {
	Wire
	lie func(honest table.Answer) any
}

func (l liar) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	var honest table.Answer
	if err := l.Wire.CallLimit(ctx, to, method, path, in, &honest, limit); err != nil {
		return err
	}
	b, err := codec.Marshal(l.lie(honest))
	if err != nil {
		return err
	}
	return codec.UnmarshalMessage(b, out, int(limit))
}

// stage is a table of anna's, what it was before, and others, for somebody who lies about it.
type stage struct {
	*testing.T
	anna, other *machine
	id          core.DID
	question    table.Question
	// older is a whole answer to the question, of an hour before; neighbour one of another table with the same rows.
	older, neighbour table.Answer
	mallory          identity.Key
}

const attacked = `tags = "#cats" order -time limit 10`

func newStage(t *testing.T) *stage {
	all := world(t, 2)
	s := &stage{T: t, anna: all[0], other: all[1], mallory: identity.KeyOf([32]byte{66}), question: question(t, attacked)}
	d := table.Definition{
		Indexes: []table.Index{index("tags,time"), index("time"), {Fields: "n", Unique: true}}, Read: table.Reading{All: true},
		Write: table.Writing{Quota: 2000},
	}
	d.GrantWrite(table.Grant{Who: s.mallory.DID(), Stopped: true, Until: 3, Since: 1})
	s.id = create(t, s.anna, d)
	posts(t, s.anna, s.id, 300)
	neighbour := create(t, s.anna, d)
	posts(t, s.anna, neighbour, 300)
	s.neighbour = s.answer(neighbour, attacked)
	s.older = s.answer(s.id, attacked)
	s.anna.c.Clock.(*sim.Clock).Advance(time.Hour)
	if err := s.anna.Put(t.Context(), s.id, []Put{{[]byte("post-new"), doc(t, map[string]any{"tags": "#cats", "time": "2026", "n": 1})}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// answer is anna's, with her word on it.
func (s *stage) answer(id core.DID, text string) table.Answer {
	s.Helper()
	got, err := s.anna.Query(s.Context(), id, question(s.T, text), nil)
	if err != nil {
		s.Fatal(err)
	}
	return got.Answer
}

// opened is what anna's table comes to now.
func (s *stage) opened() *reader {
	r, err := s.anna.replica(s.id)
	if err != nil {
		s.Fatal(err)
	}
	v, err := r.open(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// proof proves all of one of anna's trees, but for what rows bring, in full.
func (s *stage) proof(at int, rows [][]table.Sent) []byte {
	v := s.opened()
	recorder := tree.NewRecorder(v.shelf(at))
	for _, err := range (tree.View{Map: v.tree(at), Src: recorder}).Ascend(nil, nil) {
		if err != nil {
			s.Fatal(err)
		}
	}
	var given []tree.Record
	for _, sent := range rows {
		l, err := sent[0].Open(s.id)
		if err != nil {
			s.Fatal(err)
		}
		op, err := v.def.Operation(l)
		if err != nil {
			continue
		}
		row, err := v.def.NewRow([]table.Op{op})
		if err != nil {
			continue
		}
		given = append(given, v.def.Entries(at-indexesAt, &row, nil)...)
	}
	slices.SortFunc(given, func(a, b tree.Record) int { return bytes.Compare(a.Key, b.Key) })
	b, err := recorder.Proof(v.tree(at), given)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// edit changes the first operation of a row: its header, and then its payload with what vouches for it.
func (s *stage) edit(sent table.Sent, as identity.Key, change func(h *feed.Header, payload []byte) []byte) table.Sent {
	l, err := sent.Open(s.id)
	if err != nil {
		s.Fatal(err)
	}
	h, payload := l.Header, change(&l.Header, bytes.Clone(l.Payload))
	if l.Header != h || !bytes.Equal(payload, l.Payload) {
		l.Header.Size, l.Header.Commitment = uint32(len(payload)), feed.Commit(l.Salt, payload)
	}
	author := l.Author
	o, err := feed.Sign(as, l.Header)
	if err != nil {
		s.Fatal(err)
	}
	o.Author = author // whatever the key is
	l.Operation, l.Payload = o, payload
	return table.SentOf(&l)
}

// attest is an attestation with other words, by a key.
func (s *stage) attest(as identity.Key, c *table.Checkpoint, change func(*table.Attestation)) []identity.Signed {
	at := table.Attestation{V: 1, Table: s.id, Checkpoint: c.Score(), Time: s.anna.c.Clock.Now().Unix(), Machine: as.DID()}
	change(&at)
	signed, err := identity.Sign(as, table.KindAttest, at)
	if err != nil {
		s.Fatal(err)
	}
	return []identity.Signed{signed}
}

// remade is anna's table as somebody makes it who changes what she has.
func (s *stage) remade(change func(*logs)) table.Answer {
	s.Helper()
	m := &machine{key: s.mallory, books: sim.NewBooks()}
	m.logs = &logs{clock: s.anna.c.Clock, feeds: map[core.DID]map[core.DID][]feed.Logged{s.id: {}}, forks: map[core.DID]uint64{}}
	for a, ops := range s.anna.logs.feeds[s.id] {
		m.logs.feeds[s.id][a] = slices.Clone(ops)
	}
	change(m.logs)
	m.start(s.T, s.anna.c.Clock, map[core.DID]*Tables{})
	if err := m.Add(s.id, "lie"); err != nil {
		s.Fatal(err)
	}
	if err := m.Settle(s.Context(), s.id); err != nil {
		s.Fatal(err)
	}
	got, err := m.Query(s.Context(), s.id, s.question, nil)
	if err != nil {
		s.Fatal(err)
	}
	return got.Answer
}

// without leaves an operation of anna's out.
func (s *stage) without(n int) table.Answer {
	return s.remade(func(m *logs) {
		m.hidden = map[table.Target]bool{{Author: s.anna.key.DID(), Seq: uint64(n + 1)}: true}
	})
}

// intruded has a row of somebody who may not write, as made by who lets it. What it shows is anna's definition.
func (s *stage) intruded(by identity.Key, grant func(*table.Definition), ops ...func(*feed.Header)) table.Answer {
	honest := s.answer(s.id, attacked)
	a := s.remade(func(m *logs) {
		feeds := m.feeds[s.id]
		own := &feeds[s.id][len(feeds[s.id])-1]
		d, err := table.ParseDefinition(own.Payload)
		if err != nil {
			s.Fatal(err)
		}
		grant(&d)
		if own.Payload, err = d.Marshal(); err != nil {
			s.Fatal(err)
		}
		payload, err := table.PutPayload([]byte("intruder"), nil, doc(s, map[string]any{"tags": "#cats", "time": "2027"}))
		if err != nil {
			s.Fatal(err)
		}
		var written []feed.Logged
		for _, change := range ops {
			l := sign(by, s.id, written, s.anna.c.Clock.Now().UnixMilli(), Draft{feed.Put, payload, 0})
			change(&l.Header)
			if l.Operation, err = feed.Sign(by, l.Header); err != nil {
				s.Fatal(err)
			}
			l.ID = l.Operation.ID()
			written = append(written, l)
		}
		feeds[by.DID()] = written
	})
	a.Definition, a.Checkpoint.Definition = honest.Definition, honest.Checkpoint.Definition
	a.Attestations = s.attest(s.mallory, a.Checkpoint, func(*table.Attestation) {})
	return a
}

// attack makes an evil answer of an honest one. want and text are what it is refused with.
type attack struct {
	name string
	lie  func(s *stage, a table.Answer) any
	want error
	text string
}

func TestAdversaries(t *testing.T) {
	s := newStage(t)
	attacks := slices.Concat(attacksOnRows(), attacksOnProofs(), attacksOnWhatItIsOf(), attacksByMakers())
	for _, c := range attacks {
		t.Run(c.name, func(t *testing.T) {
			s.T = t
			stranger := &Tables{c: Config{Books: sim.NewBooks(), Clock: s.anna.c.Clock, Key: identity.KeyOf([32]byte{77})}}
			wire := lines{stranger.c.Key.DID(), s.anna.c.Wire.(lines).all}
			stranger.c.Wire = wire
			if got, err := stranger.Ask(t.Context(), s.id, s.anna.key.DID(), s.question, nil); err != nil || len(got.Rows) != 10 || len(got.Vouched) != 1 {
				t.Fatalf("the honest answer: %d rows, %v", len(got.Rows), err)
			}
			stranger.memory.all = nil // it has everything sent again
			stranger.c.Wire = liar{wire, func(a table.Answer) any { return c.lie(s, a) }}
			got, err := stranger.Ask(t.Context(), s.id, s.anna.key.DID(), s.question, nil)
			if err == nil {
				t.Fatalf("it was believed: %q, vouched for by %v", keysOf(got.Rows), got.Vouched)
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v\nwant %v, and %q", err, c.want, c.text)
			}
		})
	}
}

// What answers a count is in the tree.
func TestCountsCannotBeOffByOne(t *testing.T) {
	s := newStage(t)
	q := question(t, `tags = "#cats" count`)
	a := s.answer(s.id, q.Text)
	want, err := a.Verify(s.id, q, table.Known{})
	if err != nil || want.Count != 31 {
		t.Fatal(want.Count, err)
	}
	step := 1
	if testing.Short() {
		step = 5
	}
	for i := 0; i < len(a.Proof); i += step {
		b := a
		b.Proof = bytes.Clone(a.Proof)
		b.Proof[i] += 1 << (i % 8)
		if got, err := b.Verify(s.id, q, table.Known{}); err == nil {
			t.Fatalf("byte %d of the proof, and the count is %d", i, got.Count)
		}
	}
}

// Without anybody's word an old root is believed, and said to be provisional.
func TestAnOldRootThatNobodyAttests(t *testing.T) {
	s := newStage(t)
	stranger := &Tables{c: Config{Books: sim.NewBooks(), Clock: s.anna.c.Clock, Key: identity.KeyOf([32]byte{77})}}
	stranger.c.Wire = liar{lines{stranger.c.Key.DID(), s.anna.c.Wire.(lines).all}, func(table.Answer) any {
		a := s.older
		a.Attestations = []identity.Signed{}
		return a
	}}
	if got, err := stranger.Ask(t.Context(), s.id, s.anna.key.DID(), s.question, nil); err != nil || len(got.Vouched) != 0 {
		t.Errorf("vouched for by %v, %v", got.Vouched, err)
	}
	stranger.memory.all = nil
	stranger.c.Wire = liar{stranger.c.Wire.(liar).Wire, func(a table.Answer) any {
		a.Attestations = s.attest(s.mallory, a.Checkpoint, func(*table.Attestation) {})
		return a
	}}
	got, err := stranger.Ask(t.Context(), s.id, s.anna.key.DID(), s.question, nil)
	if err != nil || len(got.Vouched) != 0 || len(got.Attestations) != 1 {
		t.Errorf("by mallory: vouched for by %v, %v", got.Vouched, err)
	}
}

// Machines that there are not leave room for the word of those that count.
func TestWitnessesThatThereAreNot(t *testing.T) {
	all := world(t, 2)
	anna, bo := all[0], all[1]
	id := create(t, anna, table.Definition{Read: table.Reading{All: true}})
	anna.copyTo(t, id, bo)
	r, err := bo.replica(id)
	if err != nil {
		t.Fatal(err)
	}
	check := r.current().check
	kept := 0
	for i := range witnessesMax + 50 {
		signed, err := table.Attest(identity.KeyOf([32]byte{200, byte(i), byte(i >> 8)}), check, int64(i))
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := r.witness(signed)
		if err != nil {
			t.Fatal(err)
		}
		kept += order(fresh)
	}
	if err := anna.Witness(t.Context(), id, bo.key.DID()); err != nil {
		t.Fatal(err)
	}
	if _, at, ok, err := r.seen(anna.key.DID()); kept != witnessesMax || !ok || at.Checkpoint != check.Score() || err != nil {
		t.Errorf("%d kept, anna's %t, %v", kept, ok, err)
	}
	got, err := bo.Query(t.Context(), id, question(t, "count"), nil)
	if err != nil || len(got.Vouched) != 2 || got.Answer.Attestations[0].By != anna.key.DID() {
		t.Errorf("%v, %v", got.Vouched, err)
	}
}

// No byte of a saved answer can be another.
func TestNoByteOfAnAnswerCanChange(t *testing.T) {
	s := newStage(t)
	a := s.answer(s.id, `tags = "#cats" order -time limit 3`)
	saved, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := VerifySaved(saved, nil); err != nil || len(got.Vouched) != 1 || len(got.Rows) != 3 {
		t.Fatal(len(got.Rows), err)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(saved); i += step {
		b := bytes.Clone(saved)
		b[i] ^= 1 << (i % 8)
		got, err := VerifySaved(b, nil)
		if err == nil && got.Answer.Text == a.Text {
			t.Errorf("byte %d of %d: %q", i, len(saved), keysOf(got.Rows))
		}
	}
	for _, b := range [][]byte{nil, saved[:len(saved)-1], append(bytes.Clone(saved), 0)} {
		if _, err := VerifySaved(b, nil); !errors.Is(err, core.ErrInvalid) {
			t.Error(err)
		}
	}
	if _, err := VerifySaved(make([]byte, table.AnswerSizeMax+1), nil); !errors.Is(err, core.ErrTooLarge) {
		t.Error(err)
	}
	newer := bytes.Clone(saved)
	for i := range saved { // the outermost one comes first of all that are so
		if bytes.HasPrefix(saved[i:], []byte{0x61, 'v', 1}) {
			newer[i+2] = 2
			break
		}
	}
	if _, err := VerifySaved(newer, nil); !errors.Is(err, core.ErrVersion) {
		t.Error(err)
	}
}
