package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/service/barter"
)

// The faults that a Doctor finds.
const (
	FaultRevoked    = "revoked"     // this machine is no longer of the household
	FaultNotRunning = "not.running" // nobody can reach this machine
	FaultNoNetwork  = "no.network"  // it runs, and is in no network
	FaultNoPartner  = "no.partner"
	FaultAllAway    = "all.away" // no partner can be reached
	FaultClock      = "clock"    // most partners' clocks differ
	FaultDiskAway   = "disk.away"
	FaultDiskFull   = "disk.full" // the reserve is used
	FaultBooks      = "books"     // records cannot be read
	FaultKept       = "kept"      // something that is kept is not stored
	FaultPolicy     = "policy"    // the file policy makes no sense
	FaultSettings   = "settings"  // config.toml makes no sense, or has changed since it was read
	FaultVoucher    = "voucher"   // what lets this machine in somewhere as a guest has ended, or will
	FaultLedger     = "ledger"    // a partner's receipts contradict each other
)

// Examined is one thing that was looked at.
type Examined struct {
	// What is one of: machine, network, reach, clock, disk, books, policy, settings, ledger, guest, pact, kept.
	What string `json:"what"`
	// Fault is one of the Fault constants, "" for none.
	Fault string `json:"fault,omitempty"`
	// Text says how it stands, in words.
	Text string `json:"text"`
}

const (
	// doctorMax is how long partners may take to answer a doctor.
	doctorMax = 20 * time.Second
	// endsSoon is how long before its end a pact is spoken of.
	endsSoon = 30 * 24 * time.Hour
	// clockOffMax is how far partners' clocks may be from ours.
	clockOffMax = 5 * time.Minute
)

// Doctor looks for what may be wrong with this machine, its network, clock, disk and
// books. It asks every partner for a sign of life, and changes nothing.
func (a *Agent) Doctor(ctx context.Context) ([]Examined, error) {
	out := []Examined{a.lookAtMachine()}
	network, heard := a.lookAtNetwork(ctx)
	out = append(out, network)
	if addrs := a.network.Addrs(); len(addrs) > 0 {
		out = append(out, lookAtReach(addrs))
	}
	out = append(out, a.lookAtClock(heard), a.lookAtDisk(), a.lookAtBooks(ctx), a.lookAtPolicy(), a.lookAtSettings(), a.lookAtLedgers())
	out = append(out, a.lookAtGuests()...)
	out = append(out, a.lookAtPacts(ctx)...)
	out = append(out, a.lookAtHosted(ctx)...)
	for _, k := range a.Kept(ctx) {
		e := Examined{What: "kept", Text: fmt.Sprintf("%s is stored", k.Name)}
		if k.Trouble != "" {
			e.Text = fmt.Sprintf("%s is not stored: %s", k.Name, k.Trouble)
			e.Fault = FaultKept
		} else if k.Stored.IsZero() {
			e.Text = fmt.Sprintf("%s is not stored yet", k.Name)
		}
		out = append(out, e)
	}
	return out, ctx.Err()
}

// lookAtHosted tells which clubs live elsewhere by now.
func (a *Agent) lookAtHosted(ctx context.Context) (out []Examined) {
	clubs, err := a.Clubs()
	if err != nil {
		a.c.Log.Warn("look at the clubs", "err", err)
	}
	for _, name := range clubs {
		club, err := a.openClub(ctx, name)
		if err == nil {
			err = club.federation.Revoked()
		}
		if errors.Is(err, ErrRevoked) {
			out = append(out, Examined{What: "club", Fault: FaultRevoked, Text: name + ": " + err.Error()})
		}
	}
	return out
}

// lookAtPacts tells which end soon.
func (a *Agent) lookAtPacts(ctx context.Context) (out []Examined) {
	now := a.c.Clock.Now()
	for p := range a.Pacts(ctx) {
		if left := p.Ends.Sub(now); !p.Ends.IsZero() && left > 0 && left < endsSoon {
			out = append(out, Examined{What: "pact", Text: fmt.Sprintf("the pact with %s ends on %s", p.Name, p.Ends.UTC().Format(time.DateOnly))})
		}
	}
	return out
}

func (a *Agent) lookAtMachine() Examined {
	e := Examined{What: "machine", Text: "it runs"}
	if err := a.federation.Revoked(); err != nil {
		e.Fault, e.Text = FaultRevoked, err.Error()
	} else if !a.network.listens() {
		e.Fault, e.Text = FaultNotRunning, "no agent is running, so nobody can reach this machine"
	} else if len(a.network.Addrs()) == 0 {
		e.Fault, e.Text = FaultNoNetwork, "it runs, but is in no network, so nobody can reach it"
	}
	return e
}

// lookAtNetwork greets all partners, those with whom this machine is a guest and our other machines, and returns those who answered.
func (a *Agent) lookAtNetwork(ctx context.Context) (e Examined, heard []DID) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.c.Clock.AfterFunc(doctorMax, cancel).Stop()
	partners := a.places()
	errs := make([]error, len(partners))
	var group sync.WaitGroup
	for i, p := range partners {
		group.Go(func() { errs[i] = a.federation.Greet(ctx, p.Grid) })
	}
	group.Wait()
	e.What = "network"
	var here, away []string
	for i, p := range partners {
		if errs[i] == nil {
			here, heard = append(here, p.Name), append(heard, p.Grid)
			continue
		}
		away = append(away, p.Name+" "+a.plain(p.Name, errs[i]))
	}
	switch {
	case len(partners) == 0:
		e.Fault, e.Text = FaultNoPartner, "no partner, so nothing can be stored"
	case len(here) == 0:
		e.Fault, e.Text = FaultAllAway, strings.Join(away, "; ")
	default:
		e.Text = strings.Join(append([]string{strings.Join(here, ", ") + " answered"}, away...), "; ")
	}
	return e, heard
}

// lookAtReach tells from where this machine can be dialled, as far as its addresses tell.
func lookAtReach(addrs []string) Examined {
	widest := 0
	for _, addr := range addrs {
		parts := strings.Split(addr, "/")
		if len(parts) < 3 {
			continue
		}
		ip, err := netip.ParseAddr(parts[2])
		switch {
		case err != nil || ip.IsGlobalUnicast() && !ip.IsPrivate(): // a name, or for all the world
			widest = 2
		case ip.IsPrivate():
			widest = max(widest, 1)
		}
	}
	return Examined{What: "reach", Text: [...]string{
		"it listens on this machine alone",
		"it listens on the local network: from elsewhere it can be dialled if the router forwards the port",
		"it listens on addresses for all the world, unless a firewall is before them",
	}[widest]}
}

// lookAtClock compares clocks with those of partners who have just answered.
func (a *Agent) lookAtClock(heard []DID) Examined {
	var ahead []time.Duration
	for _, grid := range heard {
		if d, ok := a.federation.ClockAhead(grid); ok {
			ahead = append(ahead, d)
		}
	}
	e := Examined{What: "clock", Text: "nobody to compare it with"}
	if len(ahead) == 0 {
		return e
	}
	slices.Sort(ahead)
	middle := ahead[len(ahead)/2].Round(time.Second)
	switch {
	case middle > clockOffMax:
		e.Fault, e.Text = FaultClock, fmt.Sprintf("it is %v behind partners' clocks", middle)
	case middle < -clockOffMax:
		e.Fault, e.Text = FaultClock, fmt.Sprintf("it is %v ahead of partners' clocks", -middle)
	default:
		e.Text = fmt.Sprintf("as partners' clocks, to %v", max(middle, -middle, time.Second))
	}
	return e
}

func (a *Agent) lookAtDisk() Examined {
	e := Examined{What: "disk"}
	free, total, err := a.store.Space()
	if err != nil {
		e.Fault, e.Text = FaultDiskAway, err.Error()
		return e
	}
	reserve := a.settings.Limits.reserve(total)
	e.Text = fmt.Sprintf("%s of %s are free; %s stay in reserve", policy.Bytes(free), policy.Bytes(total), policy.Bytes(reserve))
	if free < reserve {
		e.Fault, e.Text = FaultDiskFull, fmt.Sprintf("%s of %s are free, and %s should be", policy.Bytes(free), policy.Bytes(total), policy.Bytes(reserve))
	}
	return e
}

func (a *Agent) lookAtPolicy() Examined {
	p := a.policyNow()
	e := Examined{What: "policy", Text: fmt.Sprintf("%d rules of %s are in force", len(p.Rules), p.File)}
	switch {
	case p.Fault != nil:
		e.Fault, e.Text = FaultPolicy, fmt.Sprintf("%s; the %d rules from before are in force", p.Fault.in(string(p.File)), len(p.Rules))
	case p.Default:
		e.Text = "the default rules are in force"
	}
	return e
}

// lookAtSettings tells whether config.toml is as it was when it was read.
func (a *Agent) lookAtSettings() Examined {
	e := Examined{What: "settings", Text: "config.toml is in force"}
	now, err := readSettings(a.c.settings)
	switch {
	case err != nil:
		e.Fault, e.Text = FaultSettings, strings.TrimSuffix(err.Error(), ": "+ErrInvalid.Error())+"; the settings from before are in force"
	case !reflect.DeepEqual(now, a.settings):
		e.Fault, e.Text = FaultSettings, a.c.settings+" has changed since this agent started, and is read only then"
	}
	return e
}

// lookAtLedgers looks for receipts that contradict each other, as long as they count against who signed them.
func (a *Agent) lookAtLedgers() Examined {
	e := Examined{What: "ledger", Text: "no receipts contradict each other"}
	var bad []string
	for _, p := range a.counterparts() {
		all, err := a.barter.Contradictions(p.Grid)
		if err != nil {
			e.Fault, e.Text = FaultBooks, err.Error()
			return e
		}
		if slices.ContainsFunc(all, func(c barter.Contradiction) bool { return c.Counts }) {
			bad = append(bad, p.Name)
		}
	}
	if len(bad) > 0 {
		e.Fault, e.Text = FaultLedger, "different receipts with one number were signed by "+strings.Join(bad, ", ")
	}
	return e
}

// lookAtBooks reads them through.
func (a *Agent) lookAtBooks(ctx context.Context) Examined {
	e, n := Examined{What: "books"}, 0
	for _, err := range a.store.Books().Scan(nil, nil) {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			e.Fault, e.Text = FaultBooks, err.Error()
			return e
		}
		n++
	}
	e.Text = fmt.Sprintf("%d records can be read", n)
	return e
}
