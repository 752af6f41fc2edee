package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/sentry"
)

// scalePoint is what a network of one size costs.
type scalePoint struct {
	nodes      int
	crawl      crawl
	atRest     int64   // the sentry's memory after the crawl without watches, in bytes
	idle       float64 // and its share of a core
	watched    int
	held       int64   // its memory with the watches
	share      float64 // and its share of a core
	events     float64 // stored in the span
	consumer   float64 // the consumer's share of a core
	memory     int64   // the consumer's
	diskEvents float64 // events in the datasets at the end
	disk       int64   // bytes of the datasets
}

func (p scalePoint) handshakeMS() float64 { return p.crawl.perHandshake().Seconds() * 1000 }
func (p scalePoint) heldKiB() float64 {
	return float64(p.held-p.atRest) / 1024 / float64(max(1, p.watched))
}

// heldCPU is the share of a core for each held connection, everything else that the sentry does
// included.
func (p scalePoint) heldCPU() float64 { return p.share / float64(max(1, p.watched)) }
func (p scalePoint) eventBytes() float64 {
	return float64(p.disk) / max(1, p.diskEvents)
}

// sizes reads the sizes of the networks.
func (o options) sizes() (out []int, err error) {
	for text := range strings.SplitSeq(o.scaleNodes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 10 {
			return nil, fmt.Errorf("-scale-nodes %q: want numbers of nodes, such as 1000,2000", o.scaleNodes)
		}
		out = append(out, n)
	}
	return out, nil
}

// scale measures networks of growing size, and computes what larger ones need.
func scale(ctx context.Context, o options, w io.Writer) error {
	sizes, err := o.sizes()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Slots of 12 s, %v for each size.\n\n", o.scaleSpan)
	fmt.Fprint(w, "| nodes | CPU ms per handshake | sentry MiB, idle | watched | KiB per held connection | CPU of a core, watching | consumer: events/s | CPU of a core | MiB | bytes on disk per event, not merged |\n|---|---|---|---|---|---|---|---|---|---|\n")
	var points []scalePoint
	for _, n := range sizes {
		p, err := measureScale(ctx, o, n)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		fmt.Fprintf(w, "| %d | %.2f | %.0f, %.1f %% | %d | %.0f | %.2f %% | %.1f | %.2f %% | %.0f | %.0f |\n", p.nodes, p.handshakeMS(), mebibytes(p.atRest), 100*p.idle,
			p.watched, p.heldKiB(), 100*p.share, p.events/o.scaleSpan.Seconds(), 100*p.consumer, mebibytes(p.memory), p.eventBytes())
		points = append(points, p)
	}
	if len(points) > 1 {
		first, last := points[0], points[len(points)-1]
		fmt.Fprintf(w, "\nFrom %d to %d nodes: CPU per handshake %+.0f %%, memory per held connection %+.0f %%.\n", first.nodes, last.nodes,
			100*(last.handshakeMS()/first.handshakeMS()-1), 100*(last.heldKiB()/first.heldKiB()-1))
	}
	extrapolate(w, points[0], points[len(points)-1], o.scaleSpan)
	return nil
}

func measureScale(ctx context.Context, o options, n int) (p scalePoint, err error) {
	p.nodes = n
	dir, err := os.MkdirTemp("", "valtrack-scale")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	net, err := startNetwork(ctx, o, filepath.Join(dir, "devnet"), "healthy", n)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, net.stop()) }()
	run := sentryRun{args: []string{"--max-watched", "0"}, after: func(s *process) (err error) {
		if err := pause(ctx, heldSettle); err != nil {
			return err
		}
		if p.idle, err = idleShare(ctx, s, idleSpan); err == nil {
			p.atRest, err = s.memory()
		}
		return err
	}}
	if p.crawl, err = runSentry(ctx, o, net, filepath.Join(dir, "crawl"), run); err != nil {
		return p, err
	}
	return p, p.whole(ctx, o, net, dir)
}

// whole runs sentry, broker and consumer in processes of their own, with nine of ten nodes watched.
func (p *scalePoint) whole(ctx context.Context, o options, net *simulated, dir string) (err error) {
	b, err := startBroker(ctx, o, filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	var metrics [2]string
	for i := range metrics {
		if metrics[i], err = freeAddress(ctx); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "data")
	c, err := launch(ctx, o.verbose, o.valtrack, "consumer", "--nats", b.url, "--network-dir", net.dir, "--data-dir", data, "--metrics", metrics[0], "--http", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	want := p.nodes * 9 / 10
	s, err := launch(ctx, o.verbose, o.valtrack, "sentry", "--nats", b.url, "--network-dir", net.dir, "--data-dir", filepath.Join(dir, "sentry"), "--metrics", metrics[1],
		"--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--max-watched", strconv.Itoa(want), "--max-connections", strconv.Itoa(sentry.Config{}.ConnectionsFor(want)), "--watch-epochs", "3")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := awaitMetric(ctx, metrics[1], "valtrack_sentry_watches_live", float64(want)*0.9); err != nil {
		return err
	}
	if err := pause(ctx, heldSettle); err != nil {
		return err
	}
	before, err := metric(ctx, metrics[0], metricEvents)
	if err != nil {
		return err
	}
	used, err := c.cpu()
	if err != nil {
		return err
	}
	if p.share, err = idleShare(ctx, s, o.scaleSpan); err != nil {
		return err
	}
	usedThen, err := c.cpu()
	if err != nil {
		return err
	}
	p.consumer = float64(usedThen-used) / float64(o.scaleSpan)
	return p.weigh(ctx, s, c, metrics, data, before)
}

const metricEvents = "valtrack_consumer_events_stored_total"

// weigh reads what sentry and consumer have at the end.
func (p *scalePoint) weigh(ctx context.Context, s, c *process, metrics [2]string, data string, before float64) (err error) {
	if p.held, err = s.memory(); err != nil {
		return err
	}
	if p.memory, err = c.memory(); err != nil {
		return err
	}
	if p.watched, err = watches(ctx, metrics[1]); err != nil {
		return err
	}
	if p.diskEvents, err = metric(ctx, metrics[0], metricEvents); err != nil {
		return err
	}
	p.events = p.diskEvents - before
	p.disk, err = partsOf(data)
	return err
}

// partsOf is the size of a data directory's parts, in bytes.
func partsOf(data string) (size int64, err error) {
	err = filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".parquet") || strings.Contains(path, "_staging") {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // merged meanwhile
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// scalePatience bounds the wait for the watches of the largest network.
const scalePatience = 5 * time.Minute

// awaitMetric waits until a metric is at least n.
func awaitMetric(ctx context.Context, address, name string, n float64) error {
	until := time.Now().Add(scalePatience)
	for {
		have, err := metric(ctx, address, name)
		if err == nil && have >= n {
			return nil
		}
		if time.Now().After(until) {
			return errors.Join(fmt.Errorf("%s is %.0f after %v, want %.0f", name, have, scalePatience, n), err)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// Of mainnet, and measured elsewhere: docs/benchmarks.md, docs/operations.md.
const (
	epochSeconds = 384.0
	visitEvents  = 2    // of a visit: a handshake and its end
	visitBytes   = 20e3 // both directions together
	watchBytes   = 235  // a second and connection, with slots of 1 s: an upper bound
	// mergedVisit is a visit's rows in three tables when parts are merged, estimateRow a row of
	// peer_estimates; in bytes. watchPart is a part of a watch as JSON, an upper bound.
	mergedVisit, estimateRow, watchPart = 60, 70, 625
	// mixedTimes is how much more CPU a handshake takes where, as in the mixed case, half of the
	// nodes cannot complete one.
	mixedTimes = 2.5
	// watchedBy is how many nodes each sentry watches at one time.
	watchedBy = 1000
)

// extrapolate computes what networks need of which each node is visited once an epoch, by one
// sentry, in proportion to the largest network that was measured. Memory for each known node is
// by the difference to the smallest.
func extrapolate(w io.Writer, first, p scalePoint, span time.Duration) {
	fmt.Fprintf(w, "\nComputed from %d nodes: one visit per node and epoch at %.1f times the CPU of a healthy handshake, %d nodes watched.\n\n", p.nodes, mixedTimes, watchedBy)
	fmt.Fprint(w, "| nodes | visits/s | cores, sentry | GiB, sentry | events/s | cores, consumer | Mbit/s | GB a month, merged |\n|---|---|---|---|---|---|---|---|\n")
	perNode, base := float64(p.atRest)/float64(p.nodes), 0.0
	if p.nodes > first.nodes {
		perNode = float64(p.atRest-first.atRest) / float64(p.nodes-first.nodes)
		base = float64(p.atRest) - perNode*float64(p.nodes)
	}
	perEvent := p.consumer * span.Seconds() / max(1, p.events)
	visitCPU := p.crawl.perHandshake().Seconds() * mixedTimes
	const day = 86_400 / epochSeconds
	for _, n := range []float64{10_000, 100_000, 1_000_000} {
		visits := n / epochSeconds
		events := visitEvents*visits + watchedBy/epochSeconds
		disk := 30 * (n*(day*mergedVisit+24*estimateRow) + watchedBy*day*watchPart)
		fmt.Fprintf(w, "| %.0f | %.0f | %.2f | %.1f | %.0f | %.2f | %.0f | %.0f |\n", n, visits, visits*visitCPU+watchedBy*p.heldCPU(),
			(base+n*perNode+watchedBy*p.heldKiB()*1024)/(1<<30), events, events*perEvent, (visits*visitBytes+watchedBy*watchBytes)*8/1e6, disk/1e9)
	}
	fmt.Fprintf(w, "\nA node and day: %.2f s of CPU to visit it once an epoch, %.3f s to store that, %.0f KB on disk, %.1f MB of traffic; %.2f s to watch it all day, at most %.0f KB.\n",
		day*visitCPU, day*visitEvents*perEvent, (day*mergedVisit+24*estimateRow)/1000, day*visitBytes/1e6, 86_400*p.heldCPU(), day*watchPart/1000.0)
}
