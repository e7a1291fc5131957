package accounts

import (
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of a Server.
const (
	// PlansMax and HoldersMax bound the plans, and the storage servers that are listed.
	PlansMax   = 1024
	HoldersMax = 512
	// GridAccountsMax is the most accounts of one household.
	GridAccountsMax = 16
	// DaysMax bounds a plan's duration: ten years.
	DaysMax = 3650

	// rivalsMax is of how many accounts a storage server's equivocation is kept.
	rivalsMax = 64
	// chartersOnceMax is how many charters are verified at once, which takes a millisecond or more of each.
	chartersOnceMax = 4
	// A machine may ask for a token knockTries times in knockTime seconds; knocksMax machines are counted, and more have to wait.
	knockTries = 4
	knockTime  = 60
	knocksMax  = 8192
	// revokedKept is for how many seconds an entry of the list of revocations is kept: until the last token that it
	// ends has lapsed on the slowest clock.
	revokedKept = 9 * daySeconds

	daySeconds = 24 * 60 * 60
)

// ServerConfig is what a Server needs; all but Addrs, Lifetime, TokenLife and Log is required.
type ServerConfig struct {
	Key identity.Key
	// Books are the server's own.
	Books core.Books
	Clock core.Clock
	// Addrs tells where this agent can be reached; nil is nowhere.
	Addrs func() []string
	// Lifetime is for how many seconds an answer may be relied on; 0 is AnswerSeconds, at most AnswerSecondsMax.
	Lifetime int64
	// TokenLife is for how many seconds a token is good; 0 is TokenSeconds, at most account.LifeMax.
	TokenLife int64
	Log       *slog.Logger
}

// Lifetimes, in seconds.
const (
	AnswerSeconds    = 60 * 60
	AnswerSecondsMax = daySeconds
	TokenSeconds     = 2 * daySeconds
)

// Server is an account server. Its methods may be called at once.
type Server struct {
	c        ServerConfig
	charters chan struct{} // holds a token for each charter that is being verified

	admin sync.Mutex // one change by the operator, or of a charter, at a time

	mu      sync.RWMutex
	plans   map[string]planRecord
	holders map[core.DID]*listed
	count   countRecord
	knocks  map[core.DID]knock
}

// knock counts how often a machine has asked for a token since a time.
type knock struct {
	since int64
	tries int
}

// listed is a storage server.
type listed struct {
	record holderRecord
	taking sync.Mutex // one request with reports of it at a time
}

// NewServer reads the plans and the storage servers; accounts are read when they are asked for.
// It starts nothing. Errors: core.ErrInvalid.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Addrs == nil {
		c.Addrs = func() []string { return nil }
	}
	if c.Lifetime == 0 {
		c.Lifetime = AnswerSeconds
	}
	if c.TokenLife == 0 {
		c.TokenLife = TokenSeconds
	}
	if c.Lifetime < 0 || c.Lifetime > AnswerSecondsMax || c.TokenLife < 0 || c.TokenLife > 7*daySeconds {
		return nil, fmt.Errorf("account server: %w: an answer for %d seconds, a token for %d", core.ErrInvalid, c.Lifetime, c.TokenLife)
	}
	s := &Server{c: c, charters: make(chan struct{}, chartersOnceMax), plans: map[string]planRecord{}, holders: map[core.DID]*listed{}, knocks: map[core.DID]knock{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("account server: %w", err)
	}
	return s, nil
}

func (s *Server) load() error {
	for c, err := range s.c.Books.Scan([]byte(planPrefix), nil) {
		if err != nil {
			return err
		}
		plan, err := parse[planRecord](c.Key, c.Value)
		if err != nil {
			return err
		}
		s.plans[string(c.Key[len(planPrefix):])] = plan
	}
	for c, err := range s.c.Books.Scan([]byte(holderPrefix), nil) {
		if err != nil {
			return err
		}
		holder, err := parse[holderRecord](c.Key, c.Value)
		if err != nil {
			return err
		}
		var did core.DID
		if err := did.UnmarshalBinary(c.Key[len(holderPrefix):]); err != nil {
			return err
		}
		s.holders[did] = &listed{record: holder}
	}
	var err error
	s.count, err = load[countRecord](s.c.Books, []byte(countKey))
	_, err = missing(err)
	return err
}

// knock counts that a machine asks for a token, which costs work, and tells it to wait where it does so too often.
func (s *Server) knock(agent core.DID) error {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.knocks) >= knocksMax {
		maps.DeleteFunc(s.knocks, func(_ core.DID, k knock) bool { return k.over(now) })
	}
	k := s.knocks[agent]
	if k.over(now) {
		k = knock{since: now}
	}
	if k.tries >= knockTries || k.tries == 0 && len(s.knocks) >= knocksMax {
		return &wire.Error{Code: wire.CodeBusy, Message: "too many tokens are being asked for", RetrySeconds: knockTime}
	}
	k.tries++
	s.knocks[agent] = k
	return nil
}

func (k knock) over(now int64) bool { return now < k.since || now-k.since >= knockTime }

func (s *Server) now() int64 { return s.c.Clock.Now().Unix() }

// Lists tells whether an agent is a storage server that the operator has listed.
func (s *Server) Lists(agent core.DID) bool { return s.holder(agent) != nil }

func (s *Server) holder(agent core.DID) *listed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.holders[agent]
}

func (s *Server) plan(name string) (planRecord, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.plans[name]
	return p, ok
}
