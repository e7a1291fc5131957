package grange

import (
	"slices"

	"github.com/grange-grid/grange/internal/wire"
)

// Routes returns everything that a partner's machine can ask of this one.
func (a *Agent) Routes() []wire.Route {
	return slices.Concat(a.federation.Routes(), a.barter.Routes())
}
