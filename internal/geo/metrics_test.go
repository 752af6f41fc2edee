package geo

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// The age of each database's data can be watched, whatever a file calls itself; of files of
// one name that of the oldest.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	record := object{"city": text("x")}
	l := openWith(t, quiet,
		write(t, filepath.Join(dir, "a.mmdb"), buildAt(t, "Cities\xff", 4, record, time.Unix(1_790_000_000, 0))),
		write(t, filepath.Join(dir, "b.mmdb"), buildAt(t, "Cities\xff", 6, record, time.Unix(1_780_000_000, 0))))
	reg := telemetry.NewRegistry()
	NewMetrics(reg, l)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "valtrack_places_data_timestamp_seconds" {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	for _, s := range l.Sources()[2:] {
		if got[s.Name] != float64(s.Date.Unix()) {
			t.Errorf("%s: %v, want %v", s.Name, got[s.Name], s.Date.Unix())
		}
	}
	if got["Cities"] != 1_780_000_000 || len(got) != 3 {
		t.Errorf("%v", got)
	}
}
