package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/voucher"
)

type gridVoucherCommand struct {
	Name   string `arg:"" name:"NAME" placeholder:"NAME" help:"The club, as 'grange pacts' has it, or one that this machine hosts."`
	To     string `required:"" placeholder:"DID" help:"The machine that is to use it; it shows its DID by 'grange grid use'."`
	Amount size   `placeholder:"1GB" help:"The most that it may have at each home; else as much as you."`
	Days   int    `placeholder:"7" default:"7" help:"For how many days it is good, 7 at most."`
}

func (gridVoucherCommand) detail() string {
	return `Prints one line, by which that machine keeps something at the club's homes, without a pact with anybody and while this machine is off. It is no secret: it is of use to that machine alone.

You give on what the club gives you, so what it keeps there counts for the club's pact, as yours does; it ends with your own voucher at the latest. At a club that this machine hosts it is for a person whom 'grange grid admit' has admitted, whose machine then gets newer ones by itself.`
}

type gridUseCommand struct {
	Code string `arg:"" name:"FILE|CODE" optional:"" placeholder:"FILE|CODE" help:"A voucher, or a file with one; - is stdin. Without it, this machine's DID, by which one is made."`
}

func (gridUseCommand) detail() string {
	return `From then on what is stored goes to the homes of that voucher too, as to partners. 'grange status' shows where this machine is a guest, and until when.`
}

func (c *gridVoucherCommand) run(ctx context.Context, a *app) error {
	if c.Days < 1 || c.Days > grange.VoucherDaysMax {
		return usage(fmt.Sprintf("--days is 1 to %d", grange.VoucherDaysMax), "a newer one is made by the same command")
	}
	return a.with(ctx, func(s *session) error {
		hosted, err := s.Grids(ctx)
		if err != nil {
			return err
		}
		clubs, err := s.Clubs(ctx)
		if err != nil {
			return err
		}
		in := api.VoucherRequest{Club: c.Name, To: c.To, Amount: int64(c.Amount), Seconds: int64(c.Days) * 24 * 60 * 60}
		client := s.Client
		if slices.Contains(hosted, c.Name) && !slices.ContainsFunc(clubs, func(m grange.Membership) bool { return m.Name == c.Name }) {
			client, in.Club = s.Grid(c.Name), ""
		}
		out, err := client.Voucher(ctx, in)
		if err != nil {
			return err
		}
		a.value(out)
		a.handOn(out)
		return nil
	})
}

// handOn shows a voucher, and what it is worth.
func (a *app) handOn(v grange.Voucher) {
	for _, h := range v.Homes {
		a.note("%s keeps up to %s by it, until %s.", clean(h.Name), amount(h.Amount), date(h.Until, a.now()))
	}
	if v.Renews {
		a.note("That machine gets newer ones by itself. Send it this line: grange grid use FILE|CODE")
	} else {
		a.note("Send that machine this line: grange grid use FILE|CODE")
	}
	a.say("%s", v.Line)
}

func (c *gridUseCommand) run(ctx context.Context, a *app) error {
	if c.Code == "" {
		return a.with(ctx, func(s *session) error {
			out, err := s.Status(ctx, "")
			if err != nil {
				return err
			}
			a.value(map[string]grange.DID{"machine": out.Machine})
			a.say("%s", out.Machine)
			return nil
		})
	}
	line, err := c.read(ctx, a)
	if err != nil {
		return err
	}
	if _, err := grange.ReadVoucher(line); err != nil && !errors.Is(err, grange.ErrVersion) {
		return usage(api.ErrorOf(err).Message, "copy the whole line again, from "+voucher.PassPrefix+" to its end")
	}
	return a.with(ctx, func(s *session) error {
		out, err := s.UseVoucher(ctx, line)
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(out)
		for _, e := range out.Errands {
			a.say("%s keeps up to %s for you, by %s, until %s.", clean(e.Name), amount(e.Gives), clean(e.By.Name), date(e.Until, a.now()))
		}
		troubles(out.Refused, a.warn)
		if len(out.Errands) == 0 {
			a.say("%s has nothing for this machine yet.", clean(out.Name))
		}
		return err
	})
}

// read returns the line, which is the argument itself or stands in a file.
func (c *gridUseCommand) read(ctx context.Context, a *app) (string, error) {
	from := a.in
	switch {
	case strings.HasPrefix(strings.ToUpper(c.Code), voucher.PassPrefix):
		return c.Code, nil
	case c.Code != "-":
		f, err := os.Open(c.Code)
		if err != nil {
			return "", fmt.Errorf("%s: %w", clean(c.Code), cause(err))
		}
		defer f.Close()
		from = f
	}
	line, err := readAll(ctx, from, grange.VoucherLineSizeMax)
	if err != nil {
		return "", fmt.Errorf("read the voucher: %w", err)
	}
	return line, nil
}
