package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

// rewrite lets change the runs of a batch, and puts them together again.
func (w *world) rewrite(batch []byte, change func([]feed.Logged) []feed.Logged) []byte {
	out := feed.AppendBatch(nil, table)
	for run, err := range feed.ReadBatch(batch, table) {
		w.must(err)
		if ops := change(slices.Clone(run.Ops)); len(ops) > 0 {
			out = feed.AppendRun(out, ops)
		}
	}
	return out
}

// by lets change the runs of one author alone.
func by(k identity.Key, change func([]feed.Logged) []feed.Logged) func([]feed.Logged) []feed.Logged {
	return func(ops []feed.Logged) []feed.Logged {
		if ops[0].Author == k.DID() {
			return change(ops)
		}
		return ops
	}
}

var victim, other = keyOf("victim"), keyOf("other")

var attacks = map[string]struct {
	// change is made to each batch.
	change func(w *world, batch []byte) []byte
	// operations, frontier are made to each answer.
	operations func(in operationsRequest, out *operationsAnswer)
	frontier   func(in frontierRequest, out *frontierAnswer)
	want       error
	// other says whether the other author's operations are taken, and victim how many of the victim's.
	other  bool
	victim int
}{
	"a forged signature": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { ops[len(ops)-1].Sig[5] ^= 1; return ops }))
		}, want: feed.ErrForged, other: true,
	},
	"signatures of another key": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged {
				for i := range ops {
					header := ops[i].Header.Bytes()
					copy(ops[i].Sig[:], identity.SignBytes(other, identity.KindOp, header[:]))
				}
				return ops
			}))
		}, want: feed.ErrForged, other: true,
	},
	"another payload": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { ops[1].Payload = []byte("TWO"); return ops }))
		}, want: feed.ErrForged, other: true,
	},
	"a later clock": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { ops[3].Clock++; return ops }))
		}, want: feed.ErrForged, other: true,
	},
	"an operation left out in the middle": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { return slices.Delete(ops, 1, 2) }))
		}, want: feed.ErrForged, other: true,
	},
	"two in another order": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged {
				ops[0].Payload, ops[1].Payload = ops[1].Payload, ops[0].Payload
				return ops
			}))
		}, want: feed.ErrForged, other: true,
	},
	"a gap": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { return ops[1:] }))
		}, want: feed.ErrBroken, other: true,
	},
	"a clock that goes back": {
		change: func(w *world, b []byte) []byte {
			return w.rewrite(b, by(victim, func(ops []feed.Logged) []feed.Logged { ops[1].Clock = ops[0].Clock; return ops }))
		}, want: feed.ErrClock,
	},
	"nobody has asked for that author": {
		change: func(w *world, _ []byte) []byte {
			return feed.AppendRun(feed.AppendBatch(nil, table), w.nodes[0].foreign())
		}, want: ErrUnasked,
	},
	"another topic": {change: func(_ *world, b []byte) []byte { b[3] ^= 1; return b }, want: core.ErrInvalid},
	"another version": {
		change: func(_ *world, b []byte) []byte { b[0] = 2; return b }, want: core.ErrVersion,
	},
	"half a batch": {change: func(_ *world, b []byte) []byte { return b[:len(b)/3] }, want: core.ErrInvalid},
	"no batch":     {change: func(*world, []byte) []byte { return nil }, want: core.ErrInvalid},
	"a batch over its limit": {
		change: func(_ *world, b []byte) []byte { return append(b, make([]byte, feed.BatchSizeMax)...) }, want: core.ErrTooLarge,
	},
	"an answer of 64 MB": {
		change: func(*world, []byte) []byte { return make([]byte, 64<<20) }, want: core.ErrTooLarge,
	},
	"an endless stream": {
		operations: func(in operationsRequest, out *operationsAnswer) {
			out.Batch, out.Done, out.Next = feed.AppendBatch(nil, table), 0, binary.BigEndian.Uint64(in.Wants[32:])
		}, want: ErrStuck,
	},
	"it goes on behind the end": {
		operations: func(_ operationsRequest, out *operationsAnswer) { out.Done, out.Next = 0, 1<<40 }, want: ErrStuck,
	},
	"more done than was asked": {
		operations: func(_ operationsRequest, out *operationsAnswer) { out.Done = 1 << 60 }, want: ErrStuck,
	},
	"it says that it has done, and sends nothing": {
		operations: func(_ operationsRequest, out *operationsAnswer) { out.Batch = feed.AppendBatch(nil, table) },
	},
	"a fork that is none": {
		operations: func(_ operationsRequest, out *operationsAnswer) { out.Forks = [][]byte{make([]byte, feed.ForkSize)} },
		want:       core.ErrVersion, other: true, victim: 4,
	},
	"more proofs than are taken": {
		operations: func(_ operationsRequest, out *operationsAnswer) { out.Forks = make([][]byte, forksMax+1) },
		want:       core.ErrInvalid, other: true, victim: 4,
	},
	"items that fall": {
		frontier: func(_ frontierRequest, out *frontierAnswer) {
			out.Items = append(bytes.Clone(out.Items[feed.ItemSize:]), out.Items[:feed.ItemSize]...)
		}, want: core.ErrInvalid,
	},
	"half an item": {
		frontier: func(_ frontierRequest, out *frontierAnswer) { out.Items = out.Items[1:] }, want: core.ErrInvalid,
	},
	"a frontier without end": {
		frontier: func(_ frontierRequest, out *frontierAnswer) { d := victim.DID(); out.Items, out.Through = nil, &d }, want: ErrStuck,
	},
	"a million items": {
		frontier: func(_ frontierRequest, out *frontierAnswer) { out.Items = make([]byte, 80_000_000) }, want: core.ErrTooLarge,
	},
	"a head that it has not": {
		frontier: func(_ frontierRequest, out *frontierAnswer) {
			for i := 0; i < len(out.Items); i += feed.ItemSize {
				out.Items[i+32] = 1 // 2⁵⁶ operations more
			}
		}, other: true, victim: 4,
	},
}

// TestHostilePeers: each attack is named, and what is not concerned by it is taken.
func TestHostilePeers(t *testing.T) {
	for name, c := range attacks {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.add("anna"), w.add("bert")
			a.putAs(victim, "one", "two", "three", "four")
			a.putAs(other, "one")
			a.hostile.frontier = c.frontier
			a.hostile.operations = func(in operationsRequest, out *operationsAnswer) {
				if c.change != nil {
					out.Batch = c.change(w, out.Batch)
				}
				if c.operations != nil {
					c.operations(in, out)
				}
			}
			_, err := b.Sync(t.Context(), table, a.key.DID())
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			b.log()
			for author, want := range map[core.DID]int{victim.DID(): c.victim, other.DID(): 0} {
				if author == other.DID() && c.other {
					want = 1
				}
				if st, err := b.Standing(table, author); err != nil || st.Seq != uint64(want) {
					t.Errorf("%d operations were taken, want %d: %v", st.Seq, want, err)
				}
			}
			a.hostile.frontier, a.hostile.operations = nil, nil
			b.syncWith(a)
			w.equal(a, b)
		})
	}
}

// foreign returns an operation of an author of whom the node has nothing.
func (n *node) foreign() []feed.Logged {
	l := feed.Logged{Sealed: feed.Sealed{Payload: []byte("x")}}
	var err error
	l.Operation, err = feed.Sign(keyOf("nobody"), feed.Header{Topic: table, Seq: 1, Clock: 1, Kind: feed.Put, Size: 1, Commitment: feed.Commit(l.Salt, l.Payload)})
	n.w.must(err)
	return []feed.Logged{l}
}

// TestHostileRequests are refused before anything is done.
func TestHostileRequests(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	a.put("one")
	item := feed.Item{Author: a.key.DID(), Seq: 1, ID: core.Score{1}}.Bytes()
	wants := appendWants(nil, []want{{a.key.DID(), 1, 1}})
	for name, c := range map[string]struct {
		path string
		in   any
		want error
	}{
		"another topic":            {"operations", operationsRequest{Topic: b.key.DID()}, core.ErrNotExist},
		"half a want":              {"operations", operationsRequest{Topic: table, Wants: wants[1:]}, core.ErrInvalid},
		"one author twice":         {"operations", operationsRequest{Topic: table, Wants: append(bytes.Clone(wants), wants...)}, core.ErrInvalid},
		"from 0":                   {"operations", operationsRequest{Topic: table, Wants: appendWants(nil, []want{{a.key.DID(), 0, 1}})}, core.ErrInvalid},
		"backwards":                {"operations", operationsRequest{Topic: table, Wants: appendWants(nil, []want{{a.key.DID(), 2, 1}})}, core.ErrInvalid},
		"a million wants":          {"operations", operationsRequest{Topic: table, Wants: make([]byte, 1_000_000*wantSize)}, core.ErrTooLarge},
		"half an item":             {"frontier", frontierRequest{Topic: table, Items: item[1:]}, core.ErrInvalid},
		"an item before the first": {"frontier", frontierRequest{Topic: table, Items: item[:], After: a.key.DID()}, core.ErrInvalid},
		"half a key":               {"frontier", frontierRequest{Topic: table, Key: make([]byte, 8)}, core.ErrInvalid},
		"half a symbol":            {"frontier", frontierRequest{Topic: table, Key: make([]byte, 16), Symbols: make([]byte, 16)}, core.ErrInvalid},
		"too many symbols":         {"frontier", frontierRequest{Topic: table, Key: make([]byte, 16), Symbols: make([]byte, 17*(feed.SymbolsMax+1))}, core.ErrInvalid},
		"a GB":                     {"frontier", frontierRequest{Topic: table, Symbols: make([]byte, 2<<20)}, core.ErrTooLarge},
		"news of half an item":     {"news", newsRequest{Topic: table, Items: item[1:]}, core.ErrInvalid},
		"too much news":            {"news", newsRequest{Topic: table, Items: make([]byte, feed.ItemSize*(newsMax+1))}, core.ErrInvalid},
		"a proof of nothing":       {"news", newsRequest{Topic: table, Forks: [][]byte{{1}}}, core.ErrInvalid},
		"a proof of another topic": {"news", newsRequest{Topic: table, Forks: [][]byte{forkOf(t, a.key.DID(), keyOf("x")).Bytes()}}, core.ErrInvalid},
	} {
		if err := b.call(t.Context(), a.key.DID(), "/feeds/"+c.path, c.in, nil, wire.AnswerSizeMax); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	a.may = func(peer core.DID) error {
		if peer == b.key.DID() {
			return &core.Denial{Reason: "not for you"}
		}
		return nil
	}
	for path, in := range map[string]any{
		"operations": operationsRequest{Topic: table, Wants: wants}, "frontier": frontierRequest{Topic: table}, "news": newsRequest{Topic: table},
	} {
		if err := b.call(t.Context(), a.key.DID(), "/feeds/"+path, in, nil, wire.AnswerSizeMax); !errors.Is(err, core.ErrRefused) {
			t.Errorf("%s without leave: %v", path, err)
		}
	}
	if len(a.log()) != 2 || len(a.news.in.pending) != 0 {
		t.Error("something was done")
	}
}

// TestWhatIsHeldBack: a clock of next year, and what there is no leave for, wait; the rest goes on, and so do they when they may.
func TestWhatIsHeldBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	hasty, greedy := keyOf("hasty"), keyOf("greedy")
	now := w.clock.Now().UnixMilli()
	year := uint64(now+365*24*3600*1000) << 16
	a.putAs(hasty, "one", "two")
	_, err := a.Append(t.Context(), table, hasty, Draft{feed.Put, []byte("three"), year}, Draft{feed.Put, []byte("four"), 0})
	w.must(err)
	a.putAs(greedy, "1", "2", "3", "4", "5")
	a.put("one")
	most := int64(3 * (feed.OperationSize + 1))
	b.takes = func(author core.DID, _ uint64, size int64) error {
		if author == greedy.DID() && size > most {
			return fmt.Errorf("the quota is %d", most)
		}
		return nil
	}
	st := b.syncWith(a)
	if st.Operations != 2+3+1 || len(st.Notes) != 2 || !errors.Is(errors.Join(st.Notes...), feed.ErrAhead) || !errors.Is(errors.Join(st.Notes...), ErrLeave) {
		t.Errorf("%+v", st)
	}
	b.log()
	if st := b.syncWith(a); st.Operations != 0 || len(st.Notes) != 2 {
		t.Errorf("again: %+v", st)
	}
	w.clock.Jump(365 * 24 * time.Hour)
	most *= 2
	if st := b.syncWith(a); st.Operations != 2+2 || len(st.Notes) != 0 {
		t.Errorf("later: %+v", st)
	}
	w.equal(a, b)
}

// TestAPeerThatDrips: one that answers with an operation at a time is left after some.
func TestAPeerThatDrips(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("anna"), w.add("bert")
	a.put(make([]string, 200)...)
	a.hostile.operations = func(in operationsRequest, out *operationsAnswer) {
		out.Batch = w.rewrite(out.Batch, func(ops []feed.Logged) []feed.Logged { return ops[:1] })
		out.Done, out.Next = 0, binary.BigEndian.Uint64(in.Wants[32:])+1
	}
	st, err := b.Sync(t.Context(), table, a.key.DID())
	if !errors.Is(err, ErrStuck) || st.Operations < skipsMax-2 || st.Operations > skipsMax+1 {
		t.Errorf("%+v, %v", st, err)
	}
	a.hostile.operations = nil
	b.syncWith(a)
	w.equal(a, b)
}

// TestASlowPeerLetsOthersGoBefore: the fast one's sync ends while the slow one still answers.
func TestASlowPeerLetsOthersGoBefore(t *testing.T) {
	w := newWorld(t)
	slow, fast, b := w.add("slow"), w.add("fast"), w.add("bert")
	slow.put(string(make([]byte, 1<<20)), string(make([]byte, 1<<20)), string(make([]byte, 1<<20)), string(make([]byte, 1<<20)), "last")
	fast.syncWith(slow)
	fast.put("one")
	asked, other := 0, make(chan error, 1)
	slow.hostile.operations = func(operationsRequest, *operationsAnswer) {
		switch asked++; asked {
		case 1:
			go func() {
				_, err := b.Sync(context.Background(), table, fast.key.DID())
				other <- err
			}()
			for b.topics[table].waiting.Load() == 0 {
				runtime.Gosched()
			}
			w.clock.Jump(2 * time.Minute)
		case 2:
			w.must(<-other)
		}
	}
	if st := b.syncWith(slow); asked != 2 || st.Operations > 3 {
		t.Errorf("asked %d times: %+v", asked, st)
	}
	w.equal(fast, b)
}

// TestFalseSignaturesInBetween: a peer that passes them on is noticed, and what it has passed on does not end a run.
func TestFalseSignaturesInBetween(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.add("anna"), w.add("bert"), w.add("cleo")
	a.put(make([]string, 2000)...)
	a.hostile.operations = func(_ operationsRequest, out *operationsAnswer) {
		out.Batch = w.rewrite(out.Batch, func(ops []feed.Logged) []feed.Logged {
			for i := range ops[:len(ops)-1] {
				ops[i].Sig[0] ^= 1
			}
			return ops
		})
	}
	if _, err := b.Sync(t.Context(), table, a.key.DID()); !errors.Is(err, feed.ErrForged) {
		t.Fatal(err)
	}
	// One false signature is seldom seen.
	a.hostile.operations = func(_ operationsRequest, out *operationsAnswer) {
		out.Batch = w.rewrite(out.Batch, func(ops []feed.Logged) []feed.Logged { ops[4].Sig[0] ^= 1; return ops })
	}
	for range 100 {
		if _, err := b.Sync(t.Context(), table, a.key.DID()); err == nil {
			break
		}
	}
	c.takes = func(_ core.DID, seq uint64, _ int64) error {
		if seq > 5 {
			return errors.New("no more")
		}
		return nil
	}
	if st, err := c.Sync(t.Context(), table, b.key.DID()); !errors.Is(err, feed.ErrForged) || st.Operations != 0 {
		t.Errorf("the fifth one's signature does not stand for those before: %+v, %v", st, err)
	}
	ops, err := b.gather(table, a.key.DID(), 1, 1, 5, 1<<20)
	if err != nil || len(ops) != 4 {
		t.Errorf("a run of %d, %v", len(ops), err)
	}
}
