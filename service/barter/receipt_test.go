package barter

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
)

// receipt sends one to a holder, which must agree to the byte-second.
func (h *home) receipt(t *testing.T, holder *home) {
	t.Helper()
	p, ok := h.Of(holder.grid)
	if !ok {
		t.Fatal("no partner")
	}
	if err := h.now().sendReceipt(t.Context(), p, holder.agent()); err != nil {
		t.Fatalf("receipt: %v", err)
	}
	h.checkLine(t, holder)
}

// checkLine compares both sides of a line, after a receipt, to the byte-second.
func (h *home) checkLine(t interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}, holder *home,
) {
	t.Helper()
	ours, err := h.now().lineOf(asOwner, holder.grid, holder.agent())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := holder.now().lineOf(asHolder, h.grid, h.agent())
	if err != nil {
		t.Fatal(err)
	}
	at := max(h.time().Now().Unix(), holder.time().Now().Unix(), ours.rec.Latest, theirs.rec.Latest)
	for _, at := range []int64{at, at + 10*daySeconds, at + 1000*daySeconds} {
		if x, y := ours.meter.Seconds(at), theirs.meter.Seconds(at); x.Cmp(y) != 0 || ours.meter.Live(at) != theirs.meter.Live(at) {
			t.Fatalf("up to %d: %s byte-seconds and %d live here, %s and %d at the holder", at, x, ours.meter.Live(at), y, theirs.meter.Live(at))
		}
	}
	x, y := ours.rec, theirs.rec
	if x.Seq != y.Seq || x.Acked != y.Acked || x.Total != y.Total || x.Until != y.Until || x.Other != y.Other || x.Total != x.Other || x.Pact != y.Pact {
		t.Fatalf("the last receipt is\n%+v here,\n%+v at the holder", x, y)
	}
	// What lies there counts until what it counts at the holder.
	for c, err := range h.books.Scan(placedPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		hold, r, err := parsePlaced(c)
		if err != nil {
			t.Fatal(err)
		}
		if hold.Agent != holder.agent() {
			continue
		}
		var held heldRecord
		if _, err := holder.now().read(heldKey(h.grid, hold.Score), &held); err != nil {
			t.Fatal(err)
		}
		if end := held.count(h.agent()); max(end, at) != max(r.Counted, at) || end != 0 && r.Bytes != held.Size {
			t.Fatalf("piece %s counts %d bytes until %d here, %d until %d at the holder", hold.Score.Short(), r.Bytes, r.Counted, held.Size, end)
		}
	}
}

// receipts are those that a side keeps of a line.
func (h *home) receipts(t *testing.T, s side, with *home) (out []core.Change) {
	t.Helper()
	for c, err := range h.books.Scan(join(s.receipts, with.grid[:], asBytes(with.agent())), nil) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func asBytes(d core.DID) []byte { return d[:] }

// ledger is what a home has in its books about another.
func (h *home) ledger(t *testing.T, with *home) Ledger {
	t.Helper()
	l, err := h.now().Ledger(with.grid)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// live lets so many days pass for all, who do what is due.
func (w *world) live(t *testing.T, n int) {
	t.Helper()
	for range n {
		w.clock.(interface{ Advance(time.Duration) }).Advance(days)
		for _, h := range w.homes {
			h.now().pass(days)
		}
		for _, h := range w.homes {
			if err := errors.Join(h.now().Deliver(t.Context()), h.now().tidy(t.Context()), h.now().sendDue(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAReceiptADay(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 1_000_000)
	owner, holder := w.homes[0], w.homes[1]
	size := int64(len(pieces)) * 1_000_000
	holder.takesAll()
	w.live(t, 3)
	owner.checkLine(t, holder)
	had, gave := owner.ledger(t, holder), holder.ledger(t, owner)
	want := LedgerLine{Agent: holder.agent(), Live: size, Hours: uint64(size) * 72, Receipts: 3, Seq: 3, Total: uint64(size) * 72, Until: w.clock.Now().Unix(), Other: uint64(size) * 72, Answered: true}
	if len(had.Had) != 1 || len(had.Gave) != 0 || had.Had[0] != want {
		t.Errorf("had %+v, want %+v", had.Had, want)
	}
	want.Agent = owner.agent()
	if len(gave.Gave) != 1 || len(gave.Had) != 0 || gave.Gave[0] != want {
		t.Errorf("gave %+v, want %+v", gave.Gave, want)
	}
	if had.Placed != size || had.PlacedPieces != 20 || had.Used != 0 || gave.Used != size || gave.Pieces != 20 || gave.Placed != 0 || gave.Room != gave.Given-size {
		t.Errorf("ledgers %+v\nand %+v", had, gave)
	}
	// Half is released at noon; a week later the rest lies there still, and no receipt says more than that.
	owner.letGo(t, pieces[:10])
	w.live(t, 7)
	if got := owner.ledger(t, holder).Had[0]; got.Total != uint64(size)*(72+24)+uint64(size)/2*24*6 || got.Live != size/2 || got.Differs() {
		t.Errorf("%+v", got)
	}
	owner.checkLine(t, holder)
	ours, theirs := owner.receipts(t, asOwner, holder), holder.receipts(t, asHolder, owner)
	if len(ours) != 10 || len(theirs) != 10 {
		t.Fatalf("%d and %d receipts are kept, want 10", len(ours), len(theirs))
	}
	var last pact.Receipt
	for i := range ours {
		var s identity.Signed
		if string(ours[i].Value) != string(theirs[i].Value) || codec.Unmarshal(ours[i].Value, &s, receiptLimit) != nil {
			t.Fatalf("receipt %d is not the same on both sides", i)
		}
		r, err := pact.OpenReceipt(s)
		if err != nil || i > 0 && r.Follows(last) != nil || r.Seq != uint64(i+1) {
			t.Errorf("receipt %d: %+v, %v", i, r, err)
		}
		last = r
	}
	// When nothing counts any more, the last receipt says so, and there are no more.
	owner.letGo(t, pieces[10:])
	w.live(t, 5)
	if n := len(holder.receipts(t, asHolder, owner)); n != 11 {
		t.Errorf("%d receipts are kept, want 11", n)
	}
	holder.check(t)
}

func TestAReceiptAfterSoMuch(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 80*pieceSize)
	for seed := range 4 {
		mustSegment(t, p, seed, pieceSize, upTo(16))
		commit(t, p, false)
		want := 0
		if seed == 3 { // with the 64th piece
			want = 1
		}
		if n := len(holder.receipts(t, asHolder, owner)); n != want {
			t.Fatalf("%d receipts after %d MiB, want %d", n, 16*(seed+1), want)
		}
	}
	if l := holder.ledger(t, owner).Gave[0]; l.Overdue || l.Live != 64*pieceSize {
		t.Errorf("%+v", l)
	}
	owner.checkLine(t, holder)
}

// Without a receipt nothing new is granted; what was leased stays and is renewed. The owner then sends one and
// asks again.
func TestOverdue(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	run := func(d time.Duration) {
		w.clock.(interface{ Advance(time.Duration) }).Advance(d)
		holder.now().pass(d)
	}
	run(2 * days)
	_ = owner.mustAsk(t, holder, 10)
	run(time.Minute)
	if _, err := owner.ask(t, holder, 10); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), reasonOverdue) {
		t.Errorf("ask without a receipt: %v", err)
	}
	if !holder.ledger(t, owner).Gave[0].Overdue || len(owner.ledger(t, holder).Gave) != 0 {
		t.Error("the ledger does not say that a receipt is overdue")
	}
	owner.renew(t, pieces, 0)
	// It cannot be sent.
	holder.instead("POST /receipt", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wire.WriteError(w, r, core.ErrForbidden) }))
	p := mustPlace(t, owner, 1_000)
	s, data := segmentOf(7, 2, 2, 100)
	if unplaced, err := p.Segment(t.Context(), s, data, upTo(4), nil); err != nil || len(unplaced) != 4 {
		t.Errorf("unplaced %v, %v", unplaced, err)
	}
	if err := p.Refusals()[holder.grid]; !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "cannot be sent") {
		t.Errorf("refusal: %v", err)
	}
	// It can.
	holder.instead("POST /receipt", nil)
	p = mustPlace(t, owner, 1_000)
	if unplaced, err := p.Segment(t.Context(), s, data, upTo(4), nil); err != nil || len(unplaced) != 0 {
		t.Errorf("unplaced %v, %v: %v", unplaced, err, p.Refusals())
	}
	commit(t, p, true)
	owner.receipt(t, holder)
	// Who has nothing here owes none.
	holder.takesAll()
	owner.letGo(t, append(pieces, piecesOfSegment(s)...))
	owner.deliver(t)
	run(10 * days)
	_ = owner.mustAsk(t, holder, 10)
}

func piecesOfSegment(s manifest.Segment) (out []core.Piece) {
	for i := range s.Total() {
		out = append(out, core.Piece{Score: s.Piece(i), Size: int64(s.Size)})
	}
	return out
}

// sign signs a receipt for what a holder gave.
func (h *home) sign(t *testing.T, holder *home, edit func(*pact.Receipt)) identity.Signed {
	t.Helper()
	r := pact.Receipt{Pact: pactOf(h.grid, holder.grid), Provider: holder.agent(), Receiver: h.agent(), Resource: core.Storage, Seq: 10, Total: 1_000, Until: h.time().Now().Unix()}
	if edit != nil {
		edit(&r)
	}
	s, err := pact.SignReceipt(h.key, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *home) hand(t *testing.T, holder *home, s identity.Signed) (receiptAnswer, error) {
	t.Helper()
	var out receiptAnswer
	err := h.client.Call(t.Context(), holder.agent(), "POST", "/receipt", receiptRequest{Receipt: s}, &out)
	return out, err
}

func TestReceiptsThatAreNotTaken(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	first := owner.sign(t, holder, nil)
	now := w.clock.Now().Unix()
	if out, err := owner.hand(t, holder, first); err != nil || out.Last != nil || out.Total != 20*3_600*24 || out.Until != now {
		t.Fatalf("%+v, %v", out, err)
	}
	before, err := holder.books.Get(join(asHolder.lines, owner.grid[:], asBytes(owner.agent())))
	if err != nil {
		t.Fatal(err)
	}
	forged := first
	forged.Sig = slices.Clone(first.Sig)
	forged.Sig[3] ^= 1
	for name, c := range map[string]struct {
		s    identity.Signed
		kind error // nil: answered with the last
	}{
		"a lower seq":          {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq = 9 }), nil},
		"the same seq":         {owner.sign(t, holder, func(r *pact.Receipt) { r.Total = 1_001 }), nil},
		"a lower total":        {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Total = 11, 999 }), nil},
		"an earlier date":      {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Until = 11, now-1 }), nil},
		"two days ahead":       {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Until = 11, now+2*daySeconds+1 }), core.ErrInvalid},
		"for ever":             {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Until = 11, pact.TimeMax }), core.ErrInvalid},
		"another pact":         {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Pact = 11, core.Score{1} }), core.ErrInvalid},
		"another provider":     {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Provider = 11, core.DID{1} }), core.ErrInvalid},
		"another resource":     {owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Resource = 11, "compute" }), core.ErrInvalid},
		"another receiver":     {holder.sign(t, owner, func(r *pact.Receipt) { r.Seq = 11 }), core.ErrInvalid},
		"with a bad signature": {forged, core.ErrInvalid},
		"nothing":              {identity.Signed{}, core.ErrInvalid},
	} {
		out, err := owner.hand(t, holder, c.s)
		if !errors.Is(err, c.kind) || (c.kind == nil) != (out.Last != nil && out.Last.Score() == first.Score()) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if after, err := holder.books.Get(join(asHolder.lines, owner.grid[:], asBytes(owner.agent()))); err != nil || string(after) != string(before) {
			t.Errorf("%s: the line has changed: %v", name, err)
		}
	}
	// The same once more is answered as before; nothing more is kept.
	if out, err := owner.hand(t, holder, first); err != nil || out.Last != nil || out.Total != 20*3_600*24 {
		t.Errorf("again: %+v, %v", out, err)
	}
	// Just within two days is taken: and then nothing ends before.
	ahead := owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Until = 11, now+2*daySeconds })
	if out, err := owner.hand(t, holder, ahead); err != nil || out.Last != nil || out.Total != 20*3_600*24*3 {
		t.Errorf("ahead: %+v, %v", out, err)
	}
	if n := len(holder.receipts(t, asHolder, owner)); n != 1 {
		t.Errorf("%d receipts are kept", n)
	}
}

// Receipts without end take no room.
func TestAFloodOfReceipts(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	for i := range 300 {
		s := owner.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Total = uint64(10+i), uint64(i) })
		if out, err := owner.hand(t, holder, s); err != nil || out.Last != nil {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if n := len(holder.receipts(t, asHolder, owner)); n != 1 {
		t.Errorf("%d receipts are kept", n)
	}
	if l := holder.ledger(t, owner).Gave[0]; l.Receipts != 1 || l.Total != 299 || !l.Differs() {
		t.Errorf("%+v", l)
	}
}

// What a provider answers to a receipt changes nothing that we count, and leads to nothing without an end.
func TestAProviderThatAnswersBadly(t *testing.T) {
	w, _, _ := placedWorld(t, 3, 3_600)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	w.live(t, 2)
	var old identity.Signed
	if err := codec.Unmarshal(owner.receipts(t, asOwner, holder)[0].Value, &old, receiptLimit); err != nil {
		t.Fatal(err)
	}
	before := owner.ledger(t, holder).Had[0]
	elsewhere := owner.sign(t, other, func(r *pact.Receipt) { r.Total = 1 << 60 })
	theirs := holder.sign(t, owner, func(r *pact.Receipt) { r.Total = 1 << 60 })
	forged := owner.sign(t, holder, func(r *pact.Receipt) { r.Total = 1 << 60 })
	forged.Sig[5] ^= 1
	p, _ := owner.Of(holder.grid)
	for name, last := range map[string]identity.Signed{"an old one": old, "another provider's": elsewhere, "its own": theirs, "a forged one": forged, "nothing": {}} {
		calls := 0
		holder.instead("POST /receipt", wire.Handle(func(context.Context, receiptRequest) (receiptAnswer, error) {
			calls++
			return receiptAnswer{Last: &last}, nil
		}))
		if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err == nil || calls > receiptTries {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
		if got := owner.ledger(t, holder).Had[0]; got.Total != before.Total || got.Hours != before.Hours || got.Other != before.Other || got.Answered || got.Differs() {
			t.Errorf("%s: %+v, want %+v", name, got, before)
		}
	}
	holder.instead("POST /receipt", nil)
	owner.receipt(t, holder)
	// A total of its own is shown, and that is all.
	w.clock.(interface{ Advance(time.Duration) }).Advance(time.Hour)
	holder.instead("POST /receipt", wire.Handle(func(context.Context, receiptRequest) (receiptAnswer, error) {
		return receiptAnswer{Total: 1 << 63, Until: -5}, nil
	}))
	if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err != nil {
		t.Fatal(err)
	}
	if got := owner.ledger(t, holder).Had[0]; got.Other != 1<<63 || !got.Differs() || got.Total != before.Total+10*3_600 || got.Hours != got.Total {
		t.Errorf("%+v", got)
	}
	holder.instead("POST /receipt", nil)
	w.live(t, 2)
	owner.checkLine(t, holder)
}
