package charter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

// VaultMax is how many vault secrets a household may have had.
const VaultMax = 1024

// secretsSizeMax bounds the encoding of Secrets, in bytes: of each vault secret
// at most 54, and what stands around them.
const secretsSizeMax = 64 + 54*VaultMax

// contextSecrets is the context under which Secrets are sealed small.
const contextSecrets = "grange v1 secrets"

// secretsInfo is what the boxes' info starts with; it is bound to one charter's place.
const secretsInfo = "grange/v1/secrets\x00"

// hidden is what secrets print as.
const hidden = "[key]"

var errAsText = errors.New("a secret is not written as text")

// Secrets is what a household's own machines know and no partner does. They never
// print their bytes.
type Secrets struct {
	V uint `json:"v"`
	// Chunker keys the cutting of files. It never changes in the life of a grid.
	Chunker [32]byte `json:"chunker"`
	// Vault is every vault secret that there has been, by rising epoch.
	Vault []VaultSecret `json:"vault"`
}

// VaultSecret is what the keys of chunks, pages and names are made of.
type VaultSecret struct {
	// Epoch is that of the charter that brought it.
	Epoch uint64   `json:"epoch"`
	Key   [32]byte `json:"key"`
}

// Format prints "[key]" for every verb.
func (Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Format prints "[key]" for every verb.
func (VaultSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue logs "[key]".
func (Secrets) LogValue() slog.Value { return slog.StringValue(hidden) }

// LogValue logs "[key]".
func (VaultSecret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON refuses, so that no answer or log carries a secret.
func (Secrets) MarshalJSON() ([]byte, error) { return nil, errAsText }

// MarshalJSON refuses, so that no answer or log carries a secret.
func (VaultSecret) MarshalJSON() ([]byte, error) { return nil, errAsText }

// Newest returns the secret that new bytes are sealed with. Of the zero Secrets
// it is the zero VaultSecret, which seals nothing.
func (s Secrets) Newest() VaultSecret {
	if len(s.Vault) == 0 {
		return VaultSecret{}
	}
	return s.Vault[len(s.Vault)-1]
}

// At returns the secret that an epoch brought.
func (s Secrets) At(epoch uint64) (VaultSecret, bool) {
	for _, v := range s.Vault {
		if v.Epoch == epoch {
			return v, true
		}
	}
	return VaultSecret{}, false
}

// With returns s with one more vault secret, the newest. s is left as it is.
func (s Secrets) With(epoch uint64, key [32]byte) Secrets {
	s.Vault = append(s.Vault[:len(s.Vault):len(s.Vault)], VaultSecret{Epoch: epoch, Key: key})
	return s
}

// check is every rule of the format. epoch is the charter's.
func (s Secrets) check(epoch uint64) error {
	if len(s.Vault) == 0 || len(s.Vault) > VaultMax {
		return fmt.Errorf("%w: %d vault secrets, want 1 to %d", core.ErrInvalid, len(s.Vault), VaultMax)
	}
	if s.Chunker == [32]byte{} {
		return fmt.Errorf("%w: a chunker key of zeros", core.ErrInvalid)
	}
	var before uint64
	for _, v := range s.Vault {
		if v.Epoch <= before {
			return fmt.Errorf("%w: vault secrets whose epochs do not rise from 1", core.ErrInvalid)
		}
		if v.Key == [32]byte{} {
			return fmt.Errorf("%w: a vault secret of zeros", core.ErrInvalid)
		}
		before = v.Epoch
	}
	if before > epoch {
		return fmt.Errorf("%w: a vault secret of epoch %d in a charter of epoch %d", core.ErrInvalid, before, epoch)
	}
	return nil
}

// Secrets opens the secrets with the X-Wing key of one reader: an agent, or, for the
// zero DID, the recovery key. Errors: core.ErrNotExist if there is no box for to,
// core.ErrCorrupt if k does not open it, core.ErrInvalid.
func (c Charter) Secrets(to core.DID, k *seal.PrivateKey) (Secrets, error) {
	s, err := c.openSecrets(to, k)
	if err != nil {
		return Secrets{}, fmt.Errorf("secrets of epoch %d: %w", c.Epoch, err)
	}
	return s, nil
}

func (c Charter) openSecrets(to core.DID, k *seal.PrivateKey) (Secrets, error) {
	for _, b := range c.Boxes {
		if b.To != to {
			continue
		}
		raw, err := k.Open(c.info(), b.Box)
		if err != nil {
			return Secrets{}, err
		}
		if len(raw) != 32 {
			return Secrets{}, fmt.Errorf("%w: a key of %d bytes", core.ErrInvalid, len(raw))
		}
		text, err := seal.OpenSmall(contextSecrets, (*[32]byte)(raw), c.Vault)
		if err != nil {
			return Secrets{}, err
		}
		var s Secrets
		if err := codec.Unmarshal(text, &s, secretsSizeMax); err != nil {
			return Secrets{}, err
		}
		if err := s.check(c.Epoch); err != nil {
			return Secrets{}, err
		}
		return s, nil
	}
	return Secrets{}, fmt.Errorf("no box for %s: %w", to.Short(), core.ErrNotExist)
}

// info binds a box to its place, so that one cannot be carried to another charter.
func (c Charter) info() []byte {
	info := append([]byte(secretsInfo), c.Grid[:]...)
	info = binary.BigEndian.AppendUint64(info, c.Recoveries)
	return binary.BigEndian.AppendUint64(info, c.Epoch)
}

// Seal makes a signed charter of c and s. It takes V, Grid, Vault and Boxes from root
// and s, whatever stands there, puts agents and removed in order, and seals anew the
// names that an older secret sealed. It refuses what Open would. c is left as it is.
func Seal(root identity.Key, c Charter, s Secrets) (identity.Signed, error) {
	s.V = codec.Version
	c.V, c.Grid = codec.Version, root.DID()
	signed, err := c.seal(root, s)
	if err != nil {
		return identity.Signed{}, fmt.Errorf("seal charter of epoch %d: %w", c.Epoch, err)
	}
	return signed, nil
}

func (c Charter) seal(root identity.Key, s Secrets) (identity.Signed, error) {
	if err := s.check(c.Epoch); err != nil {
		return identity.Signed{}, err
	}
	agents, err := sealedAnew(c.Agents, s)
	if err != nil {
		return identity.Signed{}, err
	}
	c.Agents, c.Removed = agents, sortedRemoved(c.Removed)
	text, err := codec.Marshal(s)
	if err != nil {
		return identity.Signed{}, err
	}
	var key [32]byte
	seal.Random(key[:])
	c.Vault = seal.Small(contextSecrets, &key, text)
	c.Boxes = make([]Box, 0, 1+len(c.Agents))
	for _, to := range append([]Agent{{Seal: c.Recovery}}, c.Agents...) {
		box, err := seal.To(to.Seal, c.info(), key[:])
		if err != nil {
			return identity.Signed{}, err
		}
		c.Boxes = append(c.Boxes, Box{To: to.DID, Box: box})
	}
	if err := c.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(root, identity.KindCharter, c)
}

// SealName seals a machine's name under the newest secret. A name is 1 to
// NameSizeMax bytes of UTF-8 without control characters.
func SealName(s Secrets, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if len(s.Vault) == 0 {
		return nil, fmt.Errorf("seal name: %w: no vault secret", core.ErrInvalid)
	}
	newest := s.Newest()
	return seal.Small(seal.ContextName, &newest.Key, []byte(name)), nil
}

// OpenName opens what SealName sealed. Errors: core.ErrCorrupt, core.ErrInvalid.
func OpenName(s Secrets, box []byte) (string, error) {
	newest := s.Newest()
	return openName(newest, box)
}

func openName(v VaultSecret, box []byte) (string, error) {
	name, err := seal.OpenSmall(seal.ContextName, &v.Key, box)
	if err != nil {
		return "", err
	}
	return string(name), checkName(string(name))
}

// Names opens the names of all agents. Errors: as OpenName's.
func (c Charter) Names(s Secrets) (map[core.DID]string, error) {
	names := make(map[core.DID]string, len(c.Agents))
	for _, a := range c.Agents {
		name, err := OpenName(s, a.Name)
		if err != nil {
			return nil, fmt.Errorf("name of %s: %w", a.DID.Short(), err)
		}
		names[a.DID] = name
	}
	return names, nil
}

// checkName refuses what a terminal would act on.
func checkName(name string) error {
	if len(name) == 0 || len(name) > NameSizeMax || !utf8.ValidString(name) {
		return fmt.Errorf("%w: machine name %.80q: want 1 to %d bytes of UTF-8", core.ErrInvalid, name, NameSizeMax)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: machine name %q: a character that does not print", core.ErrInvalid, name)
		}
	}
	return nil
}
