package boot

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// unit returns a systemd unit, as systemd.unit(5) and systemd.service(5) have it.
func unit(p Program, system bool) string {
	target := "default.target"
	if system {
		target = "multi-user.target"
	}
	args := make([]string, len(p.Command))
	for i, a := range p.Command {
		args[i] = quote(a)
	}
	return fmt.Sprintf(`[Unit]
Description=%s
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=%s
Restart=on-failure
RestartSec=30
TimeoutStopSec=30

[Install]
WantedBy=%s
`, strings.ReplaceAll(p.About, "%", "%%"), strings.Join(args, " "), target)
}

// quote writes one argument of a command line: systemd expands % and $, and reads
// C's escapes within quotes.
func quote(arg string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(arg) + `"`
}

// plist returns a LaunchAgent's property list, as launchd.plist(5) has it.
func plist(p Program) string {
	var args strings.Builder
	for _, a := range p.Command {
		fmt.Fprintf(&args, "\t\t<string>%s</string>\n", escape(a))
	}
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>%s</string>
	<key>ProgramArguments</key>
	<array>
%s	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>30</integer>
	<key>ProcessType</key>
	<string>Background</string>
</dict>
</plist>
`, label(p.Name), args.String())
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
