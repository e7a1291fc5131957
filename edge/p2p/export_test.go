package p2p

import (
	"io"

	"github.com/grange-grid/grange/core"
)

// Raw returns the libp2p stream below a connection, without the naming of the protocol.
func Raw(c core.Conn) io.ReadWriter { return c.(*stream).Stream }
