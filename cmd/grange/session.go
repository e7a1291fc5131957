package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// session is a client of the agent on the directory: of the one that runs, or of
// one that was opened for this command, which only dials.
type session struct {
	*api.Client
	running bool
	agent   *grange.Agent // of this process; nil if another has it
}

// useDir finds the directory. Whether it was named counts: the settings of one that
// was not are elsewhere.
func (a *app) useDir(dir string) error {
	a.named = dir != ""
	var err error
	if dir == "" {
		if dir, err = grange.DefaultDir(); err != nil {
			return usage(err.Error(), "--dir names the directory")
		}
	}
	a.dir, err = filepath.Abs(dir)
	return err
}

// config says where the agent of this process lives.
func (a *app) config() grange.Config {
	if !a.named {
		return grange.Config{}
	}
	return grange.Config{Dir: a.dir}
}

// A command that finds the directory in use by another one, or by an agent that does
// not answer yet, tries again for a while.
const (
	lockEvery = 50 * time.Millisecond
	lockTries = 100
)

// connect reaches the agent, or opens one.
func (a *app) connect(ctx context.Context) (*session, error) {
	for try := 1; ; try++ {
		client, err := api.Dial(ctx, a.dir)
		if err == nil {
			return &session{Client: client, running: true}, nil
		}
		if !errors.Is(err, grange.ErrNotHere) {
			return nil, err
		}
		agent, err := grange.Open(ctx, a.config())
		if err == nil {
			return &session{Client: api.Local(api.Handler(agent)), agent: agent}, nil
		}
		if try == lockTries || !errors.Is(err, grange.ErrLocked) {
			return nil, a.explain(ctx, err)
		}
		if err := pause(ctx, lockEvery); err != nil {
			return nil, err
		}
	}
}

// pause waits until the next try.
func pause(ctx context.Context, d time.Duration) error {
	rest, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-rest.Done()
	return ctx.Err()
}

// explain says of a directory that cannot be opened what matters to a person.
func (a *app) explain(ctx context.Context, err error) *api.Error {
	e := api.ErrorOf(err)
	switch e.Code {
	case api.CodeLocked:
		e.Message, e.Hint = "another grange command is using "+a.dir, "wait until it has ended; commands share the agent of a 'grange run'"
		if client, err := api.Dial(ctx, a.dir); err == nil {
			client.Close()
			e.Message, e.Hint = "an agent is running on "+a.dir, "stop it first: Ctrl-C where 'grange run' is"
		}
	case api.CodeNoHousehold:
		e.Message = "no household in " + a.dir
	}
	return e
}

// close ends the session: no request of it runs any more, and the directory is free.
func (s *session) close() error {
	s.Client.Close()
	if s.agent == nil {
		return nil
	}
	return s.agent.Close()
}

// with runs do with a session, and closes it.
func (a *app) with(ctx context.Context, do func(*session) error) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	err = do(s)
	if closed := s.close(); err == nil {
		err = closed
	}
	return err
}

// withGrid is with, for the club of that name which the machine hosts; "" is the household.
func (a *app) withGrid(ctx context.Context, name string, do func(*session) error) error {
	return a.with(ctx, func(s *session) error {
		if name == "" {
			return do(s)
		}
		of := *s
		of.Client = s.Grid(name)
		return do(&of)
	})
}
