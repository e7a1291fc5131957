package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/query"
)

type trustFlag struct {
	Trust []core.DID `placeholder:"DID" sep:"none" help:"Count this machine's word that nothing is left out; else the owner's machines' count. Again for more."`
}

// terms are the fields of an order; the first may begin with a hyphen, as no flag's value else does.
type terms string

// Decode takes the next word, whatever it is.
func (t *terms) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	if token.IsEOL() {
		return errors.New("missing value")
	}
	*t = terms(token.String())
	return nil
}

type tableQueryCommand struct {
	Name  string `arg:"" name:"NAME|ADDRESS" placeholder:"NAME|ADDRESS" help:"What it is called here, or its DID; or the address of one that is not kept here, which needs no household."`
	Query string `arg:"" name:"QUERY" optional:"" placeholder:"QUERY" help:"Which rows; else all."`
	Order terms  `placeholder:"[-]F[,F]" help:"By which fields, from the least up, with - from the greatest down; else by key."`
	Limit int    `placeholder:"N" help:"At most so many; else 1,000."`
	Count bool   `help:"Only how many there are."`
	From  string `placeholder:"WHO" help:"Ask a partner, a machine's DID or its address, instead of what is kept here."`
	trustFlag
	After string `aside:"" placeholder:"TOKEN" help:"Go on where an answer ended: what it said."`
	Proof string `placeholder:"FILE" help:"Save the answer: 'grange table verify FILE' checks it, anywhere."`
	Keys  bool   `aside:"" help:"Only the rows' keys."`
}

func (tableQueryCommand) detail() string {
	return `A query is like: tags = "#cats" and time >= "2026-01-01". Fields are compared by = != < <= > >=, in ("a", "b"), starts "a"; has FIELD; joined by and, or, not and parentheses. A field in an object is a.b; every row has @key, @author and @time. Of a list any element may fulfil it. In it can also stand: order -time limit 32, and count.

Off a terminal there is a line of JSON for each row, with its key. On stderr it says which index served, what was read, and what is proven: each row is signed by who wrote it, and relative to a checkpoint that somebody whose word counts has signed, none is missing, added or out of place. PROVISIONAL means that nobody such has signed this one: a row may have been left out.`
}

type tableVerifyCommand struct {
	File string `arg:"" name:"FILE" placeholder:"FILE" help:"What 'grange table query --proof FILE' has saved; - is stdin."`
	trustFlag
	Keys bool `help:"Only the rows' keys."`
}

func (tableVerifyCommand) detail() string {
	return `Asks nobody, and needs neither household nor network. Prints the rows, and what is proven; what was tampered with is refused, and said.`
}

// checkQuery shows where a query's text is wrong.
func (a *app) checkQuery(text string) error {
	_, err := query.Parse(text)
	return a.pictured(err)
}

func (a *app) pictured(err error) error {
	if bad, ok := errors.AsType[*query.Error](err); ok {
		for line := range strings.SplitSeq(bad.Picture(), "\n") {
			a.warn("  %s", clean(line))
		}
	}
	return err
}

// text is the whole query, with what the flags say.
func (c *tableQueryCommand) text(a *app) (string, error) {
	q, err := query.Parse(c.Query)
	if err != nil {
		return "", a.pictured(err)
	}
	if c.Order != "" {
		if q.Order, err = query.ParseOrder(string(c.Order)); err != nil {
			return "", fmt.Errorf("--order: %w", err)
		}
	}
	if c.Limit < 0 {
		return "", usage("--limit is 1 or more", "")
	}
	if c.Limit > 0 {
		q.Limit = c.Limit
	}
	q.Count = q.Count || c.Count
	if err := q.Check(); err != nil {
		return "", usage(api.ErrorOf(err).Message, "")
	}
	return q.String(), nil
}

func (c *tableQueryCommand) run(ctx context.Context, a *app) error {
	text, err := c.text(a)
	if err != nil {
		return err
	}
	in := grange.TableQuery{Query: text, From: c.From, Trust: c.Trust}
	if c.After != "" {
		if in.After, err = base64.StdEncoding.DecodeString(c.After); err != nil {
			return usage("--after is what an answer has said", "")
		}
	}
	out, err := c.ask(ctx, a, in)
	if err != nil {
		return err
	}
	if c.Proof != "" {
		if err := os.WriteFile(c.Proof, out.Proof, 0o644); err != nil {
			return fmt.Errorf("--proof: %s: %w", clean(c.Proof), cause(err))
		}
	}
	a.answer(out, c.Keys)
	a.served(out)
	return nil
}

// ask asks by the agent of the directory, or where there is no household and the table has an address, from nowhere.
func (c *tableQueryCommand) ask(ctx context.Context, a *app, in grange.TableQuery) (out grange.TableAnswer, err error) {
	err = a.with(ctx, func(s *session) error {
		out, err = s.QueryTable(ctx, c.Name, in, c.Proof != "")
		return err
	})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeNoHousehold || !strings.Contains(c.Name, "@") {
		return out, err
	}
	out, err = grange.AskTable(ctx, grange.Config{}, c.Name, in)
	return out, api.TableFailure(err, out.Suggest)
}

func (c *tableVerifyCommand) run(ctx context.Context, a *app) error {
	from := a.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("%s: %w", clean(c.File), cause(err))
		}
		defer f.Close()
		from = io.Reader(f)
	}
	saved, err := readAll(ctx, from, grange.TableAnswerSizeMax)
	if err != nil {
		return fmt.Errorf("%s: %w", clean(c.File), cause(err))
	}
	out, err := grange.VerifyTableAnswer([]byte(saved), c.Trust)
	if err != nil {
		e := api.ErrorOf(err)
		return &api.Error{Code: api.CodeCorrupt, Message: clean(c.File) + ": REFUSED: " + e.Message, Hint: "nothing in it is to be believed"}
	}
	a.answer(out, c.Keys)
	asked := "all rows"
	if out.Query != "" {
		asked = clean(out.Query)
	}
	a.note("%s of table %s, for: %s. %s", count(int64(len(out.Rows)), "row", "rows"), out.Table.Short(), asked, a.relative(out))
	return nil
}

// columnsMax, cellMax: a table of more columns, or with longer cells, is not for a terminal.
const (
	columnsMax = 6
	cellMax    = 40
)

// answer writes the rows, or their number.
func (a *app) answer(out grange.TableAnswer, keys bool) {
	switch {
	case a.json:
		a.value(api.TableAnswer{TableAnswer: out})
	case isCount(out.Query):
		a.say("%d", out.Count)
	case keys:
		for _, r := range out.Rows {
			a.say("%s", clean(r.Key))
		}
	case !a.outTerminal:
		for _, r := range out.Rows {
			_, _ = a.out.Write(encode(lineOf(r))) // checked remembers
		}
	default:
		if rows := rowTable(out.Rows); rows != nil {
			a.table(rows...)
			return
		}
		for _, r := range out.Rows {
			a.say("%s%s  %s", a.paint(green, clean(r.Key)), lost(r), clean(string(r.Document)))
		}
	}
}

func isCount(text string) bool {
	q, err := query.Parse(text)
	return err == nil && q.Count
}

func lost(r grange.TableRow) string {
	if r.Loser {
		return " (loser)"
	}
	return ""
}

// rowTable makes a table of rows with few and short fields; nil of others.
func rowTable(rows []grange.TableRow) [][]string {
	fields := []string{}
	docs := make([]map[string]json.RawMessage, len(rows))
	for i, r := range rows {
		if json.Unmarshal(r.Document, &docs[i]) != nil {
			return nil
		}
		for name, v := range docs[i] {
			if len(v) > cellMax || len(name) > cellMax {
				return nil
			}
			if !slices.Contains(fields, name) {
				fields = append(fields, name)
			}
		}
		if len(fields) > columnsMax {
			return nil
		}
	}
	if len(rows) == 0 {
		return nil
	}
	slices.Sort(fields)
	out := [][]string{{"KEY"}}
	for _, f := range fields {
		out[0] = append(out[0], clean(f))
	}
	for i, r := range rows {
		line := []string{clean(r.Key) + lost(r)}
		for _, f := range fields {
			line = append(line, cell(docs[i][f]))
		}
		out = append(out, line)
	}
	return out
}

// cell writes a value: text without its quotes.
func cell(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return clean(text)
	}
	return clean(string(v))
}

// served says in a line what an answer took.
func (a *app) served(out grange.TableAnswer) {
	what := count(int64(len(out.Rows)), "row", "rows")
	if isCount(out.Query) {
		what = "counted"
	}
	by := "the rows' keys"
	if out.Index != "" {
		by = "index " + clean(out.Index)
	}
	text := fmt.Sprintf("%s by %s; %s read", what, by, count(int64(out.Read), "entry", "entries"))
	if !out.From.IsZero() {
		who := clean(out.FromName)
		if who == "" {
			who = out.From.Short()
		}
		text += fmt.Sprintf("; from %s, %s in %s, %s of it proof", who, amount(int64(out.Bytes)), count(int64(out.Trips), "round trip", "round trips"), amount(int64(out.ProofBytes)))
	}
	a.note("%s. %s", text, a.relative(out))
	if len(out.After) > 0 {
		a.note("There is more: --after %s", base64.StdEncoding.EncodeToString(out.After))
	}
	if out.Suggest != "" {
		a.note("hint: an index would help, where the table was made: grange table index TABLE %s", api.Word(out.Suggest))
	}
}

// relative says what an answer is proven to be.
func (a *app) relative(out grange.TableAnswer) string {
	var names []string
	when := ""
	for _, at := range out.Attested {
		if !at.Counts {
			continue
		}
		name := clean(at.Name)
		if name == "" {
			name = at.Machine.String()
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if when == "" {
			when = moment(at.Time, a.now())
		}
	}
	if out.Provisional {
		return a.paint(red, "PROVISIONAL") + ": nobody you trust attests it."
	}
	return fmt.Sprintf("Proven relative to the word of %s, %s.", list(names), when)
}
