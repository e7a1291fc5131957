package grange_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// A stolen machine runs on while its owner goes on elsewhere: it learns that it was
// removed, keeps no partner, and spoils nothing.
func TestRecoverFromAThief(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo := homes[0], homes[1]
		want := randomTree(1, 50_000)
		anna.put("tree", want)
		again, rec := w.recover(anna, bo, "anna again")
		if rec.Agree != 3 || !slices.Equal(rec.Removed, []core.DID{anna.did}) {
			t.Errorf("recovered %+v", rec)
		}
		again.run()
		if _, err := anna.Put(t.Context(), "tree", randomTree(2, 50_000).fs(), nil); err == nil {
			t.Error("the stolen machine can still put")
		}
		w.later(10 * time.Minute) // it greets, and is told
		for what, err := range map[string]error{
			"put":    second(anna.Put(t.Context(), "tree", want.fs(), nil)),
			"invite": second(anna.Invite(t.Context(), grange.Terms{})),
			"accept": second(anna.Accept(t.Context(), "GRANGE:X", nil)),
		} {
			if !errors.Is(err, grange.ErrRevoked) {
				t.Errorf("%s on the stolen machine: %v, want revoked", what, err)
			}
		}
		status, err := anna.Status(t.Context(), "")
		if err != nil || !strings.Contains(status.Revoked, "removed from household anna") {
			t.Errorf("its status: %q, %v", status.Revoked, err)
		}
		if err := anna.Run(t.Context(), nil); !errors.Is(err, grange.ErrRevoked) {
			t.Errorf("it runs again: %v", err)
		}
		again.mustHave("tree", want)
		again.put("tree", randomTree(3, 50_000))
		again.mustHave("tree", randomTree(3, 50_000))
		if check, err := again.Check(t.Context(), "", nil); err != nil {
			t.Errorf("check: %+v, %v", check, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// One partner has an old head: it is outvoted, named, and made up to date, even where the
// recovery begins with it.
func TestRecoverWithOneOldHead(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo := homes[0], homes[1]
		first, second := randomTree(1, 50_000), randomTree(2, 50_000)
		anna.put("tree", first)
		w.net.Down(bo.did)
		if _, err := anna.Put(t.Context(), "tree", second.fs(), nil); err != nil {
			t.Fatalf("put while bo is away: %v", err)
		}
		anna.stop()
		w.net.Up(bo.did)
		again, rec := w.recover(anna, bo, "again")
		if rec.Agree != 2 || rec.Asked != 3 || rec.Failed["bo"] != "has an older state" || len(rec.Failed) != 1 {
			t.Errorf("recovered %+v", rec)
		}
		if len(rec.Versions) != 1 || rec.Versions[0].Number != 2 {
			t.Errorf("versions %+v", rec.Versions)
		}
		again.mustHave("tree", second)
		again.run()
		w.later(10 * time.Minute)
		again.stop()
		third, rec := w.recover(again, bo, "third")
		for name, why := range rec.Failed {
			if name != "bo" || why != "has an older state" { // the last head of the machine that was lost never came to him
				t.Errorf("the second time, %s: %s", name, why)
			}
		}
		if len(rec.Versions) != 1 || rec.Versions[0].Number != 2 {
			t.Errorf("the second time: %+v", rec)
		}
		third.mustHave("tree", second)
	})
}

// Two recoveries at once: one of them ends up with the household, the other says that
// it was removed and stops.
func TestTwoRecoveries(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna := homes[0]
		want := randomTree(1, 50_000)
		anna.put("tree", want)
		anna.stop()
		rivals := []*machine{w.machine("x"), w.machine("y")}
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i, m := range rivals {
			m.phrase = anna.phrase
			inv, err := homes[1+i].Invite(t.Context(), grange.Terms{})
			if err != nil {
				t.Fatal(err)
			}
			both.Go(func() {
				_, errs[i] = grange.Recover(t.Context(), m.config(), m.phrase, grange.RecoverOptions{From: inv.Code})
			})
		}
		both.Wait()
		var winners, losers []string
		var winner *machine
		for i, m := range rivals {
			if errs[i] != nil && !errors.Is(errs[i], grange.ErrRevoked) {
				t.Errorf("%s: %v", m.name, errs[i])
			}
			err := m.live(20 * time.Minute) // it greets all, and hears of the other
			switch {
			case errors.Is(err, grange.ErrRevoked):
				losers = append(losers, m.name)
			case err != nil:
				t.Errorf("run %s: %v", m.name, err)
			default:
				winners, winner = append(winners, m.name), m
			}
		}
		if len(winners) != 1 || len(losers) != 1 {
			t.Fatalf("%q have the household, %q are removed", winners, losers)
		}
		winner.open()
		winner.mustHave("tree", want)
		winner.put("tree", randomTree(2, 50_000))
	})
}

// live opens and runs a machine for a while, and closes it.
func (m *machine) live(d time.Duration) error {
	a, err := grange.Open(m.w.t.Context(), m.config())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(m.w.t.Context(), d)
	defer cancel()
	return errors.Join(a.Run(ctx, nil), a.Close())
}

// All partners but one are away during the recovery. When they come back they learn of it by
// being greeted, and nobody types the phrase again.
func TestRecoverThroughOnePartner(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo, away := homes[0], homes[1], homes[2:]
		want := randomTree(1, 50_000)
		anna.put("tree", want)
		anna.stop()
		for _, m := range away {
			w.net.Down(m.did)
		}
		again, rec := w.recover(anna, bo, "again")
		if rec.Agree != 1 || rec.Asked != 3 || len(rec.Failed) != 2 || rec.Failed["cleo"] != "could not be reached" {
			t.Errorf("recovered %+v", rec)
		}
		if len(rec.Versions) != 1 || rec.Versions[0].Worth.Readable {
			t.Errorf("with 7 of 20 pieces it should not say readable: %+v", rec.Versions)
		}
		if err := again.hasTree("tree", want); err == nil {
			t.Error("7 of 20 pieces give the tree")
		}
		again.run()
		for _, m := range away {
			w.net.Up(m.did)
		}
		w.later(30 * time.Minute)
		if err := anna.live(10 * time.Minute); !errors.Is(err, grange.ErrRevoked) {
			t.Errorf("the lost machine comes back: %v", err)
		}
		// The pieces at those two are found when they are back, and by asking again.
		again.mustHave("tree", want)
		if check, err := again.Check(t.Context(), "", nil); err != nil || check.Unheld != 0 || check.Worth.Survives != 1 {
			t.Errorf("check with all back: %+v, %v", check, err)
		}
		again.stop()
		third, rec := w.recover(again, homes[2], "third")
		if rec.Agree != 3 || rec.Pieces == 0 || rec.Pieces != rec.Versions[0].Worth.Pieces || rec.Unknown != 0 {
			t.Errorf("with all: %+v", rec)
		}
		third.mustHave("tree", want)
	})
}

func TestRecoverWithAWrongPhrase(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo")
		anna, bo := homes[0], homes[1]
		anna.put("tree", randomTree(1, 1000))
		m := w.machine("nobody")
		m.phrase = w.found("eve").phrase
		if _, err := m.recover(bo); !errors.Is(err, core.ErrForbidden) || !strings.Contains(err.Error(), "no partner knows a household with this phrase") {
			t.Errorf("another household's phrase: %v", err)
		}
		m.phrase = strings.Replace(anna.phrase, " ", " abandon ", 1)
		if _, err := m.recover(bo); !errors.Is(err, grange.ErrInvalid) {
			t.Errorf("a phrase that is none: %v", err)
		}
		if _, err := os.Stat(m.dir); err != nil {
			t.Error("the directory of the first attempt is gone")
		}
		// What was typed wrong costs nothing: the right phrase goes on in the same directory.
		m.phrase = anna.phrase
		if rec, err := m.recover(bo); err != nil || len(rec.Versions) != 1 {
			t.Errorf("the right one: %+v, %v", rec, err)
		}
	})
}

// A recovered household puts the same tree again, over other partners than before: next to
// nothing is sent.
func TestRecoveredPutSendsNothingTwice(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo := homes[0], homes[1]
		want := randomTree(1, 3<<20)
		anna.put("tree", want)
		anna.stop()
		again, _ := w.recover(anna, bo, "again")
		before := again.placed(t)
		if before == 0 {
			t.Fatal("nothing is placed after the recovery")
		}
		out := again.put("tree", want)
		if out.Stored*100 > before || out.Same < int64(len(want["b/large"])) {
			t.Errorf("stored %d new bytes, %d are the same; %d were there", out.Stored, out.Same, before)
		}
		if after := again.placed(t); (after-before)*100 > before {
			t.Errorf("placed %d bytes more than %d", after-before, before)
		}
		again.run()
		for _, m := range homes[1:] {
			w.balanced(again, m)
		}
	})
}

// Pieces that were leased after the last head that anybody kept are told as unknown, and stay.
func TestRecoverKeepsUnknownPieces(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		bo := w.found("bo")
		s := bo.spoiled()
		bo.run()
		anna := w.found("anna")
		anna.run()
		w.befriend(bo, anna)
		first := randomTree(1, 20_000)
		anna.put("first", first)
		s.set("POST /head", spoils["stops at once"])
		if _, err := anna.Put(t.Context(), "second", randomTree(2, 20_000).fs(), nil); !errors.Is(err, grange.ErrPartly) {
			t.Fatalf("a put whose head is nowhere: %v", err)
		}
		keeps := bo.pact(anna).Keeps
		anna.stop()
		s.set("", nil)
		again, rec := w.recover(anna, bo, "again")
		if rec.Unknown == 0 || len(rec.Versions) != 1 || rec.Versions[0].Name != "first" {
			t.Errorf("recovered %+v", rec)
		}
		again.run()
		for range 3 { // 180 days is what a lease has: it is renewed by whoever runs now and then
			for _, m := range []*machine{again, bo} {
				m.stop()
			}
			w.later(70 * 24 * time.Hour)
			for _, m := range []*machine{bo, again} {
				m.open()
				m.run()
			}
			w.later(time.Hour)
		}
		if got := bo.pact(again).Keeps; got < keeps {
			t.Errorf("bo keeps %d bytes, %d before: something unknown was let go", got, keeps)
		}
		again.mustHave("first", first)
		again.stop()
		if _, rec := w.recover(again, bo, "third"); rec.Unknown == 0 { // by a lease that has not ended
			t.Error("the unknown pieces are gone after 210 days")
		}
	})
}

// However early a recovery is cut, it is run again on the same directory and succeeds.
func TestSimRecoverCutAnywhere(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo := homes[0], homes[1]
		want := randomTree(1, 20_000)
		anna.put("tree", want)
		anna.stop()
		last := anna
		stride := 3 // steps are alike; a long run cuts at each
		if simSeeds(t) > simSeedsFew {
			stride = 1
		}
		for cut := 0; ; cut += stride {
			m := w.machine(fmt.Sprint("cut", cut))
			m.phrase = anna.phrase
			inv, err := bo.Invite(t.Context(), grange.Terms{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			steps, stage := 0, ""
			_, err = grange.Recover(ctx, m.config(), m.phrase, grange.RecoverOptions{From: inv.Code, Progress: func(p grange.Progress) {
				if steps == cut {
					stage = p.Stage
					cancel()
				}
				steps++
			}})
			cancel()
			whole := steps <= cut
			if whole && err != nil {
				t.Fatalf("not cut: %v", err)
			}
			rec, err := m.recover(homes[2])
			if err != nil {
				t.Fatalf("cut at step %d (%s), and again: %v", cut, stage, err)
			}
			if rec.Household != "anna" || len(rec.Failed) > 0 {
				t.Errorf("cut at step %d (%s), and again: %+v", cut, stage, rec)
			}
			m.open()
			m.mustHave("tree", want)
			if status, err := m.Status(t.Context(), ""); err != nil || status.Recoveries != uint64(cut/stride)+1 || len(status.Pacts) != 2 {
				t.Errorf("cut at step %d (%s): %+v, %v", cut, stage, status, err)
			}
			last = m
			m.stop()
			if whole {
				break
			}
			if cut > 60 {
				t.Fatal("a recovery without end")
			}
		}
		dest := filepath.Join(t.TempDir(), "back")
		last.open()
		if _, err := last.Restore(t.Context(), grange.Ref{Name: "tree"}, dest, nil); err != nil {
			t.Error(err)
		}
	})
}
