package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/service/federation"
)

// version writes a version that a machine has made, of so many bytes.
func (m *machine) version(maker *machine, bytes uint64) (key, value string) {
	m.w.t.Helper()
	segment := make([]byte, manifest.SegmentIDSize)
	segment[0] = 1
	root, err := manifest.Ref{
		Plain: core.Score{1}, Packed: core.Score{2}, Key: [32]byte{3}, Size: 100, Sealed: 112 + 16, Segment: segment, Page: []byte{},
	}.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	v := manifest.Version{
		V: 1, Name: "tree", Agent: maker.did(), Seq: 1, Time: 100, Files: 1, Bytes: bytes,
		Tree: page.Tree{V: 1, Count: 2, Root: root}, Segments: [][]byte{segment},
	}
	b, err := v.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	key, value = string(v.Key()), string(b)
	m.write(key, value)
	return key, value
}

// A machine that was stolen can store, and remove; what another has stored it cannot alter,
// not for that one and not for a recovery.
func TestNobodyAltersAVersionOfAnother(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.bo)
	k, v := x.anna.version(x.anna, 1000)
	x.state[k] = v
	x.anna.save()
	x.second.meet(x.anna)
	x.second.has("the version", x.state)
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.anna.meet(x.second)

	x.clock.Advance(time.Hour)
	x.second.version(x.anna, 666)
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.anna.meet(x.second)
	x.anna.has("altered by another", x.state)
	x.anna.off()
	x.second.off()
	third := x.machine("third", "anna")
	if _, err := third.recover(x.cleo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	third.on()
	want(t, "what a recovery has", third.state()[k], v)
}
