package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/steward"
)

// phraseWords is how many words there are.
const phraseWords = 24

// phraseSizeMax bounds a file with the words, or with stewards' lines, in bytes.
const phraseSizeMax = 32 << 10

func (c *recoverCommand) run(ctx context.Context, a *app) error {
	if err := checkFrom(c.From); err != nil {
		return err
	}
	phrase, err := c.read(ctx, a)
	if err != nil {
		return err
	}
	bar := a.progress()
	out, err := grange.Recover(ctx, a.config(), phrase, grange.RecoverOptions{
		From: c.From, KeepMachines: c.KeepMachines, Progress: bar.tell,
	})
	bar.end()
	if err != nil {
		return a.unrecovered(ctx, err)
	}
	a.value(out)
	a.recovered(out, c.KeepMachines)
	return nil
}

// checkFrom refuses what is neither an address nor a code.
func checkFrom(from string) error {
	if err := grange.CheckFrom(from); err != nil {
		return usage("--from: "+api.ErrorOf(err).Message,
			"an ADDRESS as their 'grange run' shows it, /ip4/192.0.2.7/tcp/4726/p2p/12D3..., or the whole CODE of a 'grange invite'")
	}
	return nil
}

// unrecovered says why there was no recovery: what helps a household that is there
// does not help here.
func (a *app) unrecovered(ctx context.Context, err error) error {
	e := a.explain(ctx, err)
	switch e.Code {
	case api.CodeUnreachable:
		e.Message = "the machine that --from names could not be reached"
		e.Hint = "check the address; its 'grange run' must be on; then the same command again"
	case api.CodeExists:
		e.Hint = "--dir names another directory"
	}
	return e
}

// read reads the words from the file, or asks for them, and checks them.
func (c phraseFlag) read(ctx context.Context, a *app) (string, error) {
	phrase, err := c.words(ctx, a)
	if err != nil {
		return "", err
	}
	if _, err := steward.Secret(phrase); err != nil {
		hint := "the words are those that 'grange init' showed, in their order"
		if steward.Is(phrase) {
			hint = "put the whole lines of enough stewards into one file, one after another"
		}
		return "", usage(api.ErrorOf(err).Message, hint)
	}
	return phrase, nil
}

func (c phraseFlag) words(ctx context.Context, a *app) (string, error) {
	switch {
	case c.PhraseFile == "-":
		return readPhrase(ctx, a.in)
	case c.PhraseFile != "":
		f, err := os.Open(c.PhraseFile)
		if err != nil {
			return "", fmt.Errorf("--phrase-file %s: %w", clean(c.PhraseFile), cause(err))
		}
		defer f.Close()
		return readPhrase(ctx, f)
	case !a.inTerminal:
		return "", usage("the 24 words are asked for on a terminal", "--phrase-file F reads them from a file, or with - from stdin")
	}
	fmt.Fprintln(a.err, "The 24 words, on as many lines as you like; or the lines of enough stewards, and then an empty one:")
	text := ""
	for !isWhole(text) {
		line, err := patient(ctx, func() (string, error) { return readLine(a.in) })
		text += unnumbered(line) + " "
		if errors.Is(err, io.EOF) || steward.Is(text) && strings.TrimSpace(line) == "" {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read the words: %w", err)
		}
	}
	return strings.TrimSpace(text), nil
}

// isWhole tells whether a text has all the words, or lines of enough stewards.
func isWhole(text string) bool {
	if !steward.Is(text) {
		return len(strings.Fields(text)) >= phraseWords
	}
	_, err := steward.Secret(text)
	return err == nil
}

func readPhrase(ctx context.Context, r io.Reader) (string, error) {
	raw, err := readAll(ctx, r, phraseSizeMax)
	if err != nil {
		return "", fmt.Errorf("read the words: %w", err)
	}
	if len(raw) > phraseSizeMax {
		return "", usage("that is no file with 24 words, or with stewards' lines: it is too long", "")
	}
	if steward.Is(raw) {
		return raw, nil
	}
	return unnumbered(raw), nil
}

// unnumbered drops the numbers that init prints before the words.
func unnumbered(text string) string {
	words := strings.Fields(text)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool {
		return strings.Trim(w, "0123456789.") == ""
	}), " ")
}

func (a *app) recovered(out grange.RecoverResult, kept bool) {
	a.say("%s is back.%s", clean(out.Household), a.agreed(out))
	troubles(out.Failed, a.note)
	if n := len(out.Removed); n > 0 && !kept {
		a.say("%s removed from the household.", count(int64(n), "other machine was", "other machines were"))
	}
	if a.found(out) {
		a.tell("Next: grange get %s, then grange check --mend --now", api.Word(out.Versions[0].Name))
	}
}

// agreed says how many partners had the same to say; nothing where an earlier call, that
// was cut short, had asked them.
func (a *app) agreed(out grange.RecoverResult) string {
	if out.Asked == 0 {
		return ""
	}
	news := ""
	if !out.Newest.IsZero() {
		news = "; newest " + age(a.now().Sub(out.Newest)) + " old"
	}
	return fmt.Sprintf(" %d of %s%s.", out.Agree, count(int64(out.Asked), "partner agrees", "partners agree"), news)
}

// found shows the versions that there are, and tells whether there are any.
func (a *app) found(out grange.RecoverResult) bool {
	if len(out.Versions) == 0 {
		a.say("Nothing was stored.")
		return false
	}
	rows := [][]string{{"NAME", "VERSION", "FILES", "SIZE", "STORED", "WORTH"}}
	for _, v := range out.Versions {
		rows = append(rows, []string{
			clean(v.Name), fmt.Sprint(v.Number), number(v.Files), amount(v.Bytes), moment(v.Time, a.now()), v.Worth.Text,
		})
	}
	a.table(rows...)
	if len(out.Failed) > 0 {
		a.tell("What only partners hold who were away is found when they are back, while this machine runs.")
	}
	return true
}
