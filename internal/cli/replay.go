package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/eventlog"
)

func (p *program) replayCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "replay", Usage: "publish event log files to JetStream, once each", ArgsUsage: "FILE...",
		Description: "FILEs are the log files of a sentry without --nats, or rejected_events.ndjson of a consumer, whose events\n" +
			"a fixed version can store; plain, or compressed with gzip or zstd. A file's name begins as that of the log, such as\n" +
			"visit_events.log.1.gz. Events keep their keys, so replaying a file twice stores its events once. Invalid lines are\n" +
			"logged and skipped; when no line is an event, the exit code is 1. Events of the earlier program name no network:\n" +
			"give it with --network.",
		Flags: append([]cli.Flag{jsonFlag()}, natsFlags()...),
	}, runReplay)
}

func runReplay(ctx context.Context, in invocation) error {
	files := in.cmd.Args().Slice()
	if len(files) == 0 {
		return usagef("%s takes event log files, as in '%s data/*_events.log'", in.cmd.FullName(), in.cmd.FullName())
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return usagef("replay: %w", err)
		}
	}
	name, err := in.replayNetwork()
	if err != nil {
		return err
	}
	ignoreClosedPipes()
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	url := cmp.Or(in.cmd.String(flagNATS), app.DefaultNATS)
	access, err := in.natsAccess()
	if err != nil {
		return err
	}
	b, err := app.OpenBroker(ctx, url, in.cmd.String(flagDataDir), bus.Options{Name: "valtrack replay", Access: access, Log: log})
	if err != nil {
		return app.StoppedEarly(ctx, err)
	}
	defer b.Close()
	publisher, err := bus.NewDirectPublisher(ctx, b.Conn())
	if errors.Is(err, bus.ErrForeignStream) {
		return asUsage(err)
	}
	if err != nil {
		return app.StoppedEarly(ctx, err)
	}
	stats, err := eventlog.Replay(ctx, publisher, files, name, func(bad eventlog.BadLine) {
		log.Warn("skipped a line", slog.String("file", bad.File), slog.Int("line", bad.Line), slog.Any("error", bad.Err))
	})
	if errors.Is(err, eventlog.ErrNothingPublished) {
		return errors.Join(in.print(stats), err)
	}
	if err == nil {
		// A signal while the last events wait for acknowledgement ends the wait.
		err = publisher.Close(ctx)
	} else {
		err = fmt.Errorf("%w (after %d events)", err, stats.Published)
		err = errors.Join(err, app.Flush(ctx, publisher))
	}
	if err != nil {
		return err
	}
	if n := publisher.Stats().Dropped; n > 0 {
		return fmt.Errorf("%d events are larger than the stream accepts: raise its max_msg_size and replay the files again", n)
	}
	if stats.Known = publisher.Stats().Duplicates; stats.Known > 0 {
		log.Warn("the broker dropped some events as recent duplicates: if they turn out to be missing, replay the files again in a few minutes", slog.Uint64("known", stats.Known))
	}
	return in.print(stats)
}

// replayNetwork is the network of events that name none, empty when no option names it:
// the default is no statement about them.
func (in invocation) replayNetwork() (string, error) {
	name := in.cmd.String(flagNetwork)
	switch {
	case in.cmd.String(flagNetworkDir) != "":
		net, err := in.network()
		return net.Name, err
	case !in.cmd.IsSet(flagNetwork):
		return "", nil
	case name != devnetName && !slices.Contains(network.Names(), name):
		_, err := in.network() // which says what is wrong
		return "", err
	}
	return name, nil
}
