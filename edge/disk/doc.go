// Package disk keeps one machine's directory: its version and lock, the agent's
// key, the books, and the blobs. It is the only importer of cockroachdb/pebble.
//
// Blobs lie in packs: append-only files of records that describe themselves, a
// header (score, note, size) under a checksum, then the bytes. What a Delete
// forgets is marked by a record of its own. An index in the books says where each
// blob lies, so that opening reads no more than what was written last; but the packs
// alone are the truth. Whatever becomes of the books, the index is made again from
// them, and the notes that All yields let the services make theirs.
//
// One fdatasync makes a Put durable, shared by all who put at that moment. The
// index is not synced: after a crash, what lies behind the position it knows is read again,
// and a record that is not whole is cut off. Packs less than half live are rewritten, a
// bounded piece at a time.
//
// Pebble holds the books because it had the best bulk rate and the least memory of four
// stores measured. It never sees the blobs' bytes: an LSM tree would write them
// many times over.
//
// The package does not know what the bytes are, whose they are, or how long they are to be
// kept. It starts no goroutine of its own; pebble has some, until Close.
package disk
