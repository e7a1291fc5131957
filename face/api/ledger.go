package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"

	"github.com/grange-grid/grange"
)

// Ledgers is the answer to GET /v1/ledger.
type Ledgers struct {
	Ledger []grange.Ledger `json:"ledger"`
}

func (o *owner) ledger(r *http.Request) answer {
	who := param(r, "who")
	out, err := o.agent.Ledgers(r.Context(), who)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Code: CodeNotFound, Message: fmt.Sprintf("no partner %q", Clean(who)), Hint: "grange pacts"}
	}
	return value(Ledgers{out}, err)
}

func (o *owner) decision(r *http.Request) answer {
	id, err := strconv.ParseUint(param(r, "id"), 10, 64)
	if err != nil {
		return failure(nil, invalid(fmt.Sprintf("decision %.40q is no number", param(r, "id")), ""))
	}
	out, err := o.agent.Decision(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Code: CodeNotFound, Message: fmt.Sprintf("no decision %d", id), Hint: "grange ledger WHO lists the newest"}
	}
	return value(out, err)
}

// Ledger returns the books on one partner, or on all for "".
func (c *Client) Ledger(ctx context.Context, who string) ([]grange.Ledger, error) {
	var out Ledgers
	err := c.get(ctx, "ledger", url.Values{"who": {who}}, &out)
	return out.Ledger, err
}

// Decision returns one answer to what a partner has asked for.
func (c *Client) Decision(ctx context.Context, id uint64) (out grange.Decision, err error) {
	return out, c.get(ctx, "decision", url.Values{"id": {strconv.FormatUint(id, 10)}}, &out)
}
