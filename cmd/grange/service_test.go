package main

import (
	"os"
	"slices"
	"testing"
)

func TestServiceCommand(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for why, c := range map[string]struct {
		dir, data string
		named     bool
		service   serviceCommand
		want      []string
	}{
		"nothing said":    {want: []string{program, "run"}},
		"flags":           {service: serviceCommand{Listen: []string{"/a", "/b"}, NoMDNS: true}, want: []string{program, "run", "--listen", "/a", "--listen", "/b", "--no-mdns"}},
		"--dir":           {named: true, want: []string{program, "run", "--dir", "/the/dir"}},
		"GRANGE_DIR":      {dir: "/the/dir", data: "/data", want: []string{program, "run", "--dir", "/the/dir"}},
		"XDG_DATA_HOME":   {data: "/data", want: []string{"/usr/bin/env", "XDG_DATA_HOME=/data", program, "run"}},
		"a relative one":  {data: "data", want: []string{program, "run"}},
		"--dir before it": {named: true, data: "/data", want: []string{program, "run", "--dir", "/the/dir"}},
	} {
		t.Run(why, func(t *testing.T) {
			t.Setenv("GRANGE_DIR", c.dir)
			t.Setenv("XDG_DATA_HOME", c.data)
			t.Setenv("XDG_CONFIG_HOME", "")
			got, err := c.service.command(&app{dir: "/the/dir", named: c.named})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}
