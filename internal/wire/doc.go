// Package wire is HTTP/1.1 over connections between agents: what every service
// shares of the peer protocol of docs/SPEC.md §7, both the serving side (Route,
// NewServer, Handle) and the calling side (Client).
//
// It exists so that each limit on strangers stands in one place: whose routes are
// whose, how large a body may be, how many may be in hand, and that an exchange
// which makes no progress ends. Deadlines are on progress, never on totals,
// because a slow friend is not a dead one.
//
// Who calls comes from the connection alone (core.Conn.Peer): no header is believed.
// It knows no route by name, keeps nothing on disk, and leaves it to a Gate to say
// which household a caller belongs to.
package wire
