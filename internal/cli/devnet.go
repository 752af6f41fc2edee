package cli

import (
	"context"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/eth2"
)

// Flags of the simulated network.
const (
	flagDevnetDir    = "devnet-dir"
	flagDevnetNodes  = "devnet-nodes"
	flagDevnetSlot   = "devnet-slot"
	flagDevnetFaults = "devnet-faults"
	flagDevnetRTT    = "devnet-round-trip"
	flagDevnetSeed   = "devnet-seed"
	flagDevnetPlaces = "devnet-places"
	flagDevnetForkIn = "devnet-fork-in"
	flagDevnetChurn  = "devnet-churn"
)

const (
	defaultDevnetNodes = 100
	defaultDevnetSlot  = time.Second
	defaultDevnetSeed  = 1
)

func devnetFlags() []cli.Flag {
	return []cli.Flag{
		number(flagDevnetNodes, defaultDevnetNodes, "nodes of the simulated network"),
		duration(flagDevnetSlot, defaultDevnetSlot, "slot duration of the simulated network"),
		text(flagDevnetFaults, "healthy", "healthy; mixed (healthy, hanging, lying and dead nodes); hostile or hostile=0.2 (that share of nodes attacks; default 0.3); or personas with their shares, such as quota=1 or redials=0.3,dead=0.1"),
		duration(flagDevnetRTT, 0, "round-trip time of a discv5 packet and its answer"),
		wide(flagDevnetSeed, defaultDevnetSeed, "seed for keys, clients, validators and duties"),
		number(flagDevnetForkIn, 0, "epochs from the start to a fork after Fulu, which all nodes know of but those of --"+flagDevnetFaults+" unaware=0.2; 0 for none"),
		number(flagDevnetChurn, 0, "percent of the nodes that go down at each epoch, 0 to 100; a quarter of those that are down come back"),
		text(flagDevnetDir, "", "directory for its network files and truth file (default: devnet in --data-dir)"),
	}
}

// devnetPlacesFlag is for what stores a devnet's nodes.
func devnetPlacesFlag() cli.Flag {
	return switchedOn(flagDevnetPlaces, "place simulated nodes around the world like mainnet's, marked as simulated (default: on)")
}

// simulated reports whether the network is one that this process makes: as --network says
// or, without it, the data directory.
func (in invocation) simulated() bool {
	switch {
	case in.cmd.String(flagNetworkDir) != "":
		return false
	case in.cmd.IsSet(flagNetwork):
		return in.cmd.String(flagNetwork) == devnetName
	}
	n, known, err := app.NetworkOf(in.cmd.String(flagDataDir))
	return err == nil && known && n.Simulated
}

// devnetConfig checks the devnet's flags. Errors are of wrong usage.
func (in invocation) devnetConfig() (devnet.Config, error) {
	cfg := devnet.Config{
		Seed:         in.cmd.Uint64(flagDevnetSeed),
		SlotDuration: in.cmd.Duration(flagDevnetSlot),
		RoundTrip:    in.cmd.Duration(flagDevnetRTT),
		Dir:          in.cmd.String(flagDevnetDir),
	}
	if n, known, err := app.NetworkOf(in.cmd.String(flagDataDir)); cfg.Dir == "" && err == nil && known && n.Simulated {
		cfg.Dir = n.Dir
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(in.cmd.String(flagDataDir), devnetName)
	}
	if cfg.SlotDuration <= 0 { // zero would be the default
		return cfg, usagef("--%s %v: want a duration above zero, such as 1s", flagDevnetSlot, cfg.SlotDuration)
	}
	var err error
	if cfg.Faults, err = devnet.ParseMix(in.cmd.String(flagDevnetFaults)); err != nil {
		return cfg, usagef("--%s %w", flagDevnetFaults, err)
	}
	if cfg.Nodes, err = in.positive(flagDevnetNodes); err != nil {
		return cfg, err
	}
	switch churn := in.cmd.Int(flagDevnetChurn); {
	case churn < 0 || churn > 100:
		return cfg, usagef("--%s %d: want a percentage, 0 to 100", flagDevnetChurn, churn)
	case churn > 0:
		cfg.Churn = devnet.Churn{Leave: float64(churn) / 100, Return: 0.25}
	}
	switch epochs := in.cmd.Int(flagDevnetForkIn); {
	case epochs < 0:
		return cfg, usagef("--%s %d: want a number of epochs, 0 for no fork", flagDevnetForkIn, epochs)
	case epochs > 0:
		cfg.Forks = devnet.WithFork("gloas", devnet.DefaultGenesisAge+eth2.Epoch(epochs))
	}
	return cfg, asUsage(cfg.Check())
}

// devnetView is `devnet --json`.
type devnetView struct {
	NetworkDir string          `json:"network_dir"`
	Truth      string          `json:"truth"` // file
	Nodes      int             `json:"nodes"`
	Reachable  int             `json:"reachable"` // nodes that can complete a handshake
	ForkDigest eth2.ForkDigest `json:"fork_digest"`
	Bootnodes  []string        `json:"bootnodes"`
}

func (p *program) devnetCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "devnet", Usage: "run a simulated network of real nodes on loopback",
		Description: "Starts the network, prints its network directory (for --network-dir) and runs until it is stopped.",
		Flags:       append([]cli.Flag{jsonFlag()}, devnetFlags()...),
	}, runDevnet)
}

func runDevnet(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	cfg, err := in.devnetConfig()
	if err != nil {
		return err
	}
	ignoreClosedPipes()
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	d, err := app.OpenDevnet(ctx, cfg, log)
	if err != nil {
		return app.StoppedEarly(ctx, err)
	}
	defer d.Close()
	net := d.Network()
	err = in.print(devnetView{
		NetworkDir: cfg.Dir,
		Truth:      filepath.Join(cfg.Dir, devnet.TruthFile),
		Nodes:      cfg.Nodes,
		Reachable:  len(d.Truth().Reachable()),
		ForkDigest: net.Schedule.At(net.Clock.EpochAt(time.Now())).Digest,
		Bootnodes:  net.Bootnodes,
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}
