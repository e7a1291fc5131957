// Package feed is the log that an author writes in a topic: operations, each signed
// and bound to the one before by its hash. The payload is beside the chain, so that it can be
// erased for good while the chain still verifies. The formats are docs/SPEC.md, section 13.
//
// Chains are checked to one signature a run, because verifying 41 µs for each
// operation is what would bound how fast a table can be joined. Whoever shows an operation by itself
// verifies its own signature. An author that signs two operations with one seq
// has forked: a Fork proves it in 355 bytes.
//
// A Batch is how operations travel, and a Sketch how two peers find out cheaply
// in whose feeds they differ.
//
// The room knows neither what payloads mean nor who may write, and keeps nothing.
package feed
