package ticket

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// RecordPrefix is what the keys of the state's records of tickets begin with; the id follows.
const RecordPrefix = "t/"

// recordSizeMax bounds a Record in bytes.
const recordSizeMax = 4 << 10

// Record is what the owner's state has of a ticket: enough to keep what it reads, and to stop it; it cannot
// be made a ticket again.
type Record struct {
	V uint `json:"v"`
	// Name, Agent and Seq are the version's.
	Name  string   `json:"name"`
	Agent core.DID `json:"agent"`
	Seq   uint64   `json:"seq"`
	// Time is when it was made, Until when it lapses, in seconds since 1970.
	Time  int64 `json:"time"`
	Until int64 `json:"until"`
	// Table and Segments are the ticket's; Segments has their ids.
	Table    page.Tree `json:"table"`
	Segments [][]byte  `json:"segments"`
	// Stopped says that it is good no more: with it the record's encoding is the greater one, and stands.
	Stopped bool `json:"stopped,omitempty"`
}

// RecordKey returns the key in the state of a ticket's record.
func RecordKey(id ID) []byte { return append([]byte(RecordPrefix), id[:]...) }

// ParseRecordKey returns what RecordKey was given. Errors: core.ErrInvalid.
func ParseRecordKey(key []byte) (ID, error) {
	id, ok := bytes.CutPrefix(key, []byte(RecordPrefix))
	if !ok || len(id) != IDSize || ID(id) == (ID{}) {
		return ID{}, invalid("a record under a key of %d bytes", len(key))
	}
	return ID(id), nil
}

// Marshal returns the strict CBOR of r. Errors: those of Check.
func (r Record) Marshal() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return codec.Marshal(r)
}

// DecodeRecord reads what Marshal returns. Errors: core.ErrVersion, core.ErrInvalid, core.ErrTooLarge.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	if err := codec.Unmarshal(b, &r, recordSizeMax); err != nil {
		return Record{}, fmt.Errorf("ticket: %w", err)
	}
	if err := r.Check(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Check bounds everything in r. Errors: core.ErrVersion, core.ErrInvalid.
func (r Record) Check() error {
	switch {
	case r.V != codec.Version:
		return fmt.Errorf("ticket: %w %d, want %d", core.ErrVersion, r.V, codec.Version)
	case r.Agent.IsZero() || r.Seq == 0:
		return invalid("it names no version")
	case r.Time < 0 || r.Until <= r.Time || r.Until > TimeMax || r.Until-r.Time > LifeMax:
		return invalid("from %d until %d", r.Time, r.Until)
	}
	if err := manifest.CheckName(r.Name); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	if err := checkTable(r.Table); err != nil {
		return err
	}
	return checkSegments(r.Table, r.Segments)
}
