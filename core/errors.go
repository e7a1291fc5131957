package core

import (
	"errors"
	"io/fs"
)

// The kinds of error that callers branch on. Everything else is only text.
var (
	// ErrNotExist is fs.ErrNotExist: no such blob, name, version or partner.
	ErrNotExist = fs.ErrNotExist
	// ErrCorrupt says that bytes are not what their name or signature says.
	ErrCorrupt = errors.New("corrupt")
	// ErrInvalid says that a message or a file breaks its format.
	ErrInvalid = errors.New("invalid")
	// ErrRefused says that the other side's policy said no; a *Denial has the reason.
	ErrRefused = errors.New("refused")
	// ErrForbidden says that the caller is not one who may ask this at all.
	ErrForbidden = errors.New("forbidden")
	// ErrRevoked says that a newer charter no longer lists the agent.
	ErrRevoked = errors.New("machine removed from its household")
	// ErrStale says that something newer is already known.
	ErrStale = errors.New("stale")
	// ErrBusy says that the other side is at its limit; asking again later is right.
	ErrBusy = errors.New("busy")
	// ErrUnreachable says that no connection could be made or kept.
	ErrUnreachable = errors.New("unreachable")
	// ErrPartly says that some of the work was done; the error's text says which.
	ErrPartly = errors.New("partly done")
	// ErrFull says that there is no room on this disk.
	ErrFull = errors.New("disk full")
	// ErrAway says that the disk that keeps the bytes is not mounted.
	ErrAway = errors.New("disk away")
	// ErrLocked says that another agent has the directory.
	ErrLocked = errors.New("another agent is running on this directory")
	// ErrVersion says that a format or protocol is of a version not spoken here.
	ErrVersion = errors.New("unknown version")
	// ErrTooLarge says that a message is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrNotHere says that an operation needs an agent that runs and listens.
	ErrNotHere = errors.New("no agent is running")
)
