package files

import "io/fs"

// Stamp is what a filesystem says of a regular file that differs when its contents
// do. It is zero where the system does not tell enough.
type Stamp struct {
	// Size is in bytes, Mtime in seconds since 1970, Nsec in nanoseconds beyond, Ctime, when
	// anything of the inode last changed, in nanoseconds since 1970.
	Size               uint64
	Mtime, Nsec, Ctime int64
	Inode, Dev         uint64
}

// stampOf returns the stamp of a regular file.
func stampOf(info fs.FileInfo) Stamp {
	if changeTime(info) == 0 { // without it a write with a time put back is not seen
		return Stamp{}
	}
	return Stamp{
		Size: uint64(info.Size()), Mtime: info.ModTime().Unix(), Nsec: int64(info.ModTime().Nanosecond()),
		Ctime: changeTime(info), Inode: inode(info), Dev: device(info),
	}
}
