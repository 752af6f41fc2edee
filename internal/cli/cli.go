package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/eth2/enr"
	"github.com/chainbound/valtrack/internal/telemetry"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Exit codes, a contract with scripts.
const (
	exitOK     = 0 // done, or stopped by a signal and drained
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration: trying again changes nothing
)

// usagef makes an error of wrong usage or configuration in the way of fmt.Errorf.
func usagef(format string, args ...any) error { return app.ConfigErrorf(format, args...) }

// asUsage marks err as one of wrong usage or configuration; nil stays nil.
func asUsage(err error) error { return app.AsConfigError(err) }

// ExitCode maps the error of Main: nil is 0, wrong usage or configuration 2, any
// other 1.
func ExitCode(err error) int {
	var usage *app.ConfigError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage) && !exhausted(err):
		return exitUsage
	}
	return exitFailed
}

// exhausted reports whether the machine lacks something that may be there later, such
// as space on a disk: trying again helps then, whatever failed for it.
func exhausted(err error) bool {
	for _, lack := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// Main runs the command line args (args[0] is the program). It writes results to
// stdout, logs and the error message to stderr. The first SIGINT
// or SIGTERM ends the context that the command runs in and lets it drain; one that comes
// sameSignal later or more ends the process at once, as if no handler were there.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	ctx, stop := untilSignal(ctx, sameSignal)
	defer stop()

	out := newOutput(stdout)
	log := telemetry.NewLogWriter(stderr)
	defer log.Close()
	p := &program{stdout: out, stderr: log}
	root := p.root()
	args = prefixRecords(args)
	var err error
	if !completing(args) {
		err = missingValue(root, args)
	}
	if err == nil {
		err = root.Run(ctx, args)
	}
	if err != nil && !p.acting {
		// The parser's errors: an unknown flag, a value that does not parse.
		if bad := explainValue(root); bad != nil {
			err = bad
		}
		err = asUsage(err)
	}
	if err == nil {
		err = out.err
	}
	if err != nil {
		printError(log, err)
	}
	return err
}

// sameSignal is how long after a signal another one is taken for the same: process groups and
// 'timeout -s INT' send two at once.
const sameSignal = time.Second

// untilSignal ends the context at the first signal. Those within the time after it are ignored.
func untilSignal(ctx context.Context, same time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(same, stop) })
	return ctx, stop
}

// completing reports whether a shell asks for the words that may come next. What was typed may
// be incomplete then, and no command acts.
func completing(args []string) bool {
	return len(args) > 0 && args[len(args)-1] == "--generate-shell-completion"
}

// prefixRecords gives node records without "enr:" the prefix: they begin with "-", and
// would be taken for options.
func prefixRecords(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if enr.IsBare(arg) {
			args[i] = "enr:" + arg
		}
	}
	return args
}

// program is one run of the command line.
type program struct {
	stdout io.Writer
	stderr *telemetry.LogWriter
	// acting is set when the command line is parsed: errors before that are
	// the parser's.
	acting bool
}

// root is the command tree. The order of the first three commands and options
// is part of the contract.
func (p *program) root() *cli.Command {
	return &cli.Command{
		Name:                          "valtrack",
		Usage:                         "Ethereum consensus validator tracking tool",
		UsageText:                     "valtrack [global options] command [command options] [arguments...]",
		CustomRootCommandHelpTemplate: rootHelpTemplate,
		Writer:                        p.stdout,
		ErrWriter:                     p.stderr,
		Flags:                         globalFlags(),
		Commands: []*cli.Command{
			p.sentryCommand(),
			p.consumerCommand(),
			helpCommand(),
			p.runCommand(),
			p.devnetCommand(),
			p.replayCommand(),
			p.importCommand(),
			p.exportCommand(),
			p.reportCommand(),
			p.rebuildCommand(),
			p.restoreCommand(),
			p.siteCommand(),
			p.migrateCommand(),
			p.purgeCommand(),
			p.publishCommand(),
			p.visitCommand(),
			p.inspectCommand(),
			p.checkCommand(),
			p.versionCommand(),
		},
		Action:                          rejectUnknownCommand,
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: describeCompletion,
		OnUsageError:                    explainUsage,
		ExitErrHandler:                  func(context.Context, *cli.Command, error) {}, // Main reports, main exits
	}
}

// invocation is one command being run: its parsed flags and its streams.
type invocation struct {
	cmd    *cli.Command
	stdout io.Writer
	stderr *telemetry.LogWriter
}

// leaf completes a command that does something: it reads the configuration file
// before run and takes no subcommand.
func (p *program) leaf(cmd *cli.Command, run func(context.Context, invocation) error) *cli.Command {
	cmd.HideHelpCommand = true
	cmd.OnUsageError = explainUsage
	cmd.CommandNotFound = helpOfItself
	cmd.Action = func(ctx context.Context, cmd *cli.Command) error {
		p.acting = true
		if path := cmd.String(flagConfig); path != "" {
			if err := applyConfigFile(cmd, path); err != nil {
				return asUsage(err)
			}
		}
		in := invocation{cmd: cmd, stdout: p.stdout, stderr: p.stderr}
		if err := in.applyUmask(); err != nil {
			return err
		}
		in.warnUnknownVariables()
		return run(ctx, in)
	}
	return cmd
}

// noArguments rejects arguments to a command that takes none.
func (in invocation) noArguments() error { return in.noArgumentsAfter(0) }

// noArgumentsAfter refuses arguments after the first n.
func (in invocation) noArgumentsAfter(n int) error {
	if first := in.cmd.Args().Get(n); first != "" {
		if len(in.cmd.Commands) > 0 {
			return unknownCommand(in.cmd, first)
		}
		hint := ""
		if info, err := os.Stat(first); err == nil && info.IsDir() {
			hint = fmt.Sprintf(" (a data directory is given by --%s)", flagDataDir)
		}
		return usagef("%s takes no arguments, got %q%s; see '%s --help'", in.cmd.FullName(), first, hint, in.cmd.FullName())
	}
	return nil
}

// dataDirectory is --data-dir of a command that reads it. When --network is given, the
// directory must belong to it.
func (in invocation) dataDirectory() (string, error) {
	dir := in.cmd.String(flagDataDir)
	info, err := os.Stat(dir)
	switch {
	case dir == "":
		return "", usagef("--%s is empty: give a directory, such as %s", flagDataDir, defaultDataDir)
	case err != nil:
		return "", usagef("--%s: %w; give the directory that 'valtrack run' or a consumer writes to", flagDataDir, err)
	case !info.IsDir():
		return "", usagef("--%s %q is not a directory", flagDataDir, dir)
	}
	_, err = os.ReadDir(dir)
	if err == nil {
		_, err = os.Lstat(filepath.Join(dir, tracker.File))
	}
	if errors.Is(err, fs.ErrPermission) { // it would seem to be empty
		return "", usagef("--%s: %w; run the command as the user that writes there, as in 'runuser -u valtrack -- %s', or let your group read it", flagDataDir, err, in.cmd.FullName())
	}
	if in.cmd.IsSet(flagNetwork) && in.cmd.String(flagNetworkDir) == "" {
		return dir, app.CheckNetworkName(dir, in.cmd.String(flagNetwork))
	}
	return dir, nil
}

// oneArgument gives the only argument; what names it in the error.
func (in invocation) oneArgument(what string) (string, error) {
	if in.cmd.Args().Len() != 1 {
		return "", usagef("%s takes one %s, got %d arguments; see '%s --help'", in.cmd.FullName(), what, in.cmd.Args().Len(), in.cmd.FullName())
	}
	return in.cmd.Args().First(), nil
}
