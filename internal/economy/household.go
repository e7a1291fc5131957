package economy

import (
	"fmt"
	"math/rand/v2"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// Kind is how a household behaves.
type Kind int

// The kinds of households.
const (
	// Fair gives as it gets.
	Fair Kind = iota
	// Away is fair, and is offline for a week.
	Away
	// Generous gives to all, and needs half as much as it gives.
	Generous
	// Selfish takes what it can, and gives nothing, or a fiftieth of what others do.
	Selfish
	// Lying grants whatever is asked for, and throws the pieces away.
	Lying
	kinds
)

func (k Kind) String() string {
	return [...]string{"fair", "away for a week", "generous", "selfish", "lying"}[k]
}

// honest tells whether it does what it has promised.
func (k Kind) honest() bool { return k <= Generous }

// cooperates tells whether it gives as it gets.
func (k Kind) cooperates() bool { return k <= Away }

const (
	gigabyte = 1_000_000_000
	// pieceSize is of all pieces, pieces are as many of a segment, of which any needed bring it back.
	pieceSize = 100_000_000
	pieces    = 20
	needed    = 10
	// spread is how many of a segment one partner gets at most.
	spread = 3
	// safe is from how many proven pieces on a segment counts as kept.
	safe = 16
	// thin is below how many an owner gives a segment up, if it could not place more.
	thin = 13

	partners = 10
	// offer is what a household gives in bytes, each wants half as much more.
	offer = 100 * gigabyte
	// promise is what a pact promises to each partner: together they were promised three times what there is.
	promise = 30 * gigabyte
	// uplink is how many pieces a household sends in a day.
	uplink = 200
	// forgiven is over how many days what was lost is forgiven; SPEC.md §11.
	forgiven = 30
	// churn is how much of what it keeps elsewhere a household replaces in a day, in percent.
	churn = 2
	// leaseDays is how long a lease is; it is renewed when less than two thirds of it are left. asideDays is for how long what
	// was given back or has lapsed is kept, and counts as used.
	leaseDays = 12
	asideDays = 9
	// discard is how likely a liar throws away a piece in a day, in percent.
	discard = 50

	daySeconds = 86_400
	// lately is for how many days an ask tells that somebody asks; SPEC.md §11.
	lately = 7
	// awayDays is how long the one who goes away does.
	awayDays = 7
)

// household is one, with what it keeps elsewhere.
type household struct {
	kind     Kind
	rules    policy.Rules
	offer    int64
	want     int // pieces
	partners []int
	segments []*segment
	// leaves is the day on which one that goes away does.
	leaves int
}

// segment is what a household keeps with others, piece by piece.
type segment struct {
	pieces []piece
	// kept says that it was once safe.
	kept bool
}

type piece struct {
	holder int
	// real says that it is there; proven that its owner has seen so, missing that it has seen that it is not.
	real, proven, missing bool
	// until is the day on which its lease ends.
	until int
}

// good is how many are not known to be lost.
func (s *segment) good() (n int) {
	for _, p := range s.pieces {
		if !p.missing {
			n++
		}
	}
	return n
}

func (s *segment) proven() (n int) {
	for _, p := range s.pieces {
		if p.proven {
			n++
		}
	}
	return n
}

// there is how many could be had back.
func (s *segment) there() (n int) {
	for _, p := range s.pieces {
		if p.real {
			n++
		}
	}
	return n
}

func (s *segment) at(holder int) (n int) {
	for _, p := range s.pieces {
		if p.holder == holder {
			n++
		}
	}
	return n
}

func table() policy.Table {
	return policy.Table{
		Whys:      map[core.WhyKind]string{core.WhyPact: "Partners"},
		Policies:  map[string]func(*policy.Options) policy.Policy{"open": policy.Open, "reciprocal": policy.Reciprocal, "deny": policy.Deny},
		Resources: map[core.Resource]string{core.Storage: ""},
	}
}

// newHousehold makes one of a kind; the n-th of its kind.
func newHousehold(k Kind, n int, random *rand.Rand) (household, error) {
	h := household{kind: k, offer: offer, want: offer * 3 / 2 / pieceSize}
	text := "pact reciprocal"
	switch k {
	case Away:
		h.leaves = 8 + random.IntN(8)
	case Generous:
		text, h.want = "pact open", offer/2/pieceSize
	case Selfish:
		if h.offer = offer / 50; n%2 == 0 {
			h.offer, text = 0, "pact deny"
		}
	case Lying:
		text, h.offer = "pact open", partners*promise // it costs nothing
	}
	rules, err := table().Parse(text)
	if err != nil {
		return h, fmt.Errorf("rules of a household that is %s: %w", k, err)
	}
	h.rules = rules
	return h, nil
}

// stored is how many pieces others keep for it, those found lost not counted.
func (h *household) stored() (n int) {
	for _, s := range h.segments {
		n += s.good()
	}
	return n
}

// ran is for how many days before one it was online.
func (h *household) ran(day int) int {
	if h.kind == Away && day > h.leaves {
		return day - 1 - min(day-h.leaves, awayDays)
	}
	return day - 1
}

// awake tells whether it is online on a day.
func (h *household) awake(day int) bool {
	return h.kind != Away || day < h.leaves || day >= h.leaves+awayDays
}
