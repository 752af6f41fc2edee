package cli

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eventlog"
	"github.com/chainbound/valtrack/internal/sentry"
)

func (p *program) purgeCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "purge", Usage: "remove the rows of nodes whose operators opted out", ArgsUsage: "[ID...]",
		Description: "Removes from --data-dir every row of the nodes, their rejected events and their state in the tracker and in peers.db\n" +
			"(a sentry that runs forgets them itself when they are in its --" + flagExclude + " file).\n" +
			"IDs are peer ids, node ids, IP addresses or networks; --exclude names a file of them. A node that was ever\n" +
			"seen at one of the addresses is removed as a whole. This cannot be undone. No consumer may be running, and no\n" +
			"sentry that has written " + eventlog.SentryRejectedName + " there. If it is interrupted, run it again.\n" +
			"Event log files, the spool and the stream are not changed: give the sentry --" + flagExclude + " first.",
		Flags: []cli.Flag{jsonFlag(), toggle(flagDryRun, "print how many rows and tracked peers would be removed, and remove nothing"), text(flagExclude, "", "file of peer ids, node ids, IP addresses and networks to remove, one per line")},
	}, runPurge)
}

const flagDryRun = "dry-run"

// purgePlan is `purge --dry-run --json`: what would be removed.
type purgePlan struct {
	DryRun       bool             `json:"dry_run"`
	Peers        int              `json:"peers"`
	Rows         map[string]int64 `json:"rows"`
	TrackedPeers int              `json:"tracked_peers"`
}

// purgeView is `purge --json`: what was removed.
type purgeView struct {
	Peers          int              `json:"peers"`
	Rows           map[string]int64 `json:"rows"`
	TrackedPeers   int              `json:"tracked_peers"`
	RejectedEvents int              `json:"rejected_events"`
	PeerTable      int              `json:"peer_table"`
}

func runPurge(ctx context.Context, in invocation) error {
	ids := in.cmd.Args().Slice()
	path := in.cmd.String(flagExclude)
	if len(ids) == 0 && path == "" {
		return usagef("%s takes the peer ids or node ids to remove, or --%s FILE; see '%s --help'", in.cmd.FullName(), flagExclude, in.cmd.FullName())
	}
	exclude, err := sentry.NewExclude(path, ids)
	if err != nil {
		return usagef("purge: %w", err)
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	if !dataset.Exists(dir) {
		return usagef("--%s %q has no datasets", flagDataDir, dir)
	}
	if in.cmd.Bool(flagDryRun) {
		found, err := app.WouldPurge(ctx, dir, exclude)
		if err != nil && !errors.Is(err, dataset.ErrDamaged) {
			return err
		}
		return errors.Join(in.print(purgePlan{true, found.Peers, found.Rows, found.TrackedPeers}), err)
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	done, err := app.Purge(ctx, dir, exclude, log)
	if done.Rows == nil { // it did not begin
		return err
	}
	return errors.Join(in.print(purgeView(done)), err)
}
