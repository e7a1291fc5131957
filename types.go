package grange

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

// DID names an agent or a household.
type DID = core.DID

// TooFew is the error of what cannot be read because too few pieces of it can be
// had; its text names the holders. It is an ErrUnreachable unless they are lost.
type TooFew = vault.TooFew

// Denial is a partner's no, with its reason and counter-offer:
//
//	if d, ok := errors.AsType[*grange.Denial](err); ok { … }
type Denial = core.Denial

// The kinds of error that callers branch on, for errors.Is. What does not exist
// is fs.ErrNotExist.
var (
	ErrPartly      = core.ErrPartly      // some of it was done; the result says what
	ErrRefused     = core.ErrRefused     // a partner's policy said no
	ErrUnreachable = core.ErrUnreachable // nobody could be reached
	ErrRevoked     = core.ErrRevoked     // this machine was removed from its household
	ErrLocked      = core.ErrLocked      // another agent has the directory
	ErrCorrupt     = core.ErrCorrupt     // bytes are not what their name or signature says
	ErrInvalid     = core.ErrInvalid     // an argument or a message breaks its format
	ErrVersion     = core.ErrVersion     // a format of a version not spoken here
	ErrFull        = core.ErrFull        // no room on this disk
	ErrNotHere     = core.ErrNotHere     // that needs an agent that runs and listens

	// ErrBooks says that the books of this machine cannot be read. Without them, Recover makes them
	// anew from the pieces that are kept here and from what partners have.
	ErrBooks = errors.New("the books of this machine are damaged")
	// ErrNoNetwork says that this machine is in no network in which anybody could reach it.
	ErrNoNetwork = errors.New("this machine is in no network")
	// ErrAlready says that there is a pact with that household already, ErrOwn that the
	// invitation is our own.
	ErrAlready = federation.ErrAlready
	ErrOwn     = federation.ErrOwn
	// ErrUsed says that another household accepted the invitation before, ErrExpired that
	// it is past its date.
	ErrUsed    = federation.ErrUsed
	ErrExpired = federation.ErrExpired
	// ErrCarried says that nothing was sent because a person carries it; it is an ErrPartly too.
	ErrCarried = vault.ErrCarried
	// ErrNoPartner says that there is nobody to keep anything.
	ErrNoPartner = errors.New("no partner")
	// ErrNoHousehold says that a directory has no household, or an unfinished recovery.
	ErrNoHousehold = errors.New("no household")
)

// Terms are what two households agree on, as seen from this side.
type Terms struct {
	// Give and Want are bytes of storage.
	Give int64 `json:"give"`
	Want int64 `json:"want"`
	// GiveOf and WantOf are of other resources, in their units, which Units names: "" is bytes. OwnUnits are what this
	// machine counts those of them in which it counts in something else, in terms that are accepted.
	GiveOf   map[string]int64  `json:"give_of,omitempty"`
	WantOf   map[string]int64  `json:"want_of,omitempty"`
	Units    map[string]string `json:"units,omitempty"`
	OwnUnits map[string]string `json:"own_units,omitempty"`
	// Expires is how long an invitation is valid; zero means 7 days.
	Expires time.Duration `json:"-"`
	// Uses is how many households can accept an invitation; zero is one.
	Uses int `json:"uses,omitempty"`
	// From names the household that invites, in terms that are accepted.
	From string `json:"from,omitempty"`
	// NoticeDays, AsideDays and LeaseDays are the pact's: how long before it can end, how
	// long released bytes are kept, how long a promise lasts; zero in an invitation is as usual.
	NoticeDays uint `json:"notice_days,omitempty"`
	AsideDays  uint `json:"aside_days,omitempty"`
	LeaseDays  uint `json:"lease_days,omitempty"`
	// Days is for how long the pact is made; zero leaves the end open.
	Days uint `json:"days,omitempty"`
}

// Invitation is a code to send to one friend.
type Invitation struct {
	Code    string    `json:"code"`
	ID      []byte    `json:"id"`
	Expires time.Time `json:"expires"`
	Terms   Terms     `json:"terms"`
}

// Pact is what we have with one partner.
type Pact struct {
	Partner DID    `json:"partner"`
	Name    string `json:"name"`
	// ID is the pact's score as text.
	ID string `json:"id"`
	// Words are four that the partner's side shows too: read them to each other.
	Words []string  `json:"words"`
	Since time.Time `json:"since"`
	// Gives is what they give us, Given what we give them, in bytes; Has is what of
	// Gives our pieces use, Keeps what theirs use here.
	Gives int64 `json:"gives"`
	Given int64 `json:"given"`
	Has   int64 `json:"has"`
	Keeps int64 `json:"keeps"`
	// GivesOf and GivenOf are of other resources, in their units, which Units names: "" is bytes.
	GivesOf map[string]int64  `json:"gives_of,omitempty"`
	GivenOf map[string]int64  `json:"given_of,omitempty"`
	Units   map[string]string `json:"units,omitempty"`
	// Mine is what we have proposed to change it to, Theirs what they have; both wait for an answer.
	Mine   *Change `json:"mine,omitempty"`
	Theirs *Change `json:"theirs,omitempty"`
	// Until is when it ends by itself, Ends when it ends, by that or by a notice; zero for never. Ending says
	// that we have given notice and they have not heard of it. Leaving says that it ends or runs out: nothing
	// new goes there, and what lies there is made again elsewhere.
	Until   time.Time `json:"until,omitzero"`
	Ends    time.Time `json:"ends,omitzero"`
	Ending  bool      `json:"ending,omitempty"`
	Leaving bool      `json:"leaving,omitempty"`
	// Machines are theirs, Addrs where they were last found.
	Machines []DID    `json:"machines"`
	Addrs    []string `json:"addrs,omitempty"`
	// Seen is when one of them last answered; zero for never. Here says that it is
	// within reach now, Away that it was found not to be; with neither nothing is known.
	Seen time.Time `json:"seen,omitzero"`
	Here bool      `json:"here"`
	Away bool      `json:"away,omitempty"`
	// PatienceSeconds is for how long yet, of the time that this machine runs, our pieces wait for
	// who is Away; then they are made again elsewhere.
	PatienceSeconds int64 `json:"patience_seconds,omitempty"`
}

// Worth is what a version is worth, apart from the original.
type Worth struct {
	// Readable says that it can be read without this machine.
	Readable bool `json:"readable"`
	// Survives is how many households may vanish, whichever they are; -1 when it
	// is not readable.
	Survives int `json:"survives"`
	// Households hold Pieces of the Wanted pieces, Bytes in all.
	Households int   `json:"households"`
	Pieces     int   `json:"pieces"`
	Wanted     int   `json:"wanted"`
	Bytes      int64 `json:"bytes"`
	// Text says it in words, such as "survives your disk and any one household".
	Text string `json:"text"`
	// Vital partners, by name: lose any one of them, and it cannot be read.
	Vital []string `json:"vital,omitempty"`
	// At has the bytes by partner's name.
	At map[string]int64 `json:"at,omitempty"`
}

// Version is one state of a named tree.
type Version struct {
	Name string `json:"name"`
	// Number counts the versions that one machine makes; Machine is that one.
	Number  uint64    `json:"number"`
	Machine DID       `json:"machine"`
	Time    time.Time `json:"time"`
	Files   int64     `json:"files"`
	// Bytes is what the files come to, Stored what was newly placed for it, spare included.
	Bytes  int64 `json:"bytes"`
	Stored int64 `json:"stored"`
	Single bool  `json:"single,omitempty"`
	Worth  Worth `json:"worth,omitzero"`
}

// Problem is a file that could not be stored or restored as it should.
type Problem struct {
	// Path is relative to the tree.
	Path Path   `json:"path"`
	Err  string `json:"error"`
}

// PutResult is what a put came to.
type PutResult struct {
	Version
	// Unchanged says that it is one there was, because of PutOptions.SkipSame.
	Unchanged bool `json:"unchanged,omitempty"`
	// Same is how many of the bytes were stored already.
	Same     int64     `json:"same"`
	Problems []Problem `json:"problems,omitempty"`
	// Special are sockets, FIFOs and devices: they are not in the version, and nothing is
	// amiss for it.
	Special []Problem `json:"special,omitempty"`
	// Refused says, by partner's name, why it took less than it was asked to, in words
	// that follow the name: "said no: …", "could not be reached".
	Refused map[string]string `json:"refused,omitempty"`
	// Full are those of them, by name, who have no more room for us by the pact, with its bytes.
	Full map[string]int64 `json:"full,omitempty"`
	// Incomplete is set when no version was made.
	Incomplete *Incomplete `json:"incomplete,omitempty"`
	// Carried is what is still to be brought on a disk to each partner, by name, in bytes. Then no version was made.
	Carried map[string]int64 `json:"carried,omitempty"`

	// promised says that every piece is promised by somebody, be it one who is away just now.
	promised bool
}

// Incomplete says how far a put has come of which no version was made.
type Incomplete struct {
	// Version is the number that it would have had; Last the newest version of the name, 0 for none.
	Version uint64 `json:"version"`
	Last    uint64 `json:"last,omitempty"`
	// Placed of Bytes are stored at the least, and found again by the next put.
	Placed int64 `json:"placed"`
	Bytes  int64 `json:"bytes"`
}

// String says it in a sentence or two, without the last full stop.
func (i Incomplete) String() string {
	placed, unit, _ := strings.Cut(policy.Bytes(i.Placed), " ")
	all := policy.Bytes(i.Bytes)
	if i.Placed > 0 && !strings.HasSuffix(all, " "+unit) {
		placed += " " + unit
	}
	text := fmt.Sprintf("Version %d is INCOMPLETE: %s of %s", i.Version, placed, all)
	if i.Last > 0 {
		text += fmt.Sprintf(". Version %d is untouched", i.Last)
	}
	return text
}

// RestoreResult is what a restore came to.
type RestoreResult struct {
	Version  Version   `json:"version"`
	Dest     Path      `json:"dest"`
	Files    int64     `json:"files"`
	Bytes    int64     `json:"bytes"`
	Problems []Problem `json:"problems,omitempty"`
}

// Progress is how far long work has come.
type Progress struct {
	Stage  string `json:"stage"`
	Files  int64  `json:"files,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Of     int64  `json:"of,omitempty"`
	Placed int64  `json:"placed,omitempty"`
	// FilesOf is how many files there are in all. To are the partners, by name, that a put
	// spreads it over, of which any Survives may vanish then.
	FilesOf  int64    `json:"files_of,omitempty"`
	To       []string `json:"to,omitempty"`
	Survives int      `json:"survives,omitempty"`
}

// Finding is what was found at one partner by a check.
type Finding struct {
	Partner string `json:"partner"`
	// OK pieces were proven, Bytes in all. Missing, Corrupt and Gone ones are lost (Gone: on
	// a machine that left the household); Away ones could not be asked for.
	OK      int   `json:"ok"`
	Missing int   `json:"missing,omitempty"`
	Corrupt int   `json:"corrupt,omitempty"`
	Away    int   `json:"away,omitempty"`
	Gone    int   `json:"gone,omitempty"`
	Bytes   int64 `json:"bytes"`
	// Err says what is the matter, in words that follow the name.
	Err string `json:"error,omitempty"`
}

// CheckResult is what a check came to.
type CheckResult struct {
	Findings []Finding `json:"findings"`
	Segments int       `json:"segments"`
	Pieces   int       `json:"pieces"`
	// Unheld pieces nobody has promised to keep; Away ones are at partners who cannot be
	// asked, unless these were to count as lost.
	Unheld int `json:"unheld,omitempty"`
	Away   int `json:"away,omitempty"`
	// Worth is by what was proven just now, or after the mending.
	Worth Worth `json:"worth"`
	// Mended is set when that was asked for.
	Mended *MendResult `json:"mended,omitempty"`
}

// MendResult is what a mending came to.
type MendResult struct {
	// Segments lacked pieces; Whole of them lack none now, Unreadable ones cannot be
	// read from what is within reach.
	Segments   int `json:"segments"`
	Whole      int `json:"whole"`
	Unreadable int `json:"unreadable,omitempty"`
	// Pieces were made and placed anew.
	Pieces  int               `json:"pieces"`
	Refused map[string]string `json:"refused,omitempty"`
}

// Status is what this machine knows without asking anybody.
type Status struct {
	Household string `json:"household"`
	// Club says that the household is a club.
	Club    bool `json:"club,omitempty"`
	Grid    DID  `json:"grid"`
	Machine DID  `json:"machine"`
	Dir     Path `json:"dir"`
	// Running says that the agent listens; Addrs where, none while the machine is in no network.
	Running bool     `json:"running"`
	Addrs   []string `json:"addrs,omitempty"`
	// Offer is what this machine gives in total, Used what of it is used or promised; Free
	// is what its disk has left.
	Offer int64 `json:"offer"`
	Used  int64 `json:"used"`
	Free  int64 `json:"free"`
	// Epoch and Recoveries number the charter.
	Epoch      uint64 `json:"epoch"`
	Recoveries uint64 `json:"recoveries"`
	Pacts      []Pact `json:"pacts"`
	// Errands are the households where this machine is a guest, Guests those that are guests here.
	Errands []Errand `json:"errands,omitempty"`
	Guests  []Guest  `json:"guests,omitempty"`
	// Versions has the newest of each name, and what it is worth without those
	// partners that are away.
	Versions []Version `json:"versions"`
	// Work is under way, Kept what is stored by itself.
	Work []Work `json:"work,omitempty"`
	Kept []Kept `json:"kept,omitempty"`
	// Carried is what a person still carries on a disk, in bytes, by name and by partner's name.
	Carried map[string]map[string]int64 `json:"carried,omitempty"`
	// Revoked says why this machine is of its household no more.
	Revoked string `json:"revoked,omitempty"`
	// Policy says what is wrong with the file policy, with its line.
	Policy string `json:"policy,omitempty"`
}

// RecoverResult is what a recovery came to.
type RecoverResult struct {
	Household string `json:"household"`
	Grid      DID    `json:"grid"`
	Machine   DID    `json:"machine"`
	// Asked partners in all; Agree of them have the newest heads.
	Asked   int       `json:"asked"`
	Agree   int       `json:"agree"`
	Newest  time.Time `json:"newest,omitzero"` // of the newest head
	Removed []DID     `json:"removed,omitempty"`
	// Versions that can be restored now, the newest of each name.
	Versions []Version `json:"versions"`
	// Pieces were found at holders; Unknown ones stand in no segment table.
	Pieces  int `json:"pieces"`
	Unknown int `json:"unknown,omitempty"`
	// Failed says, by partner's name, why one was of no help, in words that follow the name.
	Failed map[string]string `json:"failed,omitempty"`
}

// Event is something that happened by itself.
type Event struct {
	Time time.Time `json:"time"`
	// Kind is one of: joined, seen, away, revoked, policy, alarm.
	Kind    string `json:"kind"`
	Partner string `json:"partner,omitempty"`
	Text    string `json:"text"`
}
