package api

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// durations are the upper bounds of the histogram of answers, seconds.
var durations = []float64{0.001, 0.005, 0.015, 0.05, 0.2, 1, 5}

// stats counts what was served.
type stats struct {
	mu      sync.Mutex
	answers map[string]uint64 // by class of status code, or aborted
	buckets [8]uint64         // by durations, not cumulative; the last is above all
	seconds float64
	streams int
	viewMS  float64
	nodes   int
}

func newStats() *stats { return &stats{answers: map[string]uint64{}} }

func (s *stats) request(status int, took time.Duration, aborted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	class := fmt.Sprintf("%dxx", status/100)
	if aborted {
		class = "aborted"
	}
	s.answers[class]++
	i := 0
	for i < len(durations) && took.Seconds() > durations[i] {
		i++
	}
	s.buckets[i]++
	s.seconds += took.Seconds()
}

func (s *stats) stream(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams += n
}

func (s *stats) built(took time.Duration, nodes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.viewMS, s.nodes = float64(took.Microseconds())/1000, nodes
}

// snapshot is a copy.
func (s *stats) snapshot() *stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &stats{answers: maps.Clone(s.answers), buckets: s.buckets, seconds: s.seconds, streams: s.streams, viewMS: s.viewMS, nodes: s.nodes}
}

func (s *stats) histogram() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = map[float64]uint64{}
	for i, bound := range durations {
		count += s.buckets[i]
		buckets[bound] = count
	}
	return count + s.buckets[len(durations)], s.seconds, buckets
}

// RegisterMetrics registers the metrics of the server.
func (s *Server) RegisterMetrics(reg *telemetry.Registry) {
	telemetry.Register(reg, s.stats.snapshot,
		telemetry.CounterBy("valtrack_api_responses_total", "code", "Responses of the HTTP API by class of status code; aborted are those that the client did not read to the end, or that failed midway.", func(s *stats) map[string]uint64 { return s.answers }),
		telemetry.Histogram("valtrack_api_response_seconds", "Time until a response of the HTTP API was written; for event streams, until they ended.", (*stats).histogram),
		telemetry.Gauge("valtrack_api_event_streams", "Open event streams.", func(s *stats) int { return s.streams }),
		telemetry.Gauge("valtrack_api_view_build_seconds", "Time it took to build the last view of the tracker's state, from which responses are made.", func(s *stats) float64 { return s.viewMS / 1000 }),
		telemetry.Gauge("valtrack_api_view_nodes", "Nodes in that view.", func(s *stats) int { return s.nodes }),
	)
}
