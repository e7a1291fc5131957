// Package keep stores directories by itself, again and again, and thins out what it
// stored before.
//
// A task is a name, a path and how often. A task is due when its time has come, or
// its path has never been stored; then the directory is put as a person would put it,
// and old versions are removed by the task's rule. What goes wrong is tried again,
// less and less often, and told: a path that has vanished, or is empty all of a sudden
// (a disk that is not mounted leaves an empty directory behind), is an alarm, and never a
// version.
//
// The package neither reads files nor knows what a version is: package grange gives it
// functions for both. It watches nothing between two looks.
package keep
