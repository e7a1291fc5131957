package policy

import "github.com/grange-grid/grange/core"

// Facts are what a decision may depend on besides the ask itself. All amounts are in the unit of the
// resource that is asked for. A negative amount counts as 0.
type Facts struct {
	// Now is the time in seconds since 1970.
	Now int64 `json:"now"`
	// Grid is the household that asks, Partner what it is called here. The name stands only in the reasons
	// of grants, which stay in the books; a denial's reason travels to the asker.
	Grid    core.DID `json:"grid,omitzero"`
	Partner string   `json:"partner"`
	// Home says that the asker is another machine of our own household.
	Home bool `json:"home,omitempty"`
	// Pact is the pact with the asker, which an ask on its account must name; Ends is when it ends, in Unix
	// seconds, if notice was given or it runs out, else 0. Overdue says that a receipt for what it had is.
	Pact    core.Score `json:"pact,omitzero"`
	Ends    int64      `json:"ends,omitempty"`
	Overdue bool       `json:"overdue,omitempty"`
	// Room is how much there is now: of storage the least of what the disk, the
	// reserve and the offer to all partners together allow.
	Room int64 `json:"room"`
	// Offered is what the pact promises the asker.
	Offered int64 `json:"offered"`
	// Used is how much of Offered is taken, what is set aside included.
	Used int64 `json:"used"`
	// SecondsMax is the longest duration that the pact allows now; 0 sets no bound.
	SecondsMax int64 `json:"seconds_max,omitempty"`
	// Total is what is given to all partners together, Others are the other partners. Only policies that
	// share look at them. Crowd stands for the others where they are many.
	Total  int64   `json:"total"`
	Others []Other `json:"others,omitempty"`
	Crowd  *Crowd  `json:"crowd,omitempty"`
	// Gives is how much the partner keeps for us by leases that it signed: while it is away nothing changes.
	// Missing is what it was lately found to have lost, be it still part of Gives or given up since, and what its receipts contradict each other by.
	Gives   int64 `json:"gives,omitempty"`
	Missing int64 `json:"missing,omitempty"`
	// Age is how many seconds we have run since the first pact with the partner.
	Age int64 `json:"age,omitempty"`
	// Busy is in how many seconds to ask again, where there is more to do than can be done; else 0.
	Busy int64 `json:"busy,omitempty"`
	// Via is the grid on whose pact a voucher draws, nil for an ask without one.
	Via *Via `json:"via,omitempty"`
	// Account is what is known of the account that an ask names, nil for an ask without one.
	Account *Account `json:"account,omitempty"`
}

// Other is another partner, as far as a decision depends on it.
type Other struct {
	// Offered and Used are as in Facts.
	Offered int64 `json:"offered"`
	Used    int64 `json:"used"`
	// Asks tells whether it asked for something lately, so that its share is kept for it.
	Asks bool `json:"asks,omitempty"`
	// Gives, Missing and Age are as in Facts.
	Gives   int64 `json:"gives,omitempty"`
	Missing int64 `json:"missing,omitempty"`
	Age     int64 `json:"age,omitempty"`
}

// OthersMax is how many other partners a decision's facts name. Where there are more, a Crowd stands for
// them, or the log of decisions would be larger than what is decided on.
const OthersMax = 32

// Crowd is what one policy makes of the other partners.
type Crowd struct {
	// By is the policy with its options, Of how many partners the others are.
	By string `json:"by,omitempty"`
	Of int    `json:"of"`
	// Share is the asker's own; Kept is what is kept for others who asked lately of their shares, Claimed what they could claim
	// of all that they earned, or of what there is.
	Share   int64 `json:"share"`
	Kept    int64 `json:"kept"`
	Claimed int64 `json:"claimed"`
}

// Via is a grid that has a pact, whose member asks.
type Via struct {
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	// Offered is what the pact promises the grid, Used what all of its members have together.
	Offered int64 `json:"offered"`
	Used    int64 `json:"used"`
	// Share is the most that the voucher gives this member.
	Share int64 `json:"share"`
	// Until is when the voucher ends, in Unix seconds.
	Until int64 `json:"until"`
	// Refs are the vouchers that the member has shown, one of which its ask must name.
	Refs []core.Score `json:"refs,omitempty"`
}

// The states of an account.
const (
	AccountGood    = "good"
	AccountRevoked = "revoked"
	AccountExpired = "expired"
	// AccountDown says that its server cannot be reached, and that what it said last is too old.
	AccountDown = "down"
)

// Account is what an account server says of an account.
type Account struct {
	Server core.DID `json:"server"`
	ID     string   `json:"id"`
	Plan   string   `json:"plan"`
	// Quota is what the plan gives, Used what the account has at all storage servers, of which Here is at this one.
	Quota int64 `json:"quota"`
	Used  int64 `json:"used"`
	Here  int64 `json:"here,omitempty"`
	// State is one of those above; any other is no good.
	State string `json:"state"`
	// Checked is when the server said so, Until for how long that may be relied on, in Unix seconds.
	Checked int64 `json:"checked"`
	Until   int64 `json:"until"`
	// Refs are the tokens that were shown and have not lapsed, one of which an ask must name; it need not where there are none.
	Refs []core.Score `json:"refs,omitempty"`
}

// left is how much of the pact's promise is not taken.
func left(facts Facts) int64 { return over(facts.Offered, facts.Used) }

// over is by how much a exceeds b, where what is negative counts as 0.
func over(a, b int64) int64 { return max(max(a, 0)-max(b, 0), 0) }
