package barter

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// provenEvery is for how many seconds a proof is not written down after another: an audit has many.
const provenEvery = 60

// provenRecord is when a machine of a partner proved something to this one, or this one to it, in Unix seconds.
type provenRecord struct {
	V    uint  `json:"v"`
	Time int64 `json:"time"`
}

// proven returns when the last proof was; 0: there was none.
func (b *Barter) proven(s side, agent core.DID) (int64, error) {
	var r provenRecord
	_, err := b.read(join(s.proven, agent[:]), &r)
	return r.Time, err
}

// noteProven writes down that there was one just now.
func (b *Barter) noteProven(s side, agent core.DID) error {
	now := b.c.Clock.Now().Unix()
	last, err := b.proven(s, agent)
	if err != nil || now >= last && now < last+provenEvery {
		return err
	}
	c, err := change(join(s.proven, agent[:]), provenRecord{V: codec.Version, Time: now})
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(c); err != nil {
		return fmt.Errorf("record a proof: %w", err)
	}
	return nil
}
