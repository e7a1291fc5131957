// Package power tells whether this machine runs on its battery.
//
// It reads what Linux says in /sys/class/power_supply; on other systems it knows
// nothing, and says no. It does not tell how much is left, nor does it watch.
package power

import (
	"os"
	"path/filepath"
	"strings"
)

// supplies is where Linux lists what a machine gets its power from; see the kernel's
// Documentation/ABI/testing/sysfs-class-power.
const supplies = "/sys/class/power_supply"

// OnBattery tells whether the machine discharges a battery of its own: those of mice and
// the like do not count. In doubt it does not.
func OnBattery() bool { return onBattery(supplies) }

func onBattery(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	discharges := false
	for _, e := range entries {
		says := func(what string) string {
			raw, _ := os.ReadFile(filepath.Join(dir, e.Name(), what)) // what is not said is no answer
			return strings.TrimSpace(string(raw))
		}
		switch kind := says("type"); {
		case says("scope") == "Device":
		case kind == "Battery":
			discharges = discharges || says("status") == "Discharging"
		case says("online") == "1": // any other feeds the machine
			return false
		}
	}
	return discharges
}
