package api

import (
	"context"
	"net/http"

	"github.com/grange-grid/grange"
)

// Diagnosis is the answer to GET /v1/doctor.
type Diagnosis struct {
	// Well says that there is no fault.
	Well     bool       `json:"well"`
	Examined []Examined `json:"examined"`
}

// Examined is one thing that was looked at, and what helps if it is at fault.
type Examined struct {
	grange.Examined
	Cure string `json:"cure,omitempty"`
}

func (o *owner) doctor(r *http.Request) answer {
	found, err := o.agent.Doctor(r.Context())
	out := Diagnosis{Well: true}
	for _, e := range found {
		out.Well = out.Well && e.Fault == ""
		out.Examined = append(out.Examined, Examined{e, cure(e.Fault)})
	}
	return value(out, err)
}

// cure says what helps against a fault, "" against none.
func cure(fault string) string {
	switch fault {
	case grange.FaultRevoked:
		row, _ := rowOf(CodeRevoked)
		return row.hint
	case grange.FaultNotRunning:
		return "grange service install; or by hand: grange run"
	case grange.FaultNoNetwork:
		return noNetwork
	case grange.FaultNoPartner:
		return "grange invite"
	case grange.FaultAllAway:
		return "look whether this machine has a network, and theirs are on; if their addresses have changed, they find this one again if it can be dialled"
	case grange.FaultClock:
		return "set this machine's clock, best by NTP; if it is right, partners' clocks are wrong"
	case grange.FaultDiskAway:
		return "mount the disk"
	case grange.FaultDiskFull:
		return "make room on this disk; no partner gets more of it until then"
	case grange.FaultBooks:
		return "stop the agent and look at the disk; with the 24 words all is got back on a new directory: grange recover"
	case grange.FaultPolicy:
		return "grange policy edit"
	case grange.FaultSettings:
		return "correct config.toml, and start the agent again"
	case grange.FaultVoucher:
		return "a running agent brings it elsewhere, where there is room; a newer voucher comes from whoever gave this one, of an account from its server"
	case grange.FaultLedger:
		return "grange ledger WHO shows both; ask them what has happened: books that were put back from an older copy can do that. grange pact end WHO ends it"
	case grange.FaultKept:
		return "grange keep shows since when; what is gone for good is stopped by: grange keep --stop PATH"
	}
	return ""
}

// Doctor looks for what may be wrong.
func (c *Client) Doctor(ctx context.Context) (out Diagnosis, err error) {
	return out, c.get(ctx, "doctor", nil, &out)
}
