package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/grange-grid/grange"
)

// PolicyRequest is the body of POST /v1/policy and POST /v1/policy-trial.
type PolicyRequest struct {
	// Text is the rules, a line each.
	Text string `json:"text"`
	// File is what an error calls it; else "policy".
	File string `json:"file,omitempty"`
}

func (o *owner) policy(r *http.Request) answer { return value(o.agent.Policy(r.Context())) }

func (o *owner) tryPolicy(r *http.Request) answer {
	var in PolicyRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.TryPolicy(r.Context(), in.Text)
	return value(out, in.wrong(err))
}

func (o *owner) setPolicy(r *http.Request) answer {
	var in PolicyRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.SetPolicy(r.Context(), in.Text)
	return value(out, in.wrong(err))
}

// wrong names the line of a policy that makes no sense.
func (in PolicyRequest) wrong(err error) error {
	if e, ok := errors.AsType[*grange.PolicyError](err); ok {
		return invalid(Clean(e.In(cmp.Or(in.File, "policy"))), Clean(e.Hint))
	}
	return err
}

// Policy returns who is answered how.
func (c *Client) Policy(ctx context.Context) (out grange.Policy, err error) {
	return out, c.get(ctx, "policy", nil, &out)
}

// TryPolicy says what a policy means, and what it would have answered lately.
func (c *Client) TryPolicy(ctx context.Context, in PolicyRequest) (out grange.PolicyTrial, err error) {
	return out, c.post(ctx, "policy-trial", in, &out)
}

// SetPolicy puts a policy in force.
func (c *Client) SetPolicy(ctx context.Context, in PolicyRequest) (out grange.Policy, err error) {
	return out, c.post(ctx, "policy", in, &out)
}
