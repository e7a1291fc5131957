package main

import (
	"context"
	"fmt"
	"math"
)

type doctorCommand struct{}

func (doctorCommand) detail() string {
	return `Looks at this machine, its network, its clock, the disk, the books, policy and settings, and what is kept, and asks every partner for a sign of life. It changes nothing. With a fault the exit code is 1.`
}

func (c *doctorCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.Doctor(ctx)
		if err != nil {
			return err
		}
		a.value(out)
		width := a.width
		if !a.outTerminal {
			width = math.MaxInt // for grep
		}
		for _, e := range out.Examined {
			stands := "ok   "
			if e.Fault != "" {
				stands = a.paint(red, "FAULT")
			}
			const margin = "                "
			a.say("%-8s %s  %s", e.What, stands, wrap(clean(e.Text), width, margin))
			if e.Cure != "" {
				a.say("%scure: %s", margin, wrap(clean(e.Cure), width, fmt.Sprintf("%s      ", margin)))
			}
		}
		if !out.Well {
			return reported(exitFailed)
		}
		return nil
	})
}
