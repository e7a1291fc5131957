package grange

import (
	"slices"

	"github.com/grange-grid/grange/internal/wire"
)

// Routes returns everything that a partner's machine can ask of this one.
func (a *Agent) Routes() []wire.Route {
	return slices.Concat(a.federation.Routes(), a.barter.Routes())
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
