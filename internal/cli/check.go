package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/diskio"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/telemetry"
	"github.com/chainbound/valtrack/internal/tracker"
)

func (p *program) checkCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "check", Usage: "validate the configuration and connect to the services it names, changing nothing",
		Description: "Accepts the options of sentry, consumer and run, and reports what would not work when the command\n" +
			"that --" + flagRole + " names starts with them. Beside a running one give --" + flagRunning + ".",
		Flags: local(slices.Concat([]cli.Flag{
			jsonFlag(),
			text(flagRole, roleRun, "command whose start is checked: "+strings.Join(checkRoles(), ", ")),
			toggle(flagRunning, "accept that the ports and the data directory are in use by that command, already running"),
		}, natsFlags(), sentryFlags(), consumerFlags(), devnetFlags(), serviceFlags())),
		Commands: []*cli.Command{p.checkDataCommand(), p.checkKeyCommand()},
	}, runCheck)
}

// Flags of check.
const (
	flagRole    = "role"
	flagRunning = "running"
)

// Values of --role.
const (
	roleSentry   = "sentry"
	roleConsumer = "consumer"
	roleRun      = "run"
)

func checkRoles() []string { return []string{roleSentry, roleConsumer, roleRun} }

// checks reports whether the role is one that --role names.
func (in invocation) checks(role string) bool {
	named := in.cmd.String(flagRole)
	return named == role || named == roleRun
}

// checkView is one line of `check --json`.
type checkView struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	// Warning: a start would succeed, and something would not work as it may be expected to.
	Warning bool   `json:"warning"`
	Detail  string `json:"detail"` // what was found, or what is wrong
}

// checkWarning is the error of a check of what works with a restriction; it says which one, and
// the way out.
type checkWarning string

func (w checkWarning) Error() string { return string(w) }

// runCheck runs every check, also after one has failed. The error is the first
// that failed.
func runCheck(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	if role := in.cmd.String(flagRole); !slices.Contains(checkRoles(), role) {
		return usagef("--%s %q: want %s", flagRole, role, strings.Join(checkRoles(), ", "))
	}
	isRun, consumes := in.checks(roleSentry) && in.checks(roleConsumer), in.checks(roleConsumer)
	checks := []struct {
		name    string
		applies bool
		run     func(context.Context) (string, error)
	}{
		{"logging", true, in.checkLogging},
		{"network", true, in.checkNetwork},
		{"sentry", in.checks(roleSentry), in.checkSentry},
		{"consumer", consumes, in.checkConsumer},
		{"places", consumes, in.checkPlaces},
		{"devnet", isRun, in.checkDevnet},
		{"service", true, in.checkService},
		{"data-dir", true, in.checkDataDir},
		{"ports", in.checks(roleSentry) || in.cmd.String(flagMetrics) != "", in.checkPorts},
		{"http", consumes, in.checkHTTP},
		{"mirror", consumes, in.checkMirror},
		{"nats", true, in.checkNATS},
		{"clickhouse", consumes, in.checkClickHouse},
	}
	var first error
	var views []checkView
	for _, c := range checks {
		if !c.applies {
			continue
		}
		detail, err := c.run(ctx)
		warning, warned := errors.AsType[checkWarning](err)
		view := checkView{Check: c.name, OK: err == nil || warned, Warning: warned, Detail: detail}
		switch {
		case warned:
			view.Detail = string(warning)
		case err != nil:
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
		switch {
		case v.Warning:
			mark = "WARN  "
		case !v.OK:
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
	n, decided, err := in.readDataNetwork()
	if err == nil && !in.checks(roleSentry) {
		if !decided {
			return "that of the first event", nil
		}
		if n.Missing != nil {
			return "", checkWarning("events are stored without estimates: " + n.Missing.Error())
		}
	}
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
	if len(n.Warnings) > 0 {
		return "", checkWarning(detail)
	}
	return detail, nil
}

func (in invocation) checkSentry(context.Context) (string, error) {
	if in.simulated() {
		return "that of a simulated network: not checked", nil
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
		crawl.Dialers, crawl.MaxConnections, crawl.Watched(), crawl.WatchEpochs, crawl.AllowPrivate)
	if crawl.Shard.Count > 0 {
		detail += ", shard " + crawl.Shard.String()
	}
	if crawl.Exclude != nil {
		detail += fmt.Sprintf(", %d excluded", crawl.Exclude.Len())
	}
	if wanted := crawl.WatchesWanted(); err == nil && crawl.Watched() < wanted {
		return "", checkWarning(fmt.Sprintf("%s; --%s is %d: that takes --%s %d", detail, flagMaxWatched, wanted, flagMaxConnections, crawl.ConnectionsFor(wanted)))
	}
	return detail, err
}

func (in invocation) checkConsumer(ctx context.Context) (string, error) {
	net, known := app.DirNetwork{}, false
	if !in.simulated() {
		if n, _, err := in.readDataNetwork(); err == nil && n.Missing == nil {
			net, known = n, true
		}
	}
	cfg, err := in.consumerConfig(net, app.DefaultNATS)
	detail := fmt.Sprintf("segments of %d rows or %v", cfg.Storing.SegmentRows, cfg.Storing.SegmentAge)
	if err != nil || !known || cfg.Estimates.ActiveValidators > 0 || cfg.Estimates.BeaconAPI != nil || net.Assumed.ActiveValidators > 0 {
		return detail, err
	}
	if _, last, err := tracker.LastParams(ctx, cfg.DataDir, net.Name); last || err != nil {
		return detail, err
	}
	return "", checkWarning(fmt.Sprintf("%s; no estimates, because the number of active validators of %s is unknown: give --%s or --%s", detail, net.Name, app.OptActiveValidators, app.OptBeaconAPI))
}

func (in invocation) checkPlaces(context.Context) (string, error) {
	var logged bytes.Buffer // what a start would warn of: that the data are old
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	places, err := geo.Open(in.cmd.StringSlice(flagGeo), log)
	if err != nil {
		return "", usagef("--%s: %w", flagGeo, err)
	}
	var sources []string
	for _, s := range places.Sources() {
		sources = append(sources, fmt.Sprintf("%s (%d days old)", s, int(time.Since(s.Date).Hours()/24)))
	}
	detail := strings.Join(sources, ", ")
	if logged.Len() > 0 {
		return "", checkWarning(detail + ": over a year old; give a newer database with --" + flagGeo + ", or update Valtrack")
	}
	return detail, nil
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
	running, err := in.running(use)
	if err != nil {
		return "", err
	}
	check := app.CheckDataDir
	if running != "" {
		check = app.CheckDataDirInUse
	}
	above, err := check(path, use)
	if err != nil {
		return "", err
	}
	detail := path + " is writable and not in use"
	if running != "" {
		detail = path + " is writable, and held by " + running
	}
	if above != "" {
		detail = fmt.Sprintf("%s will be created in %s", path, above)
	}
	free, err := diskio.Free(cmp.Or(above, path))
	if err != nil {
		return "", err
	}
	if free < math.MaxInt64 { // known on this system
		detail += fmt.Sprintf(", %.1f GB free", float64(free)/1e9)
	}
	without := app.WithoutEstimates(path, use)
	switch mode, open := in.openDirectory(); {
	case free < minFree:
		return "", fmt.Errorf("%s: %w: free disk space", detail, syscall.ENOSPC)
	case free < littleFree:
		return "", checkWarning(detail + ": a full disk stops everything; see Disk in docs/operations.md for how much is needed")
	case without != nil:
		return "", checkWarning(fmt.Sprintf("%s; events would be stored without estimates: %v", detail, without))
	case above == "" && open:
		return "", checkWarning(fmt.Sprintf("%s, and %s (%s)", detail, othersMayOpen, mode))
	}
	return detail, nil
}

const (
	// minFree is what the first minutes write: without it 'check' fails. Below littleFree it warns.
	minFree    = 16 << 20
	littleFree = 2e9
)

// running names the processes that hold the data directory, with --running; empty if there are none.
func (in invocation) running(use app.DirUse) (string, error) {
	if !in.cmd.Bool(flagRunning) {
		return "", nil
	}
	holders, err := app.Holders(in.cmd.String(flagDataDir), use)
	return strings.Join(holders, " and "), err
}

// inUse is what to say of an address of these roles that err says is in use, if a process of ours that runs in
// the data directory explains that.
func (in invocation) inUse(err error, roles app.DirUse) (detail string, ok bool) {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return "", false
	}
	use, err := in.dirUse()
	if err != nil {
		return "", false
	}
	use.Sentry, use.Consumer = use.Sentry && roles.Sentry, use.Consumer && roles.Consumer
	running, err := in.running(use)
	verb := " runs"
	if strings.Contains(running, " and ") {
		verb = " run"
	}
	return "in use, as is to be expected while " + running + verb, err == nil && running != ""
}

// dirUse is what the command of --role does with the data directory.
func (in invocation) dirUse() (app.DirUse, error) {
	use, err := in.runUse()
	use.Sentry, use.Consumer = in.checks(roleSentry), in.checks(roleConsumer)
	return use, err
}

// runUse is what 'run' does with the data directory.
func (in invocation) runUse() (app.DirUse, error) {
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
	var details []string
	if addr := in.cmd.String(flagMetrics); addr != "" {
		s, err := telemetry.Listen(addr, telemetry.NewRegistry(), nil, false, slog.New(slog.DiscardHandler))
		if held, ok := in.inUse(err, app.DirUse{Sentry: true, Consumer: true}); ok {
			details = append(details, addr+" is "+held)
		} else if err != nil {
			return "", usagef("--%s: %w", flagMetrics, err)
		} else {
			s.Close()
			details = append(details, addr+" is free")
		}
	}
	if in.checks(roleSentry) {
		var cfg app.SentryConfig
		if err := in.addressConfig(&cfg); err != nil {
			return "", err
		}
		ports := fmt.Sprintf("TCP and UDP %s, UDP %s are ", portText(cfg.Port), portText(cfg.QUICPort))
		err := bindPorts(ctx, cfg)
		if held, ok := in.inUse(err, app.DirUse{Sentry: true}); ok {
			details = append(details, ports+held)
		} else if err != nil {
			return "", err
		} else {
			details = append(details, ports+"free")
		}
	}
	return strings.Join(details, "; "), nil
}

// portText is a port, or that a free one is picked.
func portText(port uint16) string {
	if port == 0 {
		return "any"
	}
	return strconv.Itoa(int(port))
}

func bindPorts(ctx context.Context, cfg app.SentryConfig) error {
	for _, addr := range cfg.Listen {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(addr, cfg.Port).String())
		if err != nil {
			if addr.Is6() && addr.IsUnspecified() && !errors.Is(err, syscall.EADDRINUSE) {
				continue // a host without IPv6
			}
			return app.PortError(err)
		}
		l.Close()
		for _, udp := range []uint16{cfg.Port, cfg.QUICPort} {
			p, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, udp).String())
			if err != nil {
				return app.PortError(err)
			}
			p.Close()
		}
	}
	return nil
}
