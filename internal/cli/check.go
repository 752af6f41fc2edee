package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/telemetry"
)

func (p *program) checkCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "check", Usage: "validate the configuration and connect to the services it names, without changing anything",
		Description: "Accepts the options of sentry, consumer and run, and reports what would not work.",
		Flags:       slices.Concat([]cli.Flag{jsonFlag()}, natsFlags(), sentryFlags(), consumerFlags(), devnetFlags(), serviceFlags()),
		Commands:    []*cli.Command{p.checkDataCommand(), p.checkKeyCommand()},
	}, runCheck)
}

// checkView is one line of `check --json`.
type checkView struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was found, or what is wrong
}

// runCheck runs every check, also after one has failed. The error is the first
// that failed.
func runCheck(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	checks := []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"logging", in.checkLogging},
		{"network", in.checkNetwork},
		{"sentry", in.checkSentry},
		{"consumer", in.checkConsumer},
		{"places", in.checkPlaces},
		{"devnet", in.checkDevnet},
		{"service", in.checkService},
		{"data-dir", in.checkDataDir},
		{"ports", in.checkPorts},
		{"http", in.checkHTTP},
		{"nats", in.checkNATS},
	}
	var first error
	var views []checkView
	for _, c := range checks {
		detail, err := c.run(ctx)
		view := checkView{Check: c.name, OK: err == nil, Detail: detail}
		if err != nil {
			view.Detail = err.Error()
			if first == nil {
				first = err
			}
		}
		views = append(views, view)
	}
	if in.cmd.Bool(flagJSON) {
		if err := writeJSON(in.stdout, views); err != nil {
			return err
		}
		return first
	}
	for _, v := range views {
		mark := "ok    "
		if !v.OK {
			mark = "FAILED"
		}
		fmt.Fprintf(in.stdout, "%s  %-9s %s\n", mark, v.Check, v.Detail)
	}
	return first
}

func (in invocation) checkLogging(context.Context) (string, error) {
	_, err := in.logger(in.stderr)
	return "level " + in.cmd.String(flagLogLevel) + ", format " + in.cmd.String(flagLogFormat), err
}

func (in invocation) checkNetwork(context.Context) (string, error) {
	if in.simulated() {
		return "devnet, in the process of 'valtrack run'", nil
	}
	n, _, err := in.readDataNetwork()
	if err == nil {
		err = n.Missing
	}
	if err != nil {
		return "", err
	}
	epoch := n.Clock.EpochAt(time.Now())
	detail := fmt.Sprintf("%s, epoch %d, fork digest %s, %d bootnodes", n.Name, epoch, n.Schedule.At(epoch).Digest, len(n.Bootnodes))
	for _, warning := range n.Warnings {
		detail += "; warning: " + warning
	}
	return detail, nil
}

func (in invocation) checkSentry(context.Context) (string, error) {
	if in.simulated() {
		return "as 'valtrack run' sets it", nil
	}
	n, _, err := in.readDataNetwork()
	if err == nil {
		err = n.Missing
	}
	if err != nil {
		return "", errors.New("not checked: no network")
	}
	cfg, err := in.sentryConfig(n)
	crawl := cfg.Crawl
	detail := fmt.Sprintf("%d dialers, at most %d connections, %d watched for %d epochs, private addresses %t",
		crawl.Dialers, crawl.MaxConnections, max(0, crawl.MaxWatched), crawl.WatchEpochs, crawl.AllowPrivate)
	if crawl.Shard.Count > 0 {
		detail += ", shard " + crawl.Shard.String()
	}
	if crawl.Exclude != nil {
		detail += fmt.Sprintf(", %d excluded", crawl.Exclude.Len())
	}
	return detail, err
}

func (in invocation) checkConsumer(context.Context) (string, error) {
	cfg, err := in.consumerConfig(app.DirNetwork{}, app.DefaultNATS)
	return fmt.Sprintf("segments of %d rows or %v", cfg.Storing.SegmentRows, cfg.Storing.SegmentAge), err
}

func (in invocation) checkPlaces(context.Context) (string, error) {
	places, err := geo.Open(in.cmd.StringSlice(flagGeo), slog.New(slog.DiscardHandler))
	if err != nil {
		return "", usagef("--%s: %w", flagGeo, err)
	}
	var sources []string
	for _, s := range places.Sources() {
		sources = append(sources, fmt.Sprintf("%s (%d days old)", s, int(time.Since(s.Date).Hours()/24)))
	}
	return strings.Join(sources, ", "), nil
}

func (in invocation) checkDevnet(context.Context) (string, error) {
	cfg, err := in.devnetConfig()
	return fmt.Sprintf("%d nodes, slots of %v, files in %s", cfg.Nodes, cfg.SlotDuration, cfg.Dir), err
}

func (in invocation) checkService(context.Context) (string, error) {
	every, err := in.statusEvery()
	return fmt.Sprintf("a status line every %v", every), err
}

// checkDataDir does what a start of 'run' checks before it writes anything.
func (in invocation) checkDataDir(context.Context) (string, error) {
	path := in.cmd.String(flagDataDir)
	use, err := in.dirUse()
	if err != nil {
		return "", err
	}
	above, err := app.CheckDataDir(path, use)
	switch {
	case err != nil:
		return "", err
	case above != "":
		return fmt.Sprintf("%s will be created in %s", path, above), nil
	}
	return path + " is writable and not in use", nil
}

// dirUse is what 'run' does with the data directory.
func (in invocation) dirUse() (app.DirUse, error) {
	cfg := app.PipelineConfig{Consumer: app.ConsumerConfig{Durable: in.cmd.String(flagName)}}
	if in.simulated() {
		d, err := in.devnetConfig()
		cfg.Devnet = &d
		return cfg.DirUse(), err
	}
	n, decided, err := in.readDataNetwork()
	if err == nil && decided {
		cfg.Consumer.Network, cfg.Consumer.NetworkDir = n.Network, n.Dir
	}
	return cfg.DirUse(), err
}

// checkPorts binds the sentry's ports and --metrics, and frees them again.
func (in invocation) checkPorts(ctx context.Context) (string, error) {
	if addr := in.cmd.String(flagMetrics); addr != "" {
		s, err := telemetry.Listen(addr, telemetry.NewRegistry(), nil, false, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", usagef("--%s: %w", flagMetrics, err)
		}
		s.Close()
	}
	var cfg app.SentryConfig
	if err := in.addressConfig(&cfg); err != nil {
		return "", err
	}
	for _, addr := range cfg.Listen {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(addr, cfg.Port).String())
		if err != nil {
			if addr.Is6() && addr.IsUnspecified() && !errors.Is(err, syscall.EADDRINUSE) {
				continue // a host without IPv6
			}
			return "", app.PortError(err)
		}
		l.Close()
		for _, udp := range []uint16{cfg.Port, cfg.QUICPort} {
			p, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, udp).String())
			if err != nil {
				return "", app.PortError(err)
			}
			p.Close()
		}
	}
	return fmt.Sprintf("TCP and UDP %d, UDP %d are free", cfg.Port, cfg.QUICPort), nil
}
