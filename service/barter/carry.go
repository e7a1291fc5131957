package barter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/seed"
)

// Carried is a disk that a person carries to a partner; edge/files has it. What lies there may
// have been made by anybody.
type Carried interface {
	// Folders returns the names of folders for one machine each.
	Folders() ([]string, error)
	// Files returns the regular files of a folder, by name; none if there is no such folder.
	Files(folder string) ([]fs.FileInfo, error)
	Open(folder, name string) (io.ReadCloser, error)
	// Create makes a file, and the folder. Errors: fs.ErrExist, core.ErrFull.
	Create(folder, name string) (CarriedFile, error)
}

// CarriedFile is a file that is being written. Errors of a write: core.ErrFull.
type CarriedFile = interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

const (
	seedSuffix = ".seed"
	didScheme  = "did:key:"
)

// carriedName is how a machine is called on a disk, where names have no colons.
func carriedName(agent core.DID) string { return strings.TrimPrefix(agent.String(), didScheme) }

// Fault is something on a carried disk that cannot be taken in.
type Fault struct {
	// File is its path on the disk, slash-separated.
	File string
	Err  error
}

// Parcel is what a carried disk has for this machine of one machine of a partner.
type Parcel struct {
	Partner Partner
	Agent   core.DID
	// Bytes is what its files come to.
	Bytes int64
	files []fs.FileInfo
}

// Carriage is what a carried disk has.
type Carriage struct {
	Parcels []Parcel
	// Others are folders for other machines, which are passed over.
	Others []string
	Faults []Fault
}

// Look finds out what a carried disk has for this machine. It reads the beginning of each file.
func (b *Barter) Look(ctx context.Context, disk Carried) (Carriage, error) {
	var out Carriage
	folders, err := disk.Folders()
	if err != nil {
		return out, fmt.Errorf("look at the disk: %w", err)
	}
	ours := carriedName(b.c.Key.DID())
	out.Others = slices.DeleteFunc(slices.Clone(folders), func(folder string) bool { return folder == ours })
	if len(out.Others) == len(folders) {
		return out, nil
	}
	files, err := disk.Files(ours)
	if err != nil {
		return out, fmt.Errorf("look at the disk: %w", err)
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if !strings.HasSuffix(file.Name(), seedSuffix) {
			continue
		}
		p, agent, err := b.sender(disk, ours, file.Name())
		if err != nil {
			out.Faults = append(out.Faults, Fault{path.Join(ours, file.Name()), err})
			continue
		}
		i := slices.IndexFunc(out.Parcels, func(q Parcel) bool { return q.Agent == agent && q.Partner.Grid == p.Grid })
		if i < 0 {
			i = len(out.Parcels)
			out.Parcels = append(out.Parcels, Parcel{Partner: p, Agent: agent})
		}
		out.Parcels[i].Bytes += file.Size()
		out.Parcels[i].files = append(out.Parcels[i].files, file)
	}
	return out, nil
}

// errOtherHolder says that a file lies in our folder and is for another machine.
var errOtherHolder = errors.New("it is for another machine")

// sender reads who has written a file, and checks that it is a partner's machine.
func (b *Barter) sender(disk Carried, folder, name string) (Partner, core.DID, error) {
	f, err := disk.Open(folder, name)
	if err != nil {
		return Partner{}, core.DID{}, err
	}
	defer f.Close()
	r, err := seed.NewReader(f)
	if err != nil {
		return Partner{}, core.DID{}, err
	}
	return b.senderOf(r)
}

func (b *Barter) senderOf(r *seed.Reader) (p Partner, agent core.DID, err error) {
	h, err := seed.Open(r.Signed())
	if err != nil {
		return p, agent, err
	}
	if h.Holder != b.c.Key.DID() {
		return p, agent, fmt.Errorf("%w: %w", errOtherHolder, core.ErrInvalid)
	}
	p, ok := b.owner(h.Owner)
	switch {
	case !ok || b.isHome(p): // what is kept for our own is kept without an end
		return p, agent, fmt.Errorf("it is of a household that is no partner: %w", core.ErrForbidden)
	case !slices.Contains(p.Agents, h.Agent):
		return p, agent, fmt.Errorf("it is signed by a machine that %s does not list: %w", p.Name, core.ErrForbidden)
	}
	return p, h.Agent, nil
}
