package devnet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/chainbound/valtrack/internal/eth2"
)

// Defaults of Config.
const (
	DefaultNodes         = 50
	DefaultSlotDuration  = time.Second
	DefaultSlotsPerEpoch = 32
	// DefaultGenesisAge in epochs: enough that finality and look-ahead have a past.
	DefaultGenesisAge = 8
	// DefaultActiveValidators is about mainnet's number, so that the chance of an
	// aggregator duty is mainnet's 1/28.
	DefaultActiveValidators = 950_000
	// DefaultCommitteesPerSlot is MAX_COMMITTEES_PER_SLOT of the mainnet preset.
	DefaultCommitteesPerSlot = 64
	// targetAggregators is TARGET_AGGREGATORS_PER_COMMITTEE (phase0/validator.md).
	targetAggregators = 16
	// maxNodes keeps one loopback address per node inside 127.0.0.0/8.
	maxNodes = 65_000
)

// Config describes a devnet. The zero value is a healthy network of DefaultNodes
// nodes with one-second slots.
type Config struct {
	// Nodes is the number of nodes, 1 to 65000. The first three are always
	// healthy, have validators set like any other and serve as bootnodes. When any
	// node has the packet filter of Quota, so have they.
	Nodes int
	// Seed decides keys, clients, personas, validators and duties: the same seed
	// gives the same network and the same duties for each epoch.
	Seed uint64
	// Dir is where the network directory and the truth files go; nothing is
	// written when it is empty.
	Dir string

	SlotDuration  time.Duration
	SlotsPerEpoch uint64
	// GenesisTime defaults to DefaultGenesisAge epochs before the start.
	GenesisTime time.Time

	// Faults is the mix of personas; nil is healthy. Presets: Healthy, Mixed.
	Faults Mix
	// Validators gives node i its number of validators; nodes beyond the list
	// draw from the default distribution (45 % zero, the rest log-uniform 1..1000).
	Validators []int
	// Clients restricts the client kinds; nil is the mix of all.
	Clients []eth2.ClientKind

	// ActiveValidators is the whole network's number (most of them on no node
	// here); it sets the committee size and so AggregatorProbability.
	ActiveValidators int
	// CommitteesPerSlot defaults to DefaultCommitteesPerSlot.
	CommitteesPerSlot int
	// AggregatorProbability overrides 1/max(1, committee size/16).
	AggregatorProbability float64

	// Forks and Blobs are the fork schedule. Default: phase0 to fulu at epoch 0, no
	// blob-parameter-only fork. Epochs in the future make forks happen while it runs.
	Forks []eth2.Fork
	Blobs []eth2.BlobParameters

	// Churn is how nodes come and go.
	Churn Churn

	// IPv6 is the share, 0 to 1, of the nodes, bootnodes excepted, that have libp2p
	// at ::1 alone. Their discv5 is on IPv4 like that of the others. Nothing happens
	// where the system has no ::1.
	IPv6 float64
	// FirstAddr is the first node's loopback address; node i has the i-th after
	// it. Ports are free ones of the kernel's choice. Where the system has no such
	// address every node is on 127.0.0.1.
	FirstAddr netip.Addr
	// SlowDelay is how long the slow persona takes for each answer.
	SlowDelay time.Duration
	// RoundTrip is how long a discv5 packet and its answer travel. Between nodes of
	// the devnet it counts twice.
	RoundTrip time.Duration
	// DialBack makes unlisted nodes and a quarter of the healthy ones dial the
	// consensus nodes they meet in discv5, once each.
	DialBack bool
}

// ConfigError names the field and value that Start refuses.
type ConfigError struct {
	Field string
	Value any
	Why   string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("devnet: %s %v: %s", e.Field, e.Value, e.Why)
}

// GenesisValidatorsRoot is the network's, which the seed decides.
func (c Config) GenesisValidatorsRoot() eth2.Root { return root("devnet genesis", c.Seed) }

// Check is the *ConfigError that Start would return, nil for a good Config.
func (c Config) Check() error { return c.withDefaults(time.Now()).validate() }

func (c Config) withDefaults(now time.Time) Config {
	if c.Nodes == 0 {
		c.Nodes = DefaultNodes
	}
	if c.SlotDuration == 0 {
		c.SlotDuration = DefaultSlotDuration
	}
	if c.SlotsPerEpoch == 0 {
		c.SlotsPerEpoch = DefaultSlotsPerEpoch
	}
	if c.GenesisTime.IsZero() {
		c.GenesisTime = now.Add(-DefaultGenesisAge * time.Duration(c.SlotsPerEpoch) * c.SlotDuration)
	}
	// genesis_time.txt holds whole seconds.
	c.GenesisTime = c.GenesisTime.Truncate(time.Second).UTC()
	if c.ActiveValidators == 0 {
		c.ActiveValidators = DefaultActiveValidators
	}
	if c.CommitteesPerSlot == 0 {
		c.CommitteesPerSlot = DefaultCommitteesPerSlot
	}
	if c.AggregatorProbability == 0 {
		size := c.ActiveValidators / int(c.SlotsPerEpoch) / c.CommitteesPerSlot
		c.AggregatorProbability = 1 / float64(max(1, size/targetAggregators))
	}
	if c.Forks == nil {
		c.Forks = DefaultForks()
	}
	if !c.FirstAddr.IsValid() {
		c.FirstAddr = netip.AddrFrom4([4]byte{127, 10, 0, 1})
	}
	if c.SlowDelay == 0 {
		c.SlowDelay = 1500 * time.Millisecond
	}
	return c
}

func (c Config) validate() error {
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	switch {
	case c.Nodes < 1 || c.Nodes > maxNodes:
		return &ConfigError{"Nodes", c.Nodes, fmt.Sprintf("want 1 to %d", maxNodes)}
	case c.SlotDuration < 10*time.Millisecond:
		return &ConfigError{"SlotDuration", c.SlotDuration, "want at least 10ms"}
	case c.SlotDuration%time.Millisecond != 0:
		return &ConfigError{"SlotDuration", c.SlotDuration, "want whole milliseconds"}
	case c.SlotsPerEpoch < 2:
		return &ConfigError{"SlotsPerEpoch", c.SlotsPerEpoch, "want at least 2"}
	case c.CommitteesPerSlot < 1 || c.CommitteesPerSlot > DefaultCommitteesPerSlot:
		return &ConfigError{"CommitteesPerSlot", c.CommitteesPerSlot, "want 1 to 64"}
	case c.AggregatorProbability < 0 || c.AggregatorProbability > 1:
		return &ConfigError{"AggregatorProbability", c.AggregatorProbability, "want 0 to 1"}
	case c.RoundTrip < 0:
		return &ConfigError{"RoundTrip", c.RoundTrip, "want 0 or more"}
	case c.IPv6 < 0 || c.IPv6 > 1:
		return &ConfigError{"IPv6", c.IPv6, "want 0 to 1"}
	case !loopback.Contains(c.FirstAddr):
		return &ConfigError{"FirstAddr", c.FirstAddr, "want an address in 127.0.0.0/8"}
	}
	for i, v := range c.Validators {
		if v < 0 {
			return &ConfigError{fmt.Sprintf("Validators[%d]", i), v, "want 0 or more"}
		}
	}
	if err := c.Churn.validate(); err != nil {
		return err
	}
	return c.Faults.validate()
}

// DefaultForks has every fork up to Fulu at epoch 0. Versions are the devnet's
// own, so that its digests are nobody else's.
func DefaultForks() []eth2.Fork {
	names := []string{"phase0", "altair", "bellatrix", "capella", "deneb", "electra", "fulu"}
	forks := make([]eth2.Fork, len(names))
	for i, name := range names {
		forks[i] = eth2.Fork{Name: name, Version: ForkVersion(i)}
	}
	return forks
}

// ForkVersion is the devnet's version of the i-th fork, phase0 being 0.
func ForkVersion(i int) eth2.Version { return eth2.Version{0xde, 0x7e, 0x70, byte(i)} }

// WithFork is DefaultForks with one more fork at epoch e: pass "gloas" for the
// fork after Fulu.
func WithFork(name string, e eth2.Epoch) []eth2.Fork {
	forks := DefaultForks()
	return append(forks, eth2.Fork{Name: name, Version: ForkVersion(len(forks)), Epoch: e})
}
