package chunk

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/internal/golden"
)

func BenchmarkCut(b *testing.B) {
	data := golden.Stream("data", 32<<20)
	c := newCutter(b, "key")
	r := bytes.NewReader(data)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	chunks := 0
	for b.Loop() {
		r.Reset(data)
		c.Reset(r)
		chunks = 0
		for {
			if _, err := c.Next(); err != nil {
				break
			}
			chunks++
		}
	}
	b.ReportMetric(float64(len(data))/float64(chunks)/1024, "KiB/chunk")
}

func BenchmarkPack(b *testing.B) {
	for name, plain := range map[string][]byte{"prose": prose(300 << 10), "noise": golden.Stream("noise", 300<<10)} {
		b.Run(name, func(b *testing.B) {
			p := NewPacker()
			dst := make([]byte, 0, PackedSizeMax)
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				dst = p.Pack(dst[:0], plain)
			}
			b.ReportMetric(float64(len(dst))/float64(len(plain)), "packed/plain")
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for name, plain := range map[string][]byte{"prose": prose(300 << 10), "noise": golden.Stream("noise", 300<<10)} {
		b.Run(name, func(b *testing.B) {
			p := NewPacker()
			packed := p.Pack(nil, plain)
			dst := make([]byte, 0, len(plain))
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Unpack(dst, packed, len(plain)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
