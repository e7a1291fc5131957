package grange

import (
	"context"
	"slices"

	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/service/federation"
)

// Routes returns everything that a partner's machine can ask of this one.
func (a *Agent) Routes() []wire.Route {
	return slices.Concat(a.federation.Routes(), a.barter.Routes(), a.tableRoutes())
}

// UseVoucher shows a voucher, as what hands them out does.
func (a *Agent) UseVoucher(ctx context.Context, home federation.AgentAddrs, chain []byte) (federation.Errand, error) {
	return a.federation.UseVoucher(ctx, home, chain)
}

// UseAccountFrom is UseAccount and UseAccountAt where addresses are not those of a real network.
func (a *Agent) UseAccountFrom(ctx context.Context, server, at federation.AgentAddrs) error {
	u, err := a.accounts.customer.Use(ctx, server.DID, server.Addrs, "")
	if err == nil {
		_, err = a.federation.UseAccount(ctx, at, federation.AccountName{Server: u.Server, ID: u.Account})
	}
	return err
}

// Withheld is how many writes of a table others are asked for, as their payloads are missing.
func (a *Agent) Withheld(name string) (n int, err error) {
	_, info, err := a.table(name)
	if err != nil {
		return 0, err
	}
	for _, err := range a.tables.feeds.Absent(info.ID) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Store and Disks are what takes the place of a machine's disk.
type (
	Store = store
	Disks = disks
)

// On returns c with another disk.
func (c Config) On(d Disks) Config {
	c.disks = d
	return c
}
