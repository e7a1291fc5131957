// Package barter is where one household uses another's disk: it answers asks
// by a policy, keeps partners' pieces under signed leases, places our own
// pieces with them, fetches them back and makes holders prove that they are
// still there.
//
// It has two sides that share nothing but the wire. The holder's (grants.go, decide.go,
// hold.go, turns.go, lease.go, aside.go, expire.go, drop.go) has books of what lies here for whom. The owner's
// (placement.go, lane.go, patience.go, commit.go, take.go, placed.go, fetch.go, audit.go, renew.go, release.go, undo.go, learn.go) has
// books of where our pieces lie. What the other side says is checked on arrival,
// and nothing that it says of itself is believed without a signature or a proof.
//
// A piece goes through three states at its holder. Room for it is promised by a
// grant, which lives in memory for an hour; it is stored under the grant; a lease
// makes it held, in the books and with a signature. What is used is counted in the
// same write that makes a lease, so it is exact whenever the machine stops.
// A piece that was stored and never leased is dropped when its grant ends, or at
// the next start, and not before it is certain that nobody needs its bytes.
//
// The package knows pieces, by score and size, and nothing of files, keys or
// segments beyond the ids that come with them: what a piece is for is the vault's
// affair, who a partner is federation's.
//
// Nothing that was leased is deleted at once (aside.go, expire.go). What its owner releases, or
// what outlives its lease, is set aside for some days, which are counted while this machine
// runs (running.go), never by its date: so neither a thief with the owner's key nor a wrong
// clock can destroy anything before people have had time to notice.
//
// What was given and had is counted on both sides of a line between two machines (line.go), from the same signed
// leases and releases in the same order, so that the totals are equal to the byte-second; once a day the owner signs
// a receipt for it (receipt.go). A difference is shown (ledger.go), and nothing is ever made equal in silence.
package barter
