package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// gridCommand is the commands that begin with grid.
type gridCommand struct {
	New   gridNewCommand   `cmd:"" help:"found a club, whose agent this machine hosts"`
	Show  gridShowCommand  `cmd:"" help:"who belongs to a club, and what it has for you"`
	Admit gridAdmitCommand `cmd:"" help:"say what a member may have; admit a person"`
	Expel gridExpelCommand `cmd:"" help:"strike a member off, at once"`
	Leave gridLeaveCommand `cmd:"" help:"leave a club"`

	Voucher gridVoucherCommand `cmd:"" help:"give some of what a club has for you to somebody's machine"`
	Use     gridUseCommand     `cmd:"" help:"use a voucher for this machine"`
}

type gridNewCommand struct {
	Name       string   `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called, of a to z, 0 to 9 and -."`
	PhraseFile string   `placeholder:"F" help:"Write the words to this file, which must not exist, with mode 0600, and do not show them."`
	Stewards   stewards `placeholder:"2/3" help:"Instead of the words, make a line for each of so many stewards, of which so many suffice."`
	SharesDir  string   `placeholder:"DIR" help:"Write the stewards' lines to files in this directory, with mode 0600, and do not show them."`
}

func (gridNewCommand) detail() string {
	return `A club is a grid like your household, with words, a key, pacts and books of its own; its machine is in DIR/grids/NAME, and runs while this one does. It can neither read nor command your household, which joins like any other: by a code of 'grange invite --grid NAME'.

Lost with the disk, it comes back as a household does: 'grange recover --dir DIR/grids/NAME'. With --stewards 2/3 nobody has its words, but each of three people a line, of which any two, in one --phrase-file, are as good.`
}

type gridShowCommand struct {
	Name string `arg:"" name:"NAME" optional:"" placeholder:"NAME" help:"The club, as 'grange pacts' has it, or one that this machine hosts; without it, all."`
}

type gridAdmitCommand struct {
	Who     string `arg:"" name:"WHO" placeholder:"WHO" help:"A member; or the DID of a person's machine."`
	Grid    string `required:"" placeholder:"NAME" help:"The club, which this machine hosts."`
	Name    string `placeholder:"N" help:"What it is called in the club."`
	Share   part   `placeholder:"20%|even" help:"How much of what each of the others offers, or an even part of what is left."`
	Nothing bool   `help:"It may keep nothing at the others'."`
}

func (gridAdmitCommand) detail() string {
	return `A household becomes a member by a code of 'grange invite --grid NAME', and has an even part of what the others offer until this says otherwise; what is not named stays as it is. With --nothing, nothing new is kept for it as soon as the others have heard. For a person a line is printed, which that machine uses by 'grange grid use'.`
}

type gridExpelCommand struct {
	Who  string `arg:"" name:"WHO" placeholder:"WHO" help:"A member."`
	Grid string `required:"" placeholder:"NAME" help:"The club, which this machine hosts."`
}

func (gridExpelCommand) detail() string {
	return `Nothing new is kept for it by the others once they have heard of it, and its pact with the club ends with notice. What it has at the others' can be read, and runs to the end of its leases. A pact that was ended is not made anew, so a household cannot come back.`
}

type gridLeaveCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"The club, as 'grange pacts' has it."`
}

func (gridLeaveCommand) detail() string {
	return `From now on nothing new goes to its members, and nothing new of theirs comes here. What lies there can be read, and runs to the end of its leases; a running agent makes it again elsewhere, where there is room. A pact that was ended is not made anew, so your household cannot come back.`
}

func (c *gridNewCommand) run(ctx context.Context, a *app) error {
	words := initCommand{PhraseFile: c.PhraseFile}
	phrase, written := "", false
	save, err := words.saver(a, &phrase, &written)
	if err != nil {
		return err
	}
	undo := func(err error) error { return words.undo(err, phrase, written) }
	var lines splitting
	if c.Stewards.of > 0 || c.SharesDir != "" {
		if save, err = lines.saver(a, c); err != nil {
			return err
		}
		undo = lines.undo
	}
	return a.with(ctx, func(s *session) error {
		if err := grange.CreateClub(ctx, a.config(), c.Name, save); err != nil {
			return undo(err)
		}
		out, err := s.Host(ctx, c.Name)
		if err != nil {
			return err
		}
		made := foundedClub{founded: founded{Household: out.Household, Grid: out.Grid, Machine: out.Machine}}
		if c.PhraseFile == "" {
			made.Phrase = phrase
		}
		if c.SharesDir == "" {
			made.Shares = lines.lines
		}
		a.value(made)
		switch {
		case c.PhraseFile != "":
			a.tell("The 24 words are in %s. Without them a lost club stays lost.", clean(c.PhraseFile))
		case c.SharesDir != "":
			a.tell("Give each steward one file of %s, and keep none. Without %d of the %d a lost club stays lost.", clean(c.SharesDir), c.Stewards.need, c.Stewards.of)
		}
		a.tell("Ready. Next: grange invite --grid %s --uses 50", c.Name)
		return nil
	})
}

// shownClubs is what grid show prints with --json.
type shownClubs struct {
	Hosted []string            `json:"hosted"`
	Clubs  []grange.Membership `json:"clubs"`
}

func (c *gridShowCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		hosted, err := s.Grids(ctx)
		if err != nil {
			return err
		}
		clubs, err := s.Clubs(ctx)
		if err != nil {
			return err
		}
		if c.Name == "" {
			a.value(shownClubs{hosted, clubs})
			moved := map[string]bool{}
			for _, name := range hosted {
				club, err := s.Grid(name).Status(ctx, "")
				moved[name] = err == nil && club.Revoked != ""
			}
			a.clubs(hosted, moved, clubs)
			return nil
		}
		i := slices.IndexFunc(clubs, func(m grange.Membership) bool { return m.Name == c.Name || m.Club.String() == c.Name })
		if i < 0 && slices.Contains(hosted, c.Name) {
			if clubs, err = s.Grid(c.Name).Clubs(ctx); err != nil {
				return err
			}
			i = 0 // its own
		} else {
			visited, err := s.VisitClub(ctx, c.Name)
			if err != nil && (i < 0 || !errors.Is(err, grange.ErrUnreachable)) {
				return err
			}
			if err != nil && !a.quiet {
				a.warn("%s could not be reached: this is as of %s.", clean(c.Name), moment(clubs[i].Asked, a.now()))
			}
			if err == nil {
				clubs = visited
				i = slices.IndexFunc(clubs, func(m grange.Membership) bool { return m.Name == c.Name || m.Club.String() == c.Name })
			}
		}
		if i < 0 || i >= len(clubs) {
			return &api.Error{Code: api.CodeNotFound, Message: "no club " + clean(c.Name), Hint: "grange grid show"}
		}
		a.value(clubs[i])
		a.club(clubs[i])
		return nil
	})
}

// clubs lists clubs, hosted ones, of which some were recovered on another machine, and those among the partners.
func (a *app) clubs(hosted []string, moved map[string]bool, clubs []grange.Membership) {
	if len(hosted)+len(clubs) == 0 {
		a.say("No club yet. Next: grange grid new NAME, or grange accept CODE")
		return
	}
	for _, name := range hosted {
		if moved[name] {
			a.say("%s is on another machine now; what is left of it here, in grids/%s, is of no use.", clean(name), clean(name))
			continue
		}
		a.say("This machine hosts %s.", clean(name))
	}
	rows := [][]string{{"CLUB", "MEMBERS", "ITS HOMES GIVE YOU"}}
	for _, m := range clubs {
		members := strconv.Itoa(len(m.Members))
		if m.Guest {
			members = "you are none"
		}
		rows = append(rows, []string{clean(m.Name), members, amount(promised(m))})
	}
	if len(clubs) > 0 {
		a.table(rows...)
	}
}

func promised(m grange.Membership) (sum int64) {
	for _, h := range m.Homes {
		sum += h.Amount
	}
	return sum
}

// club shows one.
func (a *app) club(m grange.Membership) {
	if m.Guest {
		a.say("You are no member, but have vouchers of it.")
	}
	rows := [][]string{}
	if len(m.Members) > 0 {
		rows = append(rows, []string{"MEMBER", "KIND", "MAY HAVE OF EACH"})
	}
	for _, one := range m.Members {
		rows = append(rows, []string{clean(one.Name), one.Kind, partOf(one)})
	}
	a.table(rows...)
	for _, h := range m.Homes {
		a.say("%s keeps up to %s for you, by a voucher until %s.", clean(h.Name), amount(h.Amount), date(h.Until, a.now()))
	}
	if m.Twofaced {
		a.say("It has signed two lists of members under one number: do not trust it before you know why.")
	}
	if m.Leaving {
		a.say("The pact with it ends.")
	}
}

// partOf says what a member may have of what each other offers.
func partOf(m grange.ClubMember) string {
	switch {
	case !m.Store:
		return "nothing"
	case m.Share > 0:
		return fmt.Sprintf("%d %%", m.Share)
	}
	return "an even part"
}

// admitted is what grid admit prints of a person with --json.
type admitted struct {
	grange.ClubMember
	Voucher grange.Voucher `json:"voucher"`
}

func (c *gridAdmitCommand) run(ctx context.Context, a *app) error {
	if c.Share.percent != nil && c.Nothing {
		return usage("--share and --nothing say two things", "")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		in := api.AdmitRequest{Member: c.Who, Name: c.Name, Share: c.Share.percent, Nothing: c.Nothing}
		m, err := s.Admit(ctx, in)
		if err != nil {
			return err
		}
		is := fmt.Sprintf("%s is a member of %s, and may have %s of what each of the others offers.", clean(m.Name), clean(c.Grid), partOf(m))
		if m.Kind != "person" || !m.Store {
			a.value(m)
			a.tell("%s", is)
			return nil
		}
		v, err := s.Voucher(ctx, api.VoucherRequest{To: m.DID.String()})
		if err != nil {
			return err
		}
		a.value(admitted{m, v})
		a.note("%s", is)
		a.handOn(v)
		return nil
	})
}

func (c *gridExpelCommand) run(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		yes, err := a.confirm(ctx, fmt.Sprintf("Expel %s from %s?", clean(c.Who), clean(c.Grid)), "a member is expelled on a terminal")
		if err != nil {
			return err
		}
		if !yes {
			return &api.Error{Code: api.CodeFailed, Message: "nothing was done"}
		}
		err = s.Expel(ctx, c.Who)
		if err == nil || errors.Is(err, grange.ErrPartly) {
			a.value(map[string]string{"club": c.Grid, "expelled": c.Who})
			a.say("%s is no member of %s any more.", clean(c.Who), clean(c.Grid))
		}
		return err
	})
}

func (c *gridLeaveCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		clubs, err := s.Clubs(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(clubs, func(m grange.Membership) bool { return m.Name == c.Name && !m.Guest })
		if i < 0 {
			return &api.Error{Code: api.CodeNotFound, Message: "no club " + clean(c.Name), Hint: "grange grid show; a pact with a household is ended by: grange pact end"}
		}
		yes, err := a.confirm(ctx, fmt.Sprintf("Leave %s?", clean(c.Name)), "a club is left on a terminal")
		if err != nil {
			return err
		}
		if !yes {
			return &api.Error{Code: api.CodeFailed, Message: "nothing was done"}
		}
		p, err := s.End(ctx, clubs[i].Club.String())
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(p)
		a.say("You have left %s.", clean(p.Name))
		return err
	})
}
