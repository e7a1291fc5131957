// Package grange is an agent of a household's grid, for use by a Go program: it
// keeps directories safe on partners' disks and keeps theirs in exchange.
//
// Create founds a household and Recover brings one back from its recovery
// phrase; both make a directory, which Open opens. An agent that is open can put, list, check and
// restore; it dials partners but nobody can reach it until Run, which listens,
// answers partners and keeps leases and heads up to date until its context ends.
// One process at a time has a directory.
//
// This package owns every lifetime: it opens the disk, the network and the services,
// fits them together, and closes them in order. It has no behaviour of its own beyond
// that; docs/ARCHITECTURE.md shows which room has.
package grange
