package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/service/barter"
)

// Ledger is what this machine's books say of one partner.
type Ledger struct {
	Partner DID    `json:"partner"`
	Name    string `json:"name"`
	// Via is on whose behalf a guest's bytes are here; nil where there is a pact.
	Via *LedgerVia `json:"via,omitempty"`
	// Errand is by what we are a guest there; nil where there is a pact, or we are none.
	Errand *Errand `json:"errand,omitempty"`
	// Gives is what they promised us, Has what of it our pieces use; Given what we promised
	// them, Keeps what of it theirs use here, and Aside what of that is released and set aside; in
	// bytes.
	Gives int64 `json:"gives"`
	Has   int64 `json:"has"`
	Given int64 `json:"given"`
	Keeps int64 `json:"keeps"`
	Aside int64 `json:"aside"`
	// Returns is what of ours there was given up, and is given back over days.
	Returns int64 `json:"returns"`
	// More is how much they could be granted here now; the policy may grant less.
	More int64 `json:"more"`
	// Gave has a line for each of their machines that had something here, Had one for
	// each that had something of ours.
	Gave []LedgerLine `json:"gave"`
	Had  []LedgerLine `json:"had"`
	// Missing is what counts as lost of what they keep for us, in bytes: by proofs that they failed and receipts that contradict each other.
	Missing int64 `json:"missing"`
	// Contradictions are such receipts. Uncounted are leases of ours there that do not count here, looked up only where the two
	// sides count differently.
	Contradictions []Contradiction  `json:"contradictions"`
	Uncounted      []UncountedLease `json:"uncounted"`
	// Flows are what was promised, granted and had of other resources than storage, by name.
	Flows []Flow `json:"flows"`
	// Decisions are the newest on what they asked for, the newest first.
	Decisions []Decision `json:"decisions"`
}

// LedgerVia is the grid whose pact a guest draws on, or its account.
type LedgerVia struct {
	// Kind is "voucher" or "account".
	Kind core.WhyKind `json:"kind"`
	// Account is what is known of an account; nil of a voucher. Of an account all that follows but Name and Until is empty.
	Account *policy.Account `json:"account,omitempty"`
	Grid    DID             `json:"grid,omitzero"`
	Name    string          `json:"name"`
	Pact    string          `json:"pact,omitempty"`
	// Chain are the machines that issued its voucher, from the grid's on; none when it has ended. Issuers are their households' names, where
	// they are known.
	Chain   []DID    `json:"chain"`
	Issuers []string `json:"issuers"`
	// Offered is what the pact gives the grid and all of its guests, Share the most that this guest may have of it, in bytes.
	Offered int64 `json:"offered"`
	Share   int64 `json:"share"`
	// Until is when the voucher, or the account server's last word, ends.
	Until time.Time `json:"until,omitzero"`
}

// LedgerLine is what one machine has had of another.
type LedgerLine struct {
	// Machine is the one on their side.
	Machine DID `json:"machine"`
	// Live is the bytes under leases now, ByteHours what it comes to up to now, as we count.
	Live      int64  `json:"live"`
	ByteHours uint64 `json:"byte_hours"`
	// Receipts is how many are kept; Signed is the byte-hours of the last, up to Until.
	Receipts int64     `json:"receipts"`
	Signed   uint64    `json:"signed"`
	Until    time.Time `json:"until,omitzero"`
	// Pending is the byte-hours that came since, and are not signed for. Waiting says that the last receipt is not known to have arrived.
	Pending uint64 `json:"pending"`
	Waiting bool   `json:"waiting,omitempty"`
	// Proven is when the side that gives proved last that it has something.
	Proven time.Time `json:"proven,omitzero"`
	// Forged says that they answered our last receipt with one that this machine never signed.
	Forged bool `json:"forged,omitempty"`
	// Differs says that the side which did not sign the last receipt counts Other.
	Differs bool   `json:"differs,omitempty"`
	Other   uint64 `json:"other,omitempty"`
	// Parted is the number, PartedAt the date of the first receipt since which the two do not agree.
	Parted   uint64    `json:"parted,omitempty"`
	PartedAt time.Time `json:"parted_at,omitzero"`
	// Overdue says that nothing new is granted on the line until there is a receipt.
	Overdue bool `json:"overdue,omitempty"`
}

// Decision is one answer to what a partner has asked for, and what it was made from.
type Decision struct {
	ID      uint64    `json:"id"`
	Time    time.Time `json:"time"`
	Partner string    `json:"partner"`
	Machine DID       `json:"machine"`
	// Amount is what was asked for, of Resource, in its Unit: "" is bytes.
	Amount   int64         `json:"amount"`
	Resource core.Resource `json:"resource"`
	Unit     string        `json:"unit,omitempty"`
	// Seconds is for how long, Quality how urgently, Why for what kind of reason.
	Seconds int64        `json:"seconds"`
	Quality core.Quality `json:"quality"`
	Why     core.WhyKind `json:"why"`
	Granted bool         `json:"granted"`
	// Reason is in words, Policy what decided. Counter is what would have been granted.
	Reason  string        `json:"reason"`
	Policy  string        `json:"policy"`
	Counter *core.Counter `json:"counter,omitempty"`
	Facts   policy.Facts  `json:"facts"`
	// Replay is what comes out when it is decided again; nil in lists.
	Replay *Replay `json:"replay,omitempty"`
}

// Replay is what a decision comes to again, from the facts that were written down and by the rules that stood then.
type Replay struct {
	// Kept says that those rules are kept; without them nothing comes out.
	Kept bool `json:"kept"`
	// Same says that it is the same answer, in all that it says.
	Same bool `json:"same"`
	// Rule is the one that decided, "" where it did not come to that.
	Rule string `json:"rule,omitempty"`
	Answer
}

// Ledgers returns the books on one partner, by name or DID, or on all for "", by name.
// Errors: fs.ErrNotExist.
func (a *Agent) Ledgers(_ context.Context, who string) ([]Ledger, error) {
	out := []Ledger{}
	for _, p := range a.counterparts() {
		if who != "" && !a.goesBy(p, who) {
			continue
		}
		l, err := a.barter.Ledger(p.Grid)
		if err != nil {
			return nil, err
		}
		of, err := a.ledgerOf(l)
		if err != nil {
			return nil, err
		}
		out = append(out, of)
	}
	if who != "" && len(out) == 0 {
		return nil, fmt.Errorf("partner %q: %w", who, fs.ErrNotExist)
	}
	return out, nil
}

// goesBy tells whether somebody is meant by a name. Who is a guest here, and where we are one, has two.
func (a *Agent) goesBy(p barter.Partner, who string) bool {
	guest, ok := a.partners().Guest(p.Grid)
	return who == p.Name || who == p.Grid.String() || ok && who == guest.Name
}

// counterparts are the partners, by name, then those with whom there is no pact but a voucher, on either side.
func (a *Agent) counterparts() (out []barter.Partner) {
	p := a.partners()
	home := a.federation.Self().Grid
	for _, c := range slices.Concat(p.All(), p.Guests()) {
		if c.Grid != home && !slices.ContainsFunc(out, func(o barter.Partner) bool { return o.Grid == c.Grid }) {
			out = append(out, c)
		}
	}
	return out
}

// Decision returns one answer to what a partner has asked for, and replays it. Errors: fs.ErrNotExist.
func (a *Agent) Decision(_ context.Context, id uint64) (Decision, error) {
	d, err := a.barter.Decision(id)
	if err != nil {
		return Decision{}, err
	}
	out := a.decisionOf(d)
	out.Replay = &Replay{}
	again, rules, err := a.barter.Replay(d)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return Decision{}, err
	}
	*out.Replay = Replay{Kept: true, Same: again.Equal(d.Decision), Answer: answerOf(again)}
	if rule, ok := rules.Rule(d.Ask, d.Facts); ok && rule.Policy.Name() == again.Policy {
		out.Replay.Rule = rule.String()
	}
	return out, nil
}

func (a *Agent) ledgerOf(l barter.Ledger) (Ledger, error) {
	contradictions, err := contradictionsOf(l.Contradictions)
	if err != nil {
		return Ledger{}, err
	}
	out := Ledger{
		Partner: l.Grid, Name: l.Name, Gives: l.Gives, Has: l.Placed, Given: l.Given, Keeps: l.Used, Aside: l.Aside, Returns: l.Returns, More: l.Room,
		Gave: linesOf(l.Gave), Had: linesOf(l.Had), Flows: a.flowsOf(l), Decisions: []Decision{},
		Missing: l.Missing, Contradictions: contradictions, Uncounted: uncountedOf(l.Uncounted),
	}
	if v := l.Via; v != nil {
		out.Via = &LedgerVia{Kind: v.Kind, Account: v.Account, Grid: v.Grid, Name: v.Name, Chain: append([]DID{}, v.Chain...), Offered: v.Offered, Share: v.Share}
		out.Via.Issuers = []string{}
		for _, agent := range v.Chain {
			out.Via.Issuers = append(out.Via.Issuers, a.issuer(agent))
		}
		if v.Account == nil {
			out.Via.Pact = v.Pact.String()
		}
		if v.Until > 0 {
			out.Via.Until = time.Unix(v.Until, 0)
		}
	}
	if e, ok := a.federation.Errand(l.Grid); ok {
		errand := a.errandOf(e)
		out.Errand = &errand
	}
	for _, d := range l.Decisions {
		out.Decisions = append(out.Decisions, a.decisionOf(d))
	}
	return out, nil
}

func linesOf(lines []barter.LedgerLine) []LedgerLine {
	out := []LedgerLine{}
	for _, l := range lines {
		line := LedgerLine{
			Machine: l.Agent, Live: l.Live, ByteHours: l.Hours, Receipts: l.Receipts, Signed: l.Total, Differs: l.Differs(), Overdue: l.Overdue,
			Pending: l.Hours - min(l.Total, l.Hours), Waiting: l.Seq > 0 && !l.Answered, Forged: l.Forged,
		}
		if l.Proven > 0 {
			line.Proven = time.Unix(l.Proven, 0)
		}
		if l.Until > 0 {
			line.Until = time.Unix(l.Until, 0)
		}
		if line.Differs {
			line.Other, line.Parted, line.PartedAt = l.Other, l.Parted, time.Unix(l.PartedAt, 0)
		}
		out = append(out, line)
	}
	return out
}

func (a *Agent) decisionOf(d barter.Decision) Decision {
	return Decision{
		ID: d.ID, Time: time.Unix(d.Time, 0), Partner: a.nameOf(d.Grid), Machine: d.Agent, Amount: d.Ask.Amount,
		Resource: d.Ask.Resource, Unit: a.policy.table.Resources[d.Ask.Resource], Seconds: d.Ask.Seconds, Quality: d.Ask.Quality, Why: d.Ask.Why.Kind,
		Granted: d.Grant, Reason: d.Reason, Policy: d.Policy, Counter: d.Counter, Facts: d.Facts,
	}
}
