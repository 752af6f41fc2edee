package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/chainbound/valtrack/internal/bus"
	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

const (
	// restartEvents wait for the consumer that is killed, restartAt is when.
	restartEvents, restartAt = 60_000, 20_000
	// ingestPatience bounds one run.
	ingestPatience = 5 * time.Minute
	// ingestPoll is how often a run's progress is read. Answering costs the
	// consumer half a millisecond.
	ingestPoll = 200 * time.Millisecond
	// restartPoll is the same where only the time counts.
	restartPoll = 10 * time.Millisecond
)

// intake is one run of a consumer.
type intake struct {
	name   string
	events int
	cpu    time.Duration // of the whole process, from its start to its end
	wall   time.Duration // from its start until it has every event
	peak   int64         // resident memory at its highest, in bytes
}

// perMillion is CPU seconds a million events.
func (i intake) perMillion() float64 { return i.cpu.Seconds() / float64(i.events) * 1e6 }

// ingest compares the consumer with a floor that keeps nothing safe, and with
// itself when only encoding/json can read the events. Broker and publisher are in
// other processes, whose CPU does not count.
func ingest(ctx context.Context, o options, w io.Writer) error {
	dir, err := os.MkdirTemp("", "valtrack-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	data := newPeerEvents(ingestPeers, o.handshakes)
	fmt.Fprintf(w, "%d events a run, of %d peers, %d bytes on average.\n\n", o.events, ingestPeers, data.meanSize())
	fmt.Fprint(w, "| round | consumer | CPU s per million events | events/s | peak memory |\n|---|---|---|---|---|\n")
	runs := make(map[string][]intake)
	var restart time.Duration
	for round := range o.rounds {
		r := ingestRound{options: o, dir: filepath.Join(dir, strconv.Itoa(round)), data: data, floorFirst: round%2 == 1, restart: round == o.rounds-1}
		if err := r.run(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		for _, i := range r.runs {
			fmt.Fprintf(w, "| %d | %s | %.2f | %.0f | %.0f MiB |\n", round+1, i.name, i.perMillion(), float64(i.events)/i.wall.Seconds(), mebibytes(i.peak))
			runs[i.name] = append(runs[i.name], i)
		}
		restart = r.restarted
		if err := os.RemoveAll(r.dir); err != nil {
			return err
		}
	}
	ours, floor, std := medianIntake(runs[oursName]), medianIntake(runs[floorName]), medianIntake(runs[stdName])
	fmt.Fprintf(w, "\nMedians: %s %.2f, %s %.2f, %s %.2f CPU s per million events. Ours to the floor %.2f, with encoding/json to ours %.2f.\n",
		oursName, ours, floorName, floor, stdName, std, ours/floor, std/ours)
	fmt.Fprintf(w, "Restarted after SIGKILL, the consumer has its first event after %.2f s.\n", restart.Seconds())
	return nil
}

func medianIntake(list []intake) float64 {
	var each []float64
	for _, i := range list {
		each = append(each, i.perMillion())
	}
	return median(each)
}

// Names of the consumers compared.
const (
	oursName  = "consumer"
	floorName = "floor"
	stdName   = "consumer, encoding/json"
)

// ingestRound is one run of each consumer.
type ingestRound struct {
	options
	dir        string
	data       *peerEvents
	floorFirst bool
	restart    bool // measure also how soon a killed consumer is back

	broker    *broker
	runs      []intake
	restarted time.Duration
}

func (r *ingestRound) run(ctx context.Context) error {
	steps := []func(context.Context) error{r.ours, r.floor}
	if r.floorFirst {
		steps[0], steps[1] = steps[1], steps[0]
	}
	if err := r.withBroker(ctx, "", []string{oursDurable, floorDurable}, steps); err != nil {
		return err
	}
	// A broker of its own, as the first one may still hold events whose
	// acknowledgements it has not dealt with. Events that begin with a blank are the
	// same JSON, and not the form that the fast path reads.
	steps = []func(context.Context) error{r.std}
	if r.restart {
		steps = append(steps, r.killed)
	}
	return r.withBroker(ctx, " ", []string{stdDurable}, steps)
}

// withBroker starts a broker, publishes a run's events to the durables and takes the
// steps.
func (r *ingestRound) withBroker(ctx context.Context, prefix string, durables []string, steps []func(context.Context) error) (err error) {
	if r.broker, err = startBroker(ctx, r.options, filepath.Join(r.dir, "broker-"+durables[0])); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.broker.stop()) }()
	for _, durable := range durables {
		if err := r.broker.subscribe(ctx, durable); err != nil {
			return err
		}
	}
	if err := r.data.publish(ctx, r.broker.conn, r.events, prefix); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	oursDurable  = "ours"
	floorDurable = "floor"
	stdDurable   = "std"
)

func (r *ingestRound) ours(ctx context.Context) error {
	return r.consume(ctx, oursName, oursDurable)
}

func (r *ingestRound) std(ctx context.Context) error {
	return r.consume(ctx, stdName, stdDurable)
}

// consume runs the real consumer with its defaults until it has every event, and
// checks that it stored them.
func (r *ingestRound) consume(ctx context.Context, name, durable string) error {
	p, metrics, err := r.launchConsumer(ctx, durable)
	if err != nil {
		return err
	}
	err = until(ctx, metrics, float64(r.events), ingestPoll)
	wall := time.Since(p.started)
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	r.runs = append(r.runs, p.intake(name, r.events, wall))
	rows, dir := 0, r.dataDir(durable)
	err = errors.Join(
		dataset.Scan(ctx, dir, dataset.Range{}, func(dataset.MetadataRow) error { rows++; return nil }),
		dataset.Scan(ctx, dir, dataset.Range{}, func(dataset.VisitRow) error { rows++; return nil }),
		dataset.Scan(ctx, dir, dataset.Range{}, func(dataset.DiscoveryRow) error { rows++; return nil }))
	if err == nil && rows != r.events {
		err = fmt.Errorf("%s stored %d of %d events", name, rows, r.events)
	}
	return err
}

func (r *ingestRound) dataDir(durable string) string { return filepath.Join(r.dir, durable) }

// launchConsumer starts a consumer that takes the durable for its own, as one
// without --name does, and gives the address of its metrics.
func (r *ingestRound) launchConsumer(ctx context.Context, durable string) (p *process, metrics string, err error) {
	dir := r.dataDir(durable)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "consumer_id"), []byte(durable+"\n"), 0o644); err != nil {
		return nil, "", err
	}
	if metrics, err = freeAddress(ctx); err != nil {
		return nil, "", err
	}
	p, err = launch(ctx, r.verbose, r.valtrack, "consumer", "--nats", r.broker.url, "--data-dir", dir, "--metrics", metrics, "--pprof")
	if err == nil && r.profile != "" {
		go func() {
			if err := saveProfile(ctx, metrics, r.profile); err != nil {
				fmt.Fprintln(os.Stderr, "bench: profile:", err)
			}
		}()
	}
	return p, metrics, err
}

// until waits for the consumer to have taken n events.
func until(ctx context.Context, metrics string, n float64, poll time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, ingestPatience)
	defer cancel()
	for {
		// It may not listen yet, and nothing but the figures counts here. What is stored
		// is read first: a commit in between would count a segment twice.
		stored, _ := metric(ctx, metrics, "valtrack_consumer_events_stored_total")
		waiting, _ := metric(ctx, metrics, "valtrack_consumer_events_waiting")
		if stored+waiting >= n {
			return nil
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("the consumer has %.0f of %.0f events: %w", stored+waiting, n, err)
		}
	}
}

// killed measures from the start of a consumer, whose predecessor was killed in
// the middle of a segment, to the first event it has.
func (r *ingestRound) killed(ctx context.Context) error {
	if err := r.data.publish(ctx, r.broker.conn, restartEvents, ""); err != nil {
		return err
	}
	p, metrics, err := r.launchConsumer(ctx, stdDurable)
	if err != nil {
		return err
	}
	err = until(ctx, metrics, restartAt, restartPoll)
	if err := errors.Join(err, p.cmd.Process.Signal(syscall.SIGKILL)); err != nil {
		return err
	}
	_ = p.cmd.Wait() // it was killed
	if p, metrics, err = r.launchConsumer(ctx, stdDurable); err != nil {
		return err
	}
	err = until(ctx, metrics, 1, restartPoll)
	r.restarted = time.Since(p.started)
	return errors.Join(err, p.stop())
}

// intake is what the process, which has ended, took.
func (p *process) intake(name string, events int, wall time.Duration) intake {
	state := p.cmd.ProcessState
	i := intake{name: name, events: events, cpu: state.UserTime() + state.SystemTime(), wall: wall}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		i.peak = usage.Maxrss << 10
	}
	return i
}

// subscription is the consumer's own with its default settings.
func subscription(durable string) bus.SubscribeOptions {
	var settings consumer.Config
	return bus.SubscribeOptions{Durable: durable, AckWait: settings.AckWait(), MaxAckPending: settings.MaxAckPending()}
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
