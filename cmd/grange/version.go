package main

import (
	"context"
	"runtime"
	"runtime/debug"
)

// build is what version prints with --json.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (versionCommand) run(_ context.Context, a *app) error {
	b := build{Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	a.value(b)
	a.say("grange %s (%s, %s/%s)", b.Version, b.Go, b.OS, b.Arch)
	return nil
}
