package wire

import (
	"context"
	"log/slog"

	"github.com/grange-grid/grange/core"
)

// Class says what a caller is to this household. A route names the classes that it
// serves: Partner|Admitted.
type Class int

// The classes of callers.
const (
	// Stranger is anyone whose connection has proven a key. A route for strangers serves all.
	Stranger Class = 1 << iota
	// Partner is an agent that the newest charter of a household with a pact lists.
	Partner
	// Admitted is an agent that an Admission has let in to what is its household's.
	Admitted
	// Own is another agent of this very household.
	Own
	// Bearer is an agent that a ticket has let in to pieces of the household that gave it.
	Bearer
	// Guest is an agent of a household without a pact, that a voucher of a partner's has let in.
	Guest
)

// Caller is who sent a request.
type Caller struct {
	// Agent is the key that the connection has proven.
	Agent core.DID
	// Grid is its household, or of a Bearer the one whose ticket it has; the zero DID for a Stranger.
	Grid  core.DID
	Class Class
}

// Gate tells who an agent is.
type Gate interface {
	// Classify is asked once for each request, and may be asked many times at once. An
	// agent that nobody knows is a Stranger, not an error. A *Error is answered as
	// it is: agent.revoked with its evidence.
	Classify(ctx context.Context, agent core.DID) (Caller, error)
}

type (
	callerKey struct{}
	peerKey   struct{}
	logKey    struct{}
)

// WithCaller returns a context that carries who called.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who called; the zero Caller where nobody did.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// WithPeer returns a context that carries the key that the connection has proven.
func WithPeer(ctx context.Context, agent core.DID) context.Context {
	return context.WithValue(ctx, peerKey{}, agent)
}

// PeerOf returns the key that the connection has proven; the zero DID if there is no connection.
func PeerOf(ctx context.Context) core.DID {
	agent, _ := ctx.Value(peerKey{}).(core.DID)
	return agent
}

func withLog(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

func logOf(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.New(slog.DiscardHandler)
}
