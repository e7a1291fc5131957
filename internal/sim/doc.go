// Package sim is a world in memory for tests: a clock, a disk and a network that
// obey the seams of package core, and that fail when they are told to. With it a test
// runs a fortnight, a crash or a lying disk in a millisecond, the same way each
// time.
//
// Every fake passes the conformance suite of package seamtest. Nothing here
// touches the machine's clock, disk or network, and no program imports it.
package sim
