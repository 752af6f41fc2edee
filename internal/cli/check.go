package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// checkTimeout bounds the wait for a NATS server to answer.
const checkTimeout = 5 * time.Second

func (a *app) checkCommand() *cli.Command {
	return a.leaf(&cli.Command{
		Name: "check", Usage: "validate configuration and reach what it names; changes nothing",
		Description: "Takes the options of sentry, consumer and run, and tells what of them would not work.",
		Flags:       slices.Concat([]cli.Flag{jsonFlag()}, sentryFlags(), consumerFlags(), devnetFlags(), serviceFlags()),
		Commands:    []*cli.Command{a.checkDataCommand()},
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
		{"devnet", in.checkDevnet},
		{"service", in.checkService},
		{"data-dir", in.checkDataDir},
		{"ports", in.checkPorts},
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
	n, err := in.network()
	if err != nil {
		return "", err
	}
	epoch := n.Clock.EpochAt(time.Now())
	return fmt.Sprintf("%s, epoch %d, fork digest %s, %d bootnodes", n.Name, epoch, n.Schedule.At(epoch).Digest, len(n.Bootnodes)), nil
}

func (in invocation) checkSentry(context.Context) (string, error) {
	if in.simulated() {
		return "as 'valtrack run' sets it", nil
	}
	n, err := in.network()
	if err != nil {
		return "", errors.New("not checked: no network")
	}
	cfg, err := in.sentryConfig(n)
	detail := fmt.Sprintf("%d dialers, at most %d connections, %d watched for %d epochs, private addresses %t",
		cfg.crawl.Dialers, cfg.crawl.MaxConnections, max(0, cfg.crawl.MaxWatched), cfg.crawl.WatchEpochs, cfg.allowPrivate)
	if cfg.crawl.Shard.Count > 0 {
		detail += ", shard " + cfg.crawl.Shard.String()
	}
	if cfg.crawl.Exclude != nil {
		detail += fmt.Sprintf(", %d excluded", cfg.crawl.Exclude.Len())
	}
	return detail, err
}

func (in invocation) checkConsumer(context.Context) (string, error) {
	cfg, err := in.consumerConfig()
	return fmt.Sprintf("segments of %d rows or %v", cfg.storing.SegmentRows, cfg.storing.SegmentAge), err
}

func (in invocation) checkDevnet(context.Context) (string, error) {
	cfg, err := in.devnetConfig()
	return fmt.Sprintf("%d nodes, slots of %v, files in %s", cfg.Nodes, cfg.SlotDuration, cfg.Dir), err
}

func (in invocation) checkService(context.Context) (string, error) {
	every := in.cmd.Duration(flagStatusEvery)
	if every <= 0 {
		return "", usagef("--%s %v: want a time above zero, such as 10s", flagStatusEvery, every)
	}
	return fmt.Sprintf("a status line every %v", every), nil
}

// checkDataDir looks at the directory, or the nearest one above that exists, and
// at the locks of a running sentry and consumer, without making anything.
func (in invocation) checkDataDir(context.Context) (string, error) {
	path := in.cmd.String(flagDataDir)
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			continue
		case err != nil:
			return "", usagef("--%s %q: %w", flagDataDir, path, err)
		case !info.IsDir():
			return "", usagef("--%s %q: %s is not a directory", flagDataDir, path, dir)
		case !writable(dir):
			return "", usagef("--%s %q: %s is not writable", flagDataDir, path, dir)
		case dir != filepath.Clean(path):
			return fmt.Sprintf("%s will be made in %s", path, dir), nil
		}
		for _, held := range []struct{ file, by string }{{roleSentry + ".lock", roleSentry}, {dataset.LockFile, "consumer"}} {
			if err := checkLock(dir, held.file, held.by); err != nil {
				return "", err
			}
		}
		return path + " is writable and not in use", nil
	}
}

// checkLock tells whether a process holds the lock file, if there is one. It
// tries a shared lock and gives it back at once.
func checkLock(dir, file, role string) error {
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usagef("--%s %q: %w", flagDataDir, dir, err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		return usagef("--%s %q is held by process %s, a running %s; stop that one or choose another directory", flagDataDir, dir, strings.TrimSpace(string(pid)), role)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// checkPorts binds the sentry's ports and --metrics, and frees them again.
func (in invocation) checkPorts(ctx context.Context) (string, error) {
	if addr := in.cmd.String(flagMetrics); addr != "" {
		s, err := telemetry.Listen(addr, telemetry.NewRegistry(), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", usagef("--%s: %w", flagMetrics, err)
		}
		s.Close()
	}
	hosts, port, quic := in.cmd.StringSlice(flagListen), in.cmd.Int(flagPort), in.cmd.Int(flagQUICPort)
	if in.simulated() { // as loopbackDefaults
		if !in.cmd.IsSet(flagListen) {
			hosts = []string{loopback()[0].String()}
		}
		if !in.cmd.IsSet(flagPort) {
			port = 0
		}
		if !in.cmd.IsSet(flagQUICPort) {
			quic = 0
		}
	}
	for _, host := range hosts {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return "", usagef("--%s %q: want an IP address", flagListen, host)
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			if addr.Is6() && addr.IsUnspecified() && !errors.Is(err, syscall.EADDRINUSE) {
				continue // a host without IPv6
			}
			return "", portHint(err)
		}
		l.Close()
		for _, udp := range []int{port, quic} {
			p, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(udp)))
			if err != nil {
				return "", portHint(err)
			}
			p.Close()
		}
	}
	return fmt.Sprintf("TCP and UDP %d, UDP %d are free", port, quic), nil
}

func (in invocation) checkNATS(ctx context.Context) (string, error) {
	url := in.cmd.String(flagNATS)
	switch url {
	case "":
		return "not given: sentry writes log files, run embeds a server, consumer uses " + defaultNATS, nil
	case embeddedNATS:
		return "embedded, store in " + storeDir(in.cmd.String(flagDataDir)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := bus.Connect(ctx, bus.Options{URL: url, Name: "valtrack check", Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, bus.ErrBadURL) {
		return "", usagef("--%s: %w", flagNATS, err)
	}
	if err != nil {
		return "", fmt.Errorf("--%s: no answer within %v: %w", flagNATS, checkTimeout, err)
	}
	if err := errors.Join(conn.CheckJetStream(ctx), conn.Close()); err != nil {
		return "", fmt.Errorf("--%s: %w", flagNATS, err)
	}
	return "connected, JetStream answers", nil
}

// writable asks the kernel, which makes no file.
func writable(dir string) bool {
	const writeOK = 2 // W_OK of access(2)
	return syscall.Access(dir, writeOK) == nil
}
