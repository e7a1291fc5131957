package barter

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
)

// So many allowances are open at once, of all resources and machines of a household together; when one ends there may be another.
func TestSixtyFourAllowances(t *testing.T) {
	w, clock := simWorld(t, 3)
	eater, other, farm := w.homes[0], w.homes[1], w.homes[2]
	farm.giving(1_000, 10_000)
	for range allowancesMax {
		eater.mustWant(t, farm, 1)
		clock.Advance(time.Second)
	}
	_, err := eater.now().Ask(t.Context(), farm.grid, kilos(1))
	if denial, ok := errors.AsType[*core.Denial](err); !ok || !strings.HasPrefix(denial.Reason, "you have 64 allowances; the next ends on 20") {
		t.Errorf("one more: %v", err)
	}
	other.mustWant(t, farm, 1)
	w.run(7*days - allowancesMax*time.Second)
	eater.mustWant(t, farm, 1)
	if f := farm.flowWith(t, eater); len(f.Granted) != allowancesMax || f.Used != allowancesMax {
		t.Errorf("%d allowances, %d used", len(f.Granted), f.Used)
	}
	value, err := farm.books.Get(flowKey(asHolder, eater.grid, potatoes))
	if err != nil || len(value) > 16<<10 {
		t.Errorf("a record of %d bytes, %v", len(value), err)
	}
}

// An ask with the name of one that was granted is answered as before, to whom it was granted.
func TestAnAskThatComesAgain(t *testing.T) {
	w, _ := simWorld(t, 3)
	eater, other, farm := w.homes[0], w.homes[1], w.homes[2]
	farm.giving(10, 50)
	ask := func(of *home, id []byte, amount int64) (out grantAnswer, err error) {
		in := askRequest{kilos(amount), id}
		ref := pactOf(of.grid, farm.grid)
		in.Why = core.Why{Kind: core.WhyPact, Ref: ref[:]}
		err = of.client.Call(t.Context(), farm.agent(), "POST", "/ask", in, &out)
		return out, err
	}
	id := bytes.Repeat([]byte{7}, grantIDSize)
	first, err := ask(eater, id, 4)
	if err != nil || !bytes.Equal(first.Grant, id) {
		t.Fatalf("%+v, %v", first, err)
	}
	farm.open()
	w.run(time.Hour)
	if again, err := ask(eater, id, 4); err != nil || again.Expires != first.Expires || again.Amount != 4 {
		t.Errorf("again: %+v, %v", again, err)
	}
	if f := farm.flowWith(t, eater); f.Used != 4 {
		t.Errorf("%+v", f)
	}
	if _, err := ask(other, id, 4); err != nil {
		t.Error(err)
	}
	if _, err := ask(eater, id, 5); err != nil { // is another
		t.Error(err)
	}
	if ours, theirs := farm.flowWith(t, eater), farm.flowWith(t, other); ours.Used != 9 || theirs.Used != 4 {
		t.Errorf("%d and %d are used", ours.Used, theirs.Used)
	}
	if _, err := ask(eater, id[1:], 1); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a name that is too short: %v", err)
	}
}

// What cannot be written down was not granted, and holds no room.
func TestAnAllowanceInFullBooks(t *testing.T) {
	w, _ := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(10, 10)
	farm.disk.Books().SetFull(true)
	if _, err := eater.now().Ask(t.Context(), farm.grid, kilos(8)); !errors.Is(err, core.ErrFull) {
		t.Errorf("full books: %v", err)
	}
	if _, waits, err := eater.now().Had(t.Context(), farm.grid, potatoes, 3); !waits || !errors.Is(err, core.ErrFull) {
		t.Errorf("full books: %v, %v", waits, err)
	}
	if f := farm.flowWith(t, eater); f.Used != 0 || len(f.Granted) != 0 || len(farm.decisions(t, eater)) != 0 {
		t.Errorf("%+v", f)
	}
	farm.disk.Books().SetFull(false)
	eater.mustWant(t, farm, 10)
	eater.mustHave(t, farm, 2, 5)
}

// Whoever asks at once is promised no more than there is.
func TestManyAskAtOnce(t *testing.T) {
	w, _ := simWorld(t, 6)
	farm := w.homes[0]
	farm.giving(10, 23)
	var g sync.WaitGroup
	var mu sync.Mutex
	granted := int64(0)
	for _, h := range w.homes[1:] {
		for range 4 {
			g.Go(func() {
				p, _ := farm.Of(h.grid)
				in := askRequest{Ask: kilos(3)}
				in.Why = p.why()
				out, err := farm.now().ask(h.grid, h.agent(), in)
				mu.Lock()
				defer mu.Unlock()
				if granted += out.Amount; err != nil && !errors.Is(err, core.ErrRefused) {
					t.Error(err)
				}
			})
		}
	}
	g.Wait()
	if granted != 21 {
		t.Errorf("%d kg were granted of 23", granted)
	}
}
