package barter

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// many is a thousand pacts.
type many struct {
	all   []Partner
	index map[core.DID]int
}

func (m many) All() []Partner                     { return slices.Clone(m.all) }
func (m many) Guests() []Partner                  { return nil }
func (m many) Guest(core.DID) (p Partner, _ bool) { return p, false }
func (m many) Of(grid core.DID) (Partner, bool) {
	i, ok := m.index[grid]
	if !ok {
		return Partner{}, false
	}
	return m.all[i], true
}

const (
	benchPacts  = 1_000
	benchLeases = 1_000_000
	benchNow    = 1_700_000_000
)

func benchKey(i int) identity.Key { return identity.KeyOf([32]byte{2, byte(i >> 8), byte(i)}) }

// fullBooks has a thousand pacts and a million leases, each of 1 MB.
func fullBooks(b *testing.B) (*disk.Store, many) {
	b.Helper()
	m := many{index: map[core.DID]int{}}
	dir := filepath.Join(b.TempDir(), "grange")
	if err := disk.Create(dir, nil); err != nil {
		b.Fatal(err)
	}
	books, err := disk.Open(dir, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := books.Close(); err != nil {
			b.Error(err)
		}
	})
	for i := range benchPacts {
		grid, agent := core.DID{1, byte(i >> 8), byte(i)}, benchKey(i).DID()
		m.index[grid] = i
		m.all = append(m.all, Partner{
			Grid: grid, Name: fmt.Sprint("home ", i), Pact: core.Score{3, byte(i >> 8), byte(i)}, Given: 1e10, Gives: 1e10, LeaseDays: 180, AsideDays: 14, Agents: []core.DID{agent},
		})
		const each = benchLeases / benchPacts
		var changes []core.Change
		add := func(key []byte, record any) {
			c, err := change(key, record)
			if err != nil {
				b.Fatal(err)
			}
			changes = append(changes, c)
		}
		add(join(usedPrefix, grid[:]), usedRecord{V: 1, Bytes: each * 1e6, Pieces: each, Leases: each * 300})
		add(join(outPrefix, grid[:]), usedRecord{V: 1, Bytes: int64(i) * 2e6, Pieces: int64(i) * 2})
		add(join(sincePrefix, grid[:]), runRecord{V: 1, Seconds: 1 + int64(i)*10_000})
		if i%10 == 0 {
			add(join(lostPrefix, grid[:]), lossRecord{V: 1, Days: []lossDay{{Day: 70, Bytes: 5e6}, {Day: 80, Bytes: 3e6}}})
		}
		line := &line{side: asHolder, grid: grid, agent: agent, rec: lineRecord{V: 1, Pact: m.all[i].Pact, Latest: benchNow, Until: benchNow, Seq: 1, Acked: 1, Ran: 1e7}}
		if line.meter, err = (pact.MeterState{Sum: "12345678901234567890", Ends: []pact.MeterEnd{{At: benchNow/daySeconds*daySeconds + 90*daySeconds, Bytes: each * 1e6}}}).Meter(); err != nil {
			b.Fatal(err)
		}
		more, err := line.changes()
		if err != nil {
			b.Fatal(err)
		}
		changes = append(changes, more...)
		for n := range each {
			var id core.Score
			binary.BigEndian.PutUint64(id[:], uint64(n)*0x9e3779b97f4a7c15)
			changes = append(changes, core.Change{Key: leaseKey(grid, id), Value: []byte{1}})
		}
		if err := books.Books().Apply(changes...); err != nil {
			b.Fatal(err)
		}
	}
	ran, err := change(ranKey, runRecord{V: 1, Seconds: 1e7})
	if err == nil {
		err = books.Books().Apply(ran)
	}
	if err != nil {
		b.Fatal(err)
	}
	return books, m
}

func openFull(b *testing.B, books *disk.Store, m many, rules string) *Barter {
	b.Helper()
	parsed, err := table().Parse(rules)
	if err != nil {
		b.Fatal(err)
	}
	out, err := New(Config{
		Key: identity.KeyOf([32]byte{9}), Grid: core.DID{9}, Books: books.Books(), Blobs: books.Blobs(), Clock: bubble{}, Partners: m, Table: table(), Rules: openRules(),
		Free: func() (int64, int64, error) { return 1 << 50, 1 << 50, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := out.SetRules(parsed); err != nil {
		b.Fatal(err)
	}
	if err := out.SetOffer(1.2e12); err != nil {
		b.Fatal(err)
	}
	out.decided.wake = make(chan struct{}, 1) // as while Run runs
	return out
}

// BenchmarkAsk decides with a thousand pacts and a million leases in the books. The rate has the writing of what
// was decided in it; go test -cpu 1.
func BenchmarkAsk(b *testing.B) {
	books, m := fullBooks(b)
	for _, rules := range []string{"pact open", "pact even", "pact reciprocal"} {
		b.Run(rules[len("pact "):], func(b *testing.B) {
			barter := openFull(b, books, m, rules)
			var took []time.Duration
			granted := 0
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				p := &m.all[n*7919%benchPacts]
				begun := time.Now()
				out, err := barter.ask(p.Grid, p.Agents[0], askRequest{Ask: core.Ask{
					Resource: core.Storage, Amount: int64(n%1_000+1) * 1e4, Seconds: 180 * daySeconds, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: p.Pact[:]},
				}})
				took = append(took, time.Since(begun))
				if err == nil {
					granted++
					barter.closeGrants(p.Grid, [][]byte{out.Grant})
				}
				if n%20_000 == 0 {
					barter.writeDecisions()
				}
			}
			barter.writeDecisions()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "asks/s")
			b.ReportMetric(float64(granted)/float64(b.N), "granted/op")
		})
	}
}

// BenchmarkAskFlow decides on asks for potatoes that a thousand households have had some of lately: what is granted is written down for
// good before it is answered, so every tenth is, and all else refused.
func BenchmarkAskFlow(b *testing.B) {
	books, m := fullBooks(b)
	for i := range m.all {
		m.all[i].GivenOf = map[core.Resource]int64{potatoes: 1e9}
	}
	for _, rules := range []string{"pact open", "pact reciprocal"} {
		b.Run(rules[len("pact "):], func(b *testing.B) {
			barter := openFull(b, books, m, rules)
			barter.c.Offers = map[core.Resource]int64{potatoes: 1e12}
			at := barter.moment()
			for _, p := range m.all {
				f := (&flowRecord{}).at(at)
				f.draw(1e6, at)
				f.add(allowance{ID: p.Pact[:grantIDSize], Amount: 1e6, From: 1, Until: 1 << 40, Born: at.ran})
				barter.account(p.Grid).setFlow(asHolder.of(potatoes), f)
			}
			var took []time.Duration
			b.ResetTimer()
			for n := range b.N {
				p := &m.all[n*7919%benchPacts]
				in := askRequest{Ask: core.Ask{Resource: potatoes, Amount: 1e10, Seconds: 1, Quality: core.Normal, Why: p.why()}}
				if n%10 == 0 {
					in.Amount = 1
				}
				begun := time.Now()
				_, _ = barter.ask(p.Grid, p.Agents[0], in)
				took = append(took, time.Since(begun))
				if n%20_000 == 0 {
					barter.writeDecisions()
				}
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*80/100].Nanoseconds()), "p80-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkReceipts takes receipts of a thousand machines, 64 at a time, each written down for good when it is answered.
func BenchmarkReceipts(b *testing.B) {
	books, m := fullBooks(b)
	barter := openFull(b, books, m, "pact open")
	signed := make([]identity.Signed, b.N)
	for n := range signed {
		var err error
		p := m.all[n%benchPacts]
		signed[n], err = pact.SignReceipt(benchKey(n%benchPacts), pact.Receipt{
			V: 1, Pact: p.Pact, Provider: barter.c.Key.DID(), Receiver: p.Agents[0], Resource: core.Storage, Seq: uint64(2 + n/benchPacts), Total: uint64(1 + n/benchPacts), Until: benchNow + int64(n/benchPacts),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var g sync.WaitGroup
	for worker := range 64 {
		g.Go(func() {
			for n := worker; n < b.N; n++ {
				if n%benchPacts%64 != worker {
					continue
				}
				p := m.all[n%benchPacts]
				if out, err := barter.takeReceipt(p.Grid, p.Agents[0], signed[n]); err != nil || out.Last != nil {
					b.Errorf("receipt %d: %+v, %v", n, out, err)
				}
			}
		})
	}
	g.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "receipts/s")
}
