package grange

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/voucher"
)

const (
	// VoucherLineSizeMax bounds a text with the line of a Voucher, in bytes.
	VoucherLineSizeMax = voucher.PassTextSizeMax
	// VoucherDaysMax is for how many days a voucher is good at most.
	VoucherDaysMax = voucher.LifeMax / (24 * 60 * 60)
)

// VoucherOptions say what is given on.
type VoucherOptions struct {
	// To is the machine that is to use it.
	To DID
	// Amount is the most that it may have at each home, in bytes; 0 is as much as we may. For is for how long, at most VoucherDaysMax days;
	// 0 is that. Of a club's own agent they say nothing: there a person has its share.
	Amount int64
	For    time.Duration
}

// Voucher is what somebody's machine is given, without a pact with anybody, so that it can keep something at a club's homes.
type Voucher struct {
	// Line is what is handed on. It is no secret: it is of use to that machine alone.
	Line string `json:"line"`
	For  DID    `json:"for"`
	Club string `json:"club"`
	// Homes are where it lets in.
	Homes []ClubHome `json:"homes"`
	// Renews says that the machine gets newer ones by itself.
	Renews bool `json:"renews,omitempty"`
}

// MakeVoucher gives some of what a club among our partners, by name or DID, has for this machine to another's; at a club's own agent, with "" for the
// club, a person whom it has admitted gets what it has for that. Errors: fs.ErrNotExist, ErrInvalid.
func (a *Agent) MakeVoucher(ctx context.Context, club string, o VoucherOptions) (Voucher, error) {
	grid := a.federation.Self().Grid
	if club != "" {
		p, err := a.partner(club)
		if err != nil {
			return Voucher{}, err
		}
		grid = p.Grid
	}
	if o.To.IsZero() || o.Amount < 0 || o.For < 0 || o.For > VoucherDaysMax*24*time.Hour {
		return Voucher{}, fmt.Errorf("a voucher for %d bytes and %v: %w", o.Amount, o.For, ErrInvalid)
	}
	until := a.c.Clock.Now().Add(cmp.Or(o.For, VoucherDaysMax*24*time.Hour)).Unix()
	pass, err := a.federation.MakePass(ctx, grid, o.To, o.Amount, until)
	if err != nil {
		return Voucher{}, err
	}
	line, err := pass.Line()
	if err != nil {
		return Voucher{}, err
	}
	out := voucherOf(pass)
	out.Line, out.For = line, o.To
	return out, nil
}

func voucherOf(p voucher.Pass) Voucher {
	out := Voucher{Club: p.Name, Homes: []ClubHome{}, Renews: p.From != nil}
	for _, h := range p.Homes {
		home := ClubHome{Grid: h.Grid, Name: h.Name}
		if c, err := voucher.Parse(h.Chain); err == nil { // it was opened before
			if r, err := voucher.Open(c); err == nil {
				home.Amount, home.Until = r.Amount, time.Unix(r.Until, 0)
			}
		}
		out.Homes = append(out.Homes, home)
	}
	return out
}

// ReadVoucher returns what a line gives, without using it. Errors: ErrInvalid, ErrCorrupt, ErrVersion.
func ReadVoucher(line string) (Voucher, error) {
	p, err := voucher.ParsePass(line)
	if err != nil {
		return Voucher{}, err
	}
	out := voucherOf(p)
	out.For, err = p.Open()
	return out, err
}

// VoucherUse is where a voucher has let this machine in.
type VoucherUse struct {
	Club DID    `json:"club"`
	Name string `json:"name"`
	// Errands are the households where it lets us in, Refused says of the others, by name, why not.
	Errands []Errand          `json:"errands"`
	Refused map[string]string `json:"refused,omitempty"`
}

// TakeVoucher uses the line of a Voucher that is for this machine: from then on what is put is placed at its homes too. Where a club gives newer
// ones an agent that runs asks for them by itself. Errors: ErrInvalid of a line that is none, or another machine's; ErrOwn; ErrPartly, when some of
// its homes let us in; else what the first that did not has said.
func (a *Agent) TakeVoucher(ctx context.Context, line string) (VoucherUse, error) {
	if err := a.federation.Revoked(); err != nil {
		return VoucherUse{}, err
	}
	p, err := voucher.ParsePass(line)
	if err != nil {
		return VoucherUse{}, err
	}
	if err := a.federation.TakePass(ctx, p); err != nil {
		return VoucherUse{}, err
	}
	if err := a.federation.VisitPass(ctx, p.Grid); err != nil { // what is in the line is good all the same
		a.c.Log.Info("ask for newer vouchers", "club", p.Name, "err", err)
	}
	failed := a.federation.UseVouchers(ctx)
	out := VoucherUse{Club: p.Grid, Name: p.Name, Errands: []Errand{}}
	for _, e := range a.Errands() {
		if e.By.Grid == p.Grid && e.By.Kind == core.WhyVoucher {
			out.Errands = append(out.Errands, e)
		}
	}
	var first error
	for _, h := range p.Homes {
		_, pact := a.federation.Partner(h.Grid)
		in := slices.ContainsFunc(out.Errands, func(e Errand) bool { return e.Grid == h.Grid })
		if err := failed[h.Grid]; err != nil && !in && !pact {
			if out.Refused == nil {
				out.Refused = map[string]string{}
			}
			out.Refused[h.Name] = a.plain(h.Name, err)
			first = cmp.Or(first, err)
		}
	}
	if first != nil && len(out.Errands) > 0 {
		return out, fmt.Errorf("%w: %w", ErrPartly, first)
	}
	return out, first
}
