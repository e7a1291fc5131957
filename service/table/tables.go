package table

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// ErrNotProven says that an answer takes something that it has not brought.
var ErrNotProven = tree.ErrNotProven

// ErrWithheld says that a payload is missing that nobody has erased.
var ErrWithheld = errors.New("withheld")

// TablesMax is how many tables are kept at one machine.
const TablesMax = 1024

// Tables are those that a machine keeps. All methods may be called at once.
type Tables struct {
	c       Config
	shelves *shelves
	wake    chan struct{} // holds one when something has landed
	memory  memory
	most    int // operations that are taken at a time
	parts   lastPart

	mu  sync.Mutex
	all map[core.DID]*replica
}

// New opens the tables that the books have.
func New(c Config) (*Tables, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tables{c: c, most: batchMax, shelves: newShelves(), wake: make(chan struct{}, 1), all: map[core.DID]*replica{}}
	for record, err := range c.Books.Scan([]byte(tableList), nil) {
		if err != nil {
			return nil, fmt.Errorf("tables: %w", err)
		}
		id := record.Key[len(tableList):]
		if len(id) != len(core.DID{}) {
			return nil, fmt.Errorf("tables: %w: a record of %d bytes", core.ErrCorrupt, len(id))
		}
		if t.all[core.DID(id)], err = t.openReplica(core.DID(id)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// tableList begins the records of which tables there are: what they are called here.
const tableList = "n/"

// nameRecord is what a table is called here.
type nameRecord struct {
	V       uint   `json:"v"`
	Name    string `json:"name"`
	Joining bool   `json:"joining,omitempty"`
}

// Info is what is known here of a table.
type Info struct {
	ID core.DID
	// Name is what it is called here.
	Name string
	// Joining says that it was added, and never named: whoever did was broken off.
	Joining bool
	// Definition is nil before one has come.
	Definition *table.Definition
	Checkpoint table.Checkpoint
	// Owned tells that the table key is here.
	Owned bool
	// Stuck says why feeds do not go on.
	Stuck map[core.DID]string
}

// Create makes a table. join has its feeds kept. Errors: core.ErrInvalid, core.ErrFull.
func (t *Tables) Create(ctx context.Context, d table.Definition, join func(core.DID) error) (core.DID, error) {
	var seed [32]byte
	seal.Random(seed[:])
	key := identity.KeyOf(seed)
	payload, err := d.Marshal()
	if err != nil {
		return core.DID{}, err
	}
	id := key.DID()
	// The key goes first: what was broken off leaves a table without a definition, which is of no use to anybody.
	if err := t.c.Books.Apply(core.Change{Key: recordAt(id, recordKey), Value: seed[:]}); err != nil {
		return core.DID{}, err
	}
	r, err := t.add(id, nameRecord{Name: d.Name})
	if err == nil {
		err = join(id)
	}
	if err != nil {
		return core.DID{}, err
	}
	if _, err := t.c.Feeds.Append(ctx, id, key, []Draft{{Kind: feed.Define, Payload: payload}}); err != nil {
		return core.DID{}, errors.Join(err, t.Forget(id))
	}
	return id, r.settle(ctx)
}

// Add begins to keep a table under a name, until Rename says that it is the one. Its operations come by Config.Feeds.
func (t *Tables) Add(id core.DID, name string) error {
	_, err := t.add(id, nameRecord{Name: name, Joining: true})
	return err
}

func (t *Tables) add(id core.DID, name nameRecord) (*replica, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.all[id]; r != nil {
		return r, nil
	}
	if len(t.all) >= TablesMax {
		return nil, fmt.Errorf("%w: %d tables are kept here, of %d at most", core.ErrFull, len(t.all), TablesMax)
	}
	r, err := t.openReplica(id)
	if err != nil {
		return nil, err
	}
	if err := t.name(id, name); err != nil {
		return nil, err
	}
	t.all[id] = r
	return r, nil
}

func (t *Tables) name(id core.DID, name nameRecord) error {
	name.V = codec.Version
	record, err := codec.Marshal(name)
	if err != nil {
		return err
	}
	return t.c.Books.Apply(core.Change{Key: append([]byte(tableList), id[:]...), Value: record})
}

// Rename changes what a table is called here. Errors: core.ErrNotExist.
func (t *Tables) Rename(id core.DID, name string) error {
	if _, err := t.replica(id); err != nil {
		return err
	}
	return t.name(id, nameRecord{Name: name})
}

// Forget drops all that is here of a table, but for its operations.
func (t *Tables) Forget(id core.DID) error {
	t.mu.Lock()
	delete(t.all, id)
	t.mu.Unlock()
	changes := []core.Change{{Key: append([]byte(tableList), id[:]...)}}
	for {
		prefix := append([]byte("t/"), id[:]...)
		err := t.c.Books.Visit(prefix, nil, func(key, _ []byte) bool {
			changes = append(changes, core.Change{Key: bytes.Clone(key)})
			return len(changes) < cleanMax
		})
		if err == nil {
			err = t.c.Books.Apply(changes...)
		}
		if err != nil || len(changes) < cleanMax {
			return err
		}
		changes = changes[:0]
	}
}

// replica returns a table that is kept here. Errors: core.ErrNotExist.
func (t *Tables) replica(id core.DID) (*replica, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.all[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("table %s is not kept here: %w", id.Short(), core.ErrNotExist)
}

// All returns the tables that are kept here, by name.
func (t *Tables) All() ([]Info, error) {
	t.mu.Lock()
	all := make([]*replica, 0, len(t.all))
	for _, r := range t.all {
		all = append(all, r)
	}
	t.mu.Unlock()
	out := make([]Info, 0, len(all))
	for _, r := range all {
		info, err := r.info()
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.ID.Compare(b.ID)) })
	return out, nil
}

// Info returns what is known of a table. Errors: core.ErrNotExist.
func (t *Tables) Info(id core.DID) (Info, error) {
	r, err := t.replica(id)
	if err != nil {
		return Info{}, err
	}
	return r.info()
}

func (r *replica) info() (Info, error) {
	out := Info{ID: r.id, Stuck: map[core.DID]string{}}
	b, err := r.t.c.Books.Get(append([]byte(tableList), r.id[:]...))
	if err != nil {
		return out, err
	}
	var name nameRecord
	if err := codec.Unmarshal(b, &name, nameSizeMax); err != nil {
		return out, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
	}
	out.Name, out.Joining = name.Name, name.Joining
	if _, err = r.t.c.Books.Get(recordAt(r.id, recordKey)); err == nil {
		out.Owned = true
	} else if !errors.Is(err, core.ErrNotExist) {
		return out, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for a, why := range r.stuck {
		out.Stuck[a] = why
	}
	if r.now != nil {
		out.Definition, out.Checkpoint = r.now.def, r.now.check
	}
	return out, nil
}

const nameSizeMax = 1 << 10

// Change gives a table another definition. Errors: core.ErrForbidden where its key is not here, core.ErrNotExist, core.ErrInvalid.
func (t *Tables) Change(ctx context.Context, id core.DID, change func(*table.Definition) error) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	seed, err := t.c.Books.Get(recordAt(id, recordKey))
	if errors.Is(err, core.ErrNotExist) {
		return fmt.Errorf("the key of table %s is not on this machine: %w", id.Short(), core.ErrForbidden)
	}
	if err != nil || len(seed) != 32 {
		return errors.Join(err, core.ErrCorrupt)
	}
	s := r.current()
	if s == nil {
		return fmt.Errorf("table %s has no definition yet: %w", id.Short(), core.ErrNotExist)
	}
	def := *s.def
	if err := change(&def); err != nil {
		return err
	}
	payload, err := def.Marshal()
	if err != nil {
		return err
	}
	if _, err := t.c.Feeds.Append(ctx, id, identity.KeyOf([32]byte(seed)), []Draft{{Kind: feed.Define, Payload: payload}}); err != nil {
		return err
	}
	return r.settle(ctx)
}

// seen returns the newest attestation of a machine that this one has seen of a table.
func (t *Tables) seen(id, machine core.DID) (s identity.Signed, at table.Attestation, ok bool, err error) {
	b, err := t.c.Books.Get(recordAt(id, recordSeen, machine[:]))
	if errors.Is(err, core.ErrNotExist) {
		return s, at, false, nil
	}
	if err != nil {
		return s, at, false, err
	}
	if s, err = identity.ParseSigned(b, signedSizeMax); err == nil {
		at, err = table.OpenAttestation(s)
	}
	return s, at, err == nil, err
}
