package economy

import "slices"

// audit has each piece proven whose holder is there.
func (w *World) audit(owner int) {
	for _, s := range w.households[owner].segments {
		for i := range s.pieces {
			p := &s.pieces[i]
			h := &w.households[p.holder]
			if h.kind == Lying && w.random.IntN(100) < discard {
				p.real = false
			}
			switch {
			case !h.awake(w.day) || p.missing:
			case p.real:
				p.proven = true
			default:
				p.proven, p.missing = false, true
				b := &w.books[owner][p.holder]
				b.lost, b.found = b.missing(w.day)+pieceSize, w.day
			}
		}
		s.kept = s.kept || s.proven() >= safe
	}
}

// drop gives a piece back. Its holder sets it aside.
func (w *World) drop(owner int, p piece) {
	b := &w.books[owner][p.holder]
	b.leased -= pieceSize
	b.aside[w.day%asideDays] += pieceSize
	if p.until > w.day {
		w.books[p.holder][owner].held -= pieceSize
	}
}

// lapse ends the leases that are over. Their pieces are set aside, and can still be renewed.
func (w *World) lapse(owner int) {
	h := &w.households[owner]
	for _, s := range h.segments {
		s.pieces = slices.DeleteFunc(s.pieces, func(p piece) bool {
			switch w.day {
			case p.until:
				w.books[p.holder][owner].held -= pieceSize
			case p.until + asideDays:
				w.books[owner][p.holder].leased -= pieceSize
				return true
			}
			return false
		})
	}
	h.segments = slices.DeleteFunc(h.segments, func(s *segment) bool { return len(s.pieces) == 0 && !s.kept })
}

// replace gives back the oldest of what is kept, for there is newer.
func (w *World) replace(owner int) {
	h := &w.households[owner]
	n := h.stored() * churn / 100
	for ; n > 0 && len(h.segments) > 0; n -= pieces {
		if n < pieces && w.random.IntN(pieces) >= n {
			return
		}
		for _, p := range h.segments[0].pieces {
			w.drop(owner, p)
		}
		h.segments = h.segments[1:]
	}
}

// renew has leases renewed that are due: of what a holder has of the owner's, the latest dates first, as much as it would
// grant the owner if that had nothing there; SPEC.md §11.
func (w *World) renew(owner int) {
	held := map[int][]*piece{}
	for _, s := range slices.Backward(w.households[owner].segments) {
		for i := range s.pieces {
			if p := &s.pieces[i]; !p.missing && w.households[p.holder].awake(w.day) {
				held[p.holder] = append(held[p.holder], p)
			}
		}
	}
	for _, holder := range w.households[owner].partners {
		all := held[holder]
		slices.SortStableFunc(all, func(p, q *piece) int { return q.until - p.until })
		share := int64(len(all)) * pieceSize
		if w.Recalls {
			share = w.grants(owner, holder, share, share)
		}
		for _, p := range all[:min(int64(len(all)), share/pieceSize)] {
			if p.until-w.day >= leaseDays*2/3 {
				continue
			}
			if p.until <= w.day {
				w.books[holder][owner].held += pieceSize
			}
			p.until = w.day + leaseDays
		}
	}
}

// place asks for room for what is wanted and not kept, and fills it: what has lost pieces first.
func (w *World) place(owner int) {
	h := &w.households[owner]
	left := min(h.want-h.stored(), uplink)
	order := slices.Clone(h.partners)
	w.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	room := map[int]int{}
	for i, partner := range order {
		if left <= 0 {
			break
		}
		if w.books[owner][partner].missing(w.day) > 0 && w.random.IntN(lately) > 0 {
			continue // who has lost what it was given is seldom given more
		}
		some := (left + len(order) - i - 1) / (len(order) - i)
		room[partner] = int(w.ask(owner, partner, int64(some)*pieceSize) / pieceSize)
		left -= room[partner]
	}
	for _, s := range h.segments {
		w.fill(owner, s, order, room)
	}
	for {
		s := &segment{}
		if w.fill(owner, s, order, room); len(s.pieces) == 0 {
			return
		}
		h.segments = append(h.segments, s)
	}
}

// fill places pieces of a segment, and gives back those that were found lost once others are in their place.
func (w *World) fill(owner int, s *segment, order []int, room map[int]int) {
	good := s.good()
	for each := 1; each <= spread; each++ {
		for _, holder := range order {
			if good == pieces || room[holder] == 0 || s.at(holder) >= each {
				continue
			}
			if i := slices.IndexFunc(s.pieces, func(p piece) bool { return p.missing }); i >= 0 {
				w.drop(owner, s.pieces[i])
				s.pieces = slices.Delete(s.pieces, i, i+1)
			}
			s.pieces = append(s.pieces, piece{holder: holder, real: true, until: w.day + leaseDays})
			w.books[owner][holder].leased += pieceSize
			w.books[holder][owner].held += pieceSize
			room[holder]--
			good++
		}
	}
}

// giveUp ends what is too thin while it is still whole: its leases were not renewed, and nobody else had room.
func (w *World) giveUp(owner int) {
	h := &w.households[owner]
	h.segments = slices.DeleteFunc(h.segments, func(s *segment) bool {
		if !s.kept || s.good() >= thin || s.there() < needed {
			return false
		}
		for _, p := range s.pieces {
			w.drop(owner, p)
		}
		if h.kind.honest() {
			w.GivenUp++
		}
		return true
	})
}
