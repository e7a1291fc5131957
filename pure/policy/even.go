package policy

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

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

// Even shares what there is evenly among friends who were promised more than there is. Each has a fair
// share: its pact's promise, or, where the promises exceed the total, what it has when all promises are
// cut down to one level. Within its share a friend is granted whatever there is
// room for. Beyond it, it is lent what the others leave unused, but for those of them who asked for something
// lately: their shares are kept free. Nothing is ever taken back: what is lent is leased, and when others
// want their shares it is their turn as room comes free.
func Even(ask core.Ask, facts Facts) Decision {
	share, used := fairShare(facts), max(facts.Used, 0)
	kept := int64(0)
	for i, o := range facts.Others {
		if o.Asks {
			kept += max(share[i+1]-max(o.Used, 0), 0)
		}
	}
	mine, room := share[0], max(facts.Room, 0)
	own, lent := min(max(mine-used, 0), room), min(max(room-kept, 0), left(facts))
	switch most := max(own, lent); {
	case ask.Amount <= own:
		return Decision{
			Grant: true, Policy: NameEven,
			Reason: fmt.Sprintf("within %s's even share of %s; %s of it left after this", facts.Partner, Bytes(mine), bytesDown(mine-used-ask.Amount)),
		}
	case ask.Amount <= lent:
		return Decision{
			Grant: true, Policy: NameEven,
			Reason: fmt.Sprintf("%s has more than its even share of %s; it is lent what nobody asks for", facts.Partner, Bytes(mine)),
		}
	default:
		return Decision{
			Policy:  NameEven,
			Reason:  fmt.Sprintf("your even share is %s, of which you have %s; %s free beside what is kept for others; %s needed", Bytes(mine), Bytes(used), bytesDown(most), bytesUp(ask.Amount)),
			Counter: &core.Counter{Amount: most, Seconds: max(facts.SecondsMax, 0)},
		}
	}
}

// fairShare returns the even share of the asker, then of each other: the promises, cut down to
// the highest level at which they do not exceed the total.
func fairShare(facts Facts) []int64 {
	shares := make([]int64, 0, len(facts.Others)+1)
	shares = append(shares, max(facts.Offered, 0))
	for _, o := range facts.Others {
		shares = append(shares, max(o.Offered, 0))
	}
	rising := slices.Clone(shares)
	slices.Sort(rising)
	left := max(facts.Total, 0)
	for i, promise := range rising {
		level := left / int64(len(rising)-i)
		if promise <= level {
			left -= promise
			continue
		}
		for j := range shares {
			shares[j] = min(shares[j], level)
		}
		break
	}
	return shares
}
