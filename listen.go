package grange

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

const (
	// keyListen is where a club's agent has listened last: a listenRecord.
	keyListen = "l/listen"
	// listenSizeMax bounds that record, in bytes.
	listenSizeMax = 8 << 10
)

// listenRecord is where a club's agent has listened.
type listenRecord struct {
	V      uint     `json:"v"`
	Listen []string `json:"listen"`
}

// listen makes the network one that listens. A club's agent, whose ports are any that are free, takes those of the last time: an
// address that a member or a firewall knows goes on being right. Where they are taken it gets others.
func (a *Agent) listen() error {
	if !a.c.within {
		return a.network.listen(a.c.Listen, a.c.MDNS)
	}
	last, err := a.lastListen()
	if err != nil {
		return err
	}
	if len(last) == 0 || a.network.listen(last, a.c.MDNS) != nil {
		if err := a.network.listen(a.c.Listen, a.c.MDNS); err != nil {
			return err
		}
	}
	next := listenRecord{V: codec.Version}
	addrs := a.network.Addrs()
	for _, l := range a.c.Listen {
		next.Listen = append(next.Listen, withPort(l, addrs))
	}
	raw, err := codec.Marshal(next)
	if err == nil {
		err = a.store.Books().Apply(core.Change{Key: []byte(keyListen), Value: raw})
	}
	if err != nil {
		return fmt.Errorf("write down where the club listens: %w", err)
	}
	return nil
}

// lastListen returns where the agent has listened, if it is told to listen on the same but for ports.
func (a *Agent) lastListen() ([]string, error) {
	raw, err := a.store.Books().Get([]byte(keyListen))
	if errors.Is(err, core.ErrNotExist) {
		return nil, nil
	}
	var last listenRecord
	if err == nil {
		err = codec.Unmarshal(raw, &last, listenSizeMax)
	}
	if err != nil {
		return nil, fmt.Errorf("where the club has listened: %w", err)
	}
	if len(last.Listen) != len(a.c.Listen) {
		return nil, nil
	}
	for i, l := range last.Listen {
		if anyPort(l) != a.c.Listen[i] {
			return nil, nil
		}
	}
	return last.Listen, nil
}

// portOf finds the port in the parts of a multiaddr; -1 where there is none.
func portOf(parts []string) int {
	for i := 1; i < len(parts); i++ {
		if parts[i-1] == "tcp" || parts[i-1] == "udp" {
			return i
		}
	}
	return -1
}

// anyPort is a multiaddr with port 0, which is any that is free.
func anyPort(addr string) string {
	parts := strings.Split(addr, "/")
	if i := portOf(parts); i >= 0 {
		parts[i] = "0"
	}
	return strings.Join(parts, "/")
}

// withPort is a multiaddr to listen on with the port of the first of addrs that comes of it: of the same kind of address and port, and
// the same address unless it is that of all interfaces.
func withPort(listen string, addrs []string) string {
	parts := strings.Split(listen, "/")
	at := portOf(parts)
	if at != 4 { // /ip4/ADDRESS/tcp/PORT
		return listen
	}
	for _, addr := range addrs {
		is := strings.Split(addr, "/")
		if portOf(is) == at && is[1] == parts[1] && is[3] == parts[3] && (parts[2] == "0.0.0.0" || parts[2] == "::" || parts[2] == is[2]) {
			parts[at] = cmp.Or(is[at], "0")
			break
		}
	}
	return strings.Join(parts, "/")
}
