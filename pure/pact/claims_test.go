package pact

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// suite tests what is the same of every claim.
func suite[T claim](t *testing.T, good T, signer identity.Key, kind string, sizeMax int,
	signT func(identity.Key, T) (identity.Signed, error), openT func(identity.Signed) (T, error), bad map[string]func(*T),
) {
	s, err := signT(signer, good)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openT(s); err != nil || !reflect.DeepEqual(got, good) {
		t.Fatalf("got %+v, %v; want %+v", got, err, good)
	}
	refused := func(name string, s identity.Signed, want error) {
		t.Helper()
		got, err := openT(s)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if !reflect.ValueOf(got).IsZero() {
			t.Errorf("%s: a value came with the error", name)
		}
	}
	resign := func(k identity.Key, kind string, body []byte) identity.Signed {
		return identity.Signed{By: k.DID(), Body: body, Sig: identity.SignBytes(k, kind, body)}
	}

	for i := range s.Body {
		flipped := s
		flipped.Body = slices.Clone(s.Body)
		flipped.Body[i] ^= 0x10
		refused("a bit of the body", flipped, core.ErrCorrupt)
		refused("a body cut", resign(signer, kind, s.Body[:i]), core.ErrInvalid)
	}
	for i := range s.Sig {
		flipped := s
		flipped.Sig = slices.Clone(s.Sig)
		flipped.Sig[i] ^= 1
		refused("a bit of the signature", flipped, core.ErrCorrupt)
	}
	refused("a byte more", resign(signer, kind, append(slices.Clone(s.Body), 0)), core.ErrInvalid)
	refused("of another kind", resign(signer, identity.KindHead, s.Body), core.ErrCorrupt)
	refused("by another", resign(key(99), kind, s.Body), core.ErrInvalid)
	refused("in another's name", identity.Signed{By: key(99).DID(), Body: s.Body, Sig: s.Sig}, core.ErrCorrupt)
	refused("too large", resign(signer, kind, make([]byte, sizeMax+1)), core.ErrTooLarge)
	refused("empty", identity.Signed{}, core.ErrCorrupt)
	if _, err := signT(key(99), good); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("signed by another: %v", err)
	}
	if _, err := signT(identity.Key{}, good); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("signed by nobody: %v", err)
	}

	for name, change := range bad {
		v := good
		change(&v)
		if _, err := signT(signer, v); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: signed: %v", name, err)
		}
		body, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		refused(name, resign(signer, kind, body), core.ErrInvalid)
	}
}

// later is a claim of a version to come.
func later(t *testing.T, k identity.Key, kind string) identity.Signed {
	s, err := identity.Sign(k, kind, map[string]any{"v": 2, "new": "field"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLease(t *testing.T) {
	suite(t, lease(), bobAgent, identity.KindLease, LeaseSizeMax, SignLease, OpenLease, map[string]func(*Lease){
		"no holder":         func(l *Lease) { l.Holder = core.DID{} },
		"no grid":           func(l *Lease) { l.Grid = core.DID{} },
		"no owner":          func(l *Lease) { l.Owner = core.DID{} },
		"no pact":           func(l *Lease) { l.Pact = core.Score{} },
		"to oneself":        func(l *Lease) { l.Owner = l.Grid },
		"without a pact":    func(l *Lease) { l.Pact = Home(l.Owner) },
		"no pieces":         func(l *Lease) { l.Pieces = nil },
		"too many pieces":   func(l *Lease) { l.Pieces = scores(PiecesMax + 1) },
		"the zero piece":    func(l *Lease) { l.Pieces = []core.Score{{}} },
		"a piece twice":     func(l *Lease) { l.Pieces = []core.Score{l.Pieces[0], l.Pieces[0]} },
		"falling pieces":    func(l *Lease) { l.Pieces = []core.Score{l.Pieces[1], l.Pieces[0]} },
		"too many bytes":    func(l *Lease) { l.Bytes = AmountMax + 1 },
		"most bytes":        func(l *Lease) { l.Bytes = math.MaxUint64 },
		"from no time":      func(l *Lease) { l.From = 0 },
		"until from":        func(l *Lease) { l.Until = l.From },
		"until far beyond":  func(l *Lease) { l.Until = math.MaxInt64 },
		"until before 1970": func(l *Lease) { l.Until = math.MinInt64 },
	})
	if _, err := OpenLease(later(t, bobAgent, identity.KindLease)); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of a later version: %v", err)
	}
}

func TestLeaseLargest(t *testing.T) {
	l := lease()
	l.Pieces = scores(PiecesMax)
	l.Bytes = AmountMax
	l.From, l.Until = TimeMax-1, TimeMax
	s, err := SignLease(bobAgent, l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenLease(s)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, l) {
		t.Error("it changed on the way")
	}
	r := release()
	r.Pieces = l.Pieces
	s, err = SignRelease(annaAgent, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRelease(s); err != nil {
		t.Error(err)
	}
}

func TestRelease(t *testing.T) {
	suite(t, release(), annaAgent, identity.KindRelease, LeaseSizeMax, SignRelease, OpenRelease, map[string]func(*Release){
		"no owner":      func(r *Release) { r.Owner = core.DID{} },
		"no agent":      func(r *Release) { r.Agent = core.DID{} },
		"no pieces":     func(r *Release) { r.Pieces = nil },
		"a piece twice": func(r *Release) { r.Pieces = []core.Score{r.Pieces[0], r.Pieces[0]} },
		"too many":      func(r *Release) { r.Pieces = scores(PiecesMax + 1) },
		"at no time":    func(r *Release) { r.Time = 0 },
		"far away":      func(r *Release) { r.Time = TimeMax + 1 },
	})
	if _, err := OpenRelease(later(t, annaAgent, identity.KindRelease)); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of a later version: %v", err)
	}
}

func TestAdmission(t *testing.T) {
	suite(t, admission(), annaGrid, identity.KindAdmission, ReceiptSizeMax, SignAdmission, OpenAdmission, map[string]func(*Admission){
		"no grid":    func(a *Admission) { a.Grid = core.DID{} },
		"no agent":   func(a *Admission) { a.Agent = core.DID{} },
		"no partner": func(a *Admission) { a.Partner = core.DID{} },
		"to itself":  func(a *Admission) { a.Partner = a.Agent },
		"at no time": func(a *Admission) { a.Time = -3 },
	})
	if _, err := OpenAdmission(later(t, annaGrid, identity.KindAdmission)); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of a later version: %v", err)
	}
}

func TestReceipt(t *testing.T) {
	suite(t, receipt(), annaAgent, identity.KindReceipt, ReceiptSizeMax, SignReceipt, OpenReceipt, map[string]func(*Receipt){
		"no pact":       func(r *Receipt) { r.Pact = core.Score{} },
		"no provider":   func(r *Receipt) { r.Provider = core.DID{} },
		"no receiver":   func(r *Receipt) { r.Receiver = core.DID{} },
		"to oneself":    func(r *Receipt) { r.Provider = r.Receiver },
		"no resource":   func(r *Receipt) { r.Resource = "" },
		"a bad one":     func(r *Receipt) { r.Resource = "sto rage" },
		"no seq":        func(r *Receipt) { r.Seq = 0 },
		"until no time": func(r *Receipt) { r.Until = 0 },
	})
	if _, err := OpenReceipt(later(t, annaAgent, identity.KindReceipt)); !errors.Is(err, core.ErrVersion) {
		t.Errorf("of a later version: %v", err)
	}
}

func TestReceiptFollows(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Receipt)
		want   error
	}{
		{"the next", func(r *Receipt) { r.Seq++; r.Total++; r.Until++ }, nil},
		{"nothing more since", func(r *Receipt) { r.Seq += 5 }, nil},
		{"itself", func(*Receipt) {}, core.ErrStale},
		{"an older one", func(r *Receipt) { r.Seq--; r.Total-- }, core.ErrStale},
		{"a total that fell", func(r *Receipt) { r.Seq++; r.Total-- }, core.ErrInvalid},
		{"a date that fell", func(r *Receipt) { r.Seq++; r.Until-- }, core.ErrInvalid},
		{"of another pact", func(r *Receipt) { r.Seq++; r.Pact[0]++ }, core.ErrInvalid},
		{"of another provider", func(r *Receipt) { r.Seq++; r.Provider[0]++ }, core.ErrInvalid},
		{"of another receiver", func(r *Receipt) { r.Seq++; r.Receiver[0]++ }, core.ErrInvalid},
		{"of another resource", func(r *Receipt) { r.Seq++; r.Resource = "work" }, core.ErrInvalid},
	}
	for _, test := range tests {
		r := receipt()
		test.change(&r)
		if err := r.Follows(receipt()); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}
