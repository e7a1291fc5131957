package accounts

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// The keys of the account server's records, in books of its own.
const (
	planPrefix    = "plan/"    // + name
	accountPrefix = "account/" // + id + 0: the account; behind it the DID of a storage server: its newest report on it
	gridPrefix    = "grid/"    // + household's DID + account id: which are for it
	charterPrefix = "charter/" // + household's DID: the newest charter that was shown
	holderPrefix  = "holder/"  // + DID of a storage server
	rivalPrefix   = "rival/"   // + DID of the storage server + account id: another report with a seq that was taken
	revokedPrefix = "revoked/" // + u64 number
	countKey      = "revoked"  // the list's numbers
)

const recordSizeMax = 4 << 10 // bytes of one record

type planRecord struct {
	V     uint  `json:"v"`
	Bytes int64 `json:"bytes"`
	// Days is how long an account on the plan is good; 0 is without end.
	Days int64 `json:"days"`
}

type accountRecord struct {
	V     uint     `json:"v"`
	Plan  string   `json:"plan"`
	Grid  core.DID `json:"grid"`
	Added int64    `json:"added"`
	// Until is when the contract ends, 0 never; Revoked since when it is revoked, 0 if it is not.
	Until   int64 `json:"until"`
	Revoked int64 `json:"revoked"`
}

// charterRecord says which charter of a household is the newest that was shown.
type charterRecord struct {
	V          uint       `json:"v"`
	Recoveries uint64     `json:"recoveries"`
	Epoch      uint64     `json:"epoch"`
	Score      core.Score `json:"score"`
}

type holderRecord struct {
	V     uint  `json:"v"`
	Added int64 `json:"added"`
}

// usageRecord is what the newest report of a storage server on an account says, and its signature: so it can be made again.
type usageRecord struct {
	V     uint   `json:"v"`
	Bytes int64  `json:"bytes"`
	Total uint64 `json:"total"`
	Seq   uint64 `json:"seq"`
	Time  int64  `json:"time"`
	Sig   []byte `json:"sig"`
}

type rivalRecord struct {
	V     uint            `json:"v"`
	Taken identity.Signed `json:"taken"`
	Other identity.Signed `json:"other"`
	Time  int64           `json:"time"`
}

type revokedRecord struct {
	V        uint   `json:"v"`
	Account  string `json:"account"`
	Time     int64  `json:"time"`
	Restored bool   `json:"restored,omitempty"`
}

// countRecord has the number of the list's last entry, and of the oldest that is there.
type countRecord struct {
	V      uint   `json:"v"`
	Last   uint64 `json:"last"`
	Oldest uint64 `json:"oldest"`
}

// accountKey begins the keys of the reports on an account as well, so that one look finds all. No account's name
// has the zero byte.
func accountKey(id string) []byte { return append([]byte(accountPrefix+id), 0) }

func usageKey(id string, holder core.DID) []byte { return append(accountKey(id), holder[:]...) }

func didKey(prefix string, did core.DID, rest string) []byte {
	return append(append([]byte(prefix), did[:]...), rest...)
}

func revokedKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(revokedPrefix), n)
}

// load reads a record into a value. Errors: core.ErrNotExist.
func load[T any](books core.Books, key []byte) (T, error) {
	raw, err := books.Get(key)
	if err != nil {
		var none T
		return none, err
	}
	return parse[T](key, raw)
}

func parse[T any](key, raw []byte) (T, error) { return parseMax[T](key, raw, recordSizeMax) }

func parseMax[T any](key, raw []byte, sizeMax int) (T, error) {
	var v, none T
	if err := codec.Unmarshal(raw, &v, sizeMax); err != nil {
		return none, fmt.Errorf("record %q: %w", key, err)
	}
	return v, nil
}

// change is a write of a record.
func change(key []byte, record any) (core.Change, error) {
	value, err := codec.Marshal(record)
	return core.Change{Key: key, Value: value}, err
}

// save writes records, all or none.
func save(books core.Books, records map[string]any) error {
	var changes []core.Change
	for key, record := range records {
		if record == nil {
			changes = append(changes, core.Change{Key: []byte(key)})
			continue
		}
		c, err := change([]byte(key), record)
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	return books.Apply(changes...)
}

// missing tells whether err says that there is no such record, and else returns err.
func missing(err error) (bool, error) {
	if errors.Is(err, core.ErrNotExist) {
		return true, nil
	}
	return false, err
}
