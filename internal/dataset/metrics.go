package dataset

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the metrics of the tables, by the footers of their parts: see
// Survey.Tables.
func NewMetrics(reg *telemetry.Registry, tables func() []TableFigures) {
	gauge := func(name, help string, value func(TableFigures) float64) telemetry.Metric[[]TableFigures] {
		return telemetry.GaugeBy("valtrack_dataset_"+name, "table", help, func(tables []TableFigures) map[string]float64 {
			byTable := make(map[string]float64, len(tables))
			for _, t := range tables {
				byTable[t.Table] = value(t)
			}
			return byTable
		})
	}
	telemetry.Register(reg, tables,
		gauge("rows", "Rows of a table, according to the footers of its parts.", func(t TableFigures) float64 { return float64(t.Rows) }),
		gauge("parts", "Parts of a table that can be read.", func(t TableFigures) float64 { return float64(t.Parts) }),
		gauge("unreadable_parts", "Parts of a table whose footer cannot be read.", func(t TableFigures) float64 { return float64(t.Unreadable) }),
		gauge("damaged_parts", "Damaged parts of a table that were moved to _damaged; must be 0.", func(t TableFigures) float64 { return float64(t.SetAside) }),
		gauge("duplicate_keys", "Events that are in two parts of a table; must be 0.", func(t TableFigures) float64 { return float64(t.DuplicateKeys) }),
	)
}
