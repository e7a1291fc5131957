// Package tree keeps a sorted map of small records under one hash, so that
// whoever has the hash can check an answer about the map without having the map:
// a value, that there is none, a part of it in either order, how many there are,
// the nth.
//
// The hash says nothing of how the map came about: the same records make the same
// nodes and the same root, whatever the order in which they were written. Where a
// node begins is said by keys alone: each key has a priority, which is a hash of
// it, and a key begins a node where it has the least priority among more than
// FanMax neighbours. So a changed value moves no node's edge, and keys that were
// chosen by an adversary make nodes that are smaller than others, never larger.
//
// An answer is proven by running the question again over the nodes that it went
// through, of which only what was looked at is there, and hashes stand for the
// rest: what was left out is missed as ErrNotProven. There is no other checker
// that could be wrong.
//
// The room keeps nothing and reads no disk: nodes come from a Source, and Apply
// returns what is to be written. The format is docs/SPEC.md, section 12.
package tree
