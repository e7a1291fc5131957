package barter

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

// FuzzPutQuery: what is read of a path and its query is what putPath writes for it.
func FuzzPutQuery(f *testing.F) {
	f.Add("bafkr4iaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "grant=00112233445566778899aabbccddeeff&segment=00112233445566778899aabbccddeeff&index=19")
	f.Add(core.ScoreOf(nil).String(), "grant=00112233445566778899AABBCCDDEEFF&segment=00112233445566778899aabbccddeeff&index=007")
	f.Add("b", "grant=&segment=&index=-1")
	f.Add(core.ScoreOf(nil).String(), "grant=%zz;index=20")
	f.Fuzz(func(t *testing.T, score, query string) {
		r := httptest.NewRequest("PUT", "/", nil)
		r.SetPathValue("score", score)
		r.URL.RawQuery = query
		piece, id, about, err := parsePut(r, core.DID{7})
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("%v is not of kind ErrInvalid", err)
			}
			return
		}
		n, ok := parseNote(about)
		if !ok || n.Owner != (core.DID{7}) || n.Kind != notePiece || n.Index > 19 || len(n.Segment) != 16 {
			t.Fatalf("note %+v", n)
		}
		again := httptest.NewRequest("PUT", putPath(piece, id[:], n.Segment, int(n.Index)), nil)
		again.SetPathValue("score", piece.String())
		piece2, id2, about2, err := parsePut(again, core.DID{7})
		if err != nil || piece2 != piece || id2 != id || !bytes.Equal(about, about2) {
			t.Fatalf("written again it is %s, %x, %x: %v", piece2.Short(), id2, about2, err)
		}
	})
}

// FuzzNote: a note that is understood has one encoding.
func FuzzNote(f *testing.F) {
	for _, n := range []note{{V: 1, Kind: notePiece, Owner: core.DID{1}, Segment: make([]byte, 16), Index: 3}, {V: 1, Kind: noteLease}, {V: 2, Kind: noteLease}, {V: 1, Kind: "page"}} {
		raw, err := codec.Marshal(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, ok := parseNote(raw)
		if !ok {
			return
		}
		again, err := codec.Marshal(n)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is %x again: %v", raw, again, err)
		}
	})
}

// FuzzRequests: whatever comes as a message is answered, and nothing is used, leased or told
// to one who has nothing here.
func FuzzRequests(f *testing.F) {
	seed := func(route byte, v any) {
		raw, err := codec.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(route, raw)
	}
	seed(0, core.Ask{Resource: core.Storage, Amount: 1 << 60, Seconds: -1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact}})
	seed(0, askRequest{Ask: core.Ask{Resource: potatoes, Amount: 1, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact}}, ID: make([]byte, grantIDSize)})
	seed(1, leaseRequest{Pieces: []core.Piece{{Score: core.Score{1}, Size: 5}, {Score: core.Score{2}}}, Seconds: 1, Close: [][]byte{make([]byte, 16), nil}})
	seed(2, proveRequest{Challenges: []challenge{{Block: 1 << 63}, {Score: core.Score{1}, Block: 7}}})
	seed(3, releaseRequest{Release: &signedLease{By: core.DID{1}, Body: []byte{0xa0}, Sig: make([]byte, 64)}})
	seed(3, releaseRequest{})
	seed(1, leaseRequest{Pieces: []core.Piece{}, ID: make([]byte, askedIDSize), Again: true})
	seed(4, receiptRequest{Receipt: signedLease{By: core.DID{1}, Body: []byte{0xa0}, Sig: make([]byte, 64)}})
	f.Add(byte(1), []byte("\xff"))
	w, _ := simWorld(f, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	data := bytesOf(1, 100)
	b := holder.now()
	id := pactOf(owner.grid, holder.grid)
	grant, err := b.ask(owner.grid, owner.agent(), askRequest{Ask: core.Ask{Resource: core.Storage, Amount: 100, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: id[:]}}})
	if err != nil {
		f.Fatal(err)
	}
	if err := b.keep(context.Background(), owner.grid, [16]byte(grant.Grant), core.Blob{Score: core.ScoreOf(data), Data: data}); err != nil {
		f.Fatal(err)
	}
	if _, err := b.lease(context.Background(), owner.grid, owner.agent(), leaseRequest{Pieces: []core.Piece{{Score: core.ScoreOf(data)}}, Seconds: 1000}); err != nil {
		f.Fatal(err)
	}
	routes := map[byte]string{0: "/ask", 1: "/leases", 2: "/prove", 3: "/release", 4: "/receipt"}
	f.Fuzz(func(t *testing.T, route byte, body []byte) {
		for _, r := range b.Routes() {
			if r.Method != "POST" || r.Path != routes[route%5] {
				continue
			}
			req := httptest.NewRequest("POST", wire.Prefix+r.Path, bytes.NewReader(body))
			req.Header.Set("Content-Type", wire.TypeCBOR)
			req = req.WithContext(wire.WithCaller(req.Context(), wire.Caller{Agent: other.agent(), Grid: other.grid, Class: wire.Partner}))
			answer := httptest.NewRecorder()
			if r.Handler.ServeHTTP(answer, req); answer.Code == 500 {
				t.Fatalf("answer %d %q", answer.Code, answer.Body)
			}
		}
		if size, pieces := b.Used(other.grid); size != 0 || pieces != 0 {
			t.Fatalf("%d bytes of %d pieces are used", size, pieces)
		}
		if size, pieces := b.Used(owner.grid); size != 100 || pieces != 1 {
			t.Fatalf("another's use is %d bytes of %d pieces", size, pieces)
		}
	})
}

// FuzzAnswers: whatever a holder answers to a request for a lease, a receipt or proof, nothing is held, receipted
// or proven that was not signed or shown.
func FuzzAnswers(f *testing.F) {
	w, _ := simWorld(f, 2)
	owner, holder := w.homes[0], w.homes[1]
	piece := core.Piece{Score: core.ScoreOf(bytesOf(1, 3_000)), Size: 3_000}
	for _, v := range []any{leaseAnswer{}, leaseAnswer{Missing: []core.Score{{1}}}, leaseAnswer{Lease: &signedLease{}}, proveAnswer{}, proveAnswer{Proofs: []proofAnswer{{State: core.PieceOK, Slice: make([]byte, 1152)}}}, receiptAnswer{Total: 1, Last: &signedLease{}}, receiptAnswer{Until: -1}} {
		raw, err := codec.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	b := owner.now()
	p, _ := owner.Of(holder.grid)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var lease leaseAnswer
		if codec.UnmarshalMessage(raw, &lease, leaseLimit) == nil && lease.Lease != nil {
			if _, err := b.checkLease(*lease.Lease, p, holder.agent()); err == nil {
				t.Fatal("a lease that nobody signed")
			}
		}
		var asked leaseAnswer
		if codec.UnmarshalMessage(raw, &asked, leaseLimit) == nil && asked.Lease != nil {
			if _, err := b.taken(p, holder.agent(), askedRecord{Pieces: []core.Piece{piece}}, asked, b.openLease, true); err == nil {
				t.Fatal("a lease that nobody signed, in the second answer")
			}
		}
		var receipt receiptAnswer
		if codec.UnmarshalMessage(raw, &receipt, leaseLimit) == nil && receipt.Last != nil {
			if err := b.adoptReceipt(asOwner, p, holder.agent(), *receipt.Last, 0); err == nil {
				t.Fatal("a receipt that we did not sign")
			}
		}
		var proofs proveAnswer
		if codec.UnmarshalMessage(raw, &proofs, proofsLimit) == nil {
			for _, a := range proofs.Proofs {
				if state, _ := judge(held{core.Holding{Score: piece.Score}, piece.Size}, 1, a); state == core.PieceOK {
					t.Fatal("a proof without the bytes")
				}
			}
		}
	})
}

// FuzzRecords: a line, a request, a flow and a decision that are read are written again as they were.
func FuzzRecords(f *testing.F) {
	for i, v := range []any{
		lineRecord{V: 1, Meter: pact.MeterState{Sum: "-5", Ends: []pact.MeterEnd{{At: daySeconds, Bytes: 7}}}, Seq: 1, Acked: 1},
		askedRecord{V: 1, ID: make([]byte, askedIDSize), Pieces: []core.Piece{{Size: 5}}},
		decisionRecord{V: 1, Reason: "no", Facts: policy.Facts{Others: []policy.Other{{Used: 5}}}},
		heldRecord{V: 1, Size: 5, Counts: []countRecord{{End: daySeconds}}},
		rulesRecord{V: 1, Since: 7, Text: "pact open\n", Units: map[core.Resource]string{"potatoes": "kg"}},
		lossRecord{V: 1, Days: []lossDay{{Day: 3, Bytes: 7}}},
		twiceRecord{V: 1, Kept: identity.Signed{Body: []byte("kept"), Sig: make([]byte, 64)}, Time: 7, Day: 3},
		flowRecord{V: 1, Open: []allowance{{ID: make([]byte, grantIDSize), Amount: 5, Until: 7}}, Days: []flowDay{{Day: 3, Amount: 7}}},
		wantedRecord{V: 1, ID: make([]byte, grantIDSize), Ask: core.Ask{Resource: potatoes, Amount: 5}},
	} {
		raw, err := codec.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), raw)
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		record := []any{&lineRecord{}, &askedRecord{}, &decisionRecord{}, &heldRecord{}, &rulesRecord{}, &lossRecord{}, &twiceRecord{}, &flowRecord{}, &wantedRecord{}}[kind%9]
		if parse(nil, raw, record) != nil {
			return
		}
		if again, err := codec.Marshal(record); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is %x again: %v", raw, again, err)
		}
	})
}
