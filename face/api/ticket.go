package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/grange-grid/grange"
)

// TicketRequest is the body of POST /v1/ticket.
type TicketRequest struct {
	Name string `json:"name"`
	// Version is its number; 0 is the newest.
	Version uint64 `json:"version,omitempty"`
	// Seconds is for how long it is good; 0 is grange.DefaultTicketLife.
	Seconds int64 `json:"seconds,omitempty"`
	// Stop makes none, but stops all tickets of the name.
	Stop bool `json:"stop,omitempty"`
}

// Ticket is the answer to POST /v1/ticket that makes one. The line is a secret.
type Ticket struct {
	Line string `json:"line"`
	grange.Ticket
}

// Tickets is the answer to GET /v1/tickets, and to POST /v1/ticket that stops them.
type Tickets struct {
	Tickets []grange.Ticket `json:"tickets"`
}

func (o *owner) tickets(r *http.Request) answer {
	out, err := o.agent.Tickets(r.Context(), param(r, "name"))
	return value(Tickets{out}, err)
}

func (o *owner) ticket(r *http.Request) answer {
	var in TicketRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if in.Stop {
		return o.stopTickets(r, in.Name)
	}
	if _, err := o.find(r.Context(), in.Name, in.Version); err != nil {
		return failure(nil, err)
	}
	line, t, err := o.agent.Ticket(r.Context(), grange.Ref{Name: in.Name, Version: in.Version}, time.Duration(in.Seconds)*time.Second)
	if errors.Is(err, grange.ErrPartly) {
		err = &Error{Code: CodeUnreachable, Message: "no partner could be told of it, and so there is none", Hint: "try again when one is back"}
	}
	return value(Ticket{line, t}, err)
}

// ticketSecondsMax is 366 days: what is longer is refused here, so that it is no overflow.
const ticketSecondsMax = 366 * 24 * 60 * 60

func (in TicketRequest) check() error {
	switch {
	case in.Seconds < 0 || in.Seconds > ticketSecondsMax:
		return invalid("a ticket is good for 366 days at most", "")
	case in.Stop && (in.Version > 0 || in.Seconds > 0):
		return invalid("all tickets of a name are stopped, whatever their version", "")
	case in.Name == "":
		return invalid("a ticket is of a name", "grange ls")
	}
	return named(in.Name, "grange ls")
}

func (o *owner) stopTickets(r *http.Request, name string) answer {
	out, err := o.agent.StopTickets(r.Context(), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = &Error{Code: CodeNotFound, Message: "no ticket of " + Clean(name) + " is good", Hint: "grange ticket --list"}
	case errors.Is(err, grange.ErrPartly):
		return failure(Tickets{out}, &Error{
			Code: CodePartly, Message: "stopped here, but no partner could be told: they let its bearers in until then",
			Hint: "a running agent tells them when they are back: grange run",
		})
	}
	return value(Tickets{out}, err)
}

// Tickets returns the tickets of a name, or of all names for "".
func (c *Client) Tickets(ctx context.Context, name string) ([]grange.Ticket, error) {
	var out Tickets
	err := c.get(ctx, "tickets", url.Values{"name": {name}}, &out)
	return out.Tickets, err
}

// Ticket makes a ticket.
func (c *Client) Ticket(ctx context.Context, in TicketRequest) (out Ticket, err error) {
	if err := in.check(); err != nil {
		return out, err
	}
	in.Stop = false
	return out, c.post(ctx, "ticket", in, &out)
}

// StopTickets stops all tickets of a name. With grange.ErrPartly they are returned too.
func (c *Client) StopTickets(ctx context.Context, name string) ([]grange.Ticket, error) {
	in := TicketRequest{Name: name, Stop: true}
	if err := in.check(); err != nil {
		return nil, err
	}
	var out Tickets
	err := c.post(ctx, "ticket", in, &out)
	return out.Tickets, err
}
