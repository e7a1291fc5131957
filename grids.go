package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
)

// gridsDir is where in its directory a machine has those of the clubs that it hosts, by name.
const gridsDir = "grids"

// Limits of clubs.
const (
	// hostedMax is how many clubs one machine hosts.
	hostedMax = 64
	// clubNameMax bounds a club's name, in bytes: it is the name of a directory too.
	clubNameMax = 32
)

var clubName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// CheckClubName tells whether a club that is hosted here can have a name: it is also that of a directory, which a
// disk may keep without regard to case. Errors: ErrInvalid.
func CheckClubName(name string) error {
	if len(name) > clubNameMax || !clubName.MatchString(name) {
		return fmt.Errorf("club %.80q: its name is 1 to %d of a to z, 0 to 9 and -: %w", name, clubNameMax, ErrInvalid)
	}
	return nil
}

// hosted are the clubs whose agents live on this machine, each in a directory of its own. They are opened when they
// are first wanted, and run while this machine does. Its methods may be called at once.
type hosted struct {
	mu     sync.Mutex // held while one is opened, so that it is opened once
	all    map[string]*Agent
	closed bool
	ready  map[*Agent]chan struct{} // closed when it can be reached, or never will

	news chan struct{} // holds a token when there is another to run
}

// club is the Config of a club's agent: as its machine's, but for its directory and, as two cannot have one, its ports (listen); it is no account server.
func (c Config) club(name string) Config {
	c.Dir = filepath.Join(c.Dir, gridsDir, name)
	c.Log = c.Log.With("grid", name)
	c.within, c.Accounts = true, false
	listen := c.Listen
	c.Listen = nil
	for _, addr := range listen {
		c.Listen = append(c.Listen, anyPort(addr))
	}
	return c
}

// Clubs returns the names of the clubs that this machine hosts, in order.
func (a *Agent) Clubs() ([]string, error) { return a.c.clubs() }

func (c Config) clubs() ([]string, error) {
	out := []string{}
	entries, err := os.ReadDir(filepath.Join(c.Dir, gridsDir))
	if errors.Is(err, fs.ErrNotExist) || c.within {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("list the clubs of %s: %w", c.Dir, err)
	}
	for _, e := range entries {
		if e.IsDir() && CheckClubName(e.Name()) == nil && len(out) < hostedMax {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// Club returns the agent of a club that this machine hosts; it is closed with this one, and by nobody else. While
// this one runs it does too. Errors: fs.ErrNotExist where there is none of that name, and those of Open.
func (a *Agent) Club(ctx context.Context, name string) (*Agent, error) {
	h, err := a.openClub(ctx, name)
	if err == nil && a.network.listens() {
		err = a.clubReady(ctx, h)
	}
	return h, err
}

func (a *Agent) openClub(ctx context.Context, name string) (*Agent, error) {
	if err := CheckClubName(name); err != nil {
		return nil, err
	}
	a.hosted.mu.Lock()
	defer a.hosted.mu.Unlock()
	if a.hosted.closed {
		return nil, fmt.Errorf("club %s: the agent is closed: %w", name, ErrNotHere)
	}
	if h := a.hosted.all[name]; h != nil {
		return h, nil
	}
	clubs, err := a.Clubs()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(clubs, name) {
		return nil, fmt.Errorf("no club %q is on this machine: %w", name, fs.ErrNotExist)
	}
	h, err := Open(ctx, a.c.club(name))
	if err != nil {
		return nil, fmt.Errorf("club %s: %w", name, err)
	}
	if a.hosted.all == nil {
		a.hosted.all, a.hosted.ready = map[string]*Agent{}, map[*Agent]chan struct{}{}
	}
	a.hosted.all[name], a.hosted.ready[h] = h, make(chan struct{})
	select {
	case a.hosted.news <- struct{}{}:
	default: // one is there already
	}
	return h, nil
}

// CreateClub founds a club, with a recovery phrase and a key of its own, in the directory of a machine, which hosts it
// from then on; one that runs does from its first Club of that name. save is as in Create. The club's agent gives
// nothing of this disk: what a club gives is what its members give it. Cut short, it can be called again.
// Errors: fs.ErrExist where there is one of that name, ErrInvalid of the name, and those of Create.
func CreateClub(ctx context.Context, c Config, name string, save func(phrase string) error) error {
	if err := CheckClubName(name); err != nil {
		return err
	}
	c, err := c.complete()
	if err != nil {
		return err
	}
	clubs, err := c.clubs()
	if err != nil {
		return err
	}
	if len(clubs) >= hostedMax {
		return fmt.Errorf("a machine hosts at most %d clubs: %w", hostedMax, core.ErrRefused)
	}
	err = Create(ctx, c.club(name), name, save)
	if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("a club %s is on this machine: %w", name, fs.ErrExist)
	}
	if err != nil {
		return err
	}
	h, err := Open(ctx, c.club(name))
	if err != nil {
		return err
	}
	return errors.Join(h.SetOffer(ctx, 0), h.Close())
}

// host runs the clubs' agents, those too that come while it does. That one of them cannot run is no reason to end.
func (a *Agent) host(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	running := map[*Agent]bool{}
	for {
		for h, ready := range a.waiting() {
			if running[h] {
				continue
			}
			running[h] = true
			group.Go(func() {
				over := sync.OnceFunc(func() { close(ready) })
				defer over()
				if err := h.Run(ctx, func([]string) { over() }); err != nil && ctx.Err() == nil {
					a.c.Log.Error("a club's agent has ended", "dir", h.c.Dir, "err", err)
				}
			})
		}
		select {
		case <-a.hosted.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting returns the clubs' agents that are open.
func (a *Agent) waiting() map[*Agent]chan struct{} {
	a.hosted.mu.Lock()
	defer a.hosted.mu.Unlock()
	out := make(map[*Agent]chan struct{}, len(a.hosted.ready))
	for h, ready := range a.hosted.ready {
		out[h] = ready
	}
	return out
}

// openClubs opens all of them. That one of them cannot be opened is told, and no reason not to run.
func (a *Agent) openClubs(ctx context.Context) error {
	clubs, err := a.Clubs()
	for _, name := range clubs {
		if _, err := a.openClub(ctx, name); err != nil && ctx.Err() == nil {
			a.c.Log.Error("open a club", "name", name, "err", err)
		}
	}
	return err
}

// clubReady waits until a club's agent can be reached, or has failed to come to be.
func (a *Agent) clubReady(ctx context.Context, h *Agent) error {
	select {
	case <-a.waiting()[h]:
	case <-ctx.Done():
	case <-a.life.Done():
	}
	return ctx.Err()
}

// close closes the clubs' agents.
func (h *hosted) close() error {
	h.mu.Lock()
	h.closed = true
	all := h.all
	h.mu.Unlock()
	var errs []error
	for _, agent := range all {
		errs = append(errs, agent.Close())
	}
	return errors.Join(errs...)
}
