package barter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// The keys of barter's records. DIDs and scores are 32 raw bytes, dates a u64.
var (
	offerKey      = []byte("b/offer")    // the total we give
	wholeKey      = []byte("b/whole")    // the books know every lease that there is a blob of
	usedPrefix    = []byte("b/used/")    // + owner: what its pieces here come to
	heldPrefix    = []byte("b/held/")    // + owner + piece: one piece kept here
	leasePrefix   = []byte("b/lease/")   // + owner + score of the Signed: a lease we gave
	endsPrefix    = []byte("b/ends/")    // + date + owner + score of the Signed: when it ends
	duePrefix     = []byte("b/due/")     // + the same: its pieces have not been set aside yet
	asidePrefix   = []byte("b/aside/")   // + owner + running seconds + piece: since when it is aside
	dayPrefix     = []byte("b/day/")     // + owner: what came and went in the last running day
	ranKey        = []byte("b/ran")      // how long this machine has run
	whyPrefix     = []byte("b/why/")     // + asker's household + a number that rises: a decision on an ask
	rulesPrefix   = []byte("b/rules/")   // + score: rules by which asks were answered
	placedPrefix  = []byte("o/placed/")  // + piece + agent: where a piece of ours lies
	takenPrefix   = []byte("o/lease/")   // + date of its end + agent + score of the Signed: a lease we were given
	learnedPrefix = []byte("o/learned/") // + holder's household: its own list of our pieces was read
	outPrefix     = []byte("o/used/")    // + holder's household: what our pieces there come to
	queuePrefix   = []byte("o/queue/")   // + agent + piece: a release that is to be signed
	sentPrefix    = []byte("o/sent/")    // + agent: the Signed of a release that may not have arrived
	gonePrefix    = []byte("o/gone/")    // + date + agent + piece: a released piece is forgotten then
	foundKey      = []byte("o/found")    // holders told of pieces that they have aside, and nobody has looked yet whether we need them
	lostPrefix    = []byte("o/lost/")    // + holder's household: what it was found to have lost lately
	sincePrefix   = []byte("b/since/")   // + household: what this machine had run when it became a partner
	twicePrefix   = []byte("b/twice/")   // + household + agent + seq + resource: two receipts that contradict each other
	forgedPrefix  = []byte("o/forged/")  // + agent: it answered our last receipt with one that we never signed
	wantedPrefix  = []byte("o/wanted/")  // + agent: an ask for a flow whose outcome is not known
	alarmPrefix   = []byte("o/alarm/")   // + agent: it said last that too much was released
	askedPrefix   = []byte("o/asked/")   // + agent: a request for a lease whose outcome is not known
)

const (
	recordSizeMax = 256 << 10 // bytes of one record, leases and what is asked for apart
	didSize       = len(core.DID{})
	dateSize      = 8
)

type offerRecord struct {
	V     uint  `json:"v"`
	Bytes int64 `json:"bytes"`
}

// wholeRecord says that leases among the blobs which the books do not know were never
// given to anybody. Where it is missing, the books may have been lost.
type wholeRecord struct {
	V uint `json:"v"`
}

// usedRecord is a running total. It is written with what changes it.
type usedRecord struct {
	V      uint  `json:"v"`
	Bytes  int64 `json:"bytes"`
	Pieces int64 `json:"pieces"`
	// Leases is the size of the leases kept for the household, in bytes; not part of Bytes.
	Leases int64 `json:"leases,omitempty"`
	// Aside is how many of Bytes are set aside.
	Aside int64 `json:"aside,omitempty"`
}

func (u usedRecord) plus(v usedRecord) usedRecord {
	return usedRecord{V: codec.Version, Bytes: u.Bytes + v.Bytes, Pieces: u.Pieces + v.Pieces, Leases: u.Leases + v.Leases, Aside: u.Aside + v.Aside}
}

// heldRecord is one piece kept here for an owner.
type heldRecord struct {
	V    uint  `json:"v"`
	Size int64 `json:"size"`
	// Until is the latest date that a lease promised.
	Until int64 `json:"until"`
	// Born is what this machine had run when the piece was first leased; 0: it is not known.
	Born int64 `json:"born,omitempty"`
	// Aside is what it had run when the piece was set aside; 0: it is not.
	Aside int64 `json:"aside,omitempty"`
	// Counts says until when it counts, by machine of its owner.
	Counts []countRecord `json:"counts,omitempty"`
}

// countRecord says until when a piece counts on a machine's line.
type countRecord struct {
	Agent core.DID `json:"agent"`
	End   int64    `json:"end"`
}

// count returns until when a piece counts for a machine; 0: it does not.
func (r *heldRecord) count(agent core.DID) int64 {
	for _, c := range r.Counts {
		if c.Agent == agent {
			return c.End
		}
	}
	return 0
}

// setCount changes it.
func (r *heldRecord) setCount(agent core.DID, end int64) {
	r.Counts = slices.DeleteFunc(r.Counts, func(c countRecord) bool { return c.Agent == agent })
	if end != 0 {
		r.Counts = append(r.Counts, countRecord{agent, end})
	}
}

// endsRecord is the size of a lease, so that it can be forgotten unread.
type endsRecord struct {
	V    uint  `json:"v"`
	Size int64 `json:"size"`
}

// placedRecord is one piece of ours at a holder.
type placedRecord struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	// Size is 0 where a recovered owner does not know it.
	Size  int64 `json:"size"`
	Until int64 `json:"until"`
	// Since is when it was first leased there.
	Since int64 `json:"since"`
	// Fails counts failed proofs since the last good one, the first at Failed.
	Fails  uint  `json:"fails"`
	Failed int64 `json:"failed"`
	// Lost is what this machine had run when it was last found lost, as long as it was not proven since; 0: it was not.
	Lost int64 `json:"lost,omitempty"`
	// Released is until when it is remembered that the piece was released; 0: it was not.
	Released int64 `json:"released,omitempty"`
	// Aside says that its holder had it set aside when it told what it has, and nothing was heard of it since.
	Aside bool `json:"aside,omitempty"`
	// Counted is until when it counts on our line; 0: it does not. Bytes is what it counts with.
	Counted int64 `json:"counted,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}

// note is what a blob's record says of itself, so that the books can be rebuilt.
// Of a blob that two services or owners keep it tells only who came first.
type note struct {
	V     uint     `json:"v"`
	Kind  string   `json:"kind"` // "piece" or "lease"
	Owner core.DID `json:"owner"`
	// Segment and Index say which piece of which segment it is, as its owner told.
	Segment []byte `json:"segment,omitempty"`
	Index   uint   `json:"index,omitempty"`
}

const (
	notePiece = "piece"
	noteLease = "lease"
)

func join(prefix []byte, parts ...[]byte) []byte {
	return bytes.Join(append([][]byte{prefix}, parts...), nil)
}

// dateKey makes dates sort as they rise; all that are kept are positive.
func dateKey(date int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(date)) }

func heldKey(owner core.DID, piece core.Score) []byte { return join(heldPrefix, owner[:], piece[:]) }

func leaseKey(owner core.DID, lease core.Score) []byte { return join(leasePrefix, owner[:], lease[:]) }

func asideKey(owner core.DID, ran int64, piece core.Score) []byte {
	return join(asidePrefix, owner[:], dateKey(ran), piece[:])
}

func placedKey(piece core.Score, agent core.DID) []byte {
	return join(placedPrefix, piece[:], agent[:])
}

func queueKey(agent core.DID, piece core.Score) []byte { return join(queuePrefix, agent[:], piece[:]) }

func goneKey(date int64, agent core.DID, piece core.Score) []byte {
	return join(gonePrefix, dateKey(date), agent[:], piece[:])
}

func change(key []byte, record any) (core.Change, error) {
	value, err := codec.Marshal(record)
	if err != nil {
		return core.Change{}, fmt.Errorf("write record %q: %w", key, err)
	}
	return core.Change{Key: key, Value: value}, nil
}

// read fills record from the books; false if there is none.
func (b *Barter) read(key []byte, record any) (bool, error) {
	return b.readUpTo(key, record, recordSizeMax)
}

// readLong is read for a record that names pieces.
func (b *Barter) readLong(key []byte, record any) (bool, error) {
	return b.readUpTo(key, record, leaseLimit)
}

func (b *Barter) readUpTo(key []byte, record any, sizeMax int) (bool, error) {
	value, err := b.c.Books.Get(key)
	if errors.Is(err, core.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read record %q: %w", key, err)
	}
	return true, parseUpTo(key, value, record, sizeMax)
}

// parse decodes a record. One that is broken is this disk's fault: no kind of
// error that a peer would take for its own is told.
func parse(key, value []byte, record any) error { return parseUpTo(key, value, record, recordSizeMax) }

func parseUpTo(key, value []byte, record any, sizeMax int) error {
	if err := codec.Unmarshal(value, record, sizeMax); err != nil {
		return fmt.Errorf("record %q is broken: %v", key, err)
	}
	return nil
}

// totals reads all records of what is used, by household.
func (b *Barter) totals(prefix []byte) (map[core.DID]usedRecord, error) {
	out := map[core.DID]usedRecord{}
	for c, err := range b.c.Books.Scan(prefix, nil) {
		if err != nil {
			return nil, fmt.Errorf("read records %q: %w", prefix, err)
		}
		var grid core.DID
		var r usedRecord
		if err := grid.UnmarshalBinary(c.Key[len(prefix):]); err != nil {
			return nil, fmt.Errorf("record %q: %w", c.Key, err)
		}
		if err := parse(c.Key, c.Value, &r); err != nil {
			return nil, err
		}
		out[grid] = r
	}
	return out, nil
}

// parsePlaced reads one record of where a piece of ours lies.
func parsePlaced(c core.Change) (core.Holding, placedRecord, error) {
	var h core.Holding
	var r placedRecord
	rest := c.Key[len(placedPrefix):]
	if len(rest) != core.ScoreSize+didSize {
		return h, r, fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
	}
	copy(h.Score[:], rest)
	copy(h.Agent[:], rest[core.ScoreSize:])
	if err := parse(c.Key, c.Value, &r); err != nil {
		return h, r, err
	}
	h.Grid, h.Until = r.Grid, r.Until
	return h, r, nil
}
