package api

import (
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// PutRequest is the body of POST /v1/put.
type PutRequest struct {
	// Path is absolute, and of the machine that the agent runs on.
	Path grange.Path `json:"path"`
	// Name is what it is stored under; "" is the base of the path.
	Name string `json:"name,omitempty"`
	// Data and Parity pieces of each segment; zero both is 10 and 10.
	Data   int `json:"data,omitempty"`
	Parity int `json:"parity,omitempty"`
	// Quality is "idle", "normal" or "prompt"; "" is normal.
	Quality core.Quality `json:"quality,omitempty"`
	// Exclude has patterns in the syntax of .gitignore.
	Exclude       []grange.Path `json:"exclude,omitempty"`
	OneFileSystem bool          `json:"one_file_system,omitempty"`
	// Seed is an absolute path on a disk that a person carries to the partners: what would be sent to them is
	// written there, and no version is made.
	Seed grange.Path `json:"seed,omitempty"`
}

// GetRequest is the body of POST /v1/get.
type GetRequest struct {
	Name string `json:"name"`
	// Version is its number; 0 is the newest.
	Version uint64 `json:"version,omitempty"`
	// Path is a file or directory in it; "" is all of it.
	Path grange.Path `json:"path,omitempty"`
	// Dest is absolute, and must not exist or be an empty directory.
	Dest grange.Path `json:"dest"`
}

// CheckRequest is the body of POST /v1/check.
type CheckRequest struct {
	// Name is one name; "" is all of them.
	Name string `json:"name,omitempty"`
	// Mend makes again what is missing; Now counts what is away as missing.
	Mend bool `json:"mend,omitempty"`
	Now  bool `json:"now,omitempty"`
}

// InviteRequest is the body of POST /v1/invite. Each resource that is left out is as config.toml has it, else
// grange.DefaultAmount each way; zero ExpiresSeconds is grange.DefaultExpiry.
type InviteRequest struct {
	Give           grange.Amounts `json:"give,omitempty"`
	Want           grange.Amounts `json:"want,omitempty"`
	ExpiresSeconds int64          `json:"expires_seconds,omitempty"`
	// Days is for how long the pact is made, 0 leaves the end open; NoticeDays is its notice, 0 as usual.
	Days       uint `json:"days,omitempty"`
	NoticeDays uint `json:"notice_days,omitempty"`
	// Uses is how many households can accept it; 0 is one.
	Uses int `json:"uses,omitempty"`
}

// CodeRequest is the body of POST /v1/terms and /v1/accept.
type CodeRequest struct {
	Code string `json:"code"`
}

// OfferRequest is the body of POST /v1/offer: one of the three, or the first two.
type OfferRequest struct {
	// Bytes are, beside Percent, the most that that comes to.
	Bytes *int64 `json:"bytes,omitempty"`
	// Percent is of the room that is free or given already.
	Percent *int64 `json:"percent,omitempty"`
	// On is an absolute path of a directory on another disk, which keeps partners' pieces
	// from the agent's next start on. The agent must not be one that listens.
	On grange.Path `json:"on,omitempty"`
}

// Offer is what this machine gives. All are bytes.
type Offer struct {
	Total int64 `json:"total"`
	// Used of Total is used or promised.
	Used int64 `json:"used"`
	// Free and Disk are the room left, and all there is, on the disk with the pieces.
	Free int64 `json:"free"`
	Disk int64 `json:"disk"`
	// Reserve is what nobody gets; Most the greatest Total that leaves it.
	Reserve int64 `json:"reserve"`
	Most    int64 `json:"most"`
	// Of is what config.toml gives of other resources in 30 days, in their units.
	Of map[string]int64 `json:"of,omitempty"`
	// Promised is what pacts, and codes that can still be accepted, promise of each resource, in the Units named: "" is bytes.
	Promised map[string]int64  `json:"promised,omitempty"`
	Units    map[string]string `json:"units,omitempty"`
}

// The kinds of an Entry.
const (
	KindFile = "file"
	KindDir  = "dir"
	KindLink = "link"
)

// Entry is a file, a directory or a symlink of a version.
type Entry struct {
	Name grange.Path `json:"name"`
	Kind string      `json:"kind"`
	Size int64       `json:"size"`
	// Mode has the permissions as ls -l shows them: "rwxr-x---".
	Mode   string      `json:"mode"`
	Time   time.Time   `json:"time"`
	Target grange.Path `json:"target,omitempty"` // of a link
}

// Listing is one directory of a version, or one file.
type Listing struct {
	Version grange.Version `json:"version"`
	Path    grange.Path    `json:"path"`
	// Count is how many entries there are; Entries is empty where they were streamed.
	Count   int     `json:"count"`
	Entries []Entry `json:"entries,omitempty"`
}

// line is one line of a stream: one of its fields is set, but for Error, which
// may have a Result with it.
type line struct {
	Progress *grange.Progress `json:"progress,omitempty"`
	Entry    *Entry           `json:"entry,omitempty"`
	Event    *grange.Event    `json:"event,omitempty"`
	// Change is of a table that is watched.
	Change *grange.TableChange `json:"change,omitempty"`
	Error  *Error              `json:"error,omitempty"`
	Result any                 `json:"result,omitempty"`
}
