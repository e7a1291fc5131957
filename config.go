package grange

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/clock"
	"github.com/grange-grid/grange/edge/p2p"
)

// DefaultPort is where an agent listens unless told otherwise.
const DefaultPort = 4726

// Config says where an agent lives and how it is reached. A zero Config works.
type Config struct {
	// Dir is the agent's directory; "" is DefaultDir().
	Dir string
	// Listen has the multiaddrs that Run listens on; none is TCP and QUIC on
	// DefaultPort of every interface. Open alone never listens.
	Listen []string
	// MDNS finds partners on the local network, and lets them find this machine.
	MDNS bool
	// Machine is what this machine is called within its household; "" is the host's name.
	Machine string
	// OnAlarm is a command for sh -c that Run has called for each event of kind alarm, with
	// GRANGE_ALARM, GRANGE_PARTNER and GRANGE_TIME in its environment; "" is that of config.toml.
	OnAlarm string
	// Accounts says that Run also serves as an account server: it vouches for households that have a contract.
	Accounts bool
	// Log is where the agent says what it does; nil is nowhere.
	Log *slog.Logger

	// Clock and Peers replace the machine's clock and network; nil is the real ones.
	Clock core.Clock
	Peers func(PeersConfig) (core.Peers, error)

	// settings is where config.toml is; real says that the network is the machine's own.
	settings string
	real     bool
	within   bool  // the agent is a club's, within another's directory
	disks    disks // nil is the real one
}

// PeersConfig is what a network needs.
type PeersConfig struct {
	Key ed25519.PrivateKey
	// Listen is empty where the agent only dials.
	Listen []string
	MDNS   bool
	// Known tells whether an agent belongs to a partner.
	Known func(core.DID) bool
	Clock core.Clock
	Log   *slog.Logger
}

// DefaultDir is GRANGE_DIR, or else grange in XDG_DATA_HOME, or else in ~/.local/share.
func DefaultDir() (string, error) {
	if dir := os.Getenv("GRANGE_DIR"); dir != "" {
		return dir, nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "grange"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for data: %w", err)
	}
	return filepath.Join(home, ".local", "share", "grange"), nil
}

// complete fills in what is left out.
func (c Config) complete() (Config, error) {
	var err error
	named := c.Dir != ""
	if !named {
		if c.Dir, err = DefaultDir(); err != nil {
			return c, err
		}
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, fmt.Errorf("directory: %w", err)
	}
	if c.settings, err = settingsFile(c.Dir, named); err != nil {
		return c, err
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{
			fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", DefaultPort), fmt.Sprintf("/ip6/::/tcp/%d", DefaultPort),
			fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", DefaultPort), fmt.Sprintf("/ip6/::/udp/%d/quic-v1", DefaultPort),
		}
	}
	if c.Machine == "" {
		c.Machine, _ = os.Hostname() // without one it has no name
	}
	return c.world(), nil
}

// world fills in what is left out of what is outside of the directory.
func (c Config) world() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.disks == nil {
		c.disks = realDisks{}
	}
	if c.Peers == nil {
		c.Peers, c.real = realPeers, true
	}
	return c
}

// realPeers is the network of libp2p.
func realPeers(c PeersConfig) (core.Peers, error) {
	return p2p.New(p2p.Config{Key: c.Key, Listen: c.Listen, MDNS: c.MDNS, Known: c.Known, Log: c.Log, Clock: c.Clock})
}
