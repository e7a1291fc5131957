package table

import (
	"bytes"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

func attacksOnRows() []attack {
	return []attack{
		{"drops a row", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Delete(slices.Clone(a.Rows), 3, 4)
			return a
		}, core.ErrInvalid, "it does not fit the 9 rows that came: proof, byte"},
		{"drops a row, and has its entry in full", func(s *stage, a table.Answer) any {
			a.Rows = slices.Delete(slices.Clone(a.Rows), 3, 4)
			a.Proof = s.proof(indexesAt, a.Rows)
			return a
		}, table.ErrRow, "is in the answer, its row is not"},
		{"drops all rows", func(s *stage, a table.Answer) any {
			a.Rows, a.Proof = [][]table.Sent{}, s.proof(indexesAt, nil)
			return a
		}, table.ErrRow, "is in the answer, its row is not"},
		{"drops a row, and makes a tree without it", func(s *stage, a table.Answer) any {
			lie := s.without(295)
			a.Rows, a.Proof = lie.Rows, lie.Proof
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"adds a row that is elsewhere", func(s *stage, a table.Answer) any {
			more := s.answer(s.id, `tags = "#cats" order -time limit 11`)
			a.Rows, a.Proof = more.Rows, more.Proof
			return a
		}, table.ErrRow, "1 rows that the query does not look at"},
		{"adds a row twice", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Insert(slices.Clone(a.Rows), 3, a.Rows[3])
			return a
		}, table.ErrRow, "keys do not rise"},
		{"swaps two rows", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3], a.Rows[4] = a.Rows[4], a.Rows[3]
			return a
		}, table.ErrRow, "row 4: keys do not rise"},
		{"has a row's older state", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.anna.key, func(h *feed.Header, p []byte) []byte { h.Clock--; return p })}
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"has a row's older state, and its entry in full", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.anna.key, func(h *feed.Header, p []byte) []byte { h.Clock--; return p })}
			a.Proof = s.proof(indexesAt, slices.Delete(slices.Clone(a.Rows), 3, 4))
			return a
		}, core.ErrInvalid, "proof"},
		{"forges a signature", func(_ *stage, a table.Answer) any {
			return changed(a, func(b []byte) { b[feed.HeaderSize+5] ^= 1 })
		}, table.ErrForged, "row 3: forged signature"},
		{"signs for another", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.mallory, func(_ *feed.Header, p []byte) []byte { return p })}
			return a
		}, table.ErrForged, "row 3: forged signature"},
		{"changes a payload", func(_ *stage, a table.Answer) any {
			return changed(a, func(b []byte) { b[len(b)-1] ^= 1 })
		}, table.ErrPayload, "row 3: not what was signed for"},
		{"changes a salt", func(_ *stage, a table.Answer) any {
			return changed(a, func(b []byte) { b[feed.OperationSize] ^= 1 })
		}, table.ErrPayload, "row 3: not what was signed for"},
		{"appends to a payload", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{append(bytes.Clone(a.Rows[3][0]), 0)}
			return a
		}, table.ErrPayload, "row 3: not what was signed for"},
		{"cuts an operation off", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{a.Rows[3][0][:feed.OperationSize]}
			return a
		}, core.ErrInvalid, "row 3: an operation of 214 bytes"},
		{"has a row of another table", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = s.neighbour.Rows[3]
			return a
		}, table.ErrOtherTable, "row 3: operation"},
		{"has a delete for a row", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.anna.key, func(h *feed.Header, p []byte) []byte {
				h.Kind = feed.Delete
				return p[:2+int(p[1])]
			})}
			return a
		}, table.ErrRow, "row 3: wrong row: operation 0 of a row is no put"},
		{"has a void operation for a row", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.anna.key, func(_ *feed.Header, p []byte) []byte { return append(p, 0) })}
			return a
		}, table.ErrRow, "row 3: wrong row: void operation"},
		{"has an erase for a row", func(s *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{s.edit(a.Rows[3][0], s.anna.key, func(h *feed.Header, p []byte) []byte { h.Kind = feed.Erase; return p })}
			return a
		}, table.ErrRow, "row 3: wrong row: void operation: kind 3"},
		{"has a row of two operations", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{a.Rows[3][0], a.Rows[3][0]}
			return a
		}, table.ErrRow, "row 3: wrong row: 2 operations"},
		{"has a row of none", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = []table.Sent{}
			return a
		}, table.ErrRow, "row 3: wrong row: 0 operations"},
		{"has a row of 257", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Clone(a.Rows)
			a.Rows[3] = slices.Repeat(a.Rows[3], 257)
			return a
		}, table.ErrRow, "row 3 of 257 operations"},
		{"sends 10,001 rows", func(_ *stage, a table.Answer) any {
			a.Rows = slices.Repeat([][]table.Sent{{}}, table.ReadMax+1)
			return a
		}, table.ErrTooMany, "answer of 10001 rows"},
		{"sends 1 GB", func(_ *stage, a table.Answer) any {
			a.Proof = make([]byte, 64<<20) // the rest is not read
			return a
		}, core.ErrTooLarge, "at most 33554432"},
		{"sends a large proof", func(_ *stage, a table.Answer) any {
			a.Proof = make([]byte, tree.ProofSizeMax+1)
			return a
		}, core.ErrTooLarge, "proof of 4194305 bytes"},
	}
}

// changed changes row 3.
func changed(a table.Answer, change func([]byte)) table.Answer {
	a.Rows = slices.Clone(a.Rows)
	b := bytes.Clone(a.Rows[3][0])
	change(b)
	a.Rows[3] = []table.Sent{b}
	return a
}

func attacksOnProofs() []attack {
	return []attack{
		{"has no proof", func(_ *stage, a table.Answer) any { a.Proof = nil; return a }, core.ErrInvalid, "proof, byte 0: it ends too soon"},
		{"cuts the proof off", func(_ *stage, a table.Answer) any { a.Proof = a.Proof[:len(a.Proof)-1]; return a }, core.ErrInvalid, "it does not fit the 10 rows that came: proof, byte"},
		{"appends to the proof", func(_ *stage, a table.Answer) any { a.Proof = append(a.Proof, 0); return a }, core.ErrInvalid, "1 bytes after the end"},
		{"sends a node that does not hash", func(_ *stage, a table.Answer) any {
			a.Proof = bytes.Clone(a.Proof)
			a.Proof[20] ^= 1 // within a hash
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"proves less than was asked", func(s *stage, a table.Answer) any {
			less := s.answer(s.id, `tags = "#cats" order -time limit 2`)
			a.Rows, a.Proof = less.Rows, less.Proof
			return a
		}, tree.ErrNotProven, "not proven"},
		{"proves the root alone", func(s *stage, a table.Answer) any {
			v := s.opened()
			recorder := tree.NewRecorder(v.shelf(indexesAt))
			if _, err := recorder.Node(v.tree(indexesAt).Root); err != nil {
				s.Fatal(err)
			}
			a.Rows = [][]table.Sent{}
			a.Proof, _ = recorder.Proof(v.tree(indexesAt), nil)
			return a
		}, tree.ErrNotProven, "not proven"},
		{"proves another index", func(s *stage, a table.Answer) any {
			a.Proof = s.proof(indexesAt+1, nil)
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"proves the rows, and says that it is the index", func(s *stage, a table.Answer) any {
			a.Proof = s.proofOfRows()
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"says that it has chosen another index", func(_ *stage, a table.Answer) any { a.Choice++; return a }, core.ErrInvalid, "it does not fit the 10 rows that came: proof, byte"},
		{"says that it has chosen what there is not", func(_ *stage, a table.Answer) any { a.Choice = 99; return a }, core.ErrInvalid, "choice 99 of"},
		{"says of a record in full what is given", func(s *stage, a table.Answer) any {
			a.Proof = s.proof(indexesAt, nil)
			return a
		}, core.ErrInvalid, "a record in full that is given"},
	}
}

func (s *stage) proofOfRows() []byte {
	v := s.opened()
	recorder := tree.NewRecorder(v.shelf(rowsAt))
	for _, err := range (tree.View{Map: v.tree(rowsAt), Src: recorder}).Ascend(nil, nil) {
		if err != nil {
			s.Fatal(err)
		}
	}
	b, err := recorder.Proof(v.tree(rowsAt), nil)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func attacksOnWhatItIsOf() []attack {
	nothing := func(*table.Attestation) {}
	return []attack{
		{"answers another query", func(s *stage, _ table.Answer) any { return s.answer(s.id, `tags = "#cats" order -time limit 9`) }, table.ErrOtherQuery, "limit 9"},
		{"answers another query, and says that it is this", func(s *stage, a table.Answer) any {
			b := s.answer(s.id, `tags = "#a" order -time limit 10`)
			b.Question = a.Question
			return b
		}, tree.ErrNotProven, "not proven"},
		{"begins elsewhere", func(_ *stage, a table.Answer) any { a.After = []byte("x"); return a }, table.ErrOtherQuery, "answer to another query"},
		{"answers of another table", func(s *stage, _ table.Answer) any { return s.neighbour }, table.ErrOtherTable, "answer: of another table"},
		{"answers of another table, and says that it is this", func(s *stage, _ table.Answer) any {
			a := s.neighbour
			a.Table = s.id
			return a
		}, table.ErrOtherTable, "definition: operation 1"},
		{"has the checkpoint of another table", func(s *stage, a table.Answer) any {
			a.Checkpoint = s.neighbour.Checkpoint
			return a
		}, table.ErrOtherTable, "checkpoint: of another table"},
		{"has no checkpoint", func(_ *stage, a table.Answer) any { a.Checkpoint = nil; return a }, core.ErrInvalid, "answer without a checkpoint"},
		{"answers from an old root, attested before", func(s *stage, _ table.Answer) any { return s.older }, table.ErrOld, "has attested another 3600 s later"},
		{"answers from an old root, as attested now", func(s *stage, a table.Answer) any {
			old := s.older
			old.Attestations = a.Attestations
			return old
		}, table.ErrRoot, "it is of another checkpoint"},
		{"answers now, as attested before", func(s *stage, a table.Answer) any {
			a.Attestations = s.older.Attestations
			return a
		}, table.ErrRoot, "it is of another checkpoint"},
		{"proves by an old root", func(s *stage, a table.Answer) any {
			a.Rows, a.Proof = s.older.Rows, s.older.Proof
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"changes a root", func(_ *stage, a table.Answer) any {
			check := *a.Checkpoint
			check.Indexes = slices.Clone(check.Indexes)
			check.Indexes[0].Hash[0] ^= 1
			a.Checkpoint = &check
			return a
		}, table.ErrRoot, "it is of another checkpoint"},
		{"says that there are fewer rows", func(s *stage, a table.Answer) any {
			check := *a.Checkpoint
			check.Indexes = slices.Clone(check.Indexes)
			check.Indexes[0].Count--
			a.Checkpoint, a.Attestations = &check, s.attest(s.mallory, &check, nothing)
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"says that the tree is higher", func(s *stage, a table.Answer) any {
			check := *a.Checkpoint
			check.Indexes = slices.Clone(check.Indexes)
			check.Indexes[0].Level++
			a.Checkpoint, a.Attestations = &check, s.attest(s.mallory, &check, nothing)
			return a
		}, table.ErrRoot, "the checkpoint's is"},
		{"has a checkpoint with an index too many", func(s *stage, a table.Answer) any {
			check := *a.Checkpoint
			check.Indexes = append(slices.Clone(check.Indexes), check.Indexes[0])
			a.Checkpoint, a.Attestations = &check, s.attest(s.mallory, &check, nothing)
			return a
		}, table.ErrRoot, "4 indexes, of 3"},
		{"has no definition", func(_ *stage, a table.Answer) any { a.Definition = nil; return a }, core.ErrInvalid, "answer without a definition"},
		{"has an unsigned definition", func(_ *stage, a table.Answer) any {
			a.Definition = bytes.Clone(a.Definition)
			a.Definition[feed.HeaderSize] ^= 1
			return a
		}, table.ErrForged, "definition: forged signature"},
		{"has a definition that was changed", func(_ *stage, a table.Answer) any {
			a.Definition = bytes.Clone(a.Definition)
			a.Definition[len(a.Definition)-1] ^= 1
			return a
		}, table.ErrPayload, "definition: not what was signed for"},
		{"has the definition of another table", func(s *stage, a table.Answer) any { a.Definition = s.neighbour.Definition; return a }, table.ErrOtherTable, "definition: operation 1"},
		{"has a definition by another", func(_ *stage, a table.Answer) any { a.Definition = a.Rows[0][0]; return a }, table.ErrLeave, "is not the table's key"},
		{"has another definition of the table", func(s *stage, a table.Answer) any {
			l, err := a.Definition.Open(s.id)
			if err != nil {
				s.Fatal(err)
			}
			d, err := table.ParseDefinition(l.Payload)
			if err != nil {
				s.Fatal(err)
			}
			d.Name = "older"
			payload, err := d.Marshal()
			if err != nil {
				s.Fatal(err)
			}
			seed, err := s.anna.books.Get(recordAt(s.id, recordKey))
			if err != nil {
				s.Fatal(err)
			}
			before := sign(identity.KeyOf([32]byte(seed)), s.id, nil, 0, Draft{feed.Define, payload, 0})
			a.Definition = table.SentOf(&before)
			return a
		}, table.ErrRoot, "definition: proof of another root: the checkpoint names another"},
		{"forges an attestation", func(_ *stage, a table.Answer) any {
			a.Attestations = slices.Clone(a.Attestations)
			a.Attestations[0].Sig = bytes.Clone(a.Attestations[0].Sig)
			a.Attestations[0].Sig[0] ^= 1
			return a
		}, table.ErrForged, "attestation: forged signature"},
		{"attests in another's name", func(s *stage, a table.Answer) any {
			a.Attestations = s.attest(s.mallory, a.Checkpoint, func(at *table.Attestation) { at.Machine = s.anna.key.DID() })
			return a
		}, core.ErrInvalid, "of another machine than signed it"},
		{"signs as another", func(s *stage, a table.Answer) any {
			a.Attestations = s.attest(s.mallory, a.Checkpoint, func(at *table.Attestation) { at.Machine = s.anna.key.DID() })
			a.Attestations[0].By = s.anna.key.DID()
			return a
		}, table.ErrForged, "attestation: forged signature"},
		{"attests for another table", func(s *stage, a table.Answer) any {
			a.Attestations = s.attest(s.anna.key, a.Checkpoint, func(at *table.Attestation) { at.Table = s.neighbour.Table })
			return a
		}, table.ErrOtherTable, "attestation: of another table"},
		{"has nine attestations", func(_ *stage, a table.Answer) any {
			a.Attestations = slices.Repeat(a.Attestations[:1], 9)
			return a
		}, core.ErrInvalid, "9 attestations, of 8 at most"},
	}
}

// Who makes a tree by other rules, and attests it: what it shows can still not be by those who have no leave.
func attacksByMakers() []attack {
	nothing := func(*feed.Header) {}
	all := func(d *table.Definition) { d.Write.All, d.Write.Quota = true, 0 }
	return []attack{
		{"has a row by who has no leave", func(s *stage, _ table.Answer) any {
			return s.intruded(identity.KeyOf([32]byte{99}), all, nothing)
		}, table.ErrLeave, "no leave to write here"},
		{"has a row from after a stop", func(s *stage, _ table.Answer) any {
			return s.intruded(s.mallory, func(d *table.Definition) { d.GrantWrite(table.Grant{Who: s.mallory.DID()}) }, nothing, nothing, nothing, nothing)
		}, table.ErrLeave, "what stands ends with operation 3"},
		{"has a row from before the leave", func(s *stage, _ table.Answer) any {
			return s.intruded(s.mallory, func(d *table.Definition) { d.GrantWrite(table.Grant{Who: s.mallory.DID()}) }, func(h *feed.Header) { h.Clock = 0 })
		}, table.ErrVoid, "is from before it had leave"},
		{"has a row by the table's key", func(s *stage, a table.Answer) any {
			seed, err := s.anna.books.Get(recordAt(s.id, recordKey))
			if err != nil {
				s.Fatal(err)
			}
			payload, err := table.PutPayload([]byte("zzz"), nil, doc(s, map[string]any{"tags": "#cats"}))
			if err != nil {
				s.Fatal(err)
			}
			l := sign(identity.KeyOf([32]byte(seed)), s.id, nil, 0, Draft{feed.Put, payload, 0})
			a.Rows = append(slices.Clone(a.Rows), []table.Sent{table.SentOf(&l)})
			return a
		}, table.ErrLeave, "no leave to write here"},
	}
}
