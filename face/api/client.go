package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/grange-grid/grange"
)

// Client calls the API of an agent. Its errors are *Error, of which errors.Is
// tells the kind, or the context's. Its methods may be called at once.
type Client struct {
	http *http.Client
	// end waits for what still runs.
	end func()
}

// Dial returns a client of the agent that runs on a directory.
// Errors: grange.ErrNotHere if none answers.
func Dial(ctx context.Context, dir string) (*Client, error) {
	c, err := connect(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("reach the agent of %s: %w", dir, err)
	}
	t := &http.Transport{
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, dir) },
	}
	return &Client{http: plain(t), end: t.CloseIdleConnections}, nil
}

// Local returns a client of a handler in this process.
func Local(h http.Handler) *Client {
	t := &inProcess{handler: h}
	return &Client{http: plain(t), end: t.running.Wait}
}

// plain is a client that goes nowhere else than it is sent.
func plain(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Close ends the client. When it returns, no handler of this process that it has
// called runs any more; requests under way must have been cancelled or have ended.
func (c *Client) Close() { c.end() }

// Status returns what the agent knows without asking anybody: the newest version
// of each name, or of one.
func (c *Client) Status(ctx context.Context, name string) (out grange.Status, err error) {
	return out, c.get(ctx, "status", url.Values{"name": {name}}, &out)
}

// Versions returns the versions of a name, or of all names for "", the newest of each first.
func (c *Client) Versions(ctx context.Context, name string) ([]grange.Version, error) {
	var out Versions
	err := c.get(ctx, "versions", url.Values{"name": {name}}, &out)
	return out.Versions, err
}

// Pacts returns what there is with each partner.
func (c *Client) Pacts(ctx context.Context) ([]grange.Pact, error) {
	var out Pacts
	err := c.get(ctx, "pacts", nil, &out)
	return out.Pacts, err
}

// Offer returns what the machine gives.
func (c *Client) Offer(ctx context.Context) (out Offer, err error) {
	return out, c.get(ctx, "offer", nil, &out)
}

// SetOffer sets what the machine gives.
func (c *Client) SetOffer(ctx context.Context, in OfferRequest) (out Offer, err error) {
	return out, c.post(ctx, "offer", in, &out)
}

// Invite makes a code for one friend.
func (c *Client) Invite(ctx context.Context, in InviteRequest) (out grange.Invitation, err error) {
	return out, c.post(ctx, "invite", in, &out)
}

// Joined waits until an invitation is accepted.
func (c *Client) Joined(ctx context.Context, id []byte) (out grange.Pact, err error) {
	return out, c.get(ctx, "joined", url.Values{"id": {base64.StdEncoding.EncodeToString(id)}}, &out)
}

// Terms returns what a code offers.
func (c *Client) Terms(ctx context.Context, code string) (out grange.Terms, err error) {
	return out, c.post(ctx, "terms", CodeRequest{code}, &out)
}

// Accept agrees to a code's terms.
func (c *Client) Accept(ctx context.Context, code string) (out grange.Pact, err error) {
	return out, c.post(ctx, "accept", CodeRequest{code}, &out)
}

// Put stores a file or directory. With grange.ErrPartly, and when it was refused, the result says more.
func (c *Client) Put(ctx context.Context, in PutRequest, progress func(grange.Progress)) (out grange.PutResult, err error) {
	if err := named(in.Name, "a name is like: documents"); err != nil {
		return out, err
	}
	return out, c.long(ctx, "put", in, progress, &out)
}

// Get restores a version, or a part of one. With grange.ErrPartly the result says more.
func (c *Client) Get(ctx context.Context, in GetRequest, progress func(grange.Progress)) (out grange.RestoreResult, err error) {
	if err := named(in.Name, "grange ls"); err != nil {
		return out, err
	}
	return out, c.long(ctx, "get", in, progress, &out)
}

// Check has every holder prove what it keeps. With grange.ErrPartly the result says more.
func (c *Client) Check(ctx context.Context, in CheckRequest, progress func(grange.Progress)) (out grange.CheckResult, err error) {
	if err := named(in.Name, "grange ls"); err != nil {
		return out, err
	}
	return out, c.long(ctx, "check", in, progress, &out)
}

// List calls each for what is in one directory of a version; its error ends it.
func (c *Client) List(ctx context.Context, r grange.Ref, each func(Entry) error) (out Listing, err error) {
	query := url.Values{"name": {r.Name}, "path": {r.Path}}
	if r.Version > 0 {
		query.Set("version", strconv.FormatUint(r.Version, 10))
	}
	req, err := request(ctx, http.MethodGet, "ls", query, nil)
	if err != nil {
		return out, err
	}
	return out, c.stream(ctx, req, func(l incoming) error {
		if l.Entry == nil {
			return nil
		}
		return each(*l.Entry)
	}, &out)
}

// Events yields what happens from now on, until ctx ends or the agent does.
func (c *Client) Events(ctx context.Context) iter.Seq2[grange.Event, error] {
	return func(yield func(grange.Event, error) bool) {
		req, err := request(ctx, http.MethodGet, "events", nil, nil)
		if err == nil {
			err = c.stream(ctx, req, func(l incoming) error {
				if l.Event != nil && !yield(*l.Event, nil) {
					return errEnough
				}
				return nil
			}, nil)
		}
		if !errors.Is(err, errEnough) {
			yield(grange.Event{}, err)
		}
	}
}

var errEnough = errors.New("the reader has enough")

// request makes a request with a body in JSON, if in is not nil.
func request(ctx context.Context, method, resource string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	for name := range query {
		if query.Get(name) == "" {
			query.Del(name)
		}
	}
	target := url.URL{Scheme: "http", Host: "grange", Path: "/v1/" + resource, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err == nil && in != nil {
		req.Header.Set("Content-Type", typeJSON)
	}
	return req, err
}

func (c *Client) get(ctx context.Context, resource string, query url.Values, out any) error {
	req, err := request(ctx, http.MethodGet, resource, query, nil)
	if err != nil {
		return err
	}
	return c.one(ctx, req, out)
}

func (c *Client) post(ctx context.Context, resource string, in, out any) error {
	req, err := request(ctx, http.MethodPost, resource, nil, in)
	if err != nil {
		return err
	}
	return c.one(ctx, req, out)
}

// one does a request that is answered with one value.
func (c *Client) one(ctx context.Context, req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return gone(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return gone(ctx, err)
		}
		return nil
	}
	return failed(ctx, resp, out)
}

// failed reads the error of an answer, and the result that came with it, if any.
func failed(ctx context.Context, resp *http.Response, out any) error {
	var l incoming
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil || l.Error == nil {
		return gone(ctx, fmt.Errorf("answer %d without an error that can be read", resp.StatusCode))
	}
	if l.Result != nil && out != nil {
		if err := json.Unmarshal(l.Result, out); err != nil {
			return gone(ctx, err)
		}
	}
	return l.Error
}

// incoming is a line as it is read.
type incoming struct {
	line
	Result json.RawMessage `json:"result"`
}

func (c *Client) long(ctx context.Context, resource string, in any, progress func(grange.Progress), out any) error {
	req, err := request(ctx, http.MethodPost, resource, nil, in)
	if err != nil {
		return err
	}
	return c.stream(ctx, req, func(l incoming) error {
		if l.Progress != nil && progress != nil {
			progress(*l.Progress)
		}
		return nil
	}, out)
}

// stream does a request that is answered with lines, up to the result or the error.
func (c *Client) stream(ctx context.Context, req *http.Request, each func(incoming) error, out any) error {
	req.Header.Set("Accept", typeStream)
	resp, err := c.http.Do(req)
	if err != nil {
		return gone(ctx, err)
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var l incoming
		if err := lines.Decode(&l); err != nil {
			return gone(ctx, err)
		}
		if l.Result != nil && out != nil {
			if err := json.Unmarshal(l.Result, out); err != nil {
				return gone(ctx, err)
			}
		}
		if l.Error != nil {
			return l.Error
		}
		if l.Result != nil {
			return nil
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

// gone is the error of an exchange that was broken off: the caller's own end, or the agent's.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errNobody) {
		err = errors.New("it has ended")
	}
	e := ErrorOf(&Error{Code: CodeGone, Message: "the agent went away before it had answered: " + message(err)})
	row, _ := rowOf(CodeGone)
	e.Hint = row.hint
	return e
}
