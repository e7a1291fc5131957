package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/seal"
)

const (
	headerTime    = 5 * time.Second
	headerSizeMax = 16 << 10
	tokenName     = "api.token"
	tokenSize     = 32 // bytes
)

func (c *runCommand) run(ctx context.Context, a *app) (err error) {
	if c.API != "" {
		if c.host, c.port, err = apiAddr(c.API); err != nil {
			return err
		}
	}
	least := slog.Level(c.LogLevel)
	if a.quiet {
		least = max(least, slog.LevelError)
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: least}))
	conf := a.config()
	conf.Listen, conf.MDNS, conf.Log, conf.OnAlarm, conf.Accounts = c.Listen, !c.NoMDNS, log, c.OnAlarm, c.Accounts
	agent, err := grange.Open(ctx, conf)
	if err != nil {
		return a.explain(ctx, err)
	}
	// After the servers: what they still do is done first.
	defer func() { err = errors.Join(err, agent.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &servers{ctx: ctx, fail: cancel, log: log}
	defer s.stop(cancel)

	handler := api.Handler(agent)
	socket, err := api.Listen(a.dir)
	if err != nil {
		return err
	}
	s.serve(socket, handler)
	url, err := c.serveTCP(s, a.dir, handler)
	if err != nil {
		return err
	}
	err = agent.Run(ctx, func(addrs []string) { a.ready(url, addrs) })
	if errors.Is(err, grange.ErrInvalid) && len(c.Listen) > 0 {
		return usage("--listen: "+api.ErrorOf(err).Message, "an address to listen on is like /ip4/0.0.0.0/tcp/4726")
	}
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// ready says where the agent and its API can be reached.
func (a *app) ready(url string, addrs []string) {
	a.value(struct {
		Ready []string `json:"ready"`
		API   string   `json:"api,omitempty"`
	}{addrs, url})
	if url != "" {
		a.say("api %s", url)
	}
	for _, addr := range addrs {
		a.say("ready %s", addr)
	}
}

// serveTCP serves the API on a TCP address too, if there is one, and returns its URL.
func (c *runCommand) serveTCP(s *servers, dir string, h http.Handler) (string, error) {
	if c.API == "" {
		return "", nil
	}
	token, err := readToken(filepath.Join(dir, tokenName))
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.host, c.port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", &api.Error{
			Code: api.CodeFailed, Message: fmt.Sprintf("serve the API: port %s of %s is in use", c.port, c.host),
			Hint: "another program has that port; name another one: --api PORT",
		}
	}
	if err != nil {
		return "", fmt.Errorf("serve the API: %w", err)
	}
	s.serve(l, api.Guard(token, h, c.host))
	return "http://" + l.Addr().String(), nil
}

// apiAddr reads where the API is served: PORT, :PORT or HOST:PORT. Without a host
// it is this machine's alone.
func apiAddr(text string) (host, port string, err error) {
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err = net.SplitHostPort(text)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || strconv.FormatUint(n, 10) != port {
		return "", "", usage(fmt.Sprintf("%.80q is no address for the API", text), "--api 4727, or --api HOST:PORT")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port, nil
}

// readToken returns the token in a file, making it if there is none.
func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		var raw [tokenSize]byte
		seal.Random(raw[:])
		token := hex.EncodeToString(raw[:])
		return token, writeSecret(name, token+"\n")
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		return "", &api.Error{Code: api.CodeFailed, Message: name + " can be read by others", Hint: "delete it; the next run makes a new one"}
	}
	raw, err := io.ReadAll(io.LimitReader(f, lineSizeMax))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < tokenSize {
		return "", &api.Error{Code: api.CodeFailed, Message: name + " has no token", Hint: "delete it; the next run makes a new one"}
	}
	return token, nil
}

// servers are the HTTP servers of one run.
type servers struct {
	ctx  context.Context // of their requests
	fail context.CancelCauseFunc
	log  *slog.Logger

	all     []*http.Server
	running sync.WaitGroup
}

func (s *servers) serve(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, MaxHeaderBytes: headerSizeMax,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.all = append(s.all, server)
	s.running.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve the API: %w", err))
		}
	})
}

// stop ends the requests, and waits for them: an agent must not be closed under them.
func (s *servers) stop(cancel context.CancelCauseFunc) {
	cancel(nil)
	for _, server := range s.all {
		if err := server.Shutdown(context.WithoutCancel(s.ctx)); err != nil {
			s.log.Warn("stop the API", "err", err)
		}
	}
	s.running.Wait()
}
