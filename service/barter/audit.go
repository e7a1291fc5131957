package barter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/proof"
	"github.com/grange-grid/grange/pure/seal"
)

const (
	auditBatch   = 128 // challenges in one request: a holder reads 128 MiB for it
	auditHolders = 8   // machines asked at once
)

// Audit asks every holder of each of pieces for proof, and hands each outcome to
// found, one call at a time. A piece that a holder has not, or cannot prove, is asked for
// again on a fresh connection, and is missing or corrupt only if both answers say so.
// A holder that does not answer, or not as the protocol wants, is away.
// It fails only when ctx has ended or the books cannot be read or written.
func (b *Barter) Audit(ctx context.Context, pieces []core.Piece, found func(core.Finding)) error {
	byAgent := map[core.DID][]held{}
	for _, p := range pieces {
		hs, err := b.Held(p.Score)
		if err != nil {
			return err
		}
		for _, h := range hs {
			if h.Agent != b.c.Key.DID() { // whoever placed it here asks for that
				byAgent[h.Agent] = append(byAgent[h.Agent], held{h, p.Size})
			}
		}
	}
	var (
		mu    sync.Mutex
		first error
		g     sync.WaitGroup
		slots = make(chan struct{}, auditHolders)
	)
	for agent, hs := range byAgent {
		g.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := b.auditAgent(ctx, agent, hs, func(f core.Finding) {
				mu.Lock()
				defer mu.Unlock()
				found(f)
			})
			mu.Lock()
			defer mu.Unlock()
			first = errors.Join(first, err)
		})
	}
	g.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return first
}

type held struct {
	core.Holding
	size int64
}

func (b *Barter) auditAgent(ctx context.Context, agent core.DID, hs []held, found func(core.Finding)) error {
	if p, ok := b.c.Partners.Of(hs[0].Grid); !ok || !slices.Contains(p.Agents, agent) {
		for _, h := range hs {
			found(core.Finding{Holding: h.Holding, State: core.PieceGone})
		}
		return nil
	}
	var away error // why the machine is not asked any more
	for batch := range slices.Chunk(hs, auditBatch) {
		var findings []core.Finding
		if away == nil {
			findings, away = b.proveTwice(ctx, agent, batch)
		} else {
			findings = allAway(batch, away)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.recordFindings(findings); err != nil {
			return err
		}
		if slices.ContainsFunc(findings, func(f core.Finding) bool { return f.State == core.PieceOK }) {
			if err := b.noteProven(asOwner, agent); err != nil {
				return err
			}
		}
		for _, f := range findings {
			found(f)
		}
	}
	return nil
}

// proveTwice challenges a machine, and once more for what it did not prove. It returns
// also why the machine is out of reach, if it is.
func (b *Barter) proveTwice(ctx context.Context, agent core.DID, batch []held) ([]core.Finding, error) {
	findings, _ := b.challenge(ctx, agent, batch)
	var again []held
	for i, f := range findings {
		if f.State != core.PieceOK {
			again = append(again, batch[i])
		}
	}
	if len(again) == 0 || ctx.Err() != nil {
		return findings, nil
	}
	b.c.Wire.Fresh(agent)
	second, err := b.challenge(ctx, agent, again)
	for i, f := range findings {
		if f.State == core.PieceOK {
			continue
		}
		g := second[0]
		second = second[1:]
		if f.State == core.PieceAway && g.State != core.PieceOK { // it has been said once only
			g.State = core.PieceAway
		}
		findings[i] = g
	}
	if !errors.Is(err, core.ErrUnreachable) {
		err = nil
	}
	return findings, err
}

func allAway(hs []held, err error) []core.Finding {
	findings := make([]core.Finding, len(hs))
	for i, h := range hs {
		findings[i] = core.Finding{Holding: h.Holding, State: core.PieceAway, Err: err}
	}
	return findings
}

// challenge asks a machine once for a random block of each piece. The error is why there was no answer.
func (b *Barter) challenge(ctx context.Context, agent core.DID, hs []held) ([]core.Finding, error) {
	in := proveRequest{Challenges: make([]challenge, len(hs))}
	for i, h := range hs {
		in.Challenges[i] = challenge{Score: h.Score, Block: randomBelow(proof.Blocks(h.size))}
	}
	var out proveAnswer
	err := b.c.Wire.CallLimit(ctx, agent, "POST", "/prove", in, &out, proofsLimit)
	if ctx.Err() == nil {
		b.heard(agent, err)
	}
	if err == nil && len(out.Proofs) != len(hs) {
		err = fmt.Errorf("%d proofs for %d challenges: %w", len(out.Proofs), len(hs), core.ErrInvalid)
	}
	if err != nil {
		return allAway(hs, err), err
	}
	findings := make([]core.Finding, len(hs))
	for i, h := range hs {
		findings[i].Holding = h.Holding
		findings[i].State, findings[i].Err = judge(h, in.Challenges[i].Block, out.Proofs[i])
	}
	return findings, nil
}

// judge verifies one proof.
func judge(h held, block uint64, answer proofAnswer) (core.PieceState, error) {
	switch answer.State {
	case core.PieceOK:
		if h.size <= 0 {
			return core.PieceAway, fmt.Errorf("the size of the piece is not known: %w", core.ErrInvalid)
		}
		if err := proof.Verify(h.Score, h.size, block, answer.Slice); err != nil {
			return core.PieceCorrupt, err
		}
		return core.PieceOK, nil
	case core.PieceMissing, core.PieceCorrupt, core.PieceAway:
		return answer.State, nil
	}
	return core.PieceCorrupt, fmt.Errorf("an answer %.20q: %w", answer.State, core.ErrInvalid)
}

// randomBelow returns a number below n that the holder cannot foresee, 0 if n is 0. Its bias
// is below 2⁻⁵⁰ for any piece.
func randomBelow(n uint64) uint64 {
	var raw [8]byte
	seal.Random(raw[:])
	return binary.BigEndian.Uint64(raw[:]) % max(n, 1)
}

// recordFindings counts failures by placement, so that a later sweep knows them, and what was lost by household.
func (b *Barter) recordFindings(findings []core.Finding) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	now, ran := b.c.Clock.Now().Unix(), b.ran()
	var changes []core.Change
	lost := losses{}
	for _, f := range findings {
		key := placedKey(f.Score, f.Agent)
		var r placedRecord
		known, err := b.read(key, &r)
		if err != nil {
			return err
		}
		if !known || (f.State == core.PieceOK && r.Fails == 0) {
			continue
		}
		if f.State == core.PieceOK {
			r.Fails, r.Failed = 0, 0
		} else {
			if r.Fails == 0 {
				r.Failed = now
			}
			r.Fails++
		}
		b.find(lost, &r, f.State, now, ran)
		c, err := change(key, r)
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil
	}
	more, err := lost.changes()
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(append(changes, more...)...); err != nil {
		return fmt.Errorf("record the outcome of an audit: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for grid, days := range lost {
		b.account(grid).lost = days
	}
	return nil
}
