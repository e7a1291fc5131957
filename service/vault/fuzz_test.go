package vault

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/page"
)

// FuzzRecords reads our own records from a disk that has gone bad: what is taken is written back the
// same.
func FuzzRecords(f *testing.F) {
	tree := page.Tree{Root: []byte("root")}
	file, err := encodeFile(Stamp{Size: 5, Mtime: 1, Inode: 2}, make([]byte, 2*core.ScoreSize))
	if err != nil {
		f.Fatal(err)
	}
	v := New(Config{Books: sim.NewBooks(), Clock: sim.NewClock(1)})
	now, err := v.nowAt(seqKey)
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range [][]byte{nil, file, now.Value, encodeUses(tree, segmentSet{{1}: {}, {2}: {}}), encodeUses(page.Tree{}, nil)} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if uses, err := decodeUses(tree, raw); err == nil {
			again, err := decodeUses(tree, encodeUses(tree, uses))
			if err != nil || len(again) != len(uses) || len(uses) > (len(raw)-core.ScoreSize)/16 {
				t.Errorf("%d segments, then %d: %v", len(uses), len(again), err)
			}
		}
		if file, known := decodeFile(raw); known {
			again, err := encodeFile(file.stamp, file.plains)
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("%x is written back as %x, %v", raw, again, err)
			}
		}
		if raw == nil {
			return
		}
		if err := v.c.Books.Apply(core.Change{Key: goneKey(nil), Value: raw}); err != nil {
			t.Fatal(err)
		}
		if at, there, err := v.timeOfKey(goneKey(nil)); err != nil || !there || at > v.c.Clock.Now().Unix() {
			t.Errorf("given up at %d, %v, %v", at, there, err)
		}
	})
}
