package core

import (
	"fmt"
	"time"
)

// Resource names what is asked for; each has a unit of its own.
type Resource string

// The resources that everybody knows. A household may name others, with units of their own.
const (
	// Storage is bytes kept; an ask's amount is bytes, its duration how long.
	Storage Resource = "storage"
	// Network is bytes relayed or served.
	Network Resource = "network"
	// Compute is fuel, the steps of a program.
	Compute Resource = "compute"
	// Content is access to a collection; its unit is one collection.
	Content Resource = "content"
	// Work is units of a signed work contract.
	Work Resource = "work"
)

// Quality says how much an ask matters to the asker.
type Quality string

// The qualities of service, from the least.
const (
	Idle   Quality = "idle"
	Normal Quality = "normal"
	Prompt Quality = "prompt"
)

// WhyKind is the kind of reason that an ask gives. The set is open.
type WhyKind string

// The kinds of why that are understood so far.
const (
	// WhyNone gives no reason: a friend needs none.
	WhyNone WhyKind = "none"
	// WhyPact names the pact between the two households.
	WhyPact WhyKind = "pact"
	// WhyAccount names an account for which an account server vouches.
	WhyAccount WhyKind = "account"
	// WhyVoucher names a voucher of a grid that has a pact with the one that is asked.
	WhyVoucher WhyKind = "voucher"
)

// Why answers "why should you?".
type Why struct {
	Kind WhyKind `json:"kind"`
	// Ref is what the kind refers to: for WhyPact the pact's score, for WhyAccount and WhyVoucher the
	// score of the credential, for WhyNone nothing.
	Ref []byte `json:"ref,omitempty"`
}

// Ask is a request for a resource.
type Ask struct {
	Resource Resource `json:"resource"`
	// Amount is in the resource's unit: bytes for Storage.
	Amount int64 `json:"amount"`
	// Seconds is the duration asked for.
	Seconds int64   `json:"seconds"`
	Quality Quality `json:"quality"`
	Why     Why     `json:"why"`
}

// Duration returns how long the resource is asked for.
func (a Ask) Duration() time.Duration { return time.Duration(a.Seconds) * time.Second }

// Counter is what the other side would say yes to.
type Counter struct {
	// Amount is the most that would be granted now; 0 is nothing.
	Amount int64 `json:"amount"`
	// Seconds is the longest duration that would be granted; 0 says nothing of it.
	Seconds int64 `json:"seconds,omitempty"`
}

// Denial is the answer no: its reason in words, and where there is one, a
// counter-offer. It is an error of kind ErrRefused.
type Denial struct {
	// Reason is one line for a person.
	Reason  string   `json:"reason"`
	Counter *Counter `json:"counter,omitempty"`
	// Retry is in how many seconds to ask again; 0 says nothing.
	Retry int64 `json:"retry,omitempty"`
}

// Error returns the reason.
func (d *Denial) Error() string { return fmt.Sprintf("refused: %s", d.Reason) }

// Is makes a Denial an ErrRefused.
func (d *Denial) Is(target error) bool { return target == ErrRefused }
