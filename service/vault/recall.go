package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Recall has every holder promise anew what any version that is not removed consists of, also where nothing here
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
		maps.DeleteFunc(uses, func(id segmentID, _ struct{}) bool { return done.has(id[:]) })
		for batch := range slices.Chunk(uses.sorted(), collectBatch) {
			var pieces []core.Score
			for _, id := range batch {
				if s, err := v.segment(id); err == nil { // else bringBack has said so
					pieces = append(pieces, scores(s)...)
				}
			}
			if _, err := v.c.Barter.Renew(ctx, pieces); err != nil { // what is missing may never have been placed
				failures = append(failures, err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		maps.Copy(done, uses)
	}
	return errors.Join(failures...)
}
