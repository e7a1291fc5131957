package table

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits of what is remembered of other replicas.
const (
	peersMax      = 256
	addrsMax      = 8
	addrSizeMax   = 512
	peerRecordMax = addrsMax*(addrSizeMax+4) + 64
)

// Peer is a machine that has a table, and where it was found.
type Peer struct {
	Machine core.DID
	Addrs   []string
}

// peerRecord is where a machine was found.
type peerRecord struct {
	V     uint     `json:"v"`
	Addrs []string `json:"addrs"`
}

// Meet remembers that a machine has a table, and where it was found; what is known of it already is kept where addrs is empty.
func (t *Tables) Meet(id, machine core.DID, addrs []string) error {
	if machine == t.c.Key.DID() {
		return nil
	}
	at := recordAt(id, recordPeer, machine[:])
	before, err := t.c.Books.Get(at)
	known := err == nil
	if err != nil && !errors.Is(err, core.ErrNotExist) {
		return err
	}
	if known && len(addrs) == 0 {
		return nil
	}
	if !known {
		all, err := t.Peers(id)
		if err != nil || len(all) >= peersMax {
			return err
		}
	}
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return len(a) > addrSizeMax })
	record, err := codec.Marshal(peerRecord{codec.Version, addrs[:min(len(addrs), addrsMax)]})
	if err != nil || bytes.Equal(record, before) {
		return err
	}
	return t.c.Books.Apply(core.Change{Key: at, Value: record})
}

// Peers are the machines that are known to have a table.
func (t *Tables) Peers(id core.DID) (out []Peer, err error) {
	prefix := recordAt(id, recordPeer)
	for c, err := range t.c.Books.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		var r peerRecord
		if err := codec.Unmarshal(c.Value, &r, peerRecordMax); err != nil || len(c.Key) != len(prefix)+32 {
			return nil, fmt.Errorf("where a table is: %w", errors.Join(err, core.ErrCorrupt))
		}
		out = append(out, Peer{core.DID(c.Key[len(prefix):]), r.Addrs})
	}
	return out, nil
}
