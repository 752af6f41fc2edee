package api

import (
	"encoding/json"
	"slices"
	"testing"
)

// The licence of DB-IP asks for a link wherever its places are shown.
func TestAnswersNameTheSourcesOfPlaces(t *testing.T) {
	s := newTestServer(t, 3)
	for _, path := range []string{"/api/v1/summary", "/api/v1/nodes", "/api/v1/countries", "/api/v1/datasets", "/api/v1/crawl"} {
		var got struct{ Meta meta }
		if err := json.Unmarshal(s.get(path, false).Body.Bytes(), &got); err != nil {
			t.Fatal(path, err)
		}
		m := got.Meta
		if !slices.ContainsFunc(m.GeoSources, func(g geoSource) bool {
			return g.URL == "https://db-ip.com" && g.Licence != "" && g.Date != ""
		}) || m.GeoDate == nil {
			t.Errorf("%s: %+v, date %v", path, m.GeoSources, m.GeoDate)
		}
	}
}
