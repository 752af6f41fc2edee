package api

import (
	"testing"
	"time"
)

// The names that mean one thing have the values of the old ones, and no fork is said to be
// scheduled when none is.
func TestSummaryNames(t *testing.T) {
	c := newTestCrawl(t)
	c.crawl(0, 60, time.Now().Add(-time.Hour))
	c.commit()
	src := c.sources()
	src.Schedule.Periods = src.Schedule.Periods[:len(src.Schedule.Periods)-1]
	s := serverOf(t, c, src, Config{})
	s.views.update()
	data := s.object("/api/v1/summary", false)["data"].(map[string]any)
	v := data["validators"].(map[string]any)
	if v["attachments_per_active"] == nil || v["attachments_per_active"] != v["active_ratio"] {
		t.Errorf("attachments per active validator: %v and %v", v["attachments_per_active"], v["active_ratio"])
	}
	var mean any
	if per, ok := v["nodes_per_validator"].(map[string]any); ok {
		mean = per["mean"]
	}
	if mean != v["multiplicity"] {
		t.Errorf("nodes per validator: %v and %v", mean, v["multiplicity"])
	}
	if u := v["unaccounted"].(map[string]any); u["share"] != v["unreached_share"] || u["low"] == nil {
		t.Errorf("unaccounted: %v and %v", u, v["unreached_share"])
	}
	for path, forks := range map[string]any{"summary": data["forks"], "forks": s.object("/api/v1/forks", false)["data"]} {
		f := forks.(map[string]any)
		if f["scheduled"] != false || f["next"] != nil || f["validators"] != nil {
			t.Errorf("%s without a next fork: scheduled %v, next %v, validators %v", path, f["scheduled"], f["next"], f["validators"])
		}
	}
}
