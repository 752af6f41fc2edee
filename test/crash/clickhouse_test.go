package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/clickhouse/clickhousetest"
)

// clickhouseOutageEnv is for how long ClickHouse is away in TestClickHouseAway: `make
// soak-clickhouse` sets it.
const clickhouseOutageEnv = "VALTRACK_CLICKHOUSE_OUTAGE"

// Metrics of the copy in ClickHouse.
const (
	metricBehind  = "valtrack_clickhouse_segments_behind"
	metricCHLost  = "valtrack_clickhouse_segments_lost_total"
	metricFailing = "valtrack_clickhouse_failing"
)

// maxMemory is how much memory the consumer may have had at most, in bytes. Without a copy it takes
// 380 MiB of a backlog (docs/benchmarks.md).
const maxMemory = 600 << 20

// ClickHouse is away under load, at first silent and then dead. The consumer stores as before and
// says how far the copy is behind; when the server is back, the copy catches up by itself.
func TestClickHouseAway(t *testing.T) {
	outage, err := time.ParseDuration(os.Getenv(clickhouseOutageEnv))
	if err != nil {
		t.Skip(clickhouseOutageEnv + " is not set: make soak-clickhouse")
	}
	dir := t.TempDir()
	server, err := clickhousetest.Start(t.Context(), natsHost, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	w := testWorld(t)
	w.begin(t, broker, sentry)
	startConsumer := func() {
		t.Helper()
		w.procs[storer], err = w.startConsumer(t.Context(), string(storer), w.address(storer), "--clickhouse", server.URL())
		if err != nil {
			t.Fatal(err)
		}
	}
	startConsumer()
	w.untilLogged(t, storer, 0, "copying to ClickHouse")
	w.untilMetric(t, metricStored, func(v float64) bool { return v > 0 })

	before := w.storedRate(t, max(outage/5, 5*time.Second))
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	silent := w.storedRate(t, outage/2)
	behind := w.value(t, metricBehind)
	if least := outage.Seconds() / 2 / 10; behind < least { // a segment takes 0.4 s and more
		t.Errorf("%.0f segments behind after %v of silence, want %.0f at least", behind, outage/2, least)
	}
	server.Kill()
	dead := w.storedRate(t, outage-outage/2)
	if failing := w.value(t, metricFailing); failing != 1 {
		t.Errorf("%s is %v while the server is dead", metricFailing, failing)
	}
	most := w.value(t, metricBehind)
	t.Logf("events stored per second: %.0f before, %.0f while ClickHouse was silent, %.0f while it was dead; %.0f and %.0f segments behind", before, silent, dead, behind, most)
	if during := (silent + dead) / 2; during < 0.9*before { // of the two halves
		t.Errorf("%.0f events a second were stored while ClickHouse was away, %.0f before", during, before)
	}

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	after := w.storedRate(t, 2*time.Second)
	// New segments come all the time, and on a busy machine several are on their way.
	w.untilWithin(t, max(outage, 3*time.Minute), metricBehind, func(v float64) bool { return v <= max(5, most/10) })
	t.Logf("the copy had caught up after %v, under load; %.0f events a second were stored meanwhile", time.Since(back).Round(100*time.Millisecond), after)
	w.untilWithin(t, patience, metricFailing, func(v float64) bool { return v == 0 })
	if lost := w.value(t, metricCHLost); lost != 0 {
		t.Errorf("%.0f segments are lost for ClickHouse", lost)
	}
	peak, err := w.procs[storer].peakMemory()
	if err != nil || peak > maxMemory {
		t.Errorf("the consumer has had %d MiB of memory, want at most %d: %v", peak>>20, maxMemory>>20, err)
	}
	t.Logf("the consumer has had at most %d MiB of memory", peak>>20)

	w.end(t)
	startConsumer() // which copies what the one before had committed last
	w.untilMetric(t, metricBehind, func(v float64) bool { return v == 0 })
	if err := w.procs[storer].stop(stopWithin); err != nil {
		t.Fatal(err)
	}
	delete(w.procs, storer)
	want, err := datasetSums(t.Context(), w.data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := clickhouseSums(t.Context(), server, durable)
	if err != nil {
		t.Fatal(err)
	}
	for table, sum := range want {
		if got[table] != sum {
			t.Errorf("ClickHouse has %+v of %s, the datasets have %+v", got[table], table, sum)
		}
	}
	t.Logf("equal in ClickHouse and the datasets: %v", want)
}

// storedRate is how many events a second the consumer stores during a time.
func (w *world) storedRate(t *testing.T, over time.Duration) float64 {
	t.Helper()
	from, start := w.value(t, metricStored), time.Now()
	for time.Since(start) < over {
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(min(healthPoll, over))
	}
	return (w.value(t, metricStored) - from) / time.Since(start).Seconds()
}

// peakMemory is the most that was resident, in bytes.
func (p *process) peakMemory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(rest + " -")[0], 10, 64)
	return kib << 10, err
}

func (w *world) value(t *testing.T, name string) (v float64) {
	t.Helper()
	w.untilWithin(t, patience, name, func(now float64) bool { v = now; return true })
	return v
}

func (w *world) untilMetric(t *testing.T, name string, ok func(float64) bool) {
	t.Helper()
	w.untilWithin(t, patience, name, ok)
}

func (w *world) untilWithin(t *testing.T, within time.Duration, name string, ok func(float64) bool) {
	t.Helper()
	w.until(t, within, name, func() bool {
		v, err := w.metric(t.Context(), name)
		return err == nil && ok(v)
	})
}
