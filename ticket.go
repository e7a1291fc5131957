package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/ticket"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

// DefaultTicketLife is how long a ticket is good when it does not say.
const DefaultTicketLife = 30 * 24 * time.Hour

// TicketLineSizeMax is the most bytes of what RestoreTicket takes as a line.
const TicketLineSizeMax = ticket.LineTextSizeMax

// Ticket is what is known here of a ticket. The line itself, with its secret, is kept nowhere.
type Ticket struct {
	// Name, Number and Machine are the version's.
	Name    string    `json:"name"`
	Number  uint64    `json:"number"`
	Machine DID       `json:"machine"`
	Time    time.Time `json:"time"`
	Until   time.Time `json:"until"`
	Stopped bool      `json:"stopped,omitempty"`
}

// Ticket returns one line with which anybody reads the version that a Ref names, from its holders, for so long (zero is
// DefaultTicketLife). Whoever has the line needs no pact and not this machine. It is a secret: it is
// returned here and kept nowhere. Until it lapses or is stopped, what it reads is kept, also when the version is
// removed. Errors: fs.ErrNotExist; ErrInvalid of a Ref with a path, of more than 366 days, or too many
// tickets; ErrNoPartner; ErrUnreachable; ErrPartly if no partner could be told; ErrRevoked.
func (a *Agent) Ticket(ctx context.Context, r Ref, life time.Duration) (line string, t Ticket, err error) {
	if err := a.federation.Revoked(); err != nil {
		return "", Ticket{}, err
	}
	if r.Path != "" {
		return "", Ticket{}, fmt.Errorf("%s/%s: a ticket is for a whole version: %w", r.Name, r.Path, ErrInvalid)
	}
	until := a.c.Clock.Now().Add(cmp.Or(life, DefaultTicketLife))
	made, err := a.vault.MakeTicket(ctx, r.Name, r.Version, until.Unix(), func(t *vault.Ticketed) (err error) {
		line, err = a.ticketLine(t)
		return err
	})
	if errors.Is(err, vault.ErrNoPartner) {
		err = ErrNoPartner
	}
	if err = a.ended(err); err != nil {
		return "", Ticket{}, err
	}
	return line, ticketOf(made.Ticket), nil
}

// ticketLine writes a ticket as its line.
func (a *Agent) ticketLine(t *vault.Ticketed) (line string, err error) {
	x := ticket.Ticket{Table: t.Table, Segments: t.Tables}
	seal.Random(x.Seed[:])
	if x.Right, err = a.federation.SignRight(ticket.Right{ID: t.ID, Key: x.Seed.Key().DID(), Until: t.Until}); err != nil {
		return "", err
	}
	for addrs := ticketAddrs; ; addrs /= 2 { // with many holders it is too long, but for fewer addresses
		x.Holders = a.ticketHolders(t.Holders, addrs)
		line, err = x.Line()
		if addrs == 1 || !errors.Is(err, core.ErrTooLarge) {
			return line, err
		}
	}
}

// ticketAddrs is how many addresses of each holder a ticket has.
const ticketAddrs = 4

// ticketHolders returns the machines of households, where they were found last.
func (a *Agent) ticketHolders(grids []core.DID, addrs int) []ticket.Holder {
	var out []ticket.Holder
	for _, grid := range grids {
		for _, m := range a.machinesOf(grid) {
			if m.DID == a.key.DID() && len(m.Addrs) == 0 {
				m.Addrs = a.network.Addrs()
			}
			if len(out) < ticket.HoldersMax && !slices.ContainsFunc(out, func(h ticket.Holder) bool { return h.DID == m.DID }) {
				out = append(out, ticket.NewHolder(m.DID, m.Addrs, addrs))
			}
		}
	}
	return out
}

// machinesOf returns the machines of a household that may have pieces of ours.
func (a *Agent) machinesOf(grid core.DID) (out []federation.AgentAddrs) {
	if p, ok := a.federation.Partner(grid); ok {
		return p.Agents
	}
	e, ok := a.federation.Errand(grid)
	if !ok {
		return a.federation.Home().Agents
	}
	for _, agent := range e.Agents {
		out = append(out, federation.AgentAddrs{DID: agent, Addrs: a.network.addrs.Of(agent)})
	}
	return out
}

// Tickets returns the tickets of a name, or of all names for "", that have not lapsed, the oldest first.
func (a *Agent) Tickets(_ context.Context, name string) ([]Ticket, error) {
	tickets, err := a.vault.Tickets(name)
	return ticketsOf(tickets), err
}

// StopTickets stops all tickets of a name, and returns them. Each holder lets nobody in with them from when it has heard of it; what was
// read by then was read. With ErrPartly no partner could be told yet. Errors: fs.ErrNotExist if there is none, ErrRevoked.
func (a *Agent) StopTickets(ctx context.Context, name string) ([]Ticket, error) {
	if err := a.federation.Revoked(); err != nil {
		return nil, err
	}
	stopped, err := a.vault.StopTickets(ctx, name)
	a.tidySoon(len(stopped))
	return ticketsOf(stopped), a.ended(err)
}

func ticketsOf(tickets []vault.Ticket) []Ticket {
	out := make([]Ticket, len(tickets))
	for i, t := range tickets {
		out[i] = ticketOf(t)
	}
	return out
}

func ticketOf(t vault.Ticket) Ticket {
	return Ticket{Name: t.Name, Number: t.Seq, Machine: t.Agent, Time: time.Unix(t.Time, 0), Until: time.Unix(t.Until, 0), Stopped: t.Stopped}
}

// CheckTicket tells whether a ticket's line can be read, with whatever white space is in it. Errors: ErrInvalid, ErrCorrupt if characters are wrong or missing, ErrVersion.
func CheckTicket(line string) error {
	_, _, err := ticket.Parse(line)
	return err
}

// RestoreTicket writes the version of a ticket to dest ("" is its name, in the working directory), as Agent.Restore does. It needs no
// agent and no directory: of c it takes Clock, Peers and Log. To the holders it is a stranger, with a key that it makes for this
// one call. Errors: those of CheckTicket; a *Denial if the ticket has lapsed, was stopped, or counts no more because the machine that
// made it was removed, or the holders are partners of its household no more; ErrUnreachable; those of Agent.Restore.
func RestoreTicket(ctx context.Context, c Config, line, dest string, o *RestoreOptions) (RestoreResult, error) {
	if o == nil {
		o = &RestoreOptions{}
	}
	c = c.world()
	t, right, err := ticket.Parse(line)
	if err != nil {
		return RestoreResult{}, err
	}
	if until := time.Unix(right.Until, 0); !c.Clock.Now().Before(until) {
		return RestoreResult{}, &core.Denial{Reason: "the ticket was good until " + until.Format("2 Jan 2006, 15:04")}
	}
	var seed [32]byte
	seal.Random(seed[:])
	key := identity.KeyOf(seed)
	n := newNetwork(c, key)
	out, err := restoreTicket(ctx, c, federation.NewBearer(federation.Config{Key: key, Clock: c.Clock, Wire: n, Known: n.addrs}, t, right), t, dest, o)
	return out, errors.Join(err, n.Close())
}

func restoreTicket(ctx context.Context, c Config, b *federation.Bearer, t ticket.Ticket, dest string, o *RestoreOptions) (RestoreResult, error) {
	if err := b.Enter(ctx); errors.Is(err, core.ErrForbidden) {
		return RestoreResult{}, &core.Denial{Reason: "the ticket counts no more: its holders know neither its household nor the machine that made it"}
	} else if err != nil {
		return RestoreResult{}, err
	}
	g, err := vault.NewGuest(ctx, b, core.DID.Short, c.Log.With("room", "vault"), t)
	if err != nil {
		return RestoreResult{}, err
	}
	if dest, err = filepath.Abs(cmp.Or(dest, g.Version().Name)); err != nil {
		return RestoreResult{}, fmt.Errorf("find where to restore: %w", err)
	}
	return restoreInto(ctx, g.Version(), dest, func(open openSink) (*vault.Restored, error) {
		return g.Restore(ctx, vault.RestoreOptions{Progress: progressOf(o.Progress, core.DID.String)}, open)
	})
}
