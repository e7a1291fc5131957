package grange

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// defaultPolicy is in force where nobody wrote a file policy.
const defaultPolicy = `# Who is answered how: the first line that fits an ask decides, and what none fits is refused.
#   WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]
pact     open
voucher  voucher
account  account    # none is trusted until one is named: server=did:key:...
none     deny
`

// policyTable is where a new kind of why, policy or resource is entered. units are of the resources that the settings name.
func policyTable(units map[string]unitName) policy.Table {
	t := policy.Table{
		Whys: map[core.WhyKind]string{
			core.WhyNone:    "Those who give no reason",
			core.WhyPact:    "Partners",
			core.WhyAccount: "Holders of an account",
			core.WhyVoucher: "Members of a partner that is a grid",
		},
		Policies: map[string]func(*policy.Options) policy.Policy{
			"open":       policy.Open,
			"deny":       policy.Deny,
			"even":       policy.Even,
			"reciprocal": policy.Reciprocal,
			"account":    policy.ForAccounts,
			"voucher":    policy.Voucher,
		},
		Resources: map[core.Resource]string{
			core.Storage: "",
			core.Network: "",
			core.Compute: "steps",
			core.Content: "collections",
			core.Work:    "units",
		},
	}
	for name, unit := range units {
		t.Resources[core.Resource(name)] = string(unit)
	}
	return t
}
