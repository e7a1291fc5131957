// Package metered tells whether the network that this machine uses is paid for by what
// goes over it, as that of a telephone may be.
//
// It asks NetworkManager, by way of busctl, which comes with systemd; where either is missing it
// knows nothing, and says no. It does not watch, and does not measure.
package metered

import (
	"context"
	"os/exec"
	"strings"
)

// Network tells whether the network that leads out is metered, known or guessed. In doubt it
// is not. It runs a command, which ends with ctx.
func Network(ctx context.Context) bool {
	const manager = "org.freedesktop.NetworkManager"
	out, err := exec.CommandContext(ctx, "busctl", "--system", "get-property", manager, "/org/freedesktop/NetworkManager", manager, "Metered").Output()
	if err != nil {
		return false // none here, or it does not run
	}
	// NMMetered: 0 unknown, 1 yes, 2 no, 3 probably yes, 4 probably no.
	switch strings.TrimSpace(string(out)) {
	case "u 1", "u 3":
		return true
	}
	return false
}
