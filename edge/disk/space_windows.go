package disk

import (
	"os"

	"golang.org/x/sys/windows"
)

func totalBytes(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var total uint64
	if err := windows.GetDiskFreeSpaceEx(name, nil, &total, nil); err != nil {
		return 0, &os.PathError{Op: "size of the disk", Path: dir, Err: err}
	}
	return int64(total), nil
}
