package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

// Flags of the consumer.
const (
	flagName        = app.OptName
	flagSegmentRows = app.OptSegmentRows
	flagSegmentAge  = "segment-age"
	flagCompact     = "compact-every"
	flagRetention   = "retention"
	flagForget      = app.OptForget
	flagGeo         = app.OptGeo
)

// notInNames are what JetStream does not take in a consumer's name.
const notInNames = " \t.*>/\\"

func consumerFlags() []cli.Flag {
	name := text(flagName, "", "name of the durable consumer in JetStream")
	name.DefaultText = "consumer- and an id kept in the data directory"
	return append([]cli.Flag{
		name,
		number(flagSegmentRows, consumer.DefaultSegmentRows, "number of events after which a segment is committed to the datasets"),
		duration(flagSegmentAge, consumer.DefaultSegmentAge, "age at which a segment is committed to the datasets"),
		duration(flagCompact, consumer.DefaultCompactEvery, "period whose parts are merged into one; 24 merged periods are merged again; 0 disables merging"),
		text(flagRetention, "0", "age at which rows are removed, such as 90d; 0 keeps all rows"),
		geoFlag(),
		devnetPlacesFlag(),
	}, slices.Concat(mirrorFlags(), clickhouseFlags(), estimatesFlags(), httpFlags())...)
}

func geoFlag() cli.Flag {
	return texts(flagGeo, nil, "mmdb file of places or networks (MaxMind, DB-IP, IPinfo), repeatable; takes precedence over the built-in table")
}

func (p *program) consumerCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "consumer", Usage: "run the consumer",
		Description: "Takes events from JetStream at --nats (default: " + app.DefaultNATS + ") and writes the datasets\n" +
			strings.Join(dataset.Tables(), ", ") + "\nin --data-dir. A second one in the same --data-dir, or with the same --name,\n" +
			"stands by and takes over when the first one stops.",
		Flags: slices.Concat(consumerFlags(), natsFlags(), serviceFlags(), []cli.Flag{
			excludeFlag(),
			text(flagForget, "", "delete this durable from the stream, which then stops keeping events for it, and exit; with --nats embedded, from the stream in --data-dir while no process is running on it"),
		}),
	}, runConsumer)
}

// consumerConfig checks the consumer's flags; net is empty for a devnet in this process. Errors are of wrong usage.
func (in invocation) consumerConfig(net app.DirNetwork, defaultNATS string) (app.ConsumerConfig, error) {
	cfg := app.ConsumerConfig{
		Network: net.Network, NetworkDir: net.Dir,
		DataDir: in.cmd.String(flagDataDir),
		NATS:    cmp.Or(in.cmd.String(flagNATS), defaultNATS),
		Durable: in.cmd.String(flagName),
		Geo:     in.cmd.StringSlice(flagGeo), DevnetPlaces: in.cmd.Bool(flagDevnetPlaces),
		Storing: consumer.Config{SegmentAge: in.cmd.Duration(flagSegmentAge), CompactEvery: in.cmd.Duration(flagCompact)},
	}
	if strings.ContainsAny(cfg.Durable, notInNames) {
		return cfg, usagef("--%s %q: want a name without spaces, dots, slashes, * or >", flagName, cfg.Durable)
	}
	if cfg.Storing.SegmentAge <= 0 { // zero would be the default
		return cfg, usagef("--%s %v: want a duration above zero, such as 1m", flagSegmentAge, cfg.Storing.SegmentAge)
	}
	switch every := cfg.Storing.CompactEvery; {
	case every < 0:
		return cfg, usagef("--%s %v: want a duration such as 1h, or 0 to disable merging", flagCompact, every)
	case every == 0: // which would be the default
		cfg.Storing.CompactEvery = -1
	}
	var err error
	if cfg.Storing.SegmentRows, err = in.positive(flagSegmentRows); err != nil {
		return cfg, err
	}
	if cfg.Storing.Retention, err = parseAge(flagRetention, in.cmd.String(flagRetention)); err != nil {
		return cfg, usagef("%w, or 0 to keep all rows", err)
	}
	if err := cfg.Storing.Check(); err != nil {
		return cfg, usagef("--%s, --%s, --%s, --%s: %w", flagSegmentRows, flagSegmentAge, flagCompact, flagRetention, err)
	}
	if path := in.cmd.String(flagExclude); path != "" {
		if cfg.Exclude, err = loadExclude(path); err != nil {
			return cfg, err
		}
	}
	if cfg.Access, err = in.natsAccess(); err != nil {
		return cfg, err
	}
	if cfg.Mirror, err = in.mirrorConfig(); err != nil {
		return cfg, err
	}
	if cfg.ClickHouse, err = in.clickhouseConfig(); err != nil {
		return cfg, err
	}
	if cfg.HTTP, err = in.httpConfig(); err != nil {
		return cfg, err
	}
	cfg.Estimates, err = in.estimatesConfig(net.Dir)
	return cfg, err
}

// wantAge is what an age looks like, for errors.
const wantAge = "want an age such as 90d, 36h or 15m"

// parseAge reads a time in days, as 90d, or in the units of a duration; empty is 0.
func parseAge(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int64
		n, err = strconv.ParseInt(days, 10, 32)
		age = time.Duration(n) * 24 * time.Hour
		if age/(24*time.Hour) != time.Duration(n) {
			err = strconv.ErrRange
		}
	}
	if err != nil || age < 0 {
		return 0, usagef("--%s %q: %s", flag, text, wantAge)
	}
	return age, nil
}

func runConsumer(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	if durable := in.cmd.String(flagForget); durable != "" {
		return in.forget(ctx, durable)
	}
	net, decided, err := in.dataNetwork()
	if err != nil {
		return err
	}
	if !decided {
		net = app.DirNetwork{} // the first event decides
	}
	cfg, err := in.consumerConfig(net, app.DefaultNATS)
	if err != nil {
		return err
	}
	svc, err := in.newService()
	if err != nil {
		return err
	}
	return app.RunConsumer(ctx, cfg, svc)
}
