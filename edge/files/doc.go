// Package files stands between a person's directories and the vault: a Source
// reads a file or a tree so that it can be stored, a Sink makes a restored one,
// and Compare tells two trees apart.
//
// Both sides treat the tree as hostile. A Source holds each directory open as an
// [os.Root] and checks that what it opened is what it listed, so that a directory
// swapped for a symlink meanwhile cannot lead it elsewhere; it never follows a
// symlink but the path that it was given. A Sink writes under one os.Root only,
// makes symlinks last, overwrites nothing, and takes no entry whose parent was
// not declared to be a directory, so that a forged manifest cannot write outside
// the destination.
//
// What is kept of an entry is its name as bytes, its kind, permission bits,
// modification time and contents, or a symlink's target. Owners, extended
// attributes, ACLs, hard links as such, holes in sparse files, sockets, FIFOs
// and devices are not. Nothing is synced to the disk. A restore that was cut off leaves
// files named .grange-*; run again to the same place it finds what is there
// already, whose bytes are checked, and overwrites nothing but those.
package files
