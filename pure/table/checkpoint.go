package table

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/tree"
)

// Names of the trees that every table has; those of its indexes are IndexTree's.
const (
	FeedsTree = "feeds"
	RowsTree  = "rows"
	GoneTree  = "gone"
)

// IndexTree is the name of an index's tree.
func IndexTree(x Index) string { return "index " + x.String() }

const contextTree = "grange v1 tree"

// Salt is that of one of a table's trees.
func Salt(table core.DID, name string) (salt [tree.SaltSize]byte) {
	key := core.DeriveKey(contextTree, table[:], []byte(name))
	copy(salt[:], key[:])
	return salt
}

// Root is that of a tree.
type Root struct {
	Hash core.Score `json:"hash"`
	// Count is how many records there are.
	Count uint64 `json:"count"`
	Level uint   `json:"level"`
}

// RootOf returns the root of a map.
func RootOf(m tree.Map) Root { return Root{m.Root.Hash, m.Len(), uint(m.Root.Level)} }

// Map is the map below a root.
func (r Root) Map(salt [tree.SaltSize]byte) tree.Map {
	return tree.Map{Salt: salt, Root: tree.Ref{Level: int(r.Level), Hash: r.Hash, Count: r.Count + 1, Lo: []byte{}}}
}

// IndexRoot is that of an index.
type IndexRoot struct {
	Root
	// Rows is how many rows have an entry.
	Rows uint64 `json:"rows"`
}

// Checkpoint is what a table is, as one comes to of the operations that stand.
type Checkpoint struct {
	V          uint        `json:"v"`
	Table      core.DID    `json:"table"`
	Definition core.Score  `json:"definition"`
	Feeds      Root        `json:"feeds"`
	Rows       Root        `json:"rows"`
	Gone       Root        `json:"gone"`
	Indexes    []IndexRoot `json:"indexes"`
}

// Marshal encodes a checkpoint.
func (c Checkpoint) Marshal() ([]byte, error) {
	c.V = codec.Version
	return codec.Marshal(c)
}

// Score names a checkpoint.
func (c Checkpoint) Score() core.Score {
	b, err := c.Marshal()
	if err != nil {
		panic(err) // it is byte strings and numbers
	}
	return core.ScoreOf(b)
}

// check tells whether a checkpoint that came from elsewhere can be one.
func (c Checkpoint) check() error {
	if c.V != codec.Version {
		return fmt.Errorf("checkpoint: %w %d", core.ErrVersion, c.V)
	}
	roots := []Root{c.Feeds, c.Rows, c.Gone}
	for _, x := range c.Indexes {
		if x.Rows > x.Count {
			return invalid("checkpoint: more rows in an index than entries")
		}
		roots = append(roots, x.Root)
	}
	if len(c.Indexes) > IndexesMax {
		return invalid("checkpoint of %d indexes", len(c.Indexes))
	}
	for _, r := range roots {
		if r.Level > tree.LevelMax || r.Count >= countMax {
			return invalid("checkpoint: a root of level %d and %d records", r.Level, r.Count)
		}
	}
	return nil
}

// countMax bounds the records of a tree.
const countMax = 1 << 53

// KindAttest is the kind of signed thing that an attestation is.
const KindAttest = "attest"

// Attestation says that a machine has made a checkpoint from the operations.
type Attestation struct {
	V          uint       `json:"v"`
	Table      core.DID   `json:"table"`
	Checkpoint core.Score `json:"checkpoint"`
	Time       int64      `json:"time"`
	Machine    core.DID   `json:"machine"`
}

// attestationSizeMax bounds its encoding in bytes.
const attestationSizeMax = 512

// Attest signs a checkpoint.
func Attest(k identity.Key, c Checkpoint, now int64) (identity.Signed, error) {
	return identity.Sign(k, KindAttest, Attestation{codec.Version, c.Table, c.Score(), now, k.DID()})
}

// OpenAttestation verifies one. Errors: ErrForged, core.ErrInvalid.
func OpenAttestation(s identity.Signed) (Attestation, error) {
	a, err := identity.Open[Attestation](s, KindAttest, attestationSizeMax)
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if a.Machine != s.By {
		return a, invalid("attestation of another machine than signed it")
	}
	return a, nil
}
