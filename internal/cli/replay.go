package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/eventlog"
)

func (p *program) replayCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "replay", Usage: "publish event log files to JetStream, each event once", ArgsUsage: "FILE...",
		Description: "FILEs are the log files of a sentry without --nats, or a consumer's rejected_events.ndjson, whose events\n" +
			"a fixed version can store; plain, or compressed with gzip or zstd. A file's name starts like that of the log, such as\n" +
			"visit_events.log.1.gz. Events keep their keys, so replaying a file twice stores its events once. Invalid lines are\n" +
			"logged and skipped; when no line is an event, the exit code is 1. Events of the earlier program name no network:\n" +
			"give it with --network.",
		Flags: append([]cli.Flag{
			jsonFlag(),
			duration(flagNATSTimeout, defaultNATSTimeout, "fail when NATS does not respond, or acknowledges nothing, for this long; 0 waits forever"),
		}, natsFlags()...),
	}, runReplay)
}

// flagNATSTimeout is for commands that end: services wait for NATS.
const (
	flagNATSTimeout    = "nats-timeout"
	defaultNATSTimeout = 30 * time.Second
)

// errNoProgress ends a replay that NATS does not let go on.
var errNoProgress = errors.New("NATS acknowledged nothing")

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
	limit := in.cmd.Duration(flagNATSTimeout)
	if limit < 0 {
		return usagef("--%s %v: want a duration such as 30s, or 0", flagNATSTimeout, limit)
	}
	opening, opened := context.WithCancel(ctx)
	if limit > 0 {
		opening, opened = context.WithTimeout(ctx, limit)
	}
	defer opened()
	b, err := app.OpenBroker(opening, url, in.cmd.String(flagDataDir), bus.Options{Name: "valtrack replay", Inbox: bus.SentryInbox, Access: access, Log: log})
	if err != nil {
		return noAnswer(ctx, opening, limit, err)
	}
	defer b.Close()
	publisher, err := bus.NewDirectPublisher(opening, b.Conn())
	if errors.Is(err, bus.ErrForeignStream) {
		return asUsage(err)
	}
	if err != nil {
		return noAnswer(ctx, opening, limit, err)
	}
	opened()
	return in.publish(ctx, publisher, files, name, limit, log)
}

// noAnswer is the error of opening that failed, or took too long; nil after a signal.
func noAnswer(ctx, opening context.Context, limit time.Duration, err error) error {
	if ctx.Err() == nil && errors.Is(opening.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("NATS did not answer within %v (--%s): %w", limit, flagNATSTimeout, err)
	}
	return app.StoppedEarly(ctx, err)
}

// publish publishes the files' events until all are acknowledged, and prints how many.
func (in invocation) publish(ctx context.Context, publisher *bus.DirectPublisher, files []string, name string, limit time.Duration, log *slog.Logger) error {
	ctx, stop := whileProgress(ctx, limit, func() uint64 { return publisher.Stats().Published })
	defer stop()
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
	if errors.Is(context.Cause(ctx), errNoProgress) {
		return fmt.Errorf("%w for %v (--%s): %w; replay the files again later: events that it already has are not stored twice", errNoProgress, limit, flagNATSTimeout, err)
	}
	if err != nil {
		return err
	}
	if n := publisher.Stats().Dropped; n > 0 {
		return fmt.Errorf("%d events are larger than the stream accepts: raise its max_msg_size and replay the files again", n)
	}
	if stats.Known = publisher.Stats().Duplicates; stats.Known > 0 {
		log.Warn("the broker already had some of the published events and dropped these copies: if 'valtrack check data' shows missing events, replay the files again in a few minutes", slog.Uint64("known", stats.Known))
	}
	return in.print(stats)
}

// whileProgress ends the context with errNoProgress when the number does not change for the
// limit; 0 is no limit. stop must be called.
func whileProgress(ctx context.Context, limit time.Duration, progress func() uint64) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if limit <= 0 {
		return ctx, func() { cancel(nil) }
	}
	var watch sync.WaitGroup
	watch.Go(func() {
		for before := progress(); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(limit):
			}
			now := progress()
			if now == before {
				cancel(errNoProgress)
				return
			}
			before = now
		}
	})
	return ctx, func() { cancel(nil); watch.Wait() }
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
