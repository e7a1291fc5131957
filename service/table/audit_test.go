package table

import (
	"errors"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/table"
)

// liar is a copy of a table that passes over an operation.
func (m *machine) liar(t *testing.T, id core.DID, is *machine, at table.Target) {
	t.Helper()
	is.logs.hidden = map[table.Target]bool{at: true}
	m.copyTo(t, id, is)
}

// Who leaves out an operation of what it attests is convicted, by a few kilobytes that convince everybody.
func TestOmissions(t *testing.T) {
	all := world(t, 4)
	anna, bo, cleo, dan := all[0], all[1], all[2], all[3]
	id := create(t, anna, table.Definition{Indexes: []table.Index{index("tags,time")}, Read: table.Reading{All: true}})
	posts(t, anna, id, 300)
	anna.copyTo(t, id, bo)
	anna.copyTo(t, id, cleo)
	for range 20 {
		if n, err := cleo.Audit(t.Context(), id, bo.key.DID()); n != 0 || err != nil {
			t.Fatalf("bo, who is honest: %d, %v", n, err)
		}
	}
	anna.liar(t, id, dan, table.Target{Author: anna.key.DID(), Seq: 150})
	found := 0
	for range 2000 {
		n, err := cleo.Audit(t.Context(), id, dan.key.DID())
		if err != nil {
			t.Fatal(err)
		}
		if found += n; found > 0 {
			break
		}
	}
	proofs, err := cleo.Omissions(id)
	if found != 1 || err != nil || len(proofs) != 1 {
		t.Fatalf("%d found, %d kept, %v", found, len(proofs), err)
	}
	at, op, err := proofs[0].Verify()
	if err != nil || at.Machine != dan.key.DID() || op.Seq != 150 {
		t.Errorf("the proof is against %s and operation %d: %v", at.Machine, op.Seq, err)
	}
	b, err := proofs[0].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 4<<10 {
		t.Errorf("the proof has %d bytes", len(b))
	}
	if err := cleo.Witness(t.Context(), id, anna.key.DID()); err != nil {
		t.Fatal(err)
	}
	if told, err := anna.Omissions(id); err != nil || len(told) != 1 {
		t.Errorf("anna was told of %d: %v", len(told), err)
	}
}

// What is no omission convicts nobody.
func TestNoOmissions(t *testing.T) {
	all := world(t, 3)
	anna, bo, dan := all[0], all[1], all[2]
	id := create(t, anna, table.Definition{Read: table.Reading{All: true}})
	key := []byte("a")
	for n := range 3 {
		if err := anna.Put(t.Context(), id, []Put{{key, doc(t, map[string]int{"n": n})}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := anna.Put(t.Context(), id, []Put{{[]byte("b"), doc(t, map[string]int{})}, {[]byte("c"), doc(t, map[string]int{})}}); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(anna.logs.feeds[id][anna.key.DID()])
	if err := anna.Delete(t.Context(), id, []byte("b")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := anna.Erase(t.Context(), id, []byte("c")); err != nil {
		t.Fatal(err)
	}
	anna.copyTo(t, id, bo)
	r, err := anna.replica(id)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range before {
		op, err := r.current().def.Operation(l)
		if err != nil {
			t.Fatal(err)
		}
		if omitted, err := r.audit(t.Context(), bo.key.DID(), &op); omitted || err != nil {
			t.Errorf("operation %d: %v, %v", i+1, omitted, err)
		}
	}
	anna.liar(t, id, dan, table.Target{Author: anna.key.DID(), Seq: 3})
	last, err := r.current().def.Operation(before[2])
	if err != nil {
		t.Fatal(err)
	}
	if omitted, err := r.audit(t.Context(), dan.key.DID(), &last); !omitted || err != nil {
		t.Errorf("the newest of three writes is left out: %v, %v", omitted, err)
	}
	proofs, err := anna.Omissions(id)
	if err != nil || len(proofs) != 1 {
		t.Fatal(len(proofs), err)
	}
	forged := proofs[0]
	forged.Op = slices.Clone(forged.Op)
	forged.Op[200] ^= 1
	if _, _, err := forged.Verify(); !errors.Is(err, table.ErrForged) {
		t.Errorf("a forged operation: %v", err)
	}
	other := proofs[0]
	other.Rows = other.Gone
	if _, _, err := other.Verify(); !errors.Is(err, table.ErrRoot) {
		t.Errorf("a proof of another tree: %v", err)
	}
}

// What a machine attests later has a later time, within one second too, so that nobody takes the newer for an old root.
func TestAttestationsRise(t *testing.T) {
	all := world(t, 2)
	anna, reader := all[0], all[1]
	id := create(t, anna, table.Definition{Read: table.Reading{All: true}})
	last := int64(0)
	for n := range 3 { // the clock stands
		if err := anna.Put(t.Context(), id, []Put{{[]byte("a"), doc(t, map[string]int{"n": n})}}); err != nil {
			t.Fatal(err)
		}
		got, err := reader.Ask(t.Context(), id, anna.key.DID(), question(t, "limit 1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if at := got.Attestations[0].Time; at <= last {
			t.Errorf("attestation %d is of %d, after one of %d", n, at, last)
		} else {
			last = at
		}
	}
}

// An answer is provisional until somebody attests whose word counts, also to who has its checkpoint already.
func TestProvisionalUntilAttested(t *testing.T) {
	all := world(t, 3)
	anna, bo, reader := all[0], all[1], all[2]
	id := create(t, anna, table.Definition{Read: table.Reading{All: true}})
	posts(t, anna, id, 3)
	anna.copyTo(t, id, bo)
	for _, want := range []int{0, 0, 1, 1} {
		if want == 1 {
			if err := anna.Witness(t.Context(), id, bo.key.DID()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := reader.Ask(t.Context(), id, bo.key.DID(), question(t, "limit 1"), nil)
		if err != nil || len(got.Vouched) != want {
			t.Errorf("vouched for by %d, want %d: %v", len(got.Vouched), want, err)
		}
	}
}
