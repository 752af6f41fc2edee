package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/test/trend"
	"github.com/chainbound/valtrack/test/watch"
)

const (
	// fillPatience is how long the watches may take to fill. A node that fails at first has a
	// second chance and a third in that time.
	fillPatience = 10 * time.Minute
	// fillSettle is what the fill's garbage is given.
	fillSettle = 3 * time.Minute
	// changeNear is how far a logged change may be from the truth's: three quarters of a slot.
	changeNear = mainnetSlot * 3 / 4
	// mayGrow is the share by which memory may grow in an hour without a failure, and mayGrowMiB
	// what it may grow in the whole span: a short one has not quite settled.
	mayGrow, mayGrowMiB = 0.02, 10
)

// minute is one sample of the sentry.
type minute struct {
	at                                          time.Duration // since the span began
	cpu                                         time.Duration // of the whole process
	watched, resident, heap, descriptors, tasks float64
}

// watchMany has one sentry watch every node of a large network at once, samples what that costs,
// and compares what was logged with the truth.
func watchMany(ctx context.Context, o options, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "valtrack-watch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	net, err := startNetwork(ctx, o, filepath.Join(dir, "devnet"), "healthy", o.watchNodes)
	if err != nil {
		return err
	}
	stopNet := func() error { // once
		stop := net.stop
		net.process = nil
		return stop()
	}
	defer func() {
		if net.process != nil {
			err = errors.Join(err, stopNet())
		}
	}()
	nodes, err := watchable(net.dir)
	if err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "sentry")
	epochs := int(math.Ceil((fillPatience+fillSettle+o.watchSpan).Seconds()/epochSeconds)) + 1 // no watch ends before the span does
	s, err := launch(ctx, o.verbose, o.valtrack, "sentry", "--network-dir", net.dir, "--data-dir", data, "--metrics", address,
		"--listen", "127.0.0.1", "--port", "0", "--quic-port", "0", "--watch-epochs", strconv.Itoa(epochs),
		"--max-watched", strconv.Itoa(len(nodes)), "--max-connections", strconv.Itoa(sentry.Config{}.ConnectionsFor(len(nodes))))
	if err != nil {
		return err
	}
	samples, began, err := observe(ctx, o, s, address, len(nodes), w)
	if err := errors.Join(err, s.stop(), stopNet()); err != nil {
		return err
	}
	grows := summary(w, len(nodes), samples)
	return errors.Join(grows, compareWatches(w, dir, data, nodes, began, began.Add(samples[len(samples)-1].at)))
}

// watchable are the ids of the nodes that a sentry can watch.
func watchable(dir string) (map[string]bool, error) {
	nodes, err := loadTruth(dir)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool)
	for _, n := range nodes {
		if n.Ours && n.Reachable && n.Handshake && n.Hello {
			ids[n.PeerID] = true
		}
	}
	return ids, nil
}

// observe waits for the watches and then takes the samples of the span.
func observe(ctx context.Context, o options, s *process, address string, nodes int, w io.Writer) (samples []minute, began time.Time, err error) {
	live := 0
	for until := s.started.Add(fillPatience); live < nodes && time.Now().Before(until); {
		if err := pause(ctx, time.Second); err != nil {
			return nil, began, err
		}
		if n, err := watches(ctx, address); err == nil { // it may not be up yet
			live = n
		}
	}
	fmt.Fprintf(w, "%d of %d watchable nodes are watched %v after the start; load average %s\n\n", live, nodes, time.Since(s.started).Round(time.Second), loadAverage())
	if err := pause(ctx, min(fillSettle, o.watchSpan/8)); err != nil {
		return nil, began, err
	}
	every := min(time.Minute, o.watchSpan/60)
	began = time.Now()
	fmt.Fprint(w, "minute,watched,cpu_s,resident_mib,live_heap_mib,descriptors,goroutines,load\n")
	for next := began; ; next = next.Add(every) {
		if err := pause(ctx, time.Until(next)); err != nil {
			return nil, began, err
		}
		m, err := sampleMinute(ctx, s, address)
		if err != nil {
			return nil, began, err
		}
		m.at = time.Since(began)
		samples = append(samples, m)
		fmt.Fprintf(w, "%.1f,%.0f,%.2f,%.1f,%.1f,%.0f,%.0f,%s\n", m.at.Minutes(), m.watched, (m.cpu - samples[0].cpu).Seconds(), m.resident, m.heap, m.descriptors, m.tasks, loadAverage())
		if m.at >= o.watchSpan {
			return samples, began, nil
		}
	}
}

// loadAverage is of the last minute, to tell what else the machine did.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func sampleMinute(ctx context.Context, s *process, address string) (m minute, err error) {
	if m.cpu, err = s.cpu(); err != nil {
		return m, err
	}
	resident, err := s.resident()
	if err != nil {
		return m, err
	}
	m.resident = mebibytes(resident)
	for name, value := range map[string]*float64{
		"valtrack_sentry_watches_live": &m.watched, "go_gc_heap_live_bytes": &m.heap, "process_open_fds": &m.descriptors, "go_goroutines": &m.tasks,
	} {
		if *value, err = metric(ctx, address, name); err != nil {
			return m, err
		}
	}
	m.heap /= 1 << 20
	return m, nil
}

// summary prints what the span cost. An error says that memory grows.
func summary(w io.Writer, nodes int, samples []minute) (err error) {
	first, last := samples[0], samples[len(samples)-1]
	fewest, mean := first.watched, 0.0
	for _, m := range samples {
		fewest, mean = min(fewest, m.watched), mean+m.watched/float64(len(samples))
	}
	share := (last.cpu - first.cpu).Seconds() / (last.at - first.at).Seconds()
	fmt.Fprintf(w, "\n%v: %d nodes, %.0f watched at the beginning, %.0f at the end, %.0f at the least, %.1f on average. CPU %.1f s, %.2f %% of a core, %.2f thousandths of a percent for each.\n\n",
		(last.at - first.at).Round(time.Second), nodes, first.watched, last.watched, fewest, mean, (last.cpu - first.cpu).Seconds(), 100*share, 100e3*share/max(1, mean))
	fmt.Fprint(w, "| | beginning | end | per hour | 95 % interval |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		name   string
		memory bool
		value  func(minute) float64
	}{
		{"resident memory, MiB", true, func(m minute) float64 { return m.resident }},
		{"live heap, MiB", true, func(m minute) float64 { return m.heap }},
		{"goroutines", false, func(m minute) float64 { return m.tasks }},
		{"descriptors", false, func(m minute) float64 { return m.descriptors }},
	} {
		var points []trend.Point
		for _, m := range samples {
			points = append(points, trend.Point{At: m.at, Value: row.value(m)})
		}
		t := trend.Of(points)
		interval := "not known"
		if t.Known {
			interval = fmt.Sprintf("%+.1f to %+.1f", t.Low, t.High)
		}
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %+.1f | %s |\n", row.name, row.value(first), row.value(last), t.PerHour, interval)
		if limit := max(mayGrow*row.value(first), mayGrowMiB/last.at.Hours()); row.memory && t.Known && t.Low > 0 && t.PerHour > limit {
			err = errors.Join(err, fmt.Errorf("%s grows by %.1f per hour", row.name, t.PerHour))
		}
	}
	return err
}

// compareWatches compares the logs with the truth: all of every watch, and what the nodes changed
// in the span. An error says that a change that was watched is missing, or that one was made up.
func compareWatches(w io.Writer, dir, data string, nodes map[string]bool, from, to time.Time) error {
	log, err := readWatches(filepath.Join(data, "visit_events.log"))
	if err != nil {
		return err
	}
	truth, err := readChanges(filepath.Join(dir, "devnet", devnet.SubscriptionsFile))
	if err != nil {
		return err
	}
	var score watch.Score
	watchedBy := make(map[string][]*watch.Visit)
	for _, v := range log.Visits {
		watchedBy[v.Peer] = append(watchedBy[v.Peer], v)
		var during []devnet.SubscriptionChange
		for _, c := range truth[v.Peer] {
			if !c.Time.Before(v.From.Add(-changeNear)) && !c.Time.After(v.To) {
				during = append(during, c)
			}
		}
		score.Add(v, during, changeNear)
	}
	changes, unwatched := 0, 0
	for id := range nodes {
		for _, c := range truth[id] {
			if c.Time.Before(from) || c.Time.After(to) {
				continue
			}
			changes++
			if !covered(watchedBy[id], c.Time) {
				unwatched++
			}
		}
	}
	fmt.Fprintf(w, "\nAll watches, %d of %d nodes: %s.\nIn the span the nodes changed %d subscriptions, %d of them while not watched.\n", len(log.Visits), len(watchedBy), &score, changes, unwatched)
	for _, text := range score.Odd[:min(20, len(score.Odd))] {
		fmt.Fprintln(w, text)
	}
	if len(score.Odd) > 0 {
		return fmt.Errorf("%d changes are missing, %d are made up", score.Truth-score.Found, score.Falsely)
	}
	return nil
}

func covered(visits []*watch.Visit, at time.Time) bool {
	for _, v := range visits {
		if !at.Before(v.From) && !at.After(v.To) {
			return true
		}
	}
	return false
}

// readLines calls each with every line of a file.
func readLines(path string, each func([]byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return lines.Err()
}

func readWatches(path string) (log watch.Log, err error) {
	err = readLines(path, func(line []byte) error {
		e := new(event.VisitEnded)
		if err := json.Unmarshal(line, e); err != nil {
			return err
		}
		return log.Add(e)
	})
	return log, err
}

// readChanges reads what each node changed after its start.
func readChanges(path string) (map[string][]devnet.SubscriptionChange, error) {
	out := make(map[string][]devnet.SubscriptionChange)
	began := int64(0) // the sets at the start have the first line's time
	return out, readLines(path, func(line []byte) error {
		var c struct {
			T      int64  `json:"t"`
			PeerID string `json:"peer_id"`
			Subnet int    `json:"subnet"`
			On     bool   `json:"on"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		if began == 0 {
			began = c.T
		}
		if c.T > began {
			out[c.PeerID] = append(out[c.PeerID], devnet.SubscriptionChange{Time: time.UnixMilli(c.T), Subnet: c.Subnet, On: c.On})
		}
		return nil
	})
}
