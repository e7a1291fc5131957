package voucher

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestCache(t *testing.T) {
	var k Cache
	raw := must(shown(3).Marshal())
	for range 2 {
		c, r, err := k.Verify(raw, factsOf(3))
		if err != nil || r.ID != c.ID() || r.Amount != 5*gb {
			t.Fatal(r, err)
		}
		r.Via[0] = core.DID{} // the caller's own
	}
	f := factsOf(3)
	f.Revoked = map[core.Score]bool{chainOf(3).IDs()[1]: true}
	if _, _, err := k.Verify(raw, f); !errors.Is(err, core.ErrRefused) {
		t.Error("what is remembered is not held against the facts:", err)
	}
	bad := bytes.Clone(raw)
	bad[len(bad)-40] ^= 1
	if _, _, err := k.Verify(bad, factsOf(3)); err == nil {
		t.Error("a changed chain is taken for the one that is remembered")
	}
	if len(k.of) != 1 || len(k.ring) != 1 {
		t.Errorf("%d chains remembered, want the good one alone", len(k.of))
	}
}

func TestCacheIsBounded(t *testing.T) {
	var k Cache
	c := shown(1)
	for i := range CacheMax + 3 {
		if _, err := k.open(core.ScoreOf([]byte{byte(i), byte(i >> 8)}), c); err != nil {
			t.Fatal(err)
		}
		if i > 3 && testing.Short() {
			t.Skip("each is verified")
		}
	}
	if len(k.of) != CacheMax || len(k.ring) != CacheMax {
		t.Errorf("%d and %d, want %d", len(k.of), len(k.ring), CacheMax)
	}
	if _, ok := k.of[core.ScoreOf([]byte{0, 0})]; ok {
		t.Error("the oldest is still there")
	}
}

func BenchmarkVerifyFiveLinks(b *testing.B) {
	c, f := shown(5), factsOf(5)
	raw := must(c.Marshal())
	b.Run("uncached", func(b *testing.B) {
		for b.Loop() {
			if _, err := Verify(must(Parse(raw)), f); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chains/s")
	})
	b.Run("cached", func(b *testing.B) {
		var k Cache
		for b.Loop() {
			if _, _, err := k.Verify(raw, f); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chains/s")
	})
}
