package grange

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"github.com/grange-grid/grange/pure/query"
)

// TableChange is a row that has changed.
type TableChange struct {
	// Row has no Document where there is none any more that the query is for.
	Row TableRow `json:"row"`
	// Missed says that more has changed than could be told.
	Missed bool `json:"missed,omitempty"`
}

// watchKeysMax bounds what waits for a slow reader.
const watchKeysMax = 1 << 16

// watch is one who wants to know what changes in a table.
type watch struct {
	id     DID
	keys   map[string]bool
	missed bool
	wake   chan struct{}
}

// tableChanged tells those who watch a table.
func (a *Agent) tableChanged(id DID, keys [][]byte) {
	a.tables.mu.Lock()
	defer a.tables.mu.Unlock()
	for w := range a.tables.watches {
		if w.id != id {
			continue
		}
		for _, k := range keys {
			if w.missed = w.missed || len(w.keys) >= watchKeysMax; !w.missed {
				w.keys[string(k)] = true
			}
		}
		leave(w.wake)
	}
}

// WatchTable yields the rows of a query that change, as this machine hears of it, until ctx ends. Of a query it takes the conditions. Errors: those of QueryTable.
func (a *Agent) WatchTable(ctx context.Context, name, text string) iter.Seq2[TableChange, error] {
	return func(yield func(TableChange, error) bool) {
		tables, info, err := a.table(name)
		var q query.Query
		if err == nil {
			q, err = query.Parse(text)
		}
		if err != nil {
			yield(TableChange{}, err)
			return
		}
		w := &watch{id: info.ID, keys: map[string]bool{}, wake: make(chan struct{}, 1)}
		a.tables.mu.Lock()
		if a.tables.watches == nil {
			a.tables.watches = map[*watch]struct{}{}
		}
		a.tables.watches[w] = struct{}{}
		a.tables.mu.Unlock()
		defer func() {
			a.tables.mu.Lock()
			defer a.tables.mu.Unlock()
			delete(a.tables.watches, w)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.life.Done():
				return
			case <-w.wake:
			}
			keys, missed := a.changed(w)
			if missed && !yield(TableChange{Missed: true}, nil) {
				return
			}
			looked, err := tables.Look(ctx, info.ID, keys, q)
			if err != nil {
				yield(TableChange{}, err)
				return
			}
			for _, l := range looked {
				out := TableChange{Row: TableRow{Key: string(l.Key)}}
				if l.Row != nil {
					out.Row = rowOf(l.Row)
				}
				if !yield(out, nil) {
					return
				}
			}
		}
	}
}

// changed takes what has changed for a watch.
func (a *Agent) changed(w *watch) (keys [][]byte, missed bool) {
	a.tables.mu.Lock()
	defer a.tables.mu.Unlock()
	for k := range w.keys {
		keys = append(keys, []byte(k))
	}
	slices.SortFunc(keys, bytes.Compare)
	missed = w.missed
	w.keys, w.missed = map[string]bool{}, false
	return keys, missed
}
