package barter

import (
	"context"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

// check compares the holder with its model.
func (s *machine) check(*rapid.T) {
	now := s.clock.Now()
	total, all := s.b.Offer()
	s.m.expire(now)
	want := int64(0)
	for _, owner := range s.owners {
		size, pieces, granted := s.m.used(owner)
		want += size + granted
		gotSize, gotPieces := s.b.Used(owner)
		if gotSize != size || gotPieces != pieces {
			s.t.Fatalf("used %d bytes of %d pieces, want %d of %d", gotSize, gotPieces, size, pieces)
		}
		var r usedRecord
		ok, err := s.b.read(join(usedPrefix, owner[:]), &r)
		if err != nil || r.Bytes != size || r.Pieces != pieces || r.Bytes-r.Aside != s.m.live(owner) || ok != (r != usedRecord{}) {
			s.t.Fatalf("the books say %+v, want %d of %d: %v", r, size, pieces, err)
		}
	}
	if total != s.m.offer || all != want {
		s.t.Fatalf("%d of %d used or promised, want %d of %d", all, total, want, s.m.offer)
	}
	if all > total {
		s.t.Fatalf("more is promised than offered: %d of %d", all, total)
	}
	for _, data := range s.pieces {
		piece := core.ScoreOf(data)
		for _, owner := range s.owners {
			_, held := s.m.held[owner][piece]
			got, err := s.b.serve(context.Background(), owner, hasteNormal, piece, func() []byte { return nil })
			if good := err == nil && slices.Equal(got, data); good != (held && !s.rotten[piece]) {
				s.t.Fatalf("piece %s is served %v, held %v, rotten %v: %v", piece.Short(), good, held, s.rotten[piece], err)
			}
		}
	}
	if err := s.b.drop(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	here := map[core.Score]bool{}
	for info := range s.disk.Blobs().All(context.Background()) {
		if about, _ := parseNote(info.Note); about.Kind == notePiece {
			here[info.Score] = true
		}
	}
	needed := map[core.Score]bool{}
	for _, owner := range s.owners {
		for piece := range s.m.held[owner] {
			needed[piece] = true
		}
	}
	for _, g := range s.m.grants {
		for piece := range g.pieces {
			needed[piece] = true
		}
	}
	for piece := range s.rotten { // it may be lost
		delete(needed, piece)
		delete(here, piece)
	}
	if !maps.Equal(here, needed) {
		s.t.Fatalf("%d pieces are kept, %d are needed", len(here), len(needed))
	}
	if s.b.coming != 0 || len(s.b.dropping) != 0 {
		s.t.Fatal("something is coming or being dropped")
	}
}
