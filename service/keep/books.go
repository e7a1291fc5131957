package keep

import (
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/retain"
)

// The keys of keep's records.
const (
	taskPrefix  = "k/task/"  // + name: what is to be done
	statePrefix = "k/state/" // + name: how it went
)

const recordSizeMax = 256 << 10 // bytes of one record

type taskRecord struct {
	V             uint     `json:"v"`
	Path          []byte   `json:"path"`
	Every         int64    `json:"every"` // seconds
	Last          int      `json:"last"`
	Daily         int      `json:"daily"`
	Monthly       int      `json:"monthly"`
	Exclude       [][]byte `json:"exclude,omitempty"`
	OneFileSystem bool     `json:"one_file_system,omitempty"`
}

type stateRecord struct {
	V uint `json:"v"`
	// Unchanged says of Version that it was there before it was last stored.
	Unchanged bool `json:"unchanged,omitempty"`
	// Tried and Stored are dates, zero for never; Fails counts failures since Stored, the
	// first at Failed.
	Tried   int64  `json:"tried"`
	Stored  int64  `json:"stored"`
	Version uint64 `json:"version"`
	Fails   uint   `json:"fails"`
	Failed  int64  `json:"failed"`
	Trouble string `json:"trouble,omitempty"`
	// Full are partners without room, by name.
	Full  map[string]int64 `json:"full,omitempty"`
	Alarm bool             `json:"alarm,omitempty"`
}

func (k *Keeper) save(prefix, name string, record any) error {
	value, err := codec.Marshal(record)
	if err == nil {
		err = k.c.Books.Apply(core.Change{Key: []byte(prefix + name), Value: value})
	}
	if err != nil {
		return fmt.Errorf("record what is kept of %q: %w", name, err)
	}
	return nil
}

// load reads all tasks. One that cannot be read is an error: it would be kept no more, unnoticed.
func (k *Keeper) load() error {
	for c, err := range k.c.Books.Scan([]byte(taskPrefix), nil) {
		if err != nil {
			return fmt.Errorf("read what is to be kept: %w", err)
		}
		name := string(c.Key[len(taskPrefix):])
		var r taskRecord
		if err := codec.Unmarshal(c.Value, &r, recordSizeMax); err != nil {
			return fmt.Errorf("read how %q is kept: %w", name, err)
		}
		job := &job{task: Task{
			Name: name, Path: r.Path, Every: seconds(r.Every), OneFileSystem: r.OneFileSystem,
			Rule: retain.Rule{Last: r.Last, Daily: r.Daily, Monthly: r.Monthly},
		}}
		for _, pattern := range r.Exclude {
			job.task.Exclude = append(job.task.Exclude, string(pattern))
		}
		raw, err := k.c.Books.Get([]byte(statePrefix + name))
		if err == nil {
			err = codec.Unmarshal(raw, &job.state, recordSizeMax)
		}
		if err != nil && !errors.Is(err, core.ErrNotExist) { // how it went is learned again
			k.c.Log.Warn("how a task went cannot be read", "name", name, "err", err)
			job.state = stateRecord{}
		}
		k.jobs[name] = job
	}
	return nil
}

func (t Task) record() taskRecord {
	r := taskRecord{
		V: codec.Version, Path: t.Path, Every: int64(t.Every / second), OneFileSystem: t.OneFileSystem,
		Last: t.Rule.Last, Daily: t.Rule.Daily, Monthly: t.Rule.Monthly,
	}
	for _, pattern := range t.Exclude {
		r.Exclude = append(r.Exclude, []byte(pattern))
	}
	return r
}
