package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

func TestMetricsOfTheDatasets(t *testing.T) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(storageCollector{
		stats: func() consumer.Stats { return consumer.Stats{Covered: map[string]uint64{"s": 7}} },
		tables: func() []dataset.TableFigures {
			return []dataset.TableFigures{{Table: dataset.Visit, Rows: 30, Parts: 2, Unreadable: 1, DuplicateKeys: 4}, {Table: dataset.Metadata, Rows: 20, Parts: 3}}
		},
	})
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "table" || l.GetName() == "sentry" {
					if got[f.GetName()] == nil {
						got[f.GetName()] = map[string]float64{}
					}
					got[f.GetName()][l.GetValue()] = m.Gauge.GetValue()
				}
			}
		}
	}
	want := map[string]map[string]float64{
		"valtrack_events_covered":           {"s": 7},
		"valtrack_dataset_rows":             {"visit_events": 30, "metadata_events": 20},
		"valtrack_dataset_parts":            {"visit_events": 2, "metadata_events": 3},
		"valtrack_dataset_duplicate_keys":   {"visit_events": 4, "metadata_events": 0},
		"valtrack_dataset_unreadable_parts": {"visit_events": 1, "metadata_events": 0},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
