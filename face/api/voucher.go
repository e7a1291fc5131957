package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// VoucherRequest is the body of POST /v1/voucher.
type VoucherRequest struct {
	// Club is a partner's name, as in the list of pacts, or a DID; "" at a club's own agent.
	Club string `json:"club,omitempty"`
	// To is the DID of the machine that is to use it.
	To string `json:"to"`
	// Amount is the most that it may have at each home, in bytes; 0 is as much as this machine may. Seconds is for how long, 0 is seven days.
	Amount  int64 `json:"amount,omitempty"`
	Seconds int64 `json:"seconds,omitempty"`
}

// UseVoucherRequest is the body of POST /v1/voucher-use.
type UseVoucherRequest struct {
	Line string `json:"line"`
}

func (o *owner) voucher(r *http.Request) answer {
	var in VoucherRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	to, err := core.ParseDID(in.To)
	if err != nil {
		return failure(nil, invalid(fmt.Sprintf("%.80q is no DID of a machine", Clean(in.To)), "on that machine: grange grid use"))
	}
	const most = grange.VoucherDaysMax * 24 * 60 * 60
	if in.Amount < 0 || in.Seconds < 0 || in.Seconds > most {
		return failure(nil, invalid(fmt.Sprintf("a voucher is for at most %d days, and for no amount below zero", grange.VoucherDaysMax), ""))
	}
	out, err := o.agent.MakeVoucher(r.Context(), in.Club, grange.VoucherOptions{To: to, Amount: in.Amount, For: time.Duration(in.Seconds) * time.Second})
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Code: CodeNotFound, Message: Clean(strings.TrimSuffix(err.Error(), ": "+fs.ErrNotExist.Error())), Hint: "grange grid show"}
	}
	return value(out, err)
}

func (o *owner) useVoucher(r *http.Request) answer {
	var in UseVoucherRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if _, err := grange.ReadVoucher(in.Line); err != nil {
		return failure(nil, err)
	}
	return long(r, func(func(grange.Progress)) (any, error) {
		out, err := o.agent.TakeVoucher(r.Context(), in.Line)
		if errors.Is(err, grange.ErrPartly) {
			return out, &Error{Code: CodePartly, Message: "not all of its homes let this machine in"}
		}
		return out, err
	})
}

// Voucher gives some of what a club has for this machine to another's.
func (c *Client) Voucher(ctx context.Context, in VoucherRequest) (out grange.Voucher, err error) {
	return out, c.post(ctx, "voucher", in, &out)
}

// UseVoucher uses a voucher that is for this machine. With grange.ErrPartly not all of its homes let it in.
func (c *Client) UseVoucher(ctx context.Context, line string) (out grange.VoucherUse, err error) {
	return out, c.long(ctx, "voucher-use", UseVoucherRequest{line}, nil, &out)
}
