package table

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// witnessesMax is how many machines' attestations are kept of a table, besides those that its definition names.
const witnessesMax = 256

// witnessesSent is how many come at a time.
const witnessesSent = witnessesMax + table.AttestersMax

// Attest signs the newest checkpoint of a table, as this machine. Errors: core.ErrNotExist.
func (t *Tables) Attest(_ context.Context, id core.DID) (identity.Signed, table.Checkpoint, error) {
	r, err := t.replica(id)
	if err != nil {
		return identity.Signed{}, table.Checkpoint{}, err
	}
	s := r.current()
	if s == nil {
		return identity.Signed{}, table.Checkpoint{}, noDefinition(id)
	}
	signed, err := r.attest(s)
	return signed, s.check, err
}

// attest signs a state, once, and keeps that.
func (r *replica) attest(s *state) (identity.Signed, error) {
	me := r.t.c.Key.DID()
	kept, at, ok, err := r.seen(me)
	if err != nil || ok && at.Checkpoint == s.score {
		return kept, err
	}
	now := r.t.c.Clock.Now().Unix()
	if ok { // it rises, whatever the clock does: readers take what does not for an old root
		now = max(now, at.Time+1)
	}
	signed, err := table.Attest(r.t.c.Key, s.check, now)
	if err == nil {
		err = r.t.keep(r.id, signed)
	}
	return signed, err
}

// seen returns the newest attestation of a machine.
func (r *replica) seen(machine core.DID) (identity.Signed, table.Attestation, bool, error) {
	return r.t.seen(r.id, machine)
}

func (t *Tables) keep(id core.DID, s identity.Signed) error {
	b, err := s.Marshal()
	if err != nil {
		return err
	}
	return t.c.Books.Apply(core.Change{Key: recordAt(id, recordSeen, s.By[:]), Value: b})
}

const signedSizeMax = 2 << 10

// witness takes in an attestation that was shown. Errors: table.ErrForged, table.ErrOtherTable, core.ErrInvalid.
func (r *replica) witness(s identity.Signed) (fresh bool, err error) {
	at, err := table.OpenAttestation(s)
	if err != nil {
		return false, err
	}
	if at.Table != r.id {
		return false, fmt.Errorf("attestation of %s: %w", s.By.Short(), table.ErrOtherTable)
	}
	_, before, ok, err := r.seen(s.By)
	if err != nil || ok && at.Time <= before.Time {
		return false, err
	}
	var def *table.Definition
	if now := r.current(); now != nil {
		def = now.def
	}
	return r.t.note(def, s, at, ok)
}

// note keeps an attestation that is its machine's newest; known tells that it has one. Those that the definition names are always kept, of others so
// many that nobody fills the disk with machines that there are not.
func (t *Tables) note(def *table.Definition, s identity.Signed, at table.Attestation, known bool) (bool, error) {
	if !known && (def == nil || !slices.Contains(def.Attest, s.By)) {
		all, err := t.witnesses(at.Table)
		if err != nil || len(all) >= witnessesMax {
			return false, err
		}
	}
	return true, t.keep(at.Table, s)
}

func (r *replica) witnesses() ([]identity.Signed, error) { return r.t.witnesses(r.id) }

// witnesses returns the newest attestation of each machine.
func (t *Tables) witnesses(id core.DID) (out []identity.Signed, err error) {
	for c, err := range t.c.Books.Scan(recordAt(id, recordSeen), nil) {
		if err != nil {
			return nil, err
		}
		s, err := identity.ParseSigned(c.Value, signedSizeMax)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// toldMax is how many proofs of omissions are told at once.
const toldMax = 8

// testimony is what this machine can tell others; as one of the owner's it signs its newest checkpoint first.
func (r *replica) testimony() (out testimony, err error) {
	if s := r.current(); s != nil && slices.Contains(s.def.Attest, r.t.c.Key.DID()) {
		if _, err := r.attest(s); err != nil {
			return out, err
		}
	}
	if out.Attestations, err = r.witnesses(); err != nil {
		return out, err
	}
	if out.Attestations == nil {
		out.Attestations = []identity.Signed{}
	}
	all, err := r.omissions()
	size := 0
	for _, o := range all {
		if size += len(o.Definition) + len(o.Op) + len(o.Feeds) + len(o.Rows) + len(o.Gone); len(out.Omissions) < toldMax && size < attestLimit/2 {
			out.Omissions = append(out.Omissions, o)
		}
	}
	return out, err
}

// hear takes in what another tells. Errors are those of what is false in it.
func (r *replica) hear(in testimony) (err error) {
	if len(in.Attestations) > witnessesSent || len(in.Omissions) > toldMax {
		return fmt.Errorf("%d attestations and %d omissions, of %d and %d at most: %w", len(in.Attestations), len(in.Omissions), witnessesSent, toldMax, core.ErrInvalid)
	}
	for _, s := range in.Attestations {
		_, failed := r.witness(s)
		err = errors.Join(err, failed)
	}
	for _, o := range in.Omissions {
		_, failed := r.convict(o)
		err = errors.Join(err, failed)
	}
	return err
}

// attestations are those of a state: this machine's, and those of others that have come to the same; first those that the definition names.
func (r *replica) attestations(s *state) ([]identity.Signed, error) {
	own, err := r.attest(s)
	if err != nil {
		return nil, err
	}
	all, err := r.witnesses()
	if err != nil {
		return nil, err
	}
	out := []identity.Signed{own}
	for _, w := range all {
		at, err := table.OpenAttestation(w)
		if err == nil && at.Checkpoint == s.score && w.By != own.By {
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b identity.Signed) int {
		return order(slices.Contains(s.def.Attest, b.By)) - order(slices.Contains(s.def.Attest, a.By))
	})
	return out[:min(len(out), table.AttestationsMax)], nil
}

func order(b bool) int {
	if b {
		return 1
	}
	return 0
}
