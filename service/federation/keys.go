package federation

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/page"
)

// The keys of federation's records. DIDs, scores and ids in them are raw bytes.
const (
	keySelf     = "f/self"     // selfRecord: who we are; its presence makes a household
	keyHead     = "f/head"     // ownRecord: our newest head
	keyOwnPage  = "f/own/"     // + page: ownPage, a page of our own state
	keyAck      = "f/ack/"     // + agent: ackRecord, our head that a partner's machine has
	keyCharter  = "f/charter/" // + grid + charter: signedRecord
	keyInvite   = "f/invite/"  // + invitation id: inviteRecord, one that we made
	keyUsed     = "f/used/"    // + invitation id + agent: usedRecord, who accepted one before the last who did
	keyProposal = "f/propose/" // + invitation id: proposalRecord, one that we are accepting
	keyTerms    = "f/terms/"   // + grid: termsRecord, what about a pact waits for an answer
	keySeen     = "f/seen/"    // + agent: seenRecord
	keyRan      = "f/ran"      // ranRecord: how long this machine has run
	keyHeld     = "f/held/"    // + grid + agent: heldRecord, the newest head of another machine
	keyPage     = "f/page/"    // + grid + page + agent: pageRecord, a page of another machine's state
	keyRival    = "f/rival/"   // + grid + agent + head: signedRecord, evidence of two heads with one seq
	keySibling  = "f/sibling/" // + agent: siblingRecord, where another machine of ours can be dialled
	keyMerged   = "f/merged/"  // + agent: mergedRecord, the state of another machine of ours that is in ours
	keyGuest    = "f/guest/"   // + grid: guestRecord, a household that a voucher has let in
	keyErrand   = "f/errand/"  // + grid: errandRecord, a household where a voucher lets us in
	keyRoll     = "f/roll"     // rollRecord: who belongs to our club; its presence makes our grid one
	keyIssued   = "f/issued/"  // + grid + agent + home: issuedRecord, the voucher that a member has of us
	keyClub     = "f/club/"    // + grid: clubRecord, a club among our partners
	keyPass     = "f/pass/"    // + grid: passRecord, vouchers that somebody has brought us
	keyState    = "state/"     // + a state record's key (SPEC §4)
	keyPartner  = "state/p/"   // + grid: partnerRecord
)

// partnerPrefix is that of partners in the state.
const partnerPrefix = "p/"

// Limits of records, in bytes.
const (
	recordSizeMax = 1 << 10
	signedSizeMax = charter.SignedSizeMax + 64                         // of one charter
	headSizeMax   = charter.HeadSizeMax + identity.SignedOverhead + 64 // of one head, signed
)

type selfRecord struct {
	V     uint     `json:"v"`
	Grid  core.DID `json:"grid"`
	Agent core.DID `json:"agent"`
	Name  string   `json:"name"`
	// Time is when the household came to be on this machine.
	Time int64 `json:"time"`
}

type signedRecord struct {
	V      uint            `json:"v"`
	Signed identity.Signed `json:"signed"`
}

type heldRecord struct {
	V    uint            `json:"v"`
	Seq  uint64          `json:"seq"`
	Head identity.Signed `json:"head"`
}

type inviteRecord struct {
	V          uint            `json:"v"`
	Invitation pact.Invitation `json:"invitation"`
	// Pact is that of who accepted last; the zero value until somebody did. Its acceptor's agent is who.
	Pact pact.SignedPact `json:"pact"`
	// Uses is how many can accept it, 0 for one; Before how many did before the last.
	Uses   int `json:"uses,omitempty"`
	Before int `json:"before,omitempty"`
}

// used returns how many have accepted it.
func (r inviteRecord) used() int {
	if len(r.Pact.Body) == 0 {
		return 0
	}
	return r.Before + 1
}

// usedRecord is what one machine has accepted that was not the last.
type usedRecord struct {
	V    uint            `json:"v"`
	Pact pact.SignedPact `json:"pact"`
}

type proposalRecord struct {
	V          uint            `json:"v"`
	Invitation pact.Invitation `json:"invitation"`
	Body       []byte          `json:"body"`
	Sig        pact.Signature  `json:"sig"`
}

type seenRecord struct {
	V    uint  `json:"v"`
	Time int64 `json:"time"`
	Ran  int64 `json:"ran"` // seconds that this machine had run
}

type siblingRecord struct {
	V     uint     `json:"v"`
	Addrs []string `json:"addrs"`
}

// mergedRecord says which head of another machine of ours was merged last.
type mergedRecord struct {
	V    uint       `json:"v"`
	Head core.Score `json:"head"`
	Tree page.Tree  `json:"tree"`
}

type ackRecord struct {
	V   uint   `json:"v"`
	Seq uint64 `json:"seq"`
}

// ownRecord is our newest head and what it was made of.
type ownRecord struct {
	V    uint            `json:"v"`
	Head identity.Signed `json:"head"`
	Tree page.Tree       `json:"tree"`
	// Floor is the oldest seq from which ownPage records tell all changes.
	Floor uint64 `json:"floor"`
	// Rebuild says that the pages are not here: the next head makes them all anew.
	Rebuild bool `json:"rebuild"`
}

// ownPage is a page of our own state: part of our heads from Born on, and no
// longer from Died on, unless that is 0.
type ownPage struct {
	V    uint   `json:"v"`
	Size int64  `json:"size"`
	Born uint64 `json:"born"`
	Died uint64 `json:"died"`
}

// pageRecord is a page of another machine's state: sent but not yet named by a head
// (Sent is when), named by its agent's head (both zero), or set aside (Aside is how
// many seconds this machine had run then).
type pageRecord struct {
	V     uint  `json:"v"`
	Size  int64 `json:"size"`
	Sent  int64 `json:"sent"`
	Aside int64 `json:"aside"`
}

// partnerRecord is Partner of SPEC §4.
type partnerRecord struct {
	V      uint            `json:"v"`
	Grid   core.DID        `json:"grid"`
	Name   string          `json:"name"`
	Pact   pact.SignedPact `json:"pact"`
	Agents []AgentAddrs    `json:"agents"`
	// Amendment is the newest of the pact, Notice the one by which it ends first.
	Amendment *pact.SignedPact `json:"amendment,omitempty"`
	Notice    *identity.Signed `json:"notice,omitempty"`
}

// termsRecord is what has still to be said to a partner about the pact, and what it waits for.
type termsRecord struct {
	V uint `json:"v"`
	// Mine is an amendment that we have proposed, Theirs one that they have.
	Mine   *proposed `json:"mine,omitempty"`
	Theirs *proposed `json:"theirs,omitempty"`
	// End says that we end the pact, and that they may not know.
	End bool `json:"end,omitempty"`
}

// proposed is an amendment that one side has signed.
type proposed struct {
	Body []byte         `json:"body"`
	Sig  pact.Signature `json:"sig"`
}

// note is what a page's blob says of itself, so that books can be rebuilt.
type note struct {
	V     uint     `json:"v"`
	Kind  string   `json:"kind"`
	Grid  core.DID `json:"grid"`
	Agent core.DID `json:"agent"`
}

const notePage = "page"

func pageNote(grid, agent core.DID) ([]byte, error) {
	return codec.Marshal(note{V: codec.Version, Kind: notePage, Grid: grid, Agent: agent})
}

// key joins a record's key.
func key(prefix string, parts ...[]byte) []byte {
	return append([]byte(prefix), bytes.Join(parts, nil)...)
}

// set makes the change that writes a record.
func set(k []byte, record any) (core.Change, error) {
	value, err := codec.Marshal(record)
	if err != nil {
		return core.Change{}, fmt.Errorf("write record %.16q: %w", k, err)
	}
	return core.Change{Key: k, Value: value}, nil
}

// changes gathers what one Apply writes, and the first error in making it.
type changes struct {
	list []core.Change
	err  error
}

func (c *changes) set(k []byte, record any) {
	one, err := set(k, record)
	if err != nil && c.err == nil {
		c.err = err
	}
	c.list = append(c.list, one)
}

func (c *changes) drop(k []byte) { c.list = append(c.list, core.Change{Key: k}) }

// apply writes them all, or none.
func (c *changes) apply(books core.Books) error {
	if c.err != nil || len(c.list) == 0 {
		return c.err
	}
	return books.Apply(c.list...)
}

// get reads a record; false if there is none.
func get(books core.Books, k []byte, record any, sizeMax int) (bool, error) {
	value, err := books.Get(k)
	if errors.Is(err, core.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read record %.16q: %w", k, err)
	}
	if err := codec.Unmarshal(value, record, sizeMax); err != nil {
		return false, fmt.Errorf("record %.16q: %w", k, err)
	}
	return true, nil
}

// scan yields the records under a prefix, each with the rest of its key, which
// must be size bytes long.
func scan[T any](books core.Books, prefix []byte, size, sizeMax int) iter.Seq2[entry[T], error] {
	return func(yield func(entry[T], error) bool) {
		for c, err := range books.Scan(prefix, nil) {
			e := entry[T]{key: c.Key}
			switch {
			case err != nil:
				err = fmt.Errorf("read records %.16q: %w", prefix, err)
			case len(c.Key) != len(prefix)+size:
				err = fmt.Errorf("record %.16q: key of %d bytes: %w", c.Key, len(c.Key), core.ErrCorrupt)
			default:
				e.rest = c.Key[len(prefix):]
				if err = codec.Unmarshal(c.Value, &e.value, sizeMax); err != nil {
					err = fmt.Errorf("record %.16q: %w", c.Key, err)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// entry is one record: its whole key, what of it follows the prefix, its value.
type entry[T any] struct {
	key, rest []byte
	value     T
}
