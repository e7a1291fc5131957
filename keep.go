package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/retain"
	"github.com/grange-grid/grange/service/keep"
)

// DefaultEvery is how long after one version of what is kept the next is made, unless
// that is said.
const DefaultEvery = time.Hour

// Keeping says how a file or directory is stored by itself, again and again.
type Keeping struct {
	// Path is absolute; Name is what it is stored under, "" for the last part of the path.
	Path Path   `json:"path"`
	Name string `json:"name"`
	// EverySeconds is how long after one version the next is made: a minute to 366 days;
	// zero is DefaultEvery.
	EverySeconds int64 `json:"every_seconds"`
	// Last newest versions stay, and the last of Daily days and of Monthly months that have
	// one; zero all three is 7, 30 and 12.
	Last    int `json:"last"`
	Daily   int `json:"daily"`
	Monthly int `json:"monthly"`
	// Exclude has patterns in the syntax of .gitignore.
	Exclude       []Path `json:"exclude,omitempty"`
	OneFileSystem bool   `json:"one_file_system,omitempty"`
}

// Kept is what is kept, and how that goes.
type Kept struct {
	Keeping
	// Stored is when it was last found to be stored as it is on the disk, zero for never;
	// Version the one that it then was, and Unchanged says that this one was there before.
	Stored    time.Time `json:"stored,omitzero"`
	Version   uint64    `json:"version,omitempty"`
	Unchanged bool      `json:"unchanged,omitempty"`
	// Tried is when that was last tried, Next when it will be; Busy says that it is being
	// stored just now.
	Tried time.Time `json:"tried,omitzero"`
	Next  time.Time `json:"next"`
	Busy  bool      `json:"busy,omitempty"`
	// Trouble says what keeps it from being stored, Since when; Alarm that a person has to look.
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Alarm   bool      `json:"alarm,omitempty"`
	// Full are the partners, by name, who have no more room for us by the pact, with its bytes.
	Full map[string]int64 `json:"full,omitempty"`
}

// Keep stores a path from now on by itself, whenever the agent runs; of a path that is
// kept already it changes how. Nothing need be stored when it returns, and there may be no
// partner yet. Errors: fs.ErrNotExist of the path, ErrInvalid, fs.ErrExist if another path
// is kept under the name, ErrRevoked.
func (a *Agent) Keep(_ context.Context, k Keeping) (Kept, error) {
	if err := a.federation.Revoked(); err != nil {
		return Kept{}, err
	}
	if err := a.outside(string(k.Path)); err != nil {
		return Kept{}, err
	}
	task := k.task()
	src, err := files.NewSource(string(k.Path), files.SourceOptions{Exclude: task.Exclude})
	if err != nil {
		return Kept{}, err
	}
	task.Path = []byte(filepath.Clean(string(k.Path)))
	known, err := a.keptAt(Path(task.Path))
	if err == nil && task.Name != "" && task.Name != known.Name {
		return Kept{}, fmt.Errorf("%s is kept already, as %q: %w", k.Path, known.Name, fs.ErrExist)
	}
	task.Name = cmp.Or(task.Name, known.Name, src.Name())
	if err := manifest.CheckName(task.Name); err != nil {
		return Kept{}, err
	}
	if err := a.keeper.Start(task); err != nil {
		return Kept{}, err
	}
	return a.keptAt(Path(task.Path))
}

// StopKeeping stores a path no more by itself. Its versions stay. It returns what was
// kept. Errors: fs.ErrNotExist.
func (a *Agent) StopKeeping(_ context.Context, path Path) (Kept, error) {
	k, err := a.keptAt(Path(filepath.Clean(string(path))))
	if err != nil {
		return Kept{}, err
	}
	return k, a.keeper.Stop(k.Name)
}

// Kept returns what is kept, by name.
func (a *Agent) Kept(context.Context) []Kept {
	out := []Kept{}
	for _, r := range a.keeper.Tasks() {
		out = append(out, keptOf(r))
	}
	return out
}

func (a *Agent) keptAt(path Path) (Kept, error) {
	for _, r := range a.keeper.Tasks() {
		if string(r.Path) == string(path) {
			return keptOf(r), nil
		}
	}
	return Kept{}, fmt.Errorf("%s is not kept: %w", path, fs.ErrNotExist)
}

func (k Keeping) task() keep.Task {
	t := keep.Task{
		Name: k.Name, Every: time.Duration(k.EverySeconds) * time.Second, OneFileSystem: k.OneFileSystem,
		Rule: retain.Rule{Last: k.Last, Daily: k.Daily, Monthly: k.Monthly},
	}
	if k.EverySeconds > int64(keep.EveryMax/time.Second) {
		t.Every = keep.EveryMax + 1 // it would overflow
	}
	t.Every = cmp.Or(t.Every, DefaultEvery)
	if t.Rule == (retain.Rule{}) {
		t.Rule = retain.Default
	}
	for _, pattern := range k.Exclude {
		t.Exclude = append(t.Exclude, string(pattern))
	}
	return t
}

func keptOf(r keep.Report) Kept {
	out := Kept{
		Keeping: Keeping{
			Path: Path(r.Path), Name: r.Name, EverySeconds: int64(r.Every / time.Second),
			Last: r.Rule.Last, Daily: r.Rule.Daily, Monthly: r.Rule.Monthly, OneFileSystem: r.OneFileSystem,
		},
		Stored: r.Stored, Version: r.Version, Unchanged: r.Unchanged, Tried: r.Tried, Next: r.Next, Busy: r.Busy,
		Trouble: r.Trouble, Since: r.Since, Alarm: r.Alarm, Full: r.Full,
	}
	for _, pattern := range r.Exclude {
		out.Exclude = append(out.Exclude, Path(pattern))
	}
	return out
}

// keepNow stores what is kept, as Keeper's Put.
func (a *Agent) keepNow(ctx context.Context, t keep.Task) (keep.Result, error) {
	if len(a.places()) == 0 {
		return keep.Result{}, ErrNoPartner
	}
	if err := a.present(ctx, t); err != nil {
		return keep.Result{}, err
	}
	out, err := a.PutPath(ctx, t.Name, string(t.Path), &PutOptions{Exclude: t.Exclude, OneFileSystem: t.OneFileSystem, SkipSame: true, wait: true})
	return keep.Result{Version: out.Number, Unchanged: out.Unchanged, Full: out.Full}, keepTrouble(out, err)
}

// keepThin removes what the rule does not keep, as Keeper's Thin.
func (a *Agent) keepThin(ctx context.Context, t keep.Task) error {
	gone, err := a.vault.Thin(ctx, t.Name, t.Rule)
	a.tidySoon(len(gone))
	return err
}

// present refuses to store a path that has vanished, or has no file left: a disk that is
// not mounted leaves such a directory behind. A person who means it puts it by hand.
func (a *Agent) present(ctx context.Context, t keep.Task) error {
	src, err := files.NewSource(string(t.Path), files.SourceOptions{
		Exclude: t.Exclude, OneFileSystem: t.OneFileSystem, Avoid: []string{a.c.Dir},
	})
	if errors.Is(err, fs.ErrNotExist) {
		return worded{fmt.Sprintf("%s is not there", t.Path), keep.ErrGone}
	}
	if err != nil {
		return err
	}
	last, err := a.vault.Find(t.Name, 0)
	if errors.Is(err, fs.ErrNotExist) || err == nil && last.Files == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for item, err := range src.Items(ctx) {
		if err != nil {
			return err
		}
		if item.Entry.Kind == manifest.KindFile {
			return nil
		}
	}
	had := "1 file"
	if last.Files > 1 {
		had = fmt.Sprintf("%d files", last.Files)
	}
	return worded{fmt.Sprintf("%s is empty, and had %s: no empty version is made of it", t.Path, had), keep.ErrGone}
}

// worded is an error in words of its own.
type worded struct {
	text string
	err  error
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.err }

// keepTrouble puts what a put came to into the words that a person reads later, when the
// result is gone.
func keepTrouble(out PutResult, err error) error {
	var parts []string
	if n := len(out.Problems); n > 0 {
		p := out.Problems[0]
		text := fmt.Sprintf("%q: %s", string(p.Path), p.Err)
		if n > 1 {
			text = fmt.Sprintf("%d files could not be read, such as %s", n, text)
		}
		parts = append(parts, text)
	}
	for _, name := range slices.Sorted(maps.Keys(out.Refused)) {
		parts = append(parts, name+" "+out.Refused[name])
	}
	if errors.Is(err, ErrCarried) {
		return worded{fmt.Sprintf("it waits to be brought to %s on a disk; to send it instead: grange put PATH", strings.Join(slices.Sorted(maps.Keys(out.Carried)), " and ")), err}
	}
	if out.promised && len(out.Problems) == 0 && errors.Is(err, ErrPartly) {
		return nil // who is away hears of it later, and is made up for if that takes days
	}
	if err == nil || len(parts) == 0 {
		return err
	}
	text := strings.Join(parts, "; ")
	if i := out.Incomplete; i != nil {
		text += ". " + i.String()
	}
	return worded{text, err}
}

// keepAlarm tells of what a person has to look at.
func (a *Agent) keepAlarm(r keep.Report) {
	text := fmt.Sprintf("%s is not stored: %s", r.Name, r.Trouble)
	a.c.Log.Warn("alarm", "text", text)
	a.events.send(Event{Time: a.c.Clock.Now(), Kind: "alarm", Text: text})
}
