package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Recall has every holder promise anew what any version that is not removed consists of, or a ticket reads, also where nothing here
// says that it was given up: whoever had this machine's key may have done so. The error says which versions are not
// all there again, and who could not be asked; the others are.
func (v *Vault) Recall(ctx context.Context) error {
	unlock, err := take(ctx, v.collecting)
	if err != nil {
		return err
	}
	defer unlock()
	versions, err := v.Versions("")
	if err != nil {
		return err
	}
	done := segmentSet{}
	var failures []error
	for _, version := range versions {
		uses, err := v.bringBack(ctx, version)
		if err != nil {
			failures = append(failures, fmt.Errorf("%q, version %d: %w", version.Name, version.Seq, err))
		}
		failures = append(failures, v.promiseAnew(ctx, uses, done))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	ticketed, err := v.ticketedBy(ctx, "", func(err error) { failures = append(failures, err) })
	if err != nil {
		return err
	}
	failures = append(failures, v.revive(ctx, ticketed), v.promiseAnew(ctx, ticketed, done))
	return errors.Join(failures...)
}

// promiseAnew has the pieces of those segments promised anew that are not among done, and adds them.
func (v *Vault) promiseAnew(ctx context.Context, uses, done segmentSet) error {
	uses = maps.Clone(uses)
	maps.DeleteFunc(uses, func(id segmentID, _ struct{}) bool { return done.has(id[:]) })
	var failures []error
	for batch := range slices.Chunk(uses.sorted(), collectBatch) {
		var pieces []core.Score
		for _, id := range batch {
			if s, err := v.segment(id); err == nil { // else bringing it back has said so
				pieces = append(pieces, scores(s)...)
			}
		}
		if _, err := v.c.Barter.Renew(ctx, pieces); err != nil { // what is missing may never have been placed
			failures = append(failures, err)
		}
	}
	maps.Copy(done, uses)
	return errors.Join(failures...)
}
