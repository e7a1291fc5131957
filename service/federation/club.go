package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/voucher"
)

// What a club's machine does: it keeps the roll, and gives its members vouchers for what the others offer.

const (
	// homesMax is of how many homes one member gets vouchers.
	homesMax = 256
	// voucherRenew is how long before its end a voucher gives way to a new one, in seconds.
	voucherRenew = 4 * daySeconds
	// olderMax is how many vouchers before the newest may be good still.
	olderMax = 32
	// rollSizeMax bounds the record of a roll, issuedSizeMax that of a voucher that was given, in bytes.
	rollSizeMax   = roll.SizeMax + identity.SignedOverhead + 64
	issuedSizeMax = voucher.SizeMax + 2<<10
)

// rollRecord is our own roll, of a club's machine.
type rollRecord struct {
	V    uint            `json:"v"`
	Roll identity.Signed `json:"roll"`
}

// issuedRecord is the newest voucher that a member's machine was given for a home.
type issuedRecord struct {
	V     uint       `json:"v"`
	Chain []byte     `json:"chain"`
	Link  core.Score `json:"link"` // the id of ours
	// Base is the id of the chain that it narrows; zero of one that begins here.
	Base   core.Score `json:"base"`
	Amount int64      `json:"amount"`
	Until  int64      `json:"until"`
	// Older are those before it that have not ended.
	Older []roll.Revoked `json:"older"`
}

// clubHome is a home where a member may keep something.
type clubHome struct {
	Grid   core.DID     `json:"grid"`
	Name   string       `json:"name"`
	Agents []AgentAddrs `json:"agents"`
	Amount int64        `json:"amount"`
	Chain  []byte       `json:"chain"`
}

type clubAnswer struct {
	Roll  identity.Signed `json:"roll"`
	Homes []clubHome      `json:"homes"`
}

// ownRoll is what is kept of our own roll.
type ownRoll struct {
	roll   roll.Roll
	signed identity.Signed
}

// loadRoll reads our own roll. Nothing else runs yet.
func (f *Federation) loadRoll() error {
	var r rollRecord
	ok, err := get(f.c.Books, []byte(keyRoll), &r, rollSizeMax)
	if err != nil || !ok {
		return err
	}
	own := &ownRoll{signed: r.Roll}
	if own.roll, err = roll.Open(r.Roll); err != nil {
		return fmt.Errorf("our roll: %w", err)
	}
	f.roll, f.serial = own, uint64(max(1, f.now()))
	return nil
}

// BeginRoll makes a club of our grid: from now on its partners are its members. Where a recovery found a roll it goes on from that.
// Again it does nothing.
func (f *Federation) BeginRoll(ctx context.Context) error {
	if _, ok := f.Roll(); ok && (f.signedRoll() || f.Revoked() != nil) {
		return nil
	}
	return f.changeRoll(ctx, true, func(*roll.Roll) error { return nil })
}

// Roll returns who belongs to our club; false where our grid is none.
func (f *Federation) Roll() (roll.Roll, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.roll == nil {
		return roll.Roll{}, false
	}
	return f.roll.roll, true
}

// signedRoll tells whether our roll is signed by a machine that members believe.
func (f *Federation) signedRoll() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.own.chain.Lists(f.roll.signed.By)
}

// Admit says what a member may do, and what its share is; a person becomes a member by it, a grid by the pact that it has.
// Without a name its own stays. Errors: core.ErrNotExist of a grid without a pact, or where our grid is no club; core.ErrInvalid, also
// of another's name, and of shares of more than all.
func (f *Federation) Admit(ctx context.Context, m roll.Member) error {
	return f.changeRoll(ctx, false, func(r *roll.Roll) error {
		i, there := slices.BinarySearchFunc(r.Members, m.DID, func(o roll.Member, d core.DID) int { return o.DID.Compare(d) })
		switch {
		case there && r.Members[i].Kind == m.Kind:
			m.Name = cmp.Or(m.Name, r.Members[i].Name)
			r.Members[i] = m
		case there || m.Kind != roll.KindPerson:
			return fmt.Errorf("%s has no pact with the club: %w", m.DID.Short(), core.ErrNotExist)
		default:
			r.Members = slices.Insert(r.Members, i, m)
		}
		return fits(*r, m)
	})
}

// fits tells whether a member has a name of its own, and a share that the others leave.
func fits(r roll.Roll, m roll.Member) error {
	left, shares := uint(100), []string{}
	for _, o := range r.Members {
		if o.DID == m.DID {
			continue
		}
		if o.Name == m.Name {
			return fmt.Errorf("another member is called %s: %w", m.Name, core.ErrInvalid)
		}
		if o.Share > 0 {
			left -= min(o.Share, left)
			shares = append(shares, fmt.Sprintf("%s has %d %%", o.Name, o.Share))
		}
	}
	if m.Share > left {
		return fmt.Errorf("a share of %d %%, of which %d %% are left (%s): %w", m.Share, left, strings.Join(shares, ", "), core.ErrInvalid)
	}
	return nil
}

// Expel strikes a member off the roll and revokes its vouchers at once. A grid's pact ends, with notice. With
// core.ErrUnreachable it is done, and the member hears of the notice later. Errors: core.ErrNotExist.
func (f *Federation) Expel(ctx context.Context, who core.DID) error {
	r, ok := f.Roll()
	if !ok {
		return errNoClub()
	}
	m, ok := r.Member(who)
	if !ok {
		return fmt.Errorf("%s is no member: %w", who.Short(), core.ErrNotExist)
	}
	var away error
	if m.Kind == roll.KindGrid {
		// The notice comes first: cut short, what is left to do follows from it.
		if _, away = f.End(ctx, who); away != nil && !errors.Is(away, core.ErrUnreachable) {
			return away
		}
	}
	return cmp.Or(f.changeRoll(ctx, false, func(r *roll.Roll) error {
		r.Members = slices.DeleteFunc(r.Members, func(m roll.Member) bool { return m.DID == who })
		return nil
	}), away)
}

func errNoClub() error { return fmt.Errorf("our grid is no club: %w", core.ErrNotExist) }

// changeRoll signs a new roll, if anything has changed: what change does to it, who has come or left since, and which
// vouchers are good no more for that.
func (f *Federation) changeRoll(ctx context.Context, begin bool, change func(*roll.Roll) error) error {
	if err := f.Revoked(); err != nil {
		return err
	}
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	old, ok := f.Roll()
	if !ok && !begin {
		return errNoClub()
	}
	now := f.now()
	next := roll.Roll{Grid: f.self.Grid, N: max(old.N+1, roll.Least(f.Self().Epoch, now)), Time: max(now, 0)}
	next.Members = f.membersFrom(old)
	if err := change(&next); err != nil {
		return err
	}
	var c changes
	revoked := f.revocations(old, now)
	for _, m := range old.Members {
		if n, stays := next.Member(m.DID); !stays || m.Can(roll.MayStore) && !n.Can(roll.MayStore) {
			if err := f.revokeIssued(&c, m.DID, now, revoked); err != nil {
				return err
			}
		}
	}
	next.Revoked = firstRevoked(revoked)
	if ok && f.signedRoll() && slices.EqualFunc(old.Members, next.Members, roll.Member.Equal) && slices.Equal(old.Revoked, next.Revoked) {
		return nil
	}
	signed, err := roll.Sign(f.c.Key, next)
	if err != nil {
		return err
	}
	next.V = codec.Version
	c.set([]byte(keyRoll), rollRecord{V: codec.Version, Roll: signed})
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep the roll: %w", err)
	}
	f.mu.Lock()
	f.roll = &ownRoll{roll: next, signed: signed}
	f.mu.Unlock()
	f.bump()
	return nil
}

// membersFrom returns who belongs to the club by what the pacts say: every partner, unless the pact ends. What
// the roll says of one stays.
func (f *Federation) membersFrom(old roll.Roll) []roll.Member {
	var out []roll.Member
	now := f.now()
	f.mu.Lock()
	for grid, p := range f.partners {
		if p.leaving(now) {
			continue
		}
		m, ok := old.Member(grid)
		if !ok || m.Kind != roll.KindGrid {
			m = roll.Member{DID: grid, Kind: roll.KindGrid, Name: unusedName(old, p.record.Name), May: []string{roll.MayStore}}
		}
		out = append(out, m)
	}
	f.mu.Unlock()
	for _, m := range old.Members {
		if m.Kind == roll.KindPerson && !slices.ContainsFunc(out, func(o roll.Member) bool { return o.DID == m.DID }) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b roll.Member) int { return a.DID.Compare(b.DID) })
	return out
}

// unusedName returns a name that no member has: the one wanted, if that is so, or else with a number.
func unusedName(r roll.Roll, wanted string) string {
	name := wanted
	for n := 2; slices.ContainsFunc(r.Members, func(m roll.Member) bool { return m.Name == name }); n++ {
		number := fmt.Sprintf(" %d", n)
		name = strings.ToValidUTF8(wanted[:min(len(wanted), roll.NameSizeMax-len(number))], "") + number
	}
	return name
}

// revocations returns what has to be revoked still: what was, and what clubs among the members revoke, which
// may be links of chains that begin here.
func (f *Federation) revocations(old roll.Roll, now int64) map[core.Score]int64 {
	out := map[core.Score]int64{}
	add := func(list []roll.Revoked) {
		for _, x := range list {
			if x.Until > now && x.Until <= now+voucher.LifeMax+clockSlack {
				out[x.ID] = x.Until
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.clubs {
		add(c.roll.Revoked)
	}
	add(old.Revoked)
	return out
}

// firstRevoked returns as many as a roll has room for, those that end last, by id.
func firstRevoked(all map[core.Score]int64) []roll.Revoked {
	var out []roll.Revoked
	for id, until := range all {
		out = append(out, roll.Revoked{ID: id, Until: until})
	}
	byID := func(a, b roll.Revoked) int { return bytes.Compare(a.ID[:], b.ID[:]) }
	slices.SortFunc(out, func(a, b roll.Revoked) int { return cmp.Or(cmp.Compare(b.Until, a.Until), byID(a, b)) })
	out = out[:min(len(out), roll.RevokedMax)]
	slices.SortFunc(out, byID)
	return out
}

// revokeIssued revokes what a member's machines were given, and forgets it.
func (f *Federation) revokeIssued(c *changes, member core.DID, now int64, revoked map[core.Score]int64) error {
	for e, err := range scan[issuedRecord](f.c.Books, key(keyIssued, member[:]), 2*didSize, issuedSizeMax) {
		if err != nil {
			return err
		}
		for _, x := range append(e.value.Older, roll.Revoked{ID: e.value.Link, Until: e.value.Until}) {
			if x.Until > now {
				revoked[x.ID] = x.Until
			}
		}
		c.drop(e.key)
	}
	return nil
}

// bump says that there is something new for the members: they hear of it when they are greeted, which is now.
func (f *Federation) bump() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serial = max(f.serial+1, uint64(max(1, f.now())))
	for _, p := range f.partners {
		wake(p.nudge)
	}
}

// clubSerial changes with what members get; 0 where our grid is no club.
func (f *Federation) clubSerial() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.roll == nil {
		return 0
	}
	return f.serial
}

// keepRoll keeps the roll of a club to what the pacts say.
func (f *Federation) keepRoll(ctx context.Context) {
	for wake(f.enrol); ; {
		f.pause(ctx, f.enrol, sweepEvery)
		if ctx.Err() != nil {
			return
		}
		if _, ok := f.Roll(); !ok {
			continue
		}
		if err := f.changeRoll(ctx, false, func(*roll.Roll) error { return nil }); err != nil && ctx.Err() == nil {
			f.c.Log.Warn("keep the roll", "err", err)
		}
	}
}
