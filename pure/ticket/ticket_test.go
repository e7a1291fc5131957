package ticket

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

func keyOf(name string) identity.Key { return identity.KeyOf(core.ScoreOf([]byte(name))) }

var (
	owner  = keyOf("owner's machine")
	holder = keyOf("holder")
	caller = keyOf("caller")
	theID  = ID([]byte("id of the ticket"))
	seed   = Secret(core.ScoreOf([]byte("bearer")))
)

func right() Right {
	return Right{V: 1, Grid: keyOf("grid").DID(), ID: theID, Key: seed.Key().DID(), Until: 1_800_000_000}
}

func proof() Proof {
	return Proof{V: 1, ID: theID, Holder: holder.DID(), Agent: caller.DID(), Nonce: [32]byte{1, 2, 3}}
}

func segment(name string) manifest.Segment {
	return manifest.Segment{V: 1, ID: golden.Stream(name, 16), K: 1, M: 1, Size: 4096, Pieces: golden.Stream(name+" pieces", 64)}
}

func table(t testing.TB, s manifest.Segment) page.Tree {
	t.Helper()
	raw, err := manifest.Ref{
		Plain: core.ScoreOf([]byte("plain")), Packed: core.ScoreOf([]byte("packed")), Key: seal.Key(golden.Stream("key", 32)),
		Size: 3000, Sealed: 3072 + 16, Segment: s.ID,
	}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return page.Tree{V: 1, Count: 4, Root: raw}
}

func ticket(t testing.TB) Ticket {
	t.Helper()
	signed, err := SignRight(owner, right())
	if err != nil {
		t.Fatal(err)
	}
	s := segment("segment")
	return Ticket{V: 1, Right: signed, Seed: seed, Table: table(t, s), Segments: []manifest.Segment{s}, Holders: []Holder{
		{DID: holder.DID(), Addrs: []string{"/ip4/192.0.2.1/tcp/4726", "/dns4/bo.example/udp/4726/quic-v1"}},
		{DID: keyOf("another").DID(), Addrs: []string{}},
	}}
}

func record(t testing.TB) Record {
	return Record{
		V: 1, Name: "photos", Agent: owner.DID(), Seq: 7, Time: 1_790_000_000, Until: 1_800_000_000,
		Table: table(t, segment("segment")), Segments: [][]byte{segment("segment").ID},
	}
}

func line(t testing.TB) string {
	t.Helper()
	l, err := ticket(t).Line()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLine(t *testing.T) {
	l := line(t)
	if strings.ContainsAny(l, " \n") || !strings.HasPrefix(l, Prefix) {
		t.Fatal(l)
	}
	for _, text := range []string{l, "\n " + strings.ToLower(l) + "\r\n", l[:100] + "\n" + l[100:200] + "-\n" + l[200:]} {
		got, r, err := Parse(text)
		if err != nil || !reflect.DeepEqual(got, ticket(t)) || r != right() {
			t.Fatalf("%+v, %+v, %v", got, r, err)
		}
	}
}

// A single wrong character is found wherever it stands, and no error has more of the line than that.
func TestAWrongCharacter(t *testing.T) {
	l := line(t)
	for i := range l {
		other := byte('Q')
		if l[i] == other {
			other = 'R'
		}
		if l[i] == '-' {
			continue
		}
		got, r, err := Parse(l[:i] + string(other) + l[i+1:])
		want := core.ErrCorrupt
		if i < len(Prefix) {
			want = core.ErrInvalid
		}
		if !errors.Is(err, want) || !reflect.ValueOf(got).IsZero() || r != (Right{}) {
			t.Fatalf("character %d: %v", i, err)
		}
		if strings.Contains(err.Error(), l[len(Prefix):len(Prefix)+16]) {
			t.Fatalf("the error shows the line: %v", err)
		}
	}
	for text, want := range map[string]error{
		"": core.ErrInvalid, "GRANGE:" + l[len(Prefix):]: core.ErrInvalid, l[:len(l)-40]: core.ErrCorrupt,
		l + l: core.ErrCorrupt, l + strings.Repeat(" ", LineTextSizeMax): core.ErrTooLarge, l + strings.Repeat("A", LineSizeMax): core.ErrTooLarge,
	} {
		if _, _, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("%.40q…: %v, want %v", text, err, want)
		}
	}
}

func TestBadTickets(t *testing.T) {
	many := func(n int) (out []Holder) {
		for i := range n {
			out = append(out, Holder{DID: keyOf(fmt.Sprint(i)).DID()})
		}
		return out
	}
	for name, c := range map[string]struct {
		change func(*Ticket)
		want   error
	}{
		"another's seed":        {func(x *Ticket) { x.Seed[0]++ }, core.ErrInvalid},
		"no seed":               {func(x *Ticket) { x.Seed = Secret{} }, core.ErrInvalid},
		"a forged right":        {func(x *Ticket) { x.Right.By = holder.DID() }, core.ErrCorrupt},
		"a right of other kind": {func(x *Ticket) { x.Right.Sig = identity.SignBytes(owner, identity.KindLease, x.Right.Body) }, core.ErrCorrupt},
		"no holder":             {func(x *Ticket) { x.Holders = nil }, core.ErrInvalid},
		"many holders":          {func(x *Ticket) { x.Holders = many(HoldersMax + 1) }, core.ErrInvalid},
		"a holder twice":        {func(x *Ticket) { x.Holders[1] = x.Holders[0] }, core.ErrInvalid},
		"a holder of no key":    {func(x *Ticket) { x.Holders[1].DID = core.DID{} }, core.ErrInvalid},
		"an address of a host":  {func(x *Ticket) { x.Holders[0].Addrs = []string{"example"} }, core.ErrInvalid},
		"a long address":        {func(x *Ticket) { x.Holders[0].Addrs = []string{"/" + strings.Repeat("a", AddrSizeMax)} }, core.ErrInvalid},
		"an address that turns": {func(x *Ticket) { x.Holders[0].Addrs = []string{"/\u202ea"} }, core.ErrInvalid},
		"many addresses":        {func(x *Ticket) { x.Holders[0].Addrs = slices.Repeat([]string{"/a"}, AddrsMax+1) }, core.ErrInvalid},
		"no segment":            {func(x *Ticket) { x.Segments = nil }, core.ErrInvalid},
		"a broken segment":      {func(x *Ticket) { x.Segments[0].Pieces = x.Segments[0].Pieces[1:] }, core.ErrInvalid},
		"another segment":       {func(x *Ticket) { x.Segments[0] = segment("other") }, core.ErrInvalid},
		"a segment twice":       {func(x *Ticket) { x.Segments = append(x.Segments, x.Segments[0]) }, core.ErrInvalid},
		"many segments":         {func(x *Ticket) { x.Segments = slices.Repeat(x.Segments, TableSegmentsMax+1) }, core.ErrInvalid},
		"a table of a version":  {func(x *Ticket) { x.Table.Count = 1 }, core.ErrInvalid},
		"a table of version 2":  {func(x *Ticket) { x.Table.V = 2 }, core.ErrVersion},
		"a root that is none":   {func(x *Ticket) { x.Table.Root = []byte{1} }, core.ErrInvalid},
		"too long": {func(x *Ticket) {
			x.Holders = many(HoldersMax)
			for i := range x.Holders {
				x.Holders[i].Addrs = slices.Repeat([]string{"/" + strings.Repeat("a", 200)}, AddrsMax)
			}
		}, core.ErrTooLarge},
	} {
		x := ticket(t)
		x.Segments, x.Holders = slices.Clone(x.Segments), slices.Clone(x.Holders)
		c.change(&x)
		if l, err := x.Line(); !errors.Is(err, c.want) || l != "" {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestRightAndProof(t *testing.T) {
	s, err := SignRight(owner, right())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenRight(s); err != nil || got != right() {
		t.Fatal(got, err)
	}
	p, err := SignProof(seed.Key(), proof())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenProof(right(), p); err != nil || got != proof() {
		t.Fatal(got, err)
	}
	for name, change := range map[string]func(*Right){
		"no grid": func(r *Right) { r.Grid = core.DID{} }, "no id": func(r *Right) { r.ID = ID{} }, "no key": func(r *Right) { r.Key = core.DID{} },
		"for ever": func(r *Right) { r.Until = 0 }, "far away": func(r *Right) { r.Until = TimeMax + 1 },
	} {
		r := right()
		change(&r)
		if _, err := SignRight(owner, r); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Proof){
		"no id": func(p *Proof) { p.ID = ID{} }, "no holder": func(p *Proof) { p.Holder = core.DID{} },
		"no agent": func(p *Proof) { p.Agent = core.DID{} }, "to oneself": func(p *Proof) { p.Agent = p.Holder },
	} {
		p := proof()
		change(&p)
		if _, err := SignProof(seed.Key(), p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Proofs that are signed well, and of something else.
	other := proof()
	other.ID[0]++
	ofOther, _ := SignProof(seed.Key(), other)
	byOther, _ := SignProof(caller, proof())
	asRight := identity.Signed{By: p.By, Body: p.Body, Sig: identity.SignBytes(seed.Key(), identity.KindTicket, p.Body)}
	for name, c := range map[string]struct {
		s    identity.Signed
		want error
	}{"of another ticket": {ofOther, core.ErrInvalid}, "by another key": {byOther, core.ErrInvalid}, "of another kind": {asRight, core.ErrCorrupt}} {
		if got, err := OpenProof(right(), c.s); !errors.Is(err, c.want) || got != (Proof{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecords(t *testing.T) {
	live, err := record(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	stopped := record(t)
	stopped.Stopped = true
	dead, err := stopped.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Compare(dead, live) <= 0 {
		t.Error("of two records with one key the one that is stopped must be the greater")
	}
	if got, err := DecodeRecord(dead); err != nil || !reflect.DeepEqual(got, stopped) {
		t.Error(got, err)
	}
	for name, change := range map[string]func(*Record){
		"no agent": func(r *Record) { r.Agent = core.DID{} }, "no number": func(r *Record) { r.Seq = 0 }, "a name that climbs": func(r *Record) { r.Name = ".." },
		"over a year": func(r *Record) { r.Until = r.Time + LifeMax + 1 }, "no time": func(r *Record) { r.Until = r.Time },
		"before 1970": func(r *Record) { r.Time = -1 }, "no segment": func(r *Record) { r.Segments = nil }, "no table": func(r *Record) { r.Table = page.Tree{V: 1} },
		"a short id": func(r *Record) { r.Segments[0] = r.Segments[0][1:] },
	} {
		r := record(t)
		change(&r)
		if _, err := r.Marshal(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if id, err := ParseRecordKey(RecordKey(theID)); err != nil || id != theID {
		t.Error(id, err)
	}
	for _, key := range []string{"", "t/", "s/" + string(theID[:]), "t/" + string(theID[1:]), "t/" + string(make([]byte, IDSize))} {
		if _, err := ParseRecordKey([]byte(key)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestNewHolder(t *testing.T) {
	got := NewHolder(holder.DID(), []string{"/a", "b", "/\x00", "/c", "/" + strings.Repeat("d", AddrSizeMax), "/e"}, 2)
	if want := (Holder{holder.DID(), []string{"/a", "/c"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestTheSeedIsNotShown(t *testing.T) {
	x := ticket(t)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("a ticket", "seed", x.Seed, "all", x)
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %x %s %d %q", x.Seed, x, x, x.Seed, x.Seed, x.Seed), log.String(), string(text)} {
		if !strings.Contains(shown, "[secret]") {
			t.Errorf("no [secret] in %s", shown)
		}
		for _, form := range []string{"%x", "%X", "%d"} {
			if strings.Contains(shown, fmt.Sprintf(form, x.Seed[:])) {
				t.Errorf("the seed is in %s", shown)
			}
		}
	}
}
