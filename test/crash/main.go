// Command crash proves by killing that nothing is lost and nothing stored twice: a
// real nats-server, a sentry's spool and publisher under load, and the real
// `valtrack consumer` with short segments and merges, each a process, die by SIGKILL
// at random moments and at the crash points, while DuckDB reads every dataset. At
// the end every event is compared by its number. `make soak` runs it;
// docs/benchmarks.md has its table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	programs
	duckdb string
	kills  int
	rate   int
	peers  int
	seed   uint64
	keep   bool
	only   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run, args := soakMain, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case string(sentry):
			run, args = sentryMain, args[1:]
		case "faults":
			run, args = faultsMain, args[1:]
		}
	}
	if err := run(ctx, args); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func soakMain(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := options{programs: programs{sentry: program{path: self, args: []string{string(sentry)}}}}
	flags := flag.NewFlagSet("crash", flag.ContinueOnError)
	o.programFlags(flags)
	flags.StringVar(&o.duckdb, "duckdb", "test/duckdb", "the npm project with DuckDB; empty for no reader")
	flags.IntVar(&o.kills, "kills", 50, "kills of each kind")
	flags.IntVar(&o.rate, "rate", 4500, "events a second while the sentry lives")
	flags.IntVar(&o.peers, "peers", 1000, "peers that the events are of")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return soak(ctx, o, os.Stdout)
}

// programFlags are those of both tables.
func (o *options) programFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.valtrack.path, "valtrack", "./bin/valtrack-crash", "the program, built with the tag crashpoints")
	flags.StringVar(&o.server.path, "nats-server", "nats-server", "the broker's program")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the moments")
	flags.StringVar(&o.only, "only", "", "run only the rows whose name has this in it")
	flags.BoolVar(&o.keep, "keep", false, "keep the directories")
}

// runs are the rows of the table.
func (o options) runs() []run {
	random := rand.New(rand.NewPCG(o.seed, 1))
	between := [2]time.Duration{100 * time.Millisecond, 2000 * time.Millisecond}
	row := func(name string, kill ...role) run {
		return run{name: name, dataDir: plainName, kill: kill, kills: o.kills, duckdb: o.duckdb, random: random, between: between}
	}
	points := func(dataDir string) run {
		r := row("crash points in " + dataDir)
		r.dataDir, r.kills, r.points = dataDir, 0, crashPoints()
		return r
	}
	// A server that was away has to catch up before the next may die.
	leader := row("leader of three nats-servers")
	leader.leader, leader.kills, leader.between = true, min(o.kills, 10), [2]time.Duration{5 * time.Second, 8 * time.Second}
	runs := []run{
		row("consumer", storer), row("consumer and nats-server", storer, broker), row("sentry", sentry), row("all three", storer, broker, sentry),
	}
	for _, name := range patternNames() {
		runs = append(runs, points(name))
	}
	return append(runs, leader)
}

// soak makes every run and prints the table.
func soak(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-crash")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintln(out, "kept:", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Fprintf(out, "seed %d\n\n", o.seed)
	fmt.Fprintln(out, "| killed | kills | crash points hit | events | lost | twice | reads | asked again | failed reads | events/s | took |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for i, r := range o.runs() {
		if !strings.Contains(r.name, o.only) {
			continue
		}
		started := time.Now()
		servers := 1
		if r.leader {
			servers = clusterSize
		}
		w, worldErr := newWorld(ctx, o.programs, filepath.Join(dir, strconv.Itoa(i)), r.dataDir, servers, o.rate, o.peers)
		if worldErr != nil {
			return errors.Join(err, worldErr)
		}
		res, runErr := r.in(ctx, w)
		fmt.Fprintf(out, "| %s | %d | %d of %d | %d | %d | %d | %d | %d | %d | %.0f | %.0f s |\n", r.name, res.kills, res.hit, len(r.points),
			res.events, res.lost, res.twice, res.reads.all, res.reads.again, res.reads.failed+res.reads.twice, res.perSecond(), time.Since(started).Seconds())
		if runErr = errors.Join(runErr, res.err()); runErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", r.name, runErr))
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return err
}

// err is nil when nothing was lost, nothing came twice and every read was good.
func (r result) err() error {
	err := r.sound()
	if r.reads.failed > 0 || r.reads.twice > 0 {
		err = errors.Join(err, fmt.Errorf("DuckDB: %d reads failed, %d saw rows twice, the first %s", r.reads.failed, r.reads.twice, r.reads.first))
	}
	return err
}
