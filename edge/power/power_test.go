package power

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnBattery(t *testing.T) {
	for why, c := range map[string]struct {
		supplies string // "name what=value ..." each
		want     bool
	}{
		"none":                    {"", false},
		"a laptop on its battery": {"AC type=Mains online=0;BAT0 type=Battery status=Discharging", true},
		"plugged in":              {"AC type=Mains online=1;BAT0 type=Battery status=Charging", false},
		"full":                    {"AC type=Mains online=1;BAT0 type=Battery status=Full", false},
		"plugged in, too weakly":  {"BAT0 type=Battery status=Discharging;ucsi type=USB online=1", false},
		"no adapter is listed":    {"BAT0 type=Battery status=Discharging", true},
		"one of two":              {"AC type=Mains online=0;BAT0 type=Battery status=Unknown;BAT1 type=Battery status=Discharging", true},
		"a desktop with a mouse":  {"hidpp type=Battery status=Discharging scope=Device", false},
		"a mouse that charges":    {"hid type=USB online=1 scope=Device;BAT0 type=Battery status=Discharging", true},
		"unreadable":              {"BAT0 status=Discharging", false},
	} {
		dir := t.TempDir()
		for _, supply := range strings.Split(c.supplies, ";") {
			name, fields, _ := strings.Cut(supply, " ")
			if name == "" {
				continue
			}
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, field := range strings.Fields(fields) {
				what, value, _ := strings.Cut(field, "=")
				if err := os.WriteFile(filepath.Join(dir, name, what), []byte(value+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := onBattery(dir); got != c.want {
			t.Errorf("%s: %v", why, got)
		}
	}
	if onBattery(filepath.Join(t.TempDir(), "none")) {
		t.Error("where nothing is listed")
	}
}
