package vault

import (
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/place"
)

// meter tells how far long work has come; it calls its listener from one
// goroutine at a time, not more often than every progressStep bytes.
type meter struct {
	listen func(Progress)

	mu   sync.Mutex
	now  Progress
	told int64
}

func newMeter(stage string, listen func(Progress)) *meter {
	if listen == nil {
		listen = func(Progress) {}
	}
	return &meter{listen: listen, now: Progress{Stage: stage}}
}

func (m *meter) change(always bool, f func(p *Progress)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.now)
	done := m.now.Bytes + m.now.Placed
	if !always && done-m.told < progressStep && m.told <= done {
		return
	}
	m.told = done
	m.listen(m.now)
}

func (m *meter) stage(name string) { m.change(true, func(p *Progress) { p.Stage = name }) }
func (m *meter) of(total int64)    { m.change(true, func(p *Progress) { p.Of = total }) }
func (m *meter) bytes(n int64)     { m.change(false, func(p *Progress) { p.Bytes += n }) }
func (m *meter) file()             { m.change(false, func(p *Progress) { p.Files++ }) }
func (m *meter) placed(n int64)    { m.change(false, func(p *Progress) { p.Placed += n }) }

// to tells over whom segments are spread, and what that comes to if it is done evenly.
func (m *meter) to(shape erasure.Shape, takers []core.DID) {
	counts := map[core.DID]int{}
	for i := range shape.Total() {
		if len(takers) > 0 {
			counts[takers[i%len(takers)]]++
		}
	}
	m.change(true, func(p *Progress) { p.To, p.Survives = takers, max(0, place.WorthOf(shape.K, counts).Survives) })
}

func (m *meter) totals() (files, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.Files, m.now.Bytes
}
