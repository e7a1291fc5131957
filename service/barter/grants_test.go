package barter

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func wantDenial(t *testing.T, err error, amount int64, reason string) {
	t.Helper()
	denial, ok := errors.AsType[*core.Denial](err)
	if !ok || denial.Counter == nil || denial.Counter.Amount != amount || !strings.Contains(denial.Reason, reason) {
		t.Errorf("answered %v (%+v), want a denial with a counter of %d that says %q", err, denial, amount, reason)
	}
}

func TestRoomIsCountedExactly(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	if err := holder.now().SetOffer(10_000); err != nil {
		t.Fatal(err)
	}
	holder.wantUsed(t, owner, 0, 0, 0)
	grant := owner.mustAsk(t, holder, 6_000)
	holder.wantUsed(t, owner, 0, 0, 6_000)
	_, err := owner.ask(t, holder, 4_001)
	wantDenial(t, err, 4_000, "")
	_ = owner.mustAsk(t, holder, 4_000)
	holder.wantUsed(t, owner, 0, 0, 10_000)
	_, err = owner.ask(t, holder, 1)
	wantDenial(t, err, 0, "no room")

	a, b, c := bytesOf(1, 2_000), bytesOf(2, 3_000), bytesOf(3, 1_001)
	owner.mustPut(t, holder, grant, a, b)
	wantDenial(t, owner.put(t, holder, grant, c), 1_000, "1000 bytes left")
	if holder.has(t, c) {
		t.Error("a piece over the room was kept")
	}
	owner.mustPut(t, holder, grant, a) // again costs nothing
	owner.mustPut(t, holder, grant, c[:1_000])
	owner.mustLease(t, holder, a, b)
	holder.wantUsed(t, owner, 5_000, 2, 10_000)
	owner.mustPut(t, holder, grant, a, b) // nor does what is held
	owner.mustLease(t, holder, a, b, c[:1_000])
	holder.wantUsed(t, owner, 6_000, 3, 10_000)
	wantDenial(t, owner.put(t, holder, grant, []byte{1}), 0, "0 bytes left")
	owner.mustPut(t, holder, grant, a) // also when the room is used up
	holder.check(t)
}

func TestAGrantEndsAnHourAfterItsLastUse(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	answer, err := owner.ask(t, holder, 5_000)
	if want := clock.Now().Add(time.Hour).Unix(); err != nil || answer.Expires != want {
		t.Fatalf("granted %+v, %v; want it to end at %d", answer, err, want)
	}
	leased, unleased := bytesOf(1, 1_000), bytesOf(2, 2_000)
	clock.Advance(59 * time.Minute)
	owner.mustPut(t, holder, answer.Grant, leased, unleased)
	owner.mustLease(t, holder, leased)
	clock.Advance(59 * time.Minute)
	owner.mustPut(t, holder, answer.Grant, bytesOf(3, 10))
	clock.Advance(time.Hour - time.Second)
	holder.wantUsed(t, owner, 1_000, 1, 5_000)
	clock.Advance(time.Second)
	holder.wantUsed(t, owner, 1_000, 1, 1_000)
	if err := owner.put(t, holder, answer.Grant, bytesOf(4, 10)); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("put under a grant that has ended: %v", err)
	}
	if err := holder.now().tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, leased) || holder.has(t, unleased) || holder.has(t, bytesOf(3, 10)) {
		t.Error("what was not leased must go, and nothing else")
	}
	out, err := owner.lease(t, holder, nil, leased, unleased)
	if err != nil || out.Lease == nil || !slices.Equal(out.Missing, []core.Score{core.ScoreOf(unleased)}) {
		t.Errorf("lease over one that is there and one that is not: %+v, %v", out, err)
	}
	holder.check(t)
}

func TestAClockSetBackDoesNotKeepGrantsAlive(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	_ = owner.mustAsk(t, holder, 5_000)
	clock.Jump(-1000 * time.Hour)
	holder.wantUsed(t, owner, 0, 0, 5_000)
	clock.Advance(time.Hour)
	holder.wantUsed(t, owner, 0, 0, 0)
}

func TestCloseFreesAtOnce(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	first, second := owner.mustAsk(t, holder, 5_000), owner.mustAsk(t, holder, 700)
	foreign := other.mustAsk(t, holder, 90)
	a, b := bytesOf(1, 1_000), bytesOf(2, 1_000)
	owner.mustPut(t, holder, first, a, b)
	// The lease comes before the end of its grant, in one request. Nobody ends another's grant.
	out, err := owner.lease(t, holder, [][]byte{first, foreign, nil, bytes.Repeat([]byte{1}, 400)}, a)
	if err != nil || out.Lease == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if !holder.has(t, a) || holder.has(t, b) {
		t.Error("what was not leased must go, and nothing else")
	}
	holder.wantUsed(t, owner, 1_000, 1, 1_790)
	if err := owner.put(t, holder, first, b); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("put under a grant that was closed: %v", err)
	}
	other.mustPut(t, holder, foreign, bytesOf(3, 90))
	owner.mustPut(t, holder, second, bytesOf(4, 700))
	holder.check(t)
}

func TestSixteenGrantsAreOpenAtMost(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	var ids [][]byte
	for range grantsMax {
		ids = append(ids, owner.mustAsk(t, holder, 10))
	}
	if _, err := owner.ask(t, holder, 10); !errors.Is(err, core.ErrBusy) {
		t.Errorf("the seventeenth: %v", err)
	}
	holder.wantUsed(t, owner, 0, 0, 160)
	_ = other.mustAsk(t, holder, 10)
	if _, err := owner.lease(t, holder, append(ids, ids[0])); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("seventeen closed at once: %v", err)
	}
	if _, err := owner.lease(t, holder, ids[:1]); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	_ = owner.mustAsk(t, holder, 10)
	holder.wantUsed(t, owner, 0, 0, 10)
}

// An owner who is killed again and again leaves grants that nobody closes.
func TestAGrantThatIsLeftMakesRoomForAnother(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	left := owner.mustAsk(t, holder, 10)
	for range grantsMax - 1 {
		_ = owner.mustAsk(t, holder, 10)
	}
	clock.Advance(grantLeft - time.Second)
	owner.mustPut(t, holder, left, bytesOf(1, 10))
	for _, more := range []int{0, grantsMax - 1} {
		for range more { // all but the one that was used
			_ = owner.mustAsk(t, holder, 10)
		}
		if _, err := owner.ask(t, holder, 10); !errors.Is(err, core.ErrBusy) {
			t.Errorf("too soon: %v", err)
		}
		clock.Advance(time.Second)
	}
	clock.Advance(grantLeft - 2*time.Second)
	_ = owner.mustAsk(t, holder, 10)
	if err := owner.put(t, holder, left, bytesOf(1, 10)); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("put under a grant that made room: %v", err)
	}
}

func TestAPieceUnderSomebodyElsesGrant(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	grant := owner.mustAsk(t, holder, 5_000)
	data := bytesOf(1, 1_000)
	if err := other.put(t, holder, grant, data); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("put under another household's grant: %v", err)
	}
	owner.mustPut(t, holder, grant, data)
	out, err := other.lease(t, holder, [][]byte{grant}, data)
	if err != nil || out.Lease != nil || len(out.Missing) != 1 {
		t.Errorf("lease over a piece that another brought: %+v, %v", out, err)
	}
	owner.mustLease(t, holder, data)
	out, err = other.lease(t, holder, nil, data)
	if err != nil || out.Lease != nil || len(out.Missing) != 1 {
		t.Errorf("lease over a piece that another has: %+v, %v", out, err)
	}
	holder.wantUsed(t, other, 0, 0, 5_000)
	holder.check(t)
}

// Two households can have one piece: each pays for it, and neither's end takes it from the other.
func TestOnePieceOfTwoOwners(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	data := bytesOf(1, 1_000)
	one, two := owner.mustAsk(t, holder, 1_000), other.mustAsk(t, holder, 1_000)
	owner.mustPut(t, holder, one, data)
	other.mustPut(t, holder, two, data)
	if _, err := other.lease(t, holder, [][]byte{two}); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, data) {
		t.Fatal("a piece went that another household had in hand")
	}
	owner.mustLease(t, holder, data)
	two = other.mustAsk(t, holder, 1_000)
	other.mustPut(t, holder, two, data)
	other.mustLease(t, holder, data)
	holder.wantUsed(t, owner, 1_000, 1, 2_000)
	holder.wantUsed(t, other, 1_000, 1, 2_000)
	two = other.mustAsk(t, holder, 1_000)
	other.mustPut(t, holder, two, data)
	if _, err := other.lease(t, holder, [][]byte{two}); err != nil {
		t.Fatal(err)
	}
	if !holder.has(t, data) {
		t.Fatal("a leased piece went with a grant")
	}
	holder.check(t)
}

// One piece under two grants of one owner: the first of them pays, the other has its room again.
func TestOnePieceUnderTwoGrants(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	one, two := owner.mustAsk(t, holder, 1_000), owner.mustAsk(t, holder, 1_000)
	if bytes.Compare(one, two) > 0 {
		one, two = two, one
	}
	data := bytesOf(1, 600)
	owner.mustPut(t, holder, one, data)
	owner.mustPut(t, holder, two, data)
	owner.mustLease(t, holder, data)
	holder.wantUsed(t, owner, 600, 1, 2_000)
	wantDenial(t, owner.put(t, holder, one, bytesOf(2, 401)), 400, "400 bytes left")
	owner.mustPut(t, holder, two, bytesOf(3, 1_000))
	// A put that began before the lease and ends after it finds the piece leased: its room comes back too.
	b := holder.now()
	in, err := b.reserve(owner.grid, [grantIDSize]byte(one), core.ScoreOf(bytesOf(4, 300)), 300, false)
	if err != nil {
		t.Fatal(err)
	}
	owner.mustPut(t, holder, one, bytesOf(4, 300))
	owner.mustLease(t, holder, bytesOf(4, 300))
	late, err := b.reserve(owner.grid, [grantIDSize]byte(one), core.ScoreOf(bytesOf(4, 300)), 100, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []arrival{in, late} {
		if err := b.arrive(in, true); err != nil {
			t.Fatal(err)
		}
	}
	owner.mustLease(t, holder, bytesOf(4, 300))
	holder.wantUsed(t, owner, 900, 2, 2_000)
	wantDenial(t, owner.put(t, holder, one, bytesOf(2, 401)), 100, "100 bytes left")
	holder.check(t)
}

func TestHostileSizesAndForms(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	grant := owner.mustAsk(t, holder, 3<<20)
	for _, amount := range []int64{0, -1, -1 << 63, 1<<63 - 1, 1 << 53} {
		if _, err := owner.ask(t, holder, amount); !errors.Is(err, core.ErrRefused) {
			t.Errorf("ask for %d: %v", amount, err)
		}
	}
	send := func(path string, data []byte) error {
		return owner.client.Send(t.Context(), holder.agent(), path, data)
	}
	data := bytesOf(1, 100)
	good := putPath(core.ScoreOf(data), grant, make([]byte, 16), 3)
	for name, c := range map[string]struct {
		path string
		data []byte
		kind error
	}{
		"empty":           {putPath(core.ScoreOf(nil), grant, make([]byte, 16), 3), []byte{}, core.ErrInvalid},
		"too large":       {putPath(core.ScoreOf(make([]byte, pieceSize+1)), grant, make([]byte, 16), 3), make([]byte, pieceSize+1), core.ErrTooLarge},
		"not the score":   {good, data[:99], core.ErrInvalid},
		"no score":        {strings.Replace(good, core.ScoreOf(data).String(), "b", 1), data, core.ErrInvalid},
		"upper case":      {strings.Replace(good, "/pieces/b", "/pieces/B", 1), data, core.ErrInvalid},
		"no grant":        {strings.Replace(good, "grant=", "g=", 1), data, core.ErrInvalid},
		"short grant":     {putPath(core.ScoreOf(data), grant[:15], make([]byte, 16), 3), data, core.ErrInvalid},
		"long grant":      {putPath(core.ScoreOf(data), append(grant, 1), make([]byte, 16), 3), data, core.ErrInvalid},
		"another grant":   {putPath(core.ScoreOf(data), make([]byte, 16), make([]byte, 16), 3), data, core.ErrNotExist},
		"no segment":      {strings.Replace(good, "segment=", "s=", 1), data, core.ErrInvalid},
		"index 20":        {putPath(core.ScoreOf(data), grant, make([]byte, 16), 20), data, core.ErrInvalid},
		"index -1":        {putPath(core.ScoreOf(data), grant, make([]byte, 16), -1), data, core.ErrInvalid},
		"broken encoding": {good + "&index=%zz", data, nil}, // what is read of the query is good
	} {
		if err := send(c.path, c.data); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	one := core.Piece{Score: core.ScoreOf(data), Size: 100}
	for name, in := range map[string]leaseRequest{
		"no seconds":     {Pieces: []core.Piece{one}},
		"past":           {Pieces: []core.Piece{one}, Seconds: -1},
		"twice":          {Pieces: []core.Piece{one, one}, Seconds: 1},
		"another size":   {Pieces: []core.Piece{{Score: one.Score, Size: 99}}, Seconds: 1},
		"negative size":  {Pieces: []core.Piece{{Score: one.Score, Size: -100}}, Seconds: 1},
		"too large":      {Pieces: []core.Piece{{Score: one.Score, Size: pieceSize + 1}}, Seconds: 1},
		"too many":       {Pieces: make([]core.Piece, leasePieceMax+1), Seconds: 1},
		"falling":        {Pieces: []core.Piece{{Score: core.Score{2}}, {Score: core.Score{1}}}, Seconds: 1},
		"too many close": {Pieces: []core.Piece{}, Close: make([][]byte, grantsMax+1)},
	} {
		if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/leases", in, &leaseAnswer{}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("lease, %s: %v", name, err)
		}
	}
	if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/prove", proveRequest{Challenges: make([]challenge, challengesMax+1)}, nil); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("too many challenges: %v", err)
	}
	for _, after := range []string{"x", "bafkr4i", strings.Repeat("b", 5000)} {
		if err := owner.client.Call(t.Context(), holder.agent(), "GET", "/leases?after="+after, nil, &leasesAnswer{}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("leases after %.10q: %v", after, err)
		}
	}
	// One second and for ever are both leases, as long as the pact allows.
	for _, seconds := range []int64{1, 1<<63 - 1} {
		var out leaseAnswer
		if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/leases", leaseRequest{Pieces: []core.Piece{one}, Seconds: seconds}, &out); err != nil {
			t.Fatal(err)
		}
		lease, err := holder.now().openOwn(mustMarshal(t, *out.Lease), owner.grid)
		if want := min(seconds, 180*daySeconds); err != nil || lease.Until-lease.From != want {
			t.Errorf("a lease of %d seconds runs for %d: %v", seconds, lease.Until-lease.From, err)
		}
	}
	holder.wantUsed(t, owner, 100, 1, 3<<20)
	holder.check(t)
}

func TestUnleasedPiecesUnderAGrantAreBounded(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	b := holder.now()
	id := [grantIDSize]byte(owner.mustAsk(t, holder, 1<<20))
	for i := range grantPiecesMax {
		data := bytesOf(i, 8)
		if err := b.keep(t.Context(), owner.grid, id, core.Blob{Score: core.ScoreOf(data), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	data := []byte("one more")
	if err := b.keep(t.Context(), owner.grid, id, core.Blob{Score: core.ScoreOf(data), Data: data}); !errors.Is(err, core.ErrRefused) {
		t.Errorf("piece %d: %v", grantPiecesMax+1, err)
	}
}

func TestAskIsAnsweredByThePolicy(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	pact := pactOf(owner.grid, holder.grid)
	good := core.Ask{Resource: core.Storage, Amount: 1, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]}}
	for name, c := range map[string]struct {
		change func(*core.Ask)
		reason string
	}{
		"another resource": {func(a *core.Ask) { a.Resource = "cpu" }, `"cpu" is not given`},
		"no reason":        {func(a *core.Ask) { a.Why = core.Why{Kind: core.WhyNone} }, "nothing is given"},
		"unknown reason":   {func(a *core.Ask) { a.Why.Kind = core.WhyKind(strings.Repeat("x", 8000)) }, "not accepted"},
		"another pact":     {func(a *core.Ask) { a.Why.Ref = make([]byte, 32) }, "the pact that the ask names is not ours"},
		"no pact":          {func(a *core.Ask) { a.Why.Ref = nil }, "the pact that the ask names is not ours"},
	} {
		ask := good
		c.change(&ask)
		err := owner.client.Call(t.Context(), holder.agent(), "POST", "/ask", ask, nil)
		if denial, ok := errors.AsType[*core.Denial](err); !ok || !strings.Contains(denial.Reason, c.reason) {
			t.Errorf("%s: %v, want a denial that says %q", name, err, c.reason)
		}
	}
	holder.mu.Lock()
	holder.without[owner.grid] = true // the pact ends between the gate and the handler
	holder.mu.Unlock()
	if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/ask", good, nil); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("without a pact: %v", err)
	}
	if _, err := owner.lease(t, holder, nil, bytesOf(1, 1)); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a lease without a pact: %v", err)
	}
}

func TestBusyGoesAwayAsWireError(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	for range grantsMax {
		_ = owner.mustAsk(t, holder, 1)
	}
	_, err := owner.ask(t, holder, 1)
	if busy, ok := errors.AsType[*wire.Error](err); !ok || busy.RetrySeconds == 0 {
		t.Errorf("%v says no time to come back", err)
	}
}
