package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/tracker"
)

func (p *program) rebuildCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "rebuild", Usage: "rebuild the tracker's database from the datasets",
		Description: "Reads all events in --data-dir and replaces " + tracker.File + " there with a new one. Hourly totals from before the oldest\n" +
			"events are copied from the old one if it can be read. Past hours that have handshakes but no estimates, such as\n" +
			"those of imported events, are estimated hour by hour from the events stored up to then, with the number of\n" +
			"active validators that this command uses, and get rows in peer_estimates and totals: some seconds per hour of\n" +
			"a large network. No consumer may be running. The network is that of the data; --network or --network-dir is\n" +
			"needed only if its files have moved. Estimates may differ a little from those before: what is learned from\n" +
			"all nodes is learned again.",
		Flags: append([]cli.Flag{jsonFlag(), geoFlag(), devnetPlacesFlag()}, estimatesFlags()...),
	}, runRebuild)
}

func runRebuild(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	dir, err := in.dataDirectory() // which taking the lock would create
	if err != nil {
		return err
	}
	net, err := in.usableNetwork()
	if err != nil {
		return err
	}
	cfg, err := in.estimatesConfig(net.Dir)
	if err != nil {
		return err
	}
	ignoreClosedPipes()
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	done, err := app.Rebuild(ctx, app.RebuildConfig{
		DataDir: dir, Estimates: cfg, Network: net.Network, NetworkDir: net.Dir,
		Geo: in.cmd.StringSlice(flagGeo), DevnetPlaces: in.cmd.Bool(flagDevnetPlaces),
	}, log)
	if err != nil {
		return err
	}
	if err := in.print(done); err != nil || in.cmd.Bool(flagJSON) {
		return err
	}
	_, err = fmt.Fprintln(in.stdout, "\nhours: past ones that had handshakes but no estimates, and have them now; on a devnet, an hour is 300 slots")
	return err
}
