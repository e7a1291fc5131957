// Package core holds the nouns that every other package speaks of (Score, DID,
// Ask, Denial), the kinds of error that callers branch on, and the seams to the
// world: Blobs, Peers and Clock, with the Books beside them.
//
// It has no behaviour beyond naming, hashing and comparing, and it imports
// nothing of grange, so that any room can speak with any other.
package core
