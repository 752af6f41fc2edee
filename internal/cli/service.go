package cli

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/buildinfo"
	"github.com/chainbound/valtrack/internal/telemetry"
)

// flagStatusEvery is how often a service off a terminal logs what it has done.
const flagStatusEvery = "status-every"

// flagPprof adds profiles to what --metrics serves.
const flagPprof = "pprof"

// serviceFlags are on every command that runs until it is stopped.
func serviceFlags() []cli.Flag {
	return []cli.Flag{
		duration(flagStatusEvery, app.DefaultStatusEvery, "interval between status lines in the log"),
		toggle(flagPprof, "serve profiles of this process at the --metrics address, under /debug/pprof/"),
	}
}

// newService sets up logs on stderr, and metrics where --metrics asks for them. Errors
// are of wrong usage.
func (in invocation) newService() (*app.Service, error) {
	every, err := in.statusEvery()
	if err != nil {
		return nil, err
	}
	ignoreClosedPipes()
	in.warnOpenDirectory()
	return app.NewService(app.ServiceConfig{
		Version: buildinfo.Read().Version,
		Stderr:  in.stderr, Repaint: in.decorated(), NewLogger: in.logger, StatusEvery: every, Metrics: in.cmd.String(flagMetrics), Profiles: in.cmd.Bool(flagPprof),
	})
}

// statusEvery checks the flags of serviceFlags.
func (in invocation) statusEvery() (time.Duration, error) {
	every := in.cmd.Duration(flagStatusEvery)
	switch {
	case every <= 0:
		return 0, usagef("--%s %v: want a duration above zero, such as 10s", flagStatusEvery, every)
	case in.cmd.Bool(flagPprof) && in.cmd.String(flagMetrics) == "":
		return 0, usagef("--%s has nowhere to serve profiles: give --%s ADDR, such as 127.0.0.1:9110", flagPprof, flagMetrics)
	}
	return every, nil
}

// logger writes to w, which ends on stderr, as --log-level and --log-format say.
func (in invocation) logger(w io.Writer) (*slog.Logger, error) {
	level, err := telemetry.ParseLevel(in.cmd.String(flagLogLevel))
	if err != nil {
		return nil, usagef("--%s: %w", flagLogLevel, err)
	}
	log, err := telemetry.NewLogger(w, in.cmd.String(flagLogFormat), level, in.decorated())
	if err != nil {
		return nil, usagef("--%s: %w", flagLogFormat, err)
	}
	in.stderr.OnDropped(func(lines uint64) {
		log.Warn("log lines were dropped because nobody read the output", slog.Uint64("lines", lines))
	})
	return log, nil
}

// decorated reports whether standard error may have colours and a line that is
// repainted: it is a terminal, and nothing asks for plain text (https://no-color.org).
func (in invocation) decorated() bool {
	term := os.Getenv("TERM")
	return telemetry.IsTerminal(in.stderr) && in.cmd.String(flagLogFormat) == telemetry.FormatAuto &&
		os.Getenv("NO_COLOR") == "" && term != "" && term != "dumb"
}

// parsePort checks a port number of a flag; 0 means any free port.
func (in invocation) parsePort(name string) (uint16, error) {
	n := in.cmd.Int(name)
	if n < 0 || n > 65535 {
		return 0, usagef("--%s %d: want a port from 0 to 65535", name, n)
	}
	return uint16(n), nil
}

// positive checks a number of a flag.
func (in invocation) positive(name string) (int, error) {
	n := in.cmd.Int(name)
	if n < 1 {
		return 0, usagef("--%s %d: want at least 1", name, n)
	}
	return n, nil
}
