package wire

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
)

// Prefix begins every path of this major version.
const Prefix = "/grange/v1"

const pathRoot = "/grange/"

// Limits of a connection (SPEC §7).
const (
	HeaderSizeMax  = 16 << 10 // bytes
	headerTime     = 5 * time.Second
	idleTime       = 2 * time.Minute
	stackSizeShown = 8 << 10
)

// Route is one thing that a service answers.
type Route struct {
	Method string
	// Path is a pattern of http.ServeMux below Prefix: "/pieces/{score}". It has no slash at its end, and what
	// stands for {score} needs no escapes: a path with any is not found.
	Path string
	// Who may call.
	Who Class
	// Limit is the most bytes of a request's body; 0 is none.
	Limit   int64
	Handler http.Handler
}

type server struct {
	host   string
	gate   Gate
	mux    *http.ServeMux
	budget budget
	clock  core.Clock
	log    *slog.Logger
}

// NewServer returns a server for connections that are core.Conns: Serve it over Listen. Before a
// handler runs, the request has passed every check of SPEC §7, CallerOf its
// context says who calls, and its body ends with a *Error past the route's limit.
// Two routes that meet on one path panic here. A nil log is none.
func NewServer(self core.DID, gate Gate, routes []Route, clock core.Clock, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &server{host: self.String(), gate: gate, mux: http.NewServeMux(), clock: clock, log: log}
	for _, r := range routes {
		s.mux.Handle(r.Method+" "+Prefix+r.Path, s.route(r))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { WriteError(w, r, noRoute(r)) })
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      s,
		Protocols:                    &protocols,
		ReadHeaderTimeout:            headerTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               HeaderSizeMax,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if peer, ok := c.(core.Conn); ok {
				return WithPeer(ctx, peer.Peer())
			}
			return ctx
		},
	}
}

func noRoute(r *http.Request) error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("no route %.8s %.128s", r.Method, r.URL.Path)}
}

// ServeHTTP checks what is the same for all routes, and hands over to the one that is asked for.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := newBody(w, r, s.clock)
	a := &answer{ResponseWriter: w, body: b}
	r = r.WithContext(withLog(r.Context(), s.log))
	r.Body = b
	defer s.finish(a, r)
	if err := s.check(r); err != nil {
		WriteError(a, r, err)
		return
	}
	s.mux.ServeHTTP(a, r)
}

// check refuses what no route allows.
func (s *server) check(r *http.Request) error {
	p := r.URL.Path
	switch {
	case PeerOf(r.Context()).IsZero():
		return &Error{Code: CodeUnknown, Message: "the connection has proven no key"}
	case r.Host != s.host:
		return &Error{Code: CodeHostWrong, Message: "this agent is " + s.host}
	case r.Header.Get("Upgrade") != "":
		return &Error{Code: CodeInvalid, Message: "no protocol to upgrade to"}
	case r.Header.Get("Content-Encoding") != "":
		return &Error{Code: CodeInvalid, Message: "no content coding is read"}
	case !strings.HasPrefix(r.RequestURI, "/"):
		return &Error{Code: CodeInvalid, Message: "this is no proxy: the target must be a path"}
	}
	if rest, ok := strings.CutPrefix(p, pathRoot); ok {
		version, _, _ := strings.Cut(rest, "/")
		if isVersion(version) && version != "v1" {
			return &Error{Code: CodeVersion, Message: fmt.Sprintf("version %.16s is not spoken here; v1 is", version)}
		}
	}
	if path.Clean(p) != p || p != r.URL.EscapedPath() { // else the mux would redirect
		return noRoute(r)
	}
	return nil
}

func isVersion(s string) bool {
	return len(s) > 1 && s[0] == 'v' && strings.Trim(s[1:], "0123456789") == ""
}

// route returns the handler of r behind its checks.
func (s *server) route(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != route.Method { // the mux lets HEAD in where GET is
			WriteError(w, r, noRoute(r))
			return
		}
		b := r.Body.(*body)
		caller, size, err := s.admit(r, route, b)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		defer s.budget.free(caller, size)
		route.Handler.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), caller)))
	})
}

// admit decides whether a request may run, and reserves the room for it.
func (s *server) admit(r *http.Request, route Route, b *body) (Caller, int64, error) {
	agent := PeerOf(r.Context())
	caller, err := s.gate.Classify(r.Context(), agent)
	if err != nil {
		return caller, 0, err
	}
	caller.Agent = agent
	if caller.Class == 0 {
		caller.Class = Stranger
	}
	if route.Who&(Stranger|caller.Class) == 0 {
		return caller, 0, &Error{Code: CodeUnknown, Message: "this is for partners, and this machine is none"}
	}
	if err := b.allow(route.Limit); err != nil {
		return caller, 0, err
	}
	size := b.size
	if size < 0 {
		size = route.Limit
	}
	return caller, size, s.budget.take(caller, size)
}

// finish answers a panic, and ends what has stalled.
func (s *server) finish(a *answer, r *http.Request) {
	b := a.body
	defer b.watch.stop()
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			b.abort()
			panic(v)
		}
		s.log.Error("panic", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", fmt.Sprintf("%.*s", stackSizeShown, debug.Stack()))
		if a.begun {
			b.abort()
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		writeAnswer(a, r, http.StatusInternalServerError, Error{Code: CodeInternal, Message: "internal error"})
	}
	if b.stalled {
		panic(http.ErrAbortHandler)
	}
	a.begin()
}

// answer is a response that does not begin before the request is read, because net/http
// would then read on by itself, without limit of time.
type answer struct {
	http.ResponseWriter
	body  *body
	begun bool
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	if !a.body.drain() {
		a.Header().Set("Connection", "close")
	}
}

// WriteHeader begins the answer.
func (a *answer) WriteHeader(status int) {
	a.begin()
	a.ResponseWriter.WriteHeader(status)
}

// Write begins the answer, if need be, and writes to it.
func (a *answer) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}
