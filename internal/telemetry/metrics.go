package telemetry

import (
	"cmp"
	"regexp"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Registry holds a process's metrics, and what docs/metrics.md says of them.
type Registry struct {
	*prometheus.Registry
	mu   sync.Mutex
	docs []MetricDoc
}

// MetricDoc describes one metric.
type MetricDoc struct {
	Name, Type, Label, Help string // Label is empty for a metric without one
}

// liveHeap is what the last garbage collection left: go_gc_heap_live_bytes. Unlike the heap's size
// it does not go up and down between two of them.
var liveHeap = collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}

// NewRegistry is a registry with the Go runtime's and the process's metrics.
func NewRegistry() *Registry {
	reg := &Registry{Registry: prometheus.NewRegistry()}
	reg.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(liveHeap)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Docs describes what was registered with Register, by name.
func (r *Registry) Docs() []MetricDoc {
	r.mu.Lock()
	defer r.mu.Unlock()
	docs := slices.Clone(r.docs)
	slices.SortFunc(docs, func(a, b MetricDoc) int { return cmp.Compare(a.Name, b.Name) })
	return docs
}

// Number is what the value of a metric may be.
type Number interface{ int | int64 | uint64 | float64 }

// Metric is one metric of a package, computed at each scrape from a snapshot S of the
// package's state. Counter, Gauge and the other functions below make one.
type Metric[S any] struct {
	doc     MetricDoc
	collect func(desc *prometheus.Desc, s S) []prometheus.Metric
}

// Types of metrics, as Prometheus names them.
const (
	typeCounter   = "counter"
	typeGauge     = "gauge"
	typeHistogram = "histogram"
)

// Counter is a count that only grows while the process lives. Its name ends in _total.
func Counter[S any, N Number](name, help string, value func(S) N) Metric[S] {
	return single(MetricDoc{name, typeCounter, "", help}, prometheus.CounterValue, value)
}

// Gauge is a value that goes up and down.
func Gauge[S any, N Number](name, help string, value func(S) N) Metric[S] {
	return single(MetricDoc{name, typeGauge, "", help}, prometheus.GaugeValue, value)
}

// CounterBy is a counter for each value of a label.
func CounterBy[S any, N Number](name, label, help string, values func(S) map[string]N) Metric[S] {
	return labelled(MetricDoc{name, typeCounter, label, help}, prometheus.CounterValue, values)
}

// GaugeBy is a gauge for each value of a label.
func GaugeBy[S any, N Number](name, label, help string, values func(S) map[string]N) Metric[S] {
	return labelled(MetricDoc{name, typeGauge, label, help}, prometheus.GaugeValue, values)
}

// Histogram counts values by upper bounds; buckets are cumulative.
func Histogram[S any](name, help string, value func(S) (count uint64, sum float64, buckets map[float64]uint64)) Metric[S] {
	return Metric[S]{MetricDoc{name, typeHistogram, "", help}, func(desc *prometheus.Desc, s S) []prometheus.Metric {
		count, sum, buckets := value(s)
		return []prometheus.Metric{prometheus.MustNewConstHistogram(desc, count, sum, buckets)}
	}}
}

func single[S any, N Number](doc MetricDoc, kind prometheus.ValueType, value func(S) N) Metric[S] {
	return Metric[S]{doc, func(desc *prometheus.Desc, s S) []prometheus.Metric {
		return []prometheus.Metric{prometheus.MustNewConstMetric(desc, kind, float64(value(s)))}
	}}
}

func labelled[S any, N Number](doc MetricDoc, kind prometheus.ValueType, values func(S) map[string]N) Metric[S] {
	return Metric[S]{doc, func(desc *prometheus.Desc, s S) (out []prometheus.Metric) {
		for label, n := range values(s) {
			out = append(out, prometheus.MustNewConstMetric(desc, kind, float64(n), label))
		}
		return out
	}}
}

// Register adds a package's metrics. snapshot is called once per scrape. It panics when a
// name is taken: that is a mistake of the program.
func Register[S any](r *Registry, snapshot func() S, metrics ...Metric[S]) {
	c := &collector[S]{snapshot: snapshot, metrics: metrics}
	for _, m := range metrics {
		var labels []string
		if m.doc.Label != "" {
			labels = []string{m.doc.Label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(m.doc.Name, m.doc.Help, labels, nil))
	}
	r.MustRegister(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range metrics {
		r.docs = append(r.docs, m.doc)
	}
}

// collector computes metrics at each scrape, so that a package has one set of counters.
type collector[S any] struct {
	snapshot func() S
	metrics  []Metric[S]
	descs    []*prometheus.Desc // of the metrics
}

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector[S]) Collect(out chan<- prometheus.Metric) {
	s := c.snapshot()
	for i, m := range c.metrics {
		for _, metric := range m.collect(c.descs[i], s) {
			out <- metric
		}
	}
}
