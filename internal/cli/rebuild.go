package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

func (a *app) rebuildCommand() *cli.Command {
	return a.leaf(&cli.Command{
		Name: "rebuild", Usage: "recompute the tracker's database from the datasets",
		Description: "Reads all events in --data-dir and replaces " + tracker.File + " there by a new one. Hours before the oldest\n" +
			"events are copied from the replaced one when it can be read. No consumer may run. --network or\n" +
			"--network-dir must name the network of the data.",
		Flags: append([]cli.Flag{jsonFlag()}, trackerFlags()...),
	}, runRebuild)
}

// rebuildView is `rebuild --json`.
type rebuildView struct {
	Peers int `json:"peers"`
}

func runRebuild(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	net, err := in.network()
	if err != nil {
		return err
	}
	dir := in.cmd.String(flagDataDir)
	if _, err := os.Stat(dir); err != nil { // which taking the lock would create
		return usagef("--%s: %w", flagDataDir, err)
	}
	tracks, err := in.tracking(dir, net)
	if err != nil {
		return err
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	lock, err := lockDatasets(consumerConfig{dataDir: dir})
	if err != nil {
		return err
	}
	w, err := openDatasets(lock, log)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := tracks.prepare(ctx, log); err != nil {
		return err
	}
	t, err := tracker.Create(ctx, tracks.config)
	if err != nil {
		return err
	}
	if err := fillTracker(ctx, w, t, log); err != nil {
		return errors.Join(err, t.Close())
	}
	view := rebuildView{t.State().Len()}
	if err := t.Replace(); err != nil {
		return err
	}
	return in.print(view)
}

// fillTracker reads the datasets, and the history that is no longer in them.
func fillTracker(ctx context.Context, w *dataset.Writer, t *tracker.Tracker, log *slog.Logger) error {
	if err := consumer.CatchUp(ctx, w, t, log); err != nil {
		return err
	}
	if err := t.KeepHistory(ctx); err != nil {
		log.Warn("the database in use cannot be read, hours before the oldest events are lost", slog.Any("error", err))
	}
	return t.Settle(ctx)
}
