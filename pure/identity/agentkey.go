package identity

import (
	"fmt"
	"log/slog"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// agentKeySizeMax bounds the file agent.key, in bytes; it has 84.
const agentKeySizeMax = 256

// AgentKey is what is secret about one machine, as agent.key holds it. It never
// prints its bytes.
type AgentKey struct {
	V uint `json:"v"`
	// Seed is that of the machine's ed25519 key, Seal that of its X-Wing key; both random.
	Seed [32]byte `json:"seed"`
	Seal [32]byte `json:"seal"`
}

// Key returns the machine's signing key.
func (a AgentKey) Key() Key { return KeyOf(a.Seed) }

// Marshal returns the bytes of the file. V is written as the current version.
func (a AgentKey) Marshal() ([]byte, error) {
	a.V = codec.Version
	if err := a.check(); err != nil {
		return nil, err
	}
	return codec.Marshal(a)
}

// ParseAgentKey reads the bytes of the file. Errors: core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func ParseAgentKey(data []byte) (AgentKey, error) {
	var a AgentKey
	if err := codec.Unmarshal(data, &a, agentKeySizeMax); err != nil {
		return AgentKey{}, fmt.Errorf("agent key: %w", err)
	}
	if err := a.check(); err != nil {
		return AgentKey{}, err
	}
	return a, nil
}

// check refuses seeds that nobody has drawn.
func (a AgentKey) check() error {
	if a.Seed == [32]byte{} || a.Seal == [32]byte{} {
		return fmt.Errorf("agent key: %w: a seed of zeros", core.ErrInvalid)
	}
	return nil
}

// Format prints "[key]" for every verb.
func (AgentKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[key]".
func (AgentKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON refuses, so that no answer or log carries a key.
func (AgentKey) MarshalJSON() ([]byte, error) { return nil, errAsText }
