package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

const (
	// skipsMax is how many answers of one sync may have less than answerMin bytes and leave wants open: who answers
	// in drops would keep a topic for ever. Some there are, where proofs or false signatures end a batch.
	skipsMax  = 64
	answerMin = feed.BatchSizeMax / 2
)

// ask fetches batch after batch. What it is to ask for next, the answer says; that it leads on is checked here, and
// that it has what was asked for where the batch is read.
func (x *session) ask(ctx context.Context, rest []want, to chan<- answered) error {
	for skips := 0; len(rest) > 0; {
		chunk := rest[:min(len(rest), wantsMax)]
		answer, err := x.fetch(ctx, chunk)
		if err != nil {
			return err
		}
		done := answer.Done
		if done > uint64(len(chunk)) || answer.Next != 0 && (done == uint64(len(chunk)) || answer.Next <= chunk[done].from || answer.Next > chunk[done].to) {
			return fmt.Errorf("%w: it goes on where nothing was asked", ErrStuck)
		}
		asked := slices.Clone(chunk[:min(done+1, uint64(len(chunk)))])
		select {
		case to <- answered{asked, answer}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if done < uint64(len(chunk)) && len(answer.Batch) < answerMin {
			if skips++; skips > skipsMax {
				return fmt.Errorf("%w: %d answers of little", ErrStuck, skips)
			}
		}
		if done == 0 && answer.Next == 0 {
			done = 1 // it has none that it could show
		}
		if rest = rest[done:]; answer.Next != 0 {
			rest[0].from = answer.Next
		}
	}
	return nil
}

// fetch makes one round trip.
func (x *session) fetch(ctx context.Context, wants []want) (out operationsAnswer, err error) {
	in := operationsRequest{Topic: x.t.id, Wants: appendWants(make([]byte, 0, len(wants)*wantSize), wants)}
	return out, x.s.call(ctx, x.peer, "/feeds/operations", in, &out, batchLimit)
}

// check reads a batch, and verifies the signature that vouches for each run, and some of the others.
func check(id core.DID, a answered) checked {
	c := checkBatch(id, a.Batch, func(run feed.Run) error { return asked(a.wants, run) })
	c.forks = a.Forks
	return c
}

// checkBatch does so up to the first run that is not wanted.
func checkBatch(id core.DID, batch []byte, wanted func(feed.Run) error) checked {
	c := checked{bytes: len(batch)}
	for run, err := range feed.ReadBatch(batch, id) {
		if err == nil {
			err = wanted(run)
		}
		if err != nil {
			c.end = err
			break
		}
		c.runs = append(c.runs, run)
	}
	errs := make([]error, len(c.runs))
	_ = parallel(len(c.runs), func(i int) error {
		errs[i] = vouched(c.runs[i])
		return nil
	})
	good := c.runs[:0]
	for i, run := range c.runs {
		if errs[i] != nil {
			c.bad, c.faults = append(c.bad, run.Author()), append(c.faults, errs[i])
			continue
		}
		good = append(good, run)
	}
	c.runs = good
	return c
}

// asked checks that a run is of what was asked for.
func asked(wants []want, run feed.Run) error {
	i, ok := slices.BinarySearchFunc(wants, run.Author(), func(w want, d core.DID) int { return w.author.Compare(d) })
	if !ok || run.First() < wants[i].from || run.Last().Seq > wants[i].to {
		return fmt.Errorf("operations %d to %d of %s: %w", run.First(), run.Last().Seq, run.Author().Short(), ErrUnasked)
	}
	return nil
}

func vouched(run feed.Run) error {
	if err := run.Verify(len(run.Ops)); err != nil {
		return err
	}
	for at := rand.IntN(spotEvery); at < len(run.Ops)-1; at += 1 + rand.IntN(2*spotEvery) {
		if err := run.Ops[at].Verify(); err != nil {
			return err
		}
	}
	return nil
}

// fill asks for payloads that others have withheld.
func (x *session) fill(ctx context.Context) error {
	var wants []want
	n := 0
	for a, err := range x.s.Absent(x.t.id) {
		if err != nil {
			return err
		}
		if n++; n > absentMax {
			break
		}
		if last := len(wants) - 1; last >= 0 && wants[last].author == a.Author {
			if wants[last].to == a.Seq-1 {
				wants[last].to = a.Seq
			}
			continue // the next ones' turn comes with the next sync
		}
		wants = append(wants, want{a.Author, a.Seq, a.Seq})
	}
	if len(wants) == 0 {
		return nil
	}
	answer, err := x.fetch(ctx, wants)
	if err != nil {
		return err
	}
	c := check(x.t.id, answered{wants, answer})
	for _, err := range c.faults {
		x.fault(err)
	}
	if c.end != nil {
		return c.end
	}
	x.stats.Filled, err = x.s.fill(x.t, c.runs)
	return err
}
