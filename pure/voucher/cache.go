package voucher

import (
	"sync"

	"github.com/grange-grid/grange/core"
)

// CacheMax is how many chains a Cache keeps.
const CacheMax = 4096

// Cache verifies chains, and remembers those whose signatures were good by the score of their bytes; the facts are
// looked at anew each time. The zero Cache is empty. It may be used at once.
type Cache struct {
	mu sync.Mutex
	of map[core.Score]opened
	// ring are the keys of of; where it is full, the oldest, at next, goes.
	ring []core.Score
	next int
}

// Verify is Verify of what Parse makes of raw.
func (k *Cache) Verify(raw []byte, f Facts) (Chain, Right, error) {
	c, err := Parse(raw)
	if err != nil {
		return Chain{}, Right{}, err
	}
	o, err := k.open(core.ScoreOf(raw), c)
	if err != nil {
		return Chain{}, Right{}, err
	}
	r, err := o.judge(f)
	return c, r, err
}

func (k *Cache) open(score core.Score, c Chain) (opened, error) {
	k.mu.Lock()
	o, ok := k.of[score]
	k.mu.Unlock()
	if ok {
		return o, nil
	}
	o, err := open(c)
	if err != nil {
		return o, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = make(map[core.Score]opened)
	}
	if _, ok := k.of[score]; ok {
		return o, nil
	}
	if len(k.ring) < CacheMax {
		k.ring = append(k.ring, score)
	} else {
		delete(k.of, k.ring[k.next])
		k.ring[k.next] = score
		k.next = (k.next + 1) % CacheMax
	}
	k.of[score] = o
	return o, nil
}
