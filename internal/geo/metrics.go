package geo

import "github.com/chainbound/valtrack/internal/telemetry"

// NewMetrics registers the metrics of the databases that places are from.
func NewMetrics(reg *telemetry.Registry, l *Locator) {
	telemetry.Register(reg, l.Sources,
		telemetry.GaugeBy("valtrack_places_data_timestamp_seconds", "database", "Unix time of the data about locations and networks, by database.", func(sources []Source) map[string]float64 {
			dates := map[string]float64{}
			for _, s := range sources {
				date := float64(s.Date.Unix())
				if other, ok := dates[s.Name]; ok { // as of two files, for IPv4 and for IPv6
					date = min(date, other)
				}
				dates[s.Name] = date
			}
			return dates
		}))
}
