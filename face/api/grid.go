package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/grange-grid/grange"
)

// paramGrid is the parameter of every resource that names a club which the machine hosts: then it is the
// club's agent that is meant.
const paramGrid = "grid"

// GridRequest is the body of POST /v1/grids.
type GridRequest struct {
	Name string `json:"name"`
}

// Grids is the answer to GET /v1/grids.
type Grids struct {
	Grids []string `json:"grids"`
}

// of returns the owner of the club that a request names, and the request without the name; or what there is,
// where it names none.
func (o *owner) of(r *http.Request) (*owner, *http.Request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	names, ok := query[paramGrid]
	if err != nil || !ok {
		return o, r, nil // what is wrong with it the resource says
	}
	if len(names) > 1 {
		return nil, nil, invalid(fmt.Sprintf("parameter %q stands twice", paramGrid), "")
	}
	club, err := o.club(r.Context(), names[0])
	if err != nil {
		return nil, nil, err
	}
	query.Del(paramGrid)
	at := *r.URL
	at.RawQuery = query.Encode()
	out := *r
	out.URL = &at
	return &owner{agent: club, routes: o.routes}, &out, nil
}

// club returns the agent of a club that the machine hosts.
func (o *owner) club(ctx context.Context, name string) (*grange.Agent, error) {
	club, err := o.agent.Club(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("no club %q is on this machine", Clean(name)), Hint: "grange grid show lists them; grange grid new makes one"}
	}
	return club, err
}

func (o *owner) grids(*http.Request) answer {
	names, err := o.agent.Clubs()
	return value(Grids{names}, err)
}

func (o *owner) host(r *http.Request) answer {
	var in GridRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	club, err := o.club(r.Context(), in.Name)
	if err != nil {
		return failure(nil, err)
	}
	return value(club.Status(r.Context(), ""))
}

// Grid returns a client of a club that the machine hosts. It needs no Close, and ends with c.
func (c *Client) Grid(name string) *Client {
	client := *c.http
	client.Transport = gridTransport{inner: c.http.Transport, name: name}
	return &Client{http: &client, end: func() {}}
}

// gridTransport names a club in each request.
type gridTransport struct {
	inner http.RoundTripper
	name  string
}

func (t gridTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	query := r.URL.Query()
	query.Set(paramGrid, t.name)
	r.URL.RawQuery = query.Encode()
	return t.inner.RoundTrip(r)
}

// Grids returns the names of the clubs that the machine hosts.
func (c *Client) Grids(ctx context.Context) ([]string, error) {
	var out Grids
	err := c.get(ctx, "grids", nil, &out)
	return out.Grids, err
}

// Host has the machine host a club whose directory is there; it returns the club's status.
func (c *Client) Host(ctx context.Context, name string) (out grange.Status, err error) {
	return out, c.post(ctx, "grids", GridRequest{name}, &out)
}
