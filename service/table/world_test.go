package table

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// logs are the feeds of one machine, in memory; service/gossip has the real ones.
type logs struct {
	clock  core.Clock
	mu     sync.Mutex
	feeds  map[core.DID]map[core.DID][]feed.Logged
	forks  map[core.DID]uint64
	hidden map[table.Target]bool // what a liar passes over
}

func (f *logs) Append(_ context.Context, id core.DID, as identity.Key, drafts []Draft) ([]feed.Logged, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feeds[id] == nil {
		f.feeds[id] = map[core.DID][]feed.Logged{}
	}
	all := f.feeds[id][as.DID()]
	for _, d := range drafts {
		l := sign(as, id, all, f.clock.Now().UnixMilli(), d)
		all = append(all, l)
	}
	f.feeds[id][as.DID()] = all
	return all[len(all)-len(drafts):], nil
}

// sign makes the next operation of a feed.
func sign(as identity.Key, id core.DID, before []feed.Logged, now int64, d Draft) feed.Logged {
	h := feed.Header{Topic: id, Seq: uint64(len(before)) + 1, Kind: d.Kind, Size: uint32(len(d.Payload))}
	last := uint64(0)
	if n := len(before); n > 0 {
		h.Prev, last = before[n-1].ID, before[n-1].Clock
	}
	h.Clock = feed.Next(now, max(last, d.After))
	var salt [feed.SaltSize]byte
	copy(salt[:], fmt.Sprint(h.Seq))
	h.Commitment = feed.Commit(salt, d.Payload)
	o, err := feed.Sign(as, h)
	if err != nil {
		panic(err)
	}
	return feed.Logged{Operation: o, ID: o.ID(), Sealed: feed.Sealed{Salt: salt, Payload: d.Payload}}
}

func (f *logs) counting(id, author core.DID) []feed.Logged {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.feeds[id][author]
	if n, forked := f.forks[author]; forked && n <= uint64(len(all)) {
		all = all[:n-1]
	}
	return all
}

func (f *logs) From(id, author core.DID, seq uint64) iter.Seq2[feed.Logged, error] {
	return func(yield func(feed.Logged, error) bool) {
		all := f.counting(id, author)
		for _, l := range all[min(seq-1, uint64(len(all))):] {
			if !f.hidden[table.Target{Author: author, Seq: l.Seq}] && !yield(l, nil) {
				return
			}
		}
	}
}

func (f *logs) Proven(_ context.Context, id, author core.DID, seq uint64) (feed.Logged, error) {
	l, err := f.Get(id, author, seq)
	if err == nil {
		err = l.Verify()
	}
	return l, err
}

func (f *logs) Get(id, author core.DID, seq uint64) (feed.Logged, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.feeds[id][author]
	if seq == 0 || seq > uint64(len(all)) {
		return feed.Logged{}, core.ErrNotExist
	}
	return all[seq-1], nil
}

func (f *logs) Ends(id core.DID) iter.Seq2[End, error] {
	return func(yield func(End, error) bool) {
		f.mu.Lock()
		var authors []core.DID
		for a := range f.feeds[id] {
			authors = append(authors, a)
		}
		f.mu.Unlock()
		slices.SortFunc(authors, core.DID.Compare)
		for _, a := range authors {
			if !yield(End{a, uint64(len(f.counting(id, a)))}, nil) {
				return
			}
		}
	}
}

func (f *logs) End(id, author core.DID) (uint64, error) {
	return uint64(len(f.counting(id, author))), nil
}

func (f *logs) Forked(core.DID) (out []End, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, n := range f.forks {
		out = append(out, End{a, n - 1})
	}
	return out, nil
}

func (f *logs) Drop(id core.DID, ops []table.Target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range ops {
		if at.Seq > uint64(len(f.feeds[id][at.Author])) {
			continue
		}
		l := &f.feeds[id][at.Author][at.Seq-1]
		l.Gone, l.Sealed = true, feed.Sealed{}
	}
	return nil
}

// lines calls the routes of other machines.
type lines struct {
	from core.DID
	all  map[core.DID]*Tables
}

func (l lines) CallLimit(ctx context.Context, to core.DID, _, path string, in, out any, limit int64) error {
	t := l.all[to]
	if t == nil {
		return core.ErrUnreachable
	}
	ctx = wire.WithCaller(ctx, wire.Caller{Agent: l.from, Class: wire.Stranger})
	var answer any
	var err error
	switch path {
	case "/table/query":
		answer, err = t.handleQuery(ctx, in.(queryRequest))
	case "/table/show":
		answer, err = t.handleShow(ctx, in.(showRequest))
	case "/table/attest":
		answer, err = t.handleAttest(ctx, in.(attestRequest))
	}
	if err != nil {
		return err
	}
	b, err := codec.Marshal(answer)
	if err != nil {
		return err
	}
	return codec.UnmarshalMessage(b, out, int(limit))
}

// machine is one with its tables.
type machine struct {
	*Tables
	key   identity.Key
	books core.Books
	logs  *logs
}

// world has some machines, each reachable by the others.
func world(t *testing.T, n int) []*machine {
	t.Helper()
	all := map[core.DID]*Tables{}
	clock := sim.NewClock(1)
	out := make([]*machine, n)
	for i := range out {
		m := &machine{key: identity.KeyOf([32]byte{byte(i + 1)}), books: sim.NewBooks()}
		m.logs = &logs{clock: clock, feeds: map[core.DID]map[core.DID][]feed.Logged{}, forks: map[core.DID]uint64{}}
		m.start(t, clock, all)
		out[i] = m
	}
	return out
}

func (m *machine) start(t *testing.T, clock core.Clock, all map[core.DID]*Tables) {
	t.Helper()
	var err error
	m.Tables, err = New(Config{Key: m.key, Books: m.books, Feeds: m.logs, Wire: lines{m.key.DID(), all}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	all[m.key.DID()] = m.Tables
}

// copyTo gives another machine all operations of a table, and has it take them.
func (m *machine) copyTo(t *testing.T, id core.DID, to *machine) {
	t.Helper()
	if err := to.Add(id, "copy"); err != nil {
		t.Fatal(err)
	}
	to.logs.mu.Lock()
	if to.logs.feeds[id] == nil {
		to.logs.feeds[id] = map[core.DID][]feed.Logged{}
	}
	for a, all := range m.logs.feeds[id] {
		if len(all) > len(to.logs.feeds[id][a]) {
			to.logs.feeds[id][a] = slices.Clone(all)
		}
	}
	to.logs.mu.Unlock()
	r, err := to.replica(id)
	if err != nil {
		t.Fatal(err)
	}
	r.lookAtAll()
	if err := to.Settle(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func doc(t testing.TB, v any) document.Doc {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.FromJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// posts puts so many posts, every tenth with the tag #cats.
func posts(t *testing.T, m *machine, id core.DID, n int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var puts []Put
	for i := range n {
		tags := []string{"#" + string(rune('a'+i%7))}
		if i%10 == 0 {
			tags = append(tags, "#cats")
		}
		puts = append(puts, Put{fmt.Appendf(nil, "post-%06d", rnd.IntN(1<<30)), doc(t, map[string]any{
			"tags": tags, "time": time.Unix(int64(1700000000+i*61), 0).UTC().Format(time.RFC3339), "author": fmt.Sprint("anna", i%5), "n": i,
		})})
	}
	for part := range slices.Chunk(puts, 500) {
		if err := m.Put(t.Context(), id, part); err != nil {
			t.Fatal(err)
		}
	}
}

func question(t *testing.T, text string) table.Question {
	t.Helper()
	q, err := table.ParseQuestion(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// keys are those of the rows of an answer.
func keysOf(rows []table.Row) (out []string) {
	for _, r := range rows {
		out = append(out, string(r.Key))
	}
	return out
}

func index(fields string) table.Index { return table.Index{Fields: fields} }

func create(t *testing.T, m *machine, d table.Definition) core.DID {
	t.Helper()
	d.Name, d.Attest = cmp.Or(d.Name, "posts"), append(d.Attest, m.key.DID())
	d.GrantWrite(table.Grant{Who: m.key.DID()})
	id, err := m.Create(t.Context(), d, func(core.DID) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAnswersOfAStranger(t *testing.T) {
	all := world(t, 3)
	anna, bo, stranger := all[0], all[1], all[2]
	id := create(t, anna, table.Definition{
		Indexes: []table.Index{index("tags,time"), index("tags"), index("author,time"), index("time")}, Read: table.Reading{All: true},
	})
	rows := 2000
	if testing.Short() {
		rows = 600
	}
	posts(t, anna, id, rows)
	anna.copyTo(t, id, bo)
	if _, _, err := anna.Attest(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := anna.Witness(t.Context(), id, bo.key.DID()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`tags = "#cats" order -time limit 32`, `tags = "#cats" and time >= "2023-11-15" order -time limit 32`,
		`author = "anna3" order time limit 5`, `tags = "#cats" count`, fmt.Sprint("n >= ", rows-10), `@key >= "post-5" limit 3`, `time < "2000"`, `not has time`, `count`,
	} {
		q := question(t, text)
		own, err := anna.Query(t.Context(), id, q, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := stranger.Ask(t.Context(), id, bo.key.DID(), q, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !slices.Equal(keysOf(got.Rows), keysOf(own.Rows)) || got.Count != own.Count || got.Index != own.Index {
			t.Errorf("%s: bo says %d of %q, anna %d of %q", text, got.Count, got.Index, own.Count, own.Index)
		}
		if !slices.Equal(got.Vouched, []core.DID{anna.key.DID()}) {
			t.Errorf("%s: vouched for by %v", text, got.Vouched)
		}
		b, err := got.Answer.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		saved, err := table.ParseAnswer(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := saved.Verify(id, q, table.Known{}); err != nil {
			t.Errorf("%s: saved: %v", text, err)
		}
		rows := 0
		for _, r := range got.Answer.Rows {
			for _, s := range r {
				rows += len(s)
			}
		}
		t.Logf("%s: %d rows of %d by %q, %d bytes, %d above the rows, proof %d", text, len(got.Rows), got.Count, got.Index, got.Bytes, got.Bytes-rows, len(got.Answer.Proof))
	}
}

// The rows of a query are those of a sorted list of all documents.
func TestQueriesOfAList(t *testing.T) {
	anna := world(t, 1)[0]
	id := create(t, anna, table.Definition{Indexes: []table.Index{index("tags,time")}})
	posts(t, anna, id, 300)
	got, err := anna.Query(t.Context(), id, question(t, `tags = "#cats" order -time limit 10`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got.Rows {
		n, _ := r.Doc.Field(document.Path{"n"})
		if want := float64(290 - 10*i); n.Number() != want {
			t.Errorf("row %d is post %v, want %v", i, n.Number(), want)
		}
	}
	if len(got.Rows) != 10 || got.Index != "tags,time" || got.Read != 10 {
		t.Errorf("%d rows by %q, %d entries read", len(got.Rows), got.Index, got.Read)
	}
	if bytes.Equal(got.After, nil) {
		t.Error("there is no way to go on")
	}
}
