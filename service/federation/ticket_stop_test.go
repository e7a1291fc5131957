package federation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/ticket"
	"github.com/grange-grid/grange/service/federation"
)

// stopTicket writes that a ticket is stopped into the state.
func (m *machine) stopTicket(r ticket.Right) { m.writeTicket(r, true) }

func (m *machine) writeTicket(r ticket.Right, stopped bool) {
	m.w.t.Helper()
	segment := make([]byte, manifest.SegmentIDSize)
	root, err := manifest.Ref{Plain: core.Score{1}, Packed: core.Score{2}, Key: [32]byte{3}, Size: 100, Sealed: 112 + 16, Segment: segment}.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	b, err := ticket.Record{
		V: 1, Name: "tree", Agent: m.did(), Seq: 1, Time: m.w.clock.Now().Unix(), Until: r.Until,
		Table: page.Tree{V: 1, Count: 2, Root: root}, Segments: [][]byte{segment}, Stopped: stopped,
	}.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.write(string(ticket.RecordKey(r.ID)), string(b))
}

func TestTicketIsStopped(t *testing.T) {
	w := newWorld(t)
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	w.befriend(anna, bo)
	w.befriend(anna, cleo)
	x, r := ticketOf(anna, "ticket", bo)
	kept, keptRight := ticketOf(anna, "kept", bo)
	reader := w.stranger("reader")
	if code, err := show(reader, bo, x, r, asItIs); code != "" {
		t.Fatal(err)
	}
	other := w.stranger("other reader")
	if code, err := show(other, bo, kept, keptRight, asItIs); code != "" {
		t.Fatal(err)
	}
	anna.stopTicket(r)
	cleo.off()
	if saved, err := anna.f.SaveHead(t.Context()); err != nil || len(saved.Done) != 1 {
		t.Fatalf("%+v, %v", saved, err)
	}
	for m, class := range map[*machine]wire.Class{reader: wire.Stranger, other: wire.Bearer} {
		if c, err := bo.f.Classify(t.Context(), m.did()); err != nil || c.Class != class {
			t.Errorf("%s, who was inside: %+v, %v", m.name, c, err)
		}
	}
	for range 2 {
		if code, err := show(reader, bo, x, r, asItIs); code != wire.CodeRefused || !strings.Contains(err.Error(), "the ticket was stopped") {
			t.Errorf("stopped: %v", err)
		}
		if code, err := show(reader, bo, kept, keptRight, asItIs); code != "" {
			t.Errorf("another: %v", err)
		}
		bo.restart()
	}
	if err := w.bearer("late", x, r).Enter(t.Context()); !errors.Is(err, core.ErrRefused) {
		t.Errorf("a bearer: %v", err)
	}
	cleo.on() // it was away, and does not know yet: that is what a ticket's date is for
	if code, err := show(reader, cleo, x, r, asItIs); code != "" {
		t.Errorf("at one who has not heard of it: %v", err)
	}
	anna.save()
	if code, err := show(reader, cleo, x, r, asItIs); code != wire.CodeRefused {
		t.Errorf("when it has: %v", err)
	}
}

// That a ticket was stopped is said until it has lapsed by clocks that are behind, too.
func TestTicketStaysStopped(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	reader := w.stranger("reader")
	all, rights := make([]ticket.Ticket, 65), make([]ticket.Right, 65)
	for i := range all {
		all[i], rights[i] = ticketOf(anna, fmt.Sprint("ticket ", i))
		if i != 7 {
			w.clock.Advance(time.Second)
			anna.stopTicket(rights[i])
		}
	}
	save := func() {
		anna.write("x/more", w.clock.Now().String())
		if _, err := anna.f.SaveHead(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, open ...int) {
		t.Helper()
		for i := range all {
			code, err := show(reader, bo, all[i], rights[i], asItIs)
			if in := slices.Contains(open, i); in != (code == "") || !in && !strings.Contains(err.Error(), "the ticket was stopped") {
				t.Errorf("%s: number %d: %v", what, i, err)
			}
		}
	}
	save()
	refused("64 were stopped", 7)
	anna.stopTicket(rights[7])
	save()
	refused("65 were", 0) // which lapses first
	w.clock.Advance(30*24*time.Hour + 12*time.Hour)
	save()
	w.clock.Jump(-13 * time.Hour)
	refused("by a clock that is half a day behind", 0)
	w.clock.Advance(37 * time.Hour)
	save()
	w.clock.Jump(-37 * time.Hour)
	if code, err := show(reader, bo, all[1], rights[1], asItIs); code != "" {
		t.Errorf("by a clock that is more than a day behind: %v", err)
	}
}

// The household's machines hold pieces for each other: they heed each other's heads, also before these are merged.
func TestTicketIsStoppedAtOurOtherMachine(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.anna)
	x.second.meet(x.anna)
	stopped, r := ticketOf(x.anna, "ticket")
	mine, own := ticketOf(x.second, "mine")
	inside, late, at := x.stranger("inside"), x.stranger("late"), x.stranger("at")
	if code, err := show(inside, x.second, stopped, r, asItIs); code != "" {
		t.Fatal(err)
	}
	if code, err := show(at, x.second, mine, own, asItIs); code != "" {
		t.Fatal(err)
	}
	x.anna.stopTicket(r)
	if _, err := x.anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x.second.state()[string(ticket.RecordKey(r.ID))] != "" {
		t.Fatal("it is merged: nothing is tried")
	}
	if code, err := show(late, x.second, stopped, r, asItIs); code != wire.CodeRefused {
		t.Errorf("stopped by another machine: %v", err)
	}
	x.second.stopTicket(own)
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*machine{inside, at} {
		if c, err := x.second.f.Classify(t.Context(), m.did()); err != nil || c.Class != wire.Stranger {
			t.Errorf("%s: %+v, %v", m.name, c, err)
		}
	}
}

// A ticket that one machine of a household has stopped the others stop too, and a recovery does.
func TestAStoppedTicketStaysSo(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.bo)
	_, r := ticketOf(x.anna, "ticket")
	k := string(ticket.RecordKey(r.ID))
	x.anna.writeTicket(r, false)
	live := x.anna.state()[k]
	x.anna.save()
	x.second.meet(x.anna)
	want(t, "the other machine's", x.second.state()[k], live)
	x.second.stopTicket(r)
	stopped := x.second.state()[k]
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.clock.Advance(time.Hour)
	x.anna.write("x/later", "what makes another head") // which has the ticket as it was
	if _, err := x.anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := x.machine("third", "anna")
	if _, err := third.recover(x.cleo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	third.on()
	want(t, "what a recovery has", third.state()[k], stopped)
	x.anna.write(k, live+"?") // what is no ticket's record never stands
	x.second.meet(x.anna)
	want(t, "after what is none", x.second.state()[k], stopped)
}
