package main

import (
	"fmt"
	"reflect"

	"github.com/alecthomas/kong"
)

// cli is the command line: every command, flag and argument that there is. Help,
// man pages and completion are made from it. A flag with the tag aside is not in
// the overview.
type cli struct {
	Dir   string `placeholder:"DIR" help:"The agent's directory. Else that of GRANGE_DIR, or grange in XDG_DATA_HOME or in ~/.local/share."`
	JSON  bool   `name:"json" help:"One JSON value on stdout; progress and errors as lines of JSON on stderr."`
	Quiet bool   `short:"q" help:"No progress, and no words beyond what was asked for."`
	Yes   bool   `short:"y" help:"Agree to what would be asked."`

	Init    initCommand    `cmd:"" group:"Start" help:"your household; shows 24 recovery words once"`
	Run     runCommand     `cmd:"" group:"Start" help:"this machine, in the foreground; prints \"ready ADDRESS\""`
	Service serviceCommand `cmd:"" group:"Start" help:"start at boot (systemd user unit, LaunchAgent)"`
	Offer   offerCommand   `cmd:"" group:"Start" help:"what this machine gives, in total"`
	Invite  inviteCommand  `cmd:"" group:"Start" help:"make a code for one friend"`
	Accept  acceptCommand  `cmd:"" group:"Start" help:"see the terms, then agree"`

	Keep   keepCommand   `cmd:"" group:"Files" help:"store a file or directory by itself, again and again"`
	Put    putCommand    `cmd:"" group:"Files" help:"store files or directories, each as a new version"`
	Ls     lsCommand     `cmd:"" group:"Files" help:"what is stored"`
	Cat    catCommand    `cmd:"" group:"Files" help:"write a file to stdout"`
	Get    getCommand    `cmd:"" group:"Files" help:"restore a version, or a part of one"`
	Ticket ticketCommand `cmd:"" group:"Files" help:"a line with which anybody reads a version"`
	TakeIn takeInCommand `cmd:"" group:"Files" help:"take in what a partner has brought on a disk"`
	Rm     rmCommand     `cmd:"" group:"Files" help:"forget; set aside for 14 days"`
	Undo   undoCommand   `cmd:"" group:"Files" help:"bring back what was removed last"`

	Status statusCommand `cmd:"" group:"Trust" help:"what is safe: local, instant"`
	Check  checkCommand  `cmd:"" group:"Trust" help:"every holder proves it; rebuild what is missing (--now: count those away as lost)"`
	Ledger ledgerCommand `cmd:"" group:"Trust" help:"given and had, and each decision"`
	Pacts  pactsCommand  `cmd:"" group:"Trust" help:"what there is with each partner"`
	Pact   pactCommand   `cmd:"" group:"Trust" help:"change or end a pact"`
	Ask    askCommand    `cmd:"" group:"Trust" help:"ask a partner for something: yes, or why not"`
	Sign   signCommand   `cmd:"" group:"Trust" help:"sign for what you had of them"`
	Grid   gridCommand   `cmd:"" group:"Trust" help:"clubs: grids whose members are grids"`

	Policy policyCommand `cmd:"" group:"Trust" help:"who is answered how"`

	Machine machineCommand `cmd:"" group:"Trust" help:"your household's machines"`
	Account accountCommand `cmd:"" group:"Trust" help:"contracts: who has one, and using one"`

	Table tableCommand `cmd:"" group:"Tables" help:"tables: rows that several write, and anybody can check"`

	Doctor  doctorCommand  `cmd:"" group:"Trouble" help:"network, clock, disk: fault and cure"`
	Recover recoverCommand `cmd:"" group:"Trouble" help:"become the machine you lost"`

	Version    versionCommand    `cmd:"" group:"Other" help:"which grange this is"`
	Completion completionCommand `cmd:"" group:"Other" help:"a script that completes commands and flags in a shell"`
	Man        manCommand        `cmd:"" group:"Other" hidden:"" help:"write the man pages into a directory"`
}

// parser returns what reads a command line into c.
func parser(c *cli, options ...kong.Option) (*kong.Kong, error) {
	k, err := kong.New(c, append(options, kong.Name("grange"), kong.KindMapper(reflect.String, kong.MapperFunc(decodeBytes)))...)
	if err != nil {
		return nil, fmt.Errorf("the command line's own definition: %w", err)
	}
	k.Model.HelpFlag.Help = "Show this."
	return k, nil
}

// decodeBytes sets a string to an argument as it is. The parser's own way goes through
// JSON, which alters what is not UTF-8.
func decodeBytes(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err == nil {
		target.SetString(token.String())
	}
	return err
}

// model returns the command line as data.
func model() (*kong.Node, error) {
	k, err := parser(&cli{})
	if err != nil {
		return nil, err
	}
	return k.Model.Node, nil
}

type initCommand struct {
	Name       string `placeholder:"N" help:"What your household is called; your partners see it. Else your user name."`
	PhraseFile string `placeholder:"F" help:"Write the words to this file, which must not exist, with mode 0600, and do not show them."`
}

func (initCommand) detail() string {
	return `Makes a household of this one machine. It prints 24 words, which are kept nowhere else: with them, and one partner, 'grange recover' makes any machine yours again. Without them a lost machine stays lost.

It gives the lesser of a tenth of the free room and 50 GB to partners; 'grange offer' changes that.`
}

type runCommand struct {
	Listen   []string `placeholder:"MULTIADDR" sep:"none" help:"Where to listen. Else TCP and QUIC on port 4726 of every interface."`
	NoMDNS   bool     `name:"no-mdns" help:"Do not look for partners on the local network."`
	API      string   `name:"api" aside:"" placeholder:"ADDR" help:"Serve the owner's API also on this TCP address: a port of 127.0.0.1, or HOST:PORT. It asks for the token in the file api.token of the directory."`
	Accounts bool     `aside:"" help:"Serve as an account server too: it vouches for households that have a contract; see 'grange account'."`
	OnAlarm  string   `aside:"" placeholder:"CMD" help:"What to run by sh -c when a person has to look; $GRANGE_ALARM says why. Else what config.toml says."`
	LogLevel level    `aside:"" placeholder:"LEVEL" default:"info" help:"How much goes to stderr: debug, info, warn or error."`

	host, port string // of API
}

func (runCommand) detail() string {
	return `Listens, answers partners and keeps leases up to date, until it gets SIGINT or SIGTERM. For each address at which it can be reached it prints a line "ready ADDRESS" on stdout; logs go to stderr.

While it runs, all other commands go through it, by the Unix socket 'sock' in the directory. Programs can use that too: curl --unix-socket DIR/sock http://grange/v1/status

It reads config.toml when it starts: in the directory if --dir or GRANGE_DIR names one, else ~/.config/grange/config.toml. There [limits] can have up and down, in bytes a second; quiet = "22:30-07:00", hours in which nothing is stored by itself; on_battery = true and on_metered = true, to do that on battery and over a metered network too; reserve, bytes of the disk that partners never get; [alarms] a command; [invite] what invitations offer that do not say it ('grange invite --help'); [resources] the unit of each resource that you give beside those that everybody knows: potatoes = "kg"; and [offer] how much you give of each but storage in 30 days, to all together: potatoes = 50. Who is answered how is in the file policy beside it: 'grange policy show'.`
}

type offerCommand struct {
	Amount share  `arg:"" name:"AMOUNT" optional:"" placeholder:"20%|50GB" help:"How much: a part of what is free or given already, or a size, or both, 20%,200GB: that part, at most so much. Without it the offer is shown."`
	On     string `placeholder:"DIR" help:"Keep partners' pieces in this directory of another disk, before there are any. The agent must not be running. A marker tells it from one where the disk is not mounted."`
}

func (offerCommand) detail() string {
	return `A reserve of 5 % of the disk, and at least 1 GiB, is never given. Giving less than is already used drops nothing; it only takes no more.

Sizes are decimal (1 GB is 1,000,000,000 bytes); GiB and the like are understood.`
}

// gridFlag is of commands that can be about a club that this machine hosts.
type gridFlag struct {
	Grid string `aside:"" placeholder:"NAME" help:"Of the club of that name, which this machine hosts; else of your household."`
}

type inviteCommand struct {
	gridFlag
	Give    []string `placeholder:"10GB" sep:"none" help:"What you give them: 10GB; 20% of what this machine gives in all, or 20%,200GB; of another resource potatoes=5. What is not named is as config.toml has it, else 10 GB, and nothing of a club's own."`
	Want    []string `placeholder:"10GB" sep:"none" help:"What they give you, or the club's members: 10GB, potatoes=5, or 1.5x as much storage as you give. What is not named is as config.toml has it, else 10 GB."`
	For     days     `aside:"" placeholder:"365d" help:"For how long the pact is; else until one of you ends it."`
	Notice  days     `aside:"" placeholder:"30d" help:"How long before its end notice is given; else 30 days."`
	Uses    int      `aside:"" placeholder:"N" default:"1" help:"How many households can accept it."`
	Expires span     `placeholder:"7d" default:"7d" help:"How long the code is good: 30m, 12h, 7d, 2w."`
	QR      bool     `name:"qr" help:"Draw the code as well."`
	Wait    bool     `aside:"" help:"Wait until somebody has joined, as is done on a terminal."`
}

func (inviteCommand) detail() string {
	return `The code is for one household, the first that accepts it, or with --uses for the first few; send it in private. Both machines must be on at that moment, and this one must be reachable: it needs a 'grange run'.

On a terminal it then waits to say who joined; Ctrl-C leaves the code valid. Elsewhere stdout is the code alone.

--give and --want can be given again, for each resource once: --give 20%,200GB --give potatoes=5. What is given of anything but storage is for each 30 days. What you always offer can stand in config.toml, and then 'grange invite' alone offers that; --give potatoes=0 leaves it out:

    [invite]
    give = "20%,200GB potatoes=5"
    want = "1x"

A pact that is made --for 365d runs out in its last 30 days (or as many as its notice has), or in the last quarter of its time if that is less: nothing new goes there then, and what lies there is made again elsewhere. 'grange pact amend WHO --for 365d' puts its end off.`
}

type acceptCommand struct {
	gridFlag
	Code string `arg:"" name:"CODE" placeholder:"CODE" help:"What your friend sent, from GRANGE: on; - reads it from stdin."`
}

func (acceptCommand) detail() string {
	return `Shows the terms and asks. If it is cut short, the same command goes on.`
}

type putCommand struct {
	Paths         []string `arg:"" name:"PATH" placeholder:"PATH" help:"Files or directories."`
	Name          string   `placeholder:"N" help:"What it is stored under, for one PATH; else the last part of the path."`
	Spread        spread   `placeholder:"10+10" help:"Data and spare pieces of each segment of what is stored anew; else 10+10."`
	Exclude       []string `placeholder:"GLOB" sep:"none" help:"Leave out what matches, as in .gitignore."`
	OneFileSystem bool     `help:"Leave out what is mounted below PATH."`
	Quality       string   `aside:"" enum:"idle,normal,prompt" default:"normal" placeholder:"prompt" help:"How much it matters: idle takes what nobody else needs, prompt goes before normal."`
	Seed          string   `placeholder:"DIR" help:"Write it onto a disk that you carry to your partners, instead of sending it."`
}

func (putCommand) detail() string {
	return `When it exits with 0, every piece and the way to find it are on your partners' disks, and it says what that is worth. What was stored before is not sent again, so a put that was cut short goes on where it was.

A file .grangeignore, in the syntax of .gitignore, leaves things out too, and so does the mark CACHEDIR.TAG. Owners, extended attributes and ACLs are not stored.

For a first put that is too much for your line: 'grange put PATH --seed DIR' writes what would be sent onto a disk. Carry it to each partner, who calls 'grange take-in DIR'; then 'grange put PATH' has them promise it, sends what is missing, and it is safe. Until then 'put --seed' exits with 5. It goes on where it was cut short, also on another disk; what is kept by itself waits for the disk for 30 days. Whoever has the disk sees for which machines it is, and nothing of what is in it; each machine's folder can be copied to a disk of its own.`
}

type lsCommand struct {
	What     string        `arg:"" name:"NAME" optional:"" placeholder:"NAME[/PATH]" help:"Without it, all names."`
	Versions bool          `help:"Every version, not only the newest."`
	Version  versionNumber `aside:"" placeholder:"V" help:"This version; else the newest."`
}

type getCommand struct {
	What    string        `arg:"" name:"NAME" optional:"" placeholder:"NAME[/PATH]" help:"What to restore. With --ticket it is left out."`
	Dest    string        `arg:"" name:"DEST" optional:"" placeholder:"DEST" help:"Where to; it must not exist or be an empty directory. Else its name, here."`
	Version versionNumber `placeholder:"V" help:"This version; else the newest."`
	Ticket  string        `placeholder:"FILE" help:"Restore what the ticket in this file, or with - on stdin, is for. It needs no household."`
}

func (getCommand) detail() string {
	return `Nothing is ever written outside DEST. A file that cannot be had is named and the others are restored; then the exit code is 5.`
}

type statusCommand struct {
	gridFlag
	Name  string `arg:"" name:"NAME" optional:"" placeholder:"NAME" help:"Without it, all names."`
	Watch bool   `help:"Show it again whenever it has changed, until Ctrl-C; with --json a line each time."`
}

type checkCommand struct {
	Name string `arg:"" name:"NAME" optional:"" placeholder:"NAME" help:"Without it, all names."`
	Mend bool   `help:"Make again what is missing, and place it."`
	Now  bool   `help:"With --mend: count what is away as lost."`
}

func (checkCommand) detail() string {
	return `Every holder proves that it has each piece, by a random part of it. A machine that is away for a while has lost nothing: --now is for one that will not come back.`
}

// phraseFlag is of commands that need the words.
type phraseFlag struct {
	PhraseFile string `placeholder:"F" help:"A file with the 24 words, or with the lines of enough stewards; - is stdin. Else they are asked for."`
}

type recoverCommand struct {
	phraseFlag
	From         string `required:"" placeholder:"CODE|ADDRESS" help:"One partner: its address, as its 'grange run' shows it, or a code of its 'grange invite'; or the address of another machine of yours."`
	KeepMachines bool   `help:"Keep your household's other machines in it. Else they are removed, but for one that --from names: they may be stolen."`
}

func (recoverCommand) detail() string {
	return `Makes this machine one of your household, on a new directory. The partner named by --from tells who the others are; all are asked, and the newest of what they say counts. If it is cut short, the same command goes on. If a partner was away, a running agent finds what it holds when it is back; without one, the same command once more does.`
}

type versionCommand struct{}

type completionCommand struct {
	Shell string `arg:"" name:"bash|zsh|fish" enum:"bash,zsh,fish" placeholder:"bash|zsh|fish" help:"The shell."`
}

func (completionCommand) detail() string {
	return `For bash: source <(grange completion bash)

For zsh: grange completion zsh > "${fpath[1]}/_grange"

For fish: grange completion fish > ~/.config/fish/completions/grange.fish`
}

type manCommand struct {
	To string `arg:"" name:"DIR" placeholder:"DIR" help:"Where to."`
}
