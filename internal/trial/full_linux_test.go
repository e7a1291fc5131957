package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a filesystem of its own, whose size can be changed while it is in use.
type smallDisk struct {
	t   *testing.T
	dir string
}

// newDisk mounts one of size bytes. It takes memory only for what is written on it.
func newDisk(t *testing.T, size int64) *smallDisk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TRIED: only root can mount a small disk")
	}
	dir, err := os.MkdirTemp("", "trial-disk-")
	ok(t, err)
	if err := syscall.Mount("trial", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", size)); err != nil {
		ok(t, os.Remove(dir))
		t.Skipf("NOT TRIED: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		err := syscall.Unmount(dir, 0)
		if err != nil { // whatever still holds it, the next run must not find it
			t.Errorf("unmount: %v", err)
			err = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
		if err == nil {
			err = os.Remove(dir)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return &smallDisk{t, dir}
}

func (d *smallDisk) used() int64 {
	var s syscall.Statfs_t
	ok(d.t, syscall.Statfs(d.dir, &s))
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

func (d *smallDisk) resize(size int64) error {
	return syscall.Mount("trial", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

// fill leaves spare bytes free, of a disk that is being written on.
func (d *smallDisk) fill(spare int64) {
	d.t.Helper()
	var err error
	for range 100 {
		if err = d.resize(d.used() + spare); err == nil {
			return
		}
	}
	d.t.Fatalf("make the disk small: %v", err)
}

const diskSize = 4 << 30

// TestHolderOffersMoreThanItHas has a holder that promises what its disk has no room for.
func TestHolderOffersMoreThanItHas(t *testing.T) {
	rng := dice(t)
	// A reserve of 1 GiB is never given, nor is the ballast: some 20 MB are left of this.
	d := newDisk(t, 1<<30+37_000_000)
	root := room(t)
	anna, bo, cleo := found(t, root, "anna"), newHouse(t, root, "bo"), found(t, root, "cleo")
	bo.dir = filepath.Join(d.dir, "bo")
	bo.must(0, "init", "--name", "bo", "--phrase-file", bo.words)
	for _, h := range []*house{anna, bo, cleo} {
		h.start()
	}
	if e := bo.complaint(bo.must(1, "offer", "50GB")); e.Code != "disk.full" {
		t.Errorf("%+v", e)
	}
	bo.must(0, "offer", "15MB")
	befriend(anna, bo) // for 1 GB, as friends say
	small, large := filepath.Join(root, "small"), filepath.Join(root, "large")
	plant(t, rng, small)
	for i := range 6 {
		write(t, filepath.Join(large, fmt.Sprint(i)), noise(rng, 8<<20))
	}
	anna.put(0, small)
	// Alone it says no, before anything is sent that has no place.
	r := anna.must(3, "put", large)
	if e := anna.complaint(r); e.Code != "refused" || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if used := d.used(); used > 60_000_000 {
		t.Errorf("%d bytes are on bo's disk", used)
	}
	bo.alive()
	anna.restores("small", small)
	// With another partner there is room for all of it, though not for all of the spare.
	befriend(anna, cleo)
	r = anna.run("put", large)
	if r.code != 0 && r.code != 5 {
		t.Fatal(r)
	}
	if v := r.version(t); !v.Worth.Readable || len(v.Refused) == 0 {
		t.Errorf("%v", r)
	}
	anna.restores("large", large)
	anna.restores("small", small)
	bo.alive()
	agree(anna, bo)
	agree(anna, cleo)
}

// TestHolderRunsFull fills a holder's disk while pieces arrive.
func TestHolderRunsFull(t *testing.T) {
	for _, spare := range []int64{0, 200_000, 40 << 20} {
		t.Run(fmt.Sprintf("%d bytes left", spare), func(t *testing.T) {
			rng := dice(t)
			d := newDisk(t, diskSize)
			root := room(t)
			anna, bo, cleo := found(t, root, "anna"), newHouse(t, root, "bo"), found(t, root, "cleo")
			bo.dir = filepath.Join(d.dir, "bo")
			bo.must(0, "init", "--name", "bo", "--phrase-file", bo.words)
			for _, h := range []*house{anna, bo, cleo} {
				h.start()
			}
			bo.must(0, "offer", "2GB")
			befriend(anna, bo)
			befriend(anna, cleo)
			small, large := filepath.Join(root, "small"), filepath.Join(root, "large")
			plant(t, rng, small)
			anna.put(0, small)
			for i := range 8 {
				write(t, filepath.Join(large, fmt.Sprint(i)), noise(rng, 10<<20))
			}
			c := anna.launch("put", large)
			for range 5 { // by then room has been promised, and bytes are coming
				<-c.lines
			}
			d.fill(spare)
			r := c.wait()
			switch r.code {
			case 0, 5: // 0: cleo took it all before
			default:
				t.Fatal(r)
			}
			anna.restores("small", small)
			bo.alive()
			bo.must(0, "status")
			// Bo still serves, alone.
			cleo.kill()
			anna.restores("small", small)
			cleo.start()
			// A restart on a full disk is no end either.
			if spare > 0 {
				bo.kill()
				bo.start()
				anna.restores("small", small)
			}
			ok(t, d.resize(diskSize))
			if again := anna.put(0, large); !again.Worth.Readable || again.Worth.At["bo"] <= again.Worth.At["cleo"]/10 {
				t.Errorf("with room again: %+v", again.Worth)
			}
			anna.restores("large", large)
			anna.healthy()
			agree(anna, bo)
			agree(anna, cleo)
		})
	}
}

func TestOwnerRunsFull(t *testing.T) {
	rng := dice(t)
	d := newDisk(t, diskSize)
	root := room(t)
	anna, bo := newHouse(t, root, "anna"), found(t, root, "bo")
	anna.dir = filepath.Join(d.dir, "anna")
	anna.must(0, "init", "--name", "anna", "--phrase-file", anna.words)
	anna.start()
	bo.start()
	befriend(anna, bo)
	small, large := filepath.Join(root, "small"), filepath.Join(root, "large")
	plant(t, rng, small)
	anna.put(0, small)
	for i := range 4 {
		write(t, filepath.Join(large, fmt.Sprint(i)), noise(rng, 4<<20))
	}
	d.fill(0)
	r := anna.run("put", large)
	if r.code != 1 {
		t.Errorf("want exit 1\n%v", r)
	} else if e := anna.complaint(r); e.Code != "disk.full" || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	anna.alive()
	back := filepath.Join(root, "back")
	anna.must(0, "get", "small", back) // which needs no room of its own
	same(t, small, back)
	ok(t, d.resize(diskSize))
	anna.put(0, large)
	anna.restores("large", large)
	anna.restores("small", small)
	anna.healthy()
	agree(anna, bo)

	t.Run("destination", func(t *testing.T) {
		tiny := newDisk(t, 300_000)
		dest := filepath.Join(tiny.dir, "back")
		h := *anna
		h.t = t
		r := h.run("get", "small", dest)
		if r.code != 1 && r.code != 5 {
			t.Fatal(r)
		}
		// What is there is whole, but for what it is gone on with once there is room.
		ok(t, filepath.WalkDir(dest, func(path string, e os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || strings.HasPrefix(e.Name(), ".grange-") || !e.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(dest, path)
			if err != nil {
				return err
			}
			want, err := os.ReadFile(filepath.Join(small, rel))
			if err != nil {
				return err
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
				t.Errorf("%s: %v, %d of %d bytes", rel, err, len(got), len(want))
			}
			return nil
		}))
	})
}
