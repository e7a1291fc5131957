// Package seamtest holds the conformance suite of each seam of package core:
// what every implementation must do, be it the real one or a test's fake. A
// service that is tested on the fake then works on the real one, as long as both
// pass the same suite.
//
// A suite is an ordinary function that a test calls with a way to make a fresh,
// empty instance. It does not test what only one implementation has: crashes,
// rot, full disks; their own tests do.
package seamtest
