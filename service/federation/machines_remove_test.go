package federation_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func TestRemoveMachine(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.bo)
	x.second.meet(x.anna)
	x.cleo.off() // she hears of it later
	put := func(k, v string) { x.state[k] = v }
	put(x.second.segment(1000, 1))
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	stranger := x.household("zoe")
	for _, c := range []struct {
		what    string
		entropy [32]byte
		agent   core.DID
		kind    error
	}{
		{"another household's words", stranger.entropy, x.second.did(), core.ErrForbidden},
		{"itself", x.anna.entropy, x.anna.did(), core.ErrInvalid},
		{"a stranger's machine", x.anna.entropy, stranger.did(), core.ErrNotExist},
		{"a partner's machine", x.anna.entropy, x.bo.did(), core.ErrNotExist},
	} {
		_, err := x.anna.f.RemoveMachine(t.Context(), c.entropy, c.agent)
		wantError(t, c.what, err, c.kind)
	}
	want(t, "epoch before", x.anna.f.Self().Epoch, 2)
	out, err := x.anna.f.RemoveMachine(t.Context(), x.anna.entropy, x.second.did())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "already", out.Already, false)
	want(t, "epoch", out.Self.Epoch, 3)
	want(t, "recoveries", out.Self.Recoveries, 0)
	want(t, "the last head that counts", out.Head, 2)
	want(t, "told", fmt.Sprint(out.Told), fmt.Sprint([]core.DID{x.bo.grid()}))
	want(t, "not told", len(out.Failed), 1)
	want(t, "a new secret", x.anna.f.Secrets().Newest().Epoch, 3)
	_, removed, err := x.anna.f.Machines()
	if err != nil || len(removed) != 1 || removed[0].Name != "second" || removed[0].Agent != x.second.did() || removed[0].Head != 2 {
		t.Errorf("removed machines %+v, %v", removed, err)
	}
	x.anna.has("what it had saved stays", x.state)

	// It is let in nowhere that has heard of it, and learns why.
	for _, to := range []*machine{x.bo, x.anna} {
		for _, route := range []string{"/greet", "/heads", "/charter"} {
			method := "POST"
			if route == "/heads" {
				method = "GET"
			}
			code, err := x.second.call(to, method, route, map[string]any{})
			if code != wire.CodeRevoked {
				t.Errorf("%s at %s: %v", route, to.name, err)
			}
		}
	}
	_, err = x.second.f.SaveHead(t.Context())
	wantError(t, "it saves its head", errors.Join(err, x.second.f.VisitOwn(t.Context(), x.anna.did())), core.ErrRevoked)
	wantError(t, "it is told", x.second.f.Revoked(), core.ErrRevoked)
	x.second.off()
	wantError(t, "it starts again", x.second.tryOn(), core.ErrRevoked)

	// The same again tells who had not heard.
	x.cleo.on()
	x.anna.known.Learn(x.cleo.did(), x.cleo.peers.Addrs())
	out, err = x.anna.f.RemoveMachine(t.Context(), x.anna.entropy, x.second.did())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "already", out.Already, true)
	want(t, "told", len(out.Told), 2)
	want(t, "epoch", out.Self.Epoch, 3)
	if x.cleo.f.ListsAgent(x.anna.grid(), x.second.did()) {
		t.Error("cleo still lists it")
	}

	// Nobody to ask: nothing is done.
	third := x.machine("third", "anna")
	third.add(x.anna)
	for _, m := range []*machine{x.bo, x.cleo} {
		m.off()
	}
	_, err = x.anna.f.RemoveMachine(t.Context(), x.anna.entropy, third.did())
	wantError(t, "all are away", err, core.ErrUnreachable)
	if !x.anna.f.ListsAgent(x.anna.grid(), third.did()) {
		t.Error("it was removed")
	}
}

// What a thief saves after it was removed counts for nothing, also where nobody has heard.
func TestARemovedMachinesLaterHeadIsNotMerged(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.bo)
	x.second.meet(x.anna)
	x.anna.meet(x.second)
	x.cleo.off()
	if _, err := x.anna.f.RemoveMachine(t.Context(), x.anna.entropy, x.second.did()); err != nil {
		t.Fatal(err)
	}
	x.cleo.on()
	x.second.known.Learn(x.cleo.did(), x.cleo.peers.Addrs())
	x.second.segment(666, 1)
	if _, err := x.second.f.SaveHead(t.Context()); err != nil && !errors.Is(err, core.ErrRevoked) {
		t.Fatal(err)
	}
	x.anna.known.Learn(x.cleo.did(), x.cleo.peers.Addrs())
	if err := x.anna.f.Visit(t.Context(), x.cleo.grid()); err != nil {
		t.Fatal(err)
	}
	x.anna.has("after the thief", x.state)
}
