package accounts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

const (
	second    = time.Second
	lookEvery = 30 * second
	callTime  = 30 * second // one exchange

	askAgain   = 60      // seconds between two asks for one account, at the least
	listEvery  = 10 * 60 // seconds between two looks at a server's revocations
	reportWait = 60      // seconds between two reports on one account, at the least
	reportMost = 6 * 60 * 60
	backOff    = 30 // seconds after a server has not answered; twice that after the second time, and so on
	backOffMax = 10 * 60
	pagesOnce  = 16 // of revocations, in one look
)

// Run asks and reports what is due, until ctx ends. It returns nil.
func (h *Holder) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		h.Look(ctx)
		_ = h.c.Clock.Sleep(ctx, second) // many changes are one look
		wait, cancel := context.WithCancel(ctx)
		timer := h.c.Clock.AfterFunc(lookEvery, cancel)
		select {
		case <-h.kick:
		case <-wait.Done():
		}
		timer.Stop()
		cancel()
	}
	return nil
}

// Look asks and reports once what is due now.
func (h *Holder) Look(ctx context.Context) {
	h.mu.Lock()
	servers := slices.SortedFunc(maps.Keys(h.lists), core.DID.Compare)
	h.mu.Unlock()
	for _, server := range servers {
		if !h.c.Trusted(server) || !h.ready(server) {
			continue
		}
		err := h.report(ctx, server)
		if err == nil {
			err = h.ask(ctx, server)
		}
		if err == nil {
			err = h.readList(ctx, server)
		}
		if ctx.Err() != nil {
			return
		}
		h.note(server, err)
	}
}

// ready tells whether a server that did not answer is to be asked again.
func (h *Holder) ready(server core.DID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lists[server]
	waited := h.now() - l.tried
	return l.fails == 0 || waited < 0 || waited >= min(int64(backOff)<<min(l.fails-1, 10), backOffMax)
}

func (h *Holder) note(server core.DID, err error) {
	if err != nil {
		h.c.Log.Info("an account server did not answer", "server", server.Short(), "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lists[server]
	l.tried = h.now()
	if l.fails++; err == nil {
		l.fails = 0
	}
}

// due tells whether an account is to be asked for: when half of the time for which the answer is good has gone by.
func (e *holding) due(now int64) bool {
	if !e.wanted && e.Bytes == 0 || now >= e.asked && now-e.asked < askAgain {
		return false
	}
	return e.asked == 0 || e.State != StateGood || now < e.Checked || now >= e.Checked+(e.Until-e.Checked)/2
}

// pick returns the accounts of a server for which due says yes. What due changes is under h.mu.
func (h *Holder) pick(server core.DID, due func(*holding) bool) (names []Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, e := range h.known {
		if name.Server == server && due(e) {
			names = append(names, name)
		}
	}
	return names
}

// ask asks for all accounts that are due.
func (h *Holder) ask(ctx context.Context, server core.DID) error {
	now := h.now()
	names := h.pick(server, func(e *holding) bool {
		if !e.due(now) {
			return false
		}
		e.asked = now
		return true
	})
	slices.SortFunc(names, Name.compare)
	for some := range slices.Chunk(names, asksMax) {
		in := checkRequest{}
		for _, name := range some {
			in.Asks = append(in.Asks, checkAsk{Account: name.Account})
		}
		var out checkAnswer
		err := h.call(ctx, server, http.MethodPost, "/accounts/check", in, &out)
		if err == nil && len(out.Answers) != len(some) {
			err = fmt.Errorf("%d answers to %d asks: %w", len(out.Answers), len(some), core.ErrInvalid)
		}
		if err == nil {
			err = h.heard(some, out.Answers)
		}
		if err != nil {
			return fmt.Errorf("ask how accounts stand: %w", err)
		}
	}
	return nil
}

// heard takes in answers.
func (h *Holder) heard(names []Name, answers []Standing) error {
	now, changes := h.now(), map[Name]func(*holdingRecord){}
	for i, a := range answers {
		if err := a.check(names[i].Account); err != nil {
			return err
		}
		changes[names[i]] = func(r *holdingRecord) { r.hear(a, now) }
	}
	h.write.Lock()
	defer h.write.Unlock()
	if err := h.commit(changes, nil); err != nil {
		return err
	}
	h.each(names, func(e *holding) { e.wanted = false })
	return nil
}

// each changes accounts that have not been dropped meanwhile.
func (h *Holder) each(names []Name, change func(*holding)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if e := h.known[name]; e != nil {
			change(e)
		}
	}
}

// hear takes in what the server has answered.
func (r *holdingRecord) hear(a Standing, now int64) {
	r.State, r.Checked, r.Until = a.State, now, now+max(askAgain, min(a.Seconds, AnswerSecondsMax))
	if a.State == StateGood && (a.Grid == nil || *a.Grid != r.Grid) {
		r.State = StateUnknown // it is another household's now
	}
	if r.State != StateGood {
		r.Token = 0
	}
	if a.State != StateUnknown {
		r.Plan, r.Quota, r.Used, r.Ours = a.Plan, a.Bytes, a.Used, r.Sent
	}
}

// check refuses an answer that makes no sense.
func (a Standing) check(id string) error {
	known := slices.Contains([]string{StateGood, StateRevoked, StateExpired, StateUnknown}, a.State)
	if !known || a.Account != id || a.Bytes < 0 || a.Bytes > account.BytesMax || a.Used < 0 || a.Seconds < 0 || len(a.Plan) > account.PlanSizeMax {
		return fmt.Errorf("the answer on account %s makes no sense: %w", id, core.ErrInvalid)
	}
	return nil
}

// report tells a server what has changed, and now and then what has not, so that totals go on.
func (h *Holder) report(ctx context.Context, server core.DID) error {
	now := h.now()
	names := h.pick(server, func(e *holding) bool {
		since := now - e.reported
		if e.reported > 0 && since >= 0 && since < reportWait || !e.changed && (e.Bytes == 0 || since < reportMost) {
			return false
		}
		e.reported, e.changed = now, false
		return true
	})
	slices.SortFunc(names, Name.compare)
	for len(names) > 0 {
		some := names[:min(len(names), reportsMax)]
		reports, sent, err := h.sign(some)
		var out usageAnswer
		if err == nil {
			err = h.call(ctx, server, http.MethodPost, "/accounts/usage", usageRequest{reports}, &out)
		}
		if err == nil {
			err = h.told(some, sent, out)
		}
		if err != nil {
			h.each(names, func(e *holding) { e.changed = true }) // later
			return fmt.Errorf("report what accounts use: %w", err)
		}
		names = names[len(some):]
	}
	return nil
}

// sign makes reports. Their numbers are in the books before any is sent: no two with one number are ever signed.
func (h *Holder) sign(names []Name) (reports []identity.Signed, sent []int64, err error) {
	h.write.Lock()
	defer h.write.Unlock()
	now, changes := h.now(), map[Name]func(*holdingRecord){}
	for _, name := range names {
		u := account.Usage{Server: name.Server, Account: name.Account, Time: max(now, 1)}
		h.each([]Name{name}, func(e *holding) {
			e.count(now)
			u.Bytes, u.Total, u.Seq = e.Bytes, e.Total, e.Seq+1
		})
		s, err := account.SignUsage(h.c.Key, u)
		if err != nil {
			return nil, nil, err
		}
		reports, sent = append(reports, s), append(sent, u.Bytes)
		changes[name] = func(r *holdingRecord) { r.Seq = u.Seq }
	}
	return reports, sent, h.commit(changes, nil)
}

// told takes in what became of reports.
func (h *Holder) told(names []Name, sent []int64, out usageAnswer) error {
	failed := map[uint64]fault{}
	for _, f := range out.Faults {
		failed[f.Index] = f
	}
	changes := map[Name]func(*holdingRecord){}
	for i, name := range names {
		f, bad := failed[uint64(i)]
		if !bad {
			changes[name] = func(r *holdingRecord) { r.Sent = sent[i] }
			continue
		}
		h.c.Log.Warn("an account server has not taken a report", "server", name.Server.Short(), "account", name.Account, "why", f.Message)
		if f.Seq > 0 && f.Seq < math.MaxUint64 { // these books are not those that it was told of before
			changes[name] = func(r *holdingRecord) { r.Seq = max(r.Seq, f.Seq) }
			h.each([]Name{name}, func(e *holding) { e.Total, e.changed = max(e.Total, f.Total), true })
		}
	}
	h.write.Lock()
	defer h.write.Unlock()
	return h.commit(changes, nil)
}

// readList reads what was revoked since it was last read. What was restored is asked for: an answer says more.
func (h *Holder) readList(ctx context.Context, server core.DID) error {
	h.mu.Lock()
	l := h.lists[server]
	now, after := h.now(), l.After
	due := now < l.read || now-l.read >= listEvery
	h.mu.Unlock()
	if !due {
		return nil
	}
	for range pagesOnce {
		ctx, cancel := h.within(ctx)
		page, err := callRevoked(ctx, h.c.Wire, server, after)
		cancel()
		if err == nil && (page.Server != server || page.After != after) {
			err = fmt.Errorf("another's page, or another page: %w", core.ErrInvalid)
		}
		if err != nil {
			return fmt.Errorf("read what was revoked: %w", err)
		}
		more := false
		if after, more = page.Next(); page.Last < page.After { // the list has begun anew
			after, more = 0, true
		}
		if err := h.revoked(server, page, after); err != nil || !more {
			return err
		}
	}
	return nil
}

// revoked takes in a page of a server's revocations.
func (h *Holder) revoked(server core.DID, page account.Revocations, after uint64) error {
	h.write.Lock()
	defer h.write.Unlock()
	now, changes := h.now(), map[Name]func(*holdingRecord){}
	h.mu.Lock()
	l := h.lists[server]
	listed := listRecord{1, after, l.Addrs}
	for _, entry := range page.Entries {
		name := Name{server, entry.Account}
		e := h.known[name]
		switch {
		case e == nil:
		case entry.Restored:
			e.asked, e.wanted = 0, true
		default:
			changes[name] = func(r *holdingRecord) {
				r.State, r.Checked, r.Until, r.Token = StateRevoked, now, now+askAgain, 0
			}
		}
	}
	h.mu.Unlock()
	if err := h.commit(changes, map[core.DID]listRecord{server: listed}); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.read = now
	return nil
}

// call makes one exchange, in bounded time.
func (h *Holder) call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	ctx, cancel := h.within(ctx)
	defer cancel()
	return h.c.Wire.CallLimit(ctx, to, method, path, in, out, checkLimit)
}

func (h *Holder) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return within(ctx, h.c.Clock)
}

func within(ctx context.Context, clock core.Clock) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := clock.AfterFunc(callTime, func() { cancel(errSlow) })
	return ctx, func() { timer.Stop(); cancel(nil) }
}

var errSlow = errors.Join(core.ErrUnreachable, errors.New("no answer in time"))
