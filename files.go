package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/service/vault"
)

// Ref names a version, or a part of one.
type Ref struct {
	Name string
	// Version is its number; 0 is the newest.
	Version uint64
	// Path is a file or directory in it, slash-separated; "" is all of it.
	Path string
}

// PutOptions say how a tree is stored. A zero value works.
type PutOptions struct {
	// Data and Parity pieces of each segment; zero both is 10+10.
	Data, Parity int
	// Quality is how much it matters, and so how soon partners that are busy take it; "" is core.Normal.
	Quality core.Quality
	// Exclude has patterns in the syntax of .gitignore; PutPath alone heeds it.
	Exclude []string
	// OneFileSystem leaves out what is mounted below the path; PutPath alone heeds it.
	OneFileSystem bool
	// SkipSame makes no version of what the newest one has already.
	SkipSame bool
	// wait says that what a person carries is not sent.
	wait bool
	// Seed is a directory on a disk that a person carries to the partners: what would be sent to them is written
	// there, and no version is made. Once they have taken it in (TakeIn), the next put sends nothing of it again.
	Seed string
	// Progress is called now and then, from one goroutine at a time.
	Progress func(Progress)
}

// PutPath stores a file or directory of this machine under a name ("" is its
// base name) as a new version. When it returns nil, every piece of it, its manifest and
// the new head are on the partners' disks, under signed leases. With ErrPartly the
// result says what is missing: files that could not be read, or spare that found no
// room. Any other error means that there is no new version; what was placed is
// found again by the next put. Errors: ErrNoPartner, ErrRefused, ErrUnreachable.
func (a *Agent) PutPath(ctx context.Context, name, path string, o *PutOptions) (PutResult, error) {
	if o == nil {
		o = &PutOptions{}
	}
	if err := a.outside(path); err != nil {
		return PutResult{}, err
	}
	if o.Seed != "" && filepath.Clean(path) == filepath.Clean(o.Seed) {
		return PutResult{}, fmt.Errorf("%s would be written to itself: %w", path, ErrInvalid)
	}
	var left leftOut
	src, err := files.NewSource(path, files.SourceOptions{
		Exclude: o.Exclude, OneFileSystem: o.OneFileSystem,
		Avoid: a.avoid(o.Seed),
		Skip:  func(p files.Problem) { left.add(p.Path, p.Err) },
	})
	if err != nil {
		return PutResult{}, err
	}
	if name == "" {
		name = src.Name()
	}
	out, err := a.put(ctx, name, source{src}, o)
	return left.with(out, err)
}

// leftOut is what of a tree was not stored: what could not be, and what is of no kind
// that is stored.
type leftOut struct{ problems, special []Problem }

func (l *leftOut) add(path []byte, err error) {
	if errors.Is(err, files.ErrSpecial) {
		l.special = append(l.special, problemOf(path, err))
		return
	}
	l.problems = append(l.problems, problemOf(path, err))
}

// with adds it to what a put came to.
func (l *leftOut) with(out PutResult, err error) (PutResult, error) {
	out.Problems = append(out.Problems, l.problems...)
	out.Special = l.special
	if err == nil && len(l.problems) > 0 {
		err = ErrPartly
	}
	return out, err
}

// outside refuses a path that is the agent's own directory, or in it: what lies
// there are its keys, and pieces that grow with every put.
func (a *Agent) outside(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("find %s: %w", path, err)
	}
	own := a.c.Dir
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	if real, err := filepath.EvalSymlinks(own); err == nil {
		own = real
	}
	rel, err := filepath.Rel(own, abs)
	if err == nil && (rel == "." || filepath.IsLocal(rel)) {
		return fmt.Errorf("%s is this agent's own directory, with its keys: %w", path, ErrInvalid)
	}
	return nil
}

// Put stores a file system under a name as a new version; see PutPath.
func (a *Agent) Put(ctx context.Context, name string, src fs.FS, o *PutOptions) (PutResult, error) {
	if o == nil {
		o = &PutOptions{}
	}
	var left leftOut
	tree := fsSource{src, func(path string, err error) { left.add([]byte(path), err) }}
	out, err := a.put(ctx, name, tree, o)
	return left.with(out, err)
}

func (a *Agent) put(ctx context.Context, name string, src vault.Source, o *PutOptions) (PutResult, error) {
	if err := a.federation.Revoked(); err != nil {
		return PutResult{}, err
	}
	progress, done := a.works.begin(a.c.Clock.Now(), "put", name, o.Progress)
	defer done()
	in := vault.PutOptions{
		Spread: erasure.Shape{K: o.Data, M: o.Parity}, Quality: o.Quality, SkipSame: o.SkipSame, Wait: o.wait, Progress: a.progressOf(progress),
	}
	if o.Seed != "" {
		disk, err := a.carried(o.Seed)
		if err != nil {
			return PutResult{}, err
		}
		defer disk.Close()
		in.Seed = a.seeder(disk)
	}
	put, err := a.vault.Put(ctx, name, src, in)
	err = a.ended(err)
	if errors.Is(err, ErrRevoked) { // whatever was written down here is of no household any more
		return PutResult{}, err
	}
	if errors.Is(err, vault.ErrNoPartner) {
		return PutResult{}, ErrNoPartner
	}
	if in.Seed != nil && put != nil {
		return a.seeded(name, put), err
	}
	if awaited, ok := errors.AsType[*vault.Awaited](err); ok {
		return PutResult{Carried: a.bytesByName(awaited.Carried)}, err
	}
	if incomplete, ok := errors.AsType[*vault.Incomplete](err); ok {
		out := PutResult{Refused: a.byName(incomplete.Refused), Full: a.full(incomplete.Refused)}
		out.Incomplete = &Incomplete{Version: incomplete.Seq, Placed: incomplete.Placed, Bytes: incomplete.Bytes}
		if last, err := a.vault.Find(name, 0); err == nil {
			out.Incomplete.Last = last.Seq
		}
		return out, err
	}
	if put == nil {
		return PutResult{}, err
	}
	out := PutResult{Version: versionOf(put.Version), Unchanged: put.Unchanged, Same: put.Same, Refused: a.byName(put.Refused), Full: a.full(put.Refused)}
	out.Worth = a.worthOf(put.Worth)
	out.promised = put.Worth.Readable && put.Worth.Pieces == put.Worth.Wanted
	if w, err := a.vault.Worth(ctx, put.Version, a.isAway); err == nil { // as status says it
		out.Worth = a.worthOf(w)
	}
	for _, p := range put.Problems {
		out.Problems = append(out.Problems, problemOf(p.Path, p.Err))
	}
	return out, err
}

// ended gives what has failed because this machine turned out to be removed, or was
// broken off because its agent ends for that, the reason of it.
func (a *Agent) ended(err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(a.federation.Revoked(), err)
}

// Versions yields the versions of a name, or of all names for "", by name, the
// newest first.
func (a *Agent) Versions(_ context.Context, name string) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		versions, err := a.vault.Versions(name)
		if err == nil && name != "" && len(versions) == 0 {
			err = fmt.Errorf("%q: %w", name, fs.ErrNotExist)
		}
		if err != nil {
			yield(Version{}, err)
			return
		}
		for _, v := range versions {
			if !yield(versionOf(v), nil) {
				return
			}
		}
	}
}

// FS opens a version as a file system that is fetched as it is read. Its regular
// files are io.ReaderAt and io.Seeker. It is good until ctx ends. Ref.Path is its root,
// and has to be UTF-8; names in it need not be, and can be opened all the same.
func (a *Agent) FS(ctx context.Context, r Ref) (fs.FS, error) {
	v, err := a.vault.Find(r.Name, r.Version)
	if err != nil {
		return nil, err
	}
	fsys := a.vault.FS(ctx, v)
	if r.Path == "" {
		return fsys, nil
	}
	return fs.Sub(fsys, r.Path)
}

// RestoreOptions say how a version is restored. A zero value works.
type RestoreOptions struct {
	Progress func(Progress)
}

// Restore writes a version, or a part of it, to dest, which must not exist, be
// an empty directory, or have what a restore of the same that was cut off has left: that is gone on with. Nothing is ever written outside dest. With ErrPartly the result
// names the files that could not be restored; all others are whole.
func (a *Agent) Restore(ctx context.Context, r Ref, dest string, o *RestoreOptions) (RestoreResult, error) {
	if o == nil {
		o = &RestoreOptions{}
	}
	v, err := a.vault.Find(r.Name, r.Version)
	if err != nil {
		return RestoreResult{}, err
	}
	progress, done := a.works.begin(a.c.Clock.Now(), "get", path.Join(r.Name, r.Path), o.Progress)
	defer done()
	return restoreInto(ctx, v, dest, func(open openSink) (*vault.Restored, error) {
		restored, err := a.vault.Restore(ctx, v, vault.RestoreOptions{Path: r.Path, Progress: a.progressOf(progress)}, open)
		return restored, a.ended(err)
	})
}

// openSink makes where a restore writes.
type openSink = func(single bool, id core.Score) (vault.Sink, error)

// restoreInto has a version restored to dest.
func restoreInto(ctx context.Context, v manifest.Version, dest string, restore func(openSink) (*vault.Restored, error)) (RestoreResult, error) {
	out := RestoreResult{Version: versionOf(v), Dest: Path(dest)}
	var into *files.Sink
	restored, err := restore(func(single bool, id core.Score) (vault.Sink, error) {
		var err error
		into, err = files.NewSink(dest, files.SinkOptions{Single: single, ID: id, Skip: func(p files.Problem) {
			out.Problems = append(out.Problems, problemOf(p.Path, p.Err))
		}})
		if err != nil {
			return nil, err
		}
		return sink{into}, nil
	})
	if into == nil {
		return out, err
	}
	if err != nil && !errors.Is(err, core.ErrPartly) {
		return out, errors.Join(err, into.Abort())
	}
	out.Files, out.Bytes = restored.Files, restored.Bytes
	for _, p := range restored.Problems {
		out.Problems = append(out.Problems, problemOf(p.Path, p.Err))
	}
	if failed := into.Finish(ctx); failed != nil {
		return out, failed
	}
	if err == nil && len(out.Problems) > 0 {
		err = ErrPartly
	}
	return out, err
}

// CheckOptions say what is checked and what is done about it.
type CheckOptions struct {
	// Mend makes what is missing again; Now counts pieces of holders that are away as missing.
	Mend, Now bool
	Progress  func(Progress)
}

// Check has every holder prove every piece of a name's versions, or of all for
// "". With ErrPartly something is not as it should be, and the result says what.
func (a *Agent) Check(ctx context.Context, name string, o *CheckOptions) (CheckResult, error) {
	if o == nil {
		o = &CheckOptions{}
	}
	if o.Mend { // what a thief of the key gave up is kept for weeks: it is taken back rather than made again
		if err := a.vault.Recall(ctx); err != nil && ctx.Err() == nil {
			a.c.Log.Info("not everything was promised anew", "err", err)
		}
	}
	checked, err := a.vault.Check(ctx, vault.CheckOptions{Name: name, Mend: o.Mend, Now: o.Now, Progress: a.progressOf(o.Progress)})
	if err = a.ended(err); checked == nil {
		return CheckResult{}, err
	}
	out := CheckResult{
		Segments: checked.Segments, Pieces: checked.Pieces, Unheld: checked.Unheld, Away: checked.Away, Worth: a.worthOf(checked.Worth), Findings: []Finding{},
	}
	for _, grid := range sortedKeys(checked.Holders, a.nameOf) {
		r := checked.Holders[grid]
		f := Finding{
			Partner: a.nameOf(grid), OK: r.OK, Missing: r.Missing, Corrupt: r.Corrupt, Away: r.Away, Gone: r.Gone, Bytes: r.Bytes,
		}
		if r.Err != nil {
			f.Err = a.plain(f.Partner, r.Err)
		}
		out.Findings = append(out.Findings, f)
	}
	if m := checked.Mended; m != nil {
		out.Mended = &MendResult{Segments: m.Segments, Whole: m.Whole, Unreadable: m.Unreadable, Pieces: m.Pieces, Refused: a.byName(m.Refused)}
	}
	if err == nil {
		err = checked.Bad()
	}
	return out, err
}

func problemOf(path []byte, err error) Problem {
	text := strings.TrimSuffix(err.Error(), ": "+ErrInvalid.Error())
	if few, ok := errors.AsType[*TooFew](err); ok {
		text = few.Error()
	} else if e, ok := errors.AsType[*fs.PathError](err); ok {
		text = e.Err.Error() // the path is said already
	}
	return Problem{Path: Path(path), Err: text}
}

func (a *Agent) progressOf(f func(Progress)) func(vault.Progress) { return progressOf(f, a.nameOf) }

func progressOf(f func(Progress), name func(core.DID) string) func(vault.Progress) {
	if f == nil {
		return nil
	}
	return func(p vault.Progress) {
		out := Progress{Stage: p.Stage, Files: p.Files, Bytes: p.Bytes, Of: p.Of, Placed: p.Placed, FilesOf: p.FilesOf, Survives: p.Survives}
		for _, grid := range p.To {
			out.To = append(out.To, name(grid))
		}
		slices.Sort(out.To)
		f(out)
	}
}

func versionOf(v manifest.Version) Version {
	return Version{
		Name: v.Name, Number: v.Seq, Machine: v.Agent, Time: time.Unix(v.Time, 0), Files: int64(v.Files),
		Bytes: int64(v.Bytes), Stored: int64(v.Stored), Single: v.Single,
	}
}

func (a *Agent) worthOf(w vault.Worth) Worth {
	out := Worth{
		Readable: w.Readable, Survives: w.Survives, Households: w.Households, Pieces: w.Pieces, Wanted: w.Wanted,
		Bytes: w.Bytes, Text: w.String(), At: map[string]int64{},
	}
	for grid, n := range w.Held {
		out.At[a.nameOf(grid)] += n
	}
	for _, grid := range sortedKeys(w.Vital, a.nameOf) {
		out.Vital = append(out.Vital, a.nameOf(grid))
	}
	return out
}
