package api

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/grange-grid/grange/core"
)

// socketName is the socket in an agent's directory, or a symlink to where it is.
const socketName = "sock"

// socketPathMax is the longest path of a socket, in bytes. The least of what the
// systems take is 103 (macOS; Linux takes 107).
const socketPathMax = 100

// Listen makes the Unix socket of the agent that has the directory, which is to
// say that it holds its lock: what a dead one left is removed. Only this user
// can reach it. Where the directory's path is too long for a socket, that is made
// in the system's directory for temporary files, and found by a symlink. Close removes it.
func Listen(dir string) (net.Listener, error) {
	l, err := listen(dir)
	if err != nil {
		return nil, fmt.Errorf("make the socket of %s: %w", dir, err)
	}
	return l, nil
}

func listen(dir string) (net.Listener, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	link := filepath.Join(dir, socketName)
	if err := removeSocket(link); err != nil {
		return nil, err
	}
	if len(link) <= socketPathMax {
		return listenAt(link, link)
	}
	at, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	if err := removeSocket(at); err != nil {
		return nil, err
	}
	l, err := listenAt(at, link)
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(at, link); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// listenAt makes the socket; remove is what Close removes besides it.
func listenAt(at, remove string) (net.Listener, error) {
	l, err := net.Listen("unix", at)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(at, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, remove}, nil
}

// socket is a listener that leaves nothing behind.
type socket struct {
	net.Listener
	remove string
}

func (s *socket) Close() error {
	err := s.Listener.Close()
	if gone := removeSocket(s.remove); gone != nil && err == nil {
		err = gone
	}
	return err
}

// removeSocket removes a socket or a symlink, and nothing else.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
		return &Error{Code: CodeExists, Message: path + " is in the way: it is no socket", Hint: "move it elsewhere; an agent that runs makes its socket there"}
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// shortPath returns where the socket of a directory with a long path goes, and
// makes the directory for it.
func shortPath(dir string) (string, error) {
	sum := core.ScoreOf([]byte(dir))
	name := filepath.Join("grange-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:8]))
	for _, base := range []string{os.TempDir(), "/tmp"} {
		at := filepath.Join(base, name)
		if len(at) > socketPathMax {
			continue
		}
		if err := os.Mkdir(filepath.Dir(at), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		return at, private(filepath.Dir(at))
	}
	return "", fmt.Errorf("no directory for temporary files has a path short enough: %w", core.ErrTooLarge)
}

// SocketPath returns where the socket of the agent on a directory is, or would
// be while none runs.
func SocketPath(dir string) (string, error) {
	link := filepath.Join(dir, socketName)
	at, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) { // nothing, or no symlink
		return link, nil
	}
	if err != nil {
		return "", err
	}
	// The directory of the agent is its owner's alone; that of temporary files is
	// not, and may have been emptied, and filled by others, since.
	if err := private(filepath.Dir(at)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return at, nil
}

// errNobody says that no agent answers on a directory.
var errNobody = fmt.Errorf("nobody answers on the socket: %w", core.ErrNotHere)

// connect reaches the agent on a directory. Errors: core.ErrNotHere.
func connect(ctx context.Context, dir string) (net.Conn, error) {
	at, err := SocketPath(dir)
	if err != nil {
		return nil, err
	}
	if len(at) > socketPathMax {
		return nil, errNobody // then there would be a symlink
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", at)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, errNobody
	}
	return nil, fmt.Errorf("reach the agent of %s: %w", dir, err)
}
