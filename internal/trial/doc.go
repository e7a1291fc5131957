// Package trial is the bad days: real processes of the program, on loopback, that
// are killed at random moments, find their disk full, rotten or read-only, read trees
// that are hostile or change under them, and meet thieves and clumsy friends.
//
// It is all tests. They build the program, drive it by its command line, and judge it
// by exit codes, by what --json says, and by what lies on the disks; the simulation
// beside it (internal/sim) has the seeds and the clock, this has the kernel. It
// knows nothing of the inside but the comparison of two trees.
package trial
