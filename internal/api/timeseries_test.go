package api

import (
	"slices"
	"testing"
	"time"
)

// TestForkReadinessOverTime: the newest point says what /forks says of now, and hours before the
// digests were counted say nothing.
func TestForkReadinessOverTime(t *testing.T) {
	c := newTestCrawl(t)
	c.crawl(0, 60, time.Now().Add(-time.Hour))
	c.announceAll(60, time.Now().Add(-50*time.Minute))
	c.commit()
	c.tracker.Hour()
	s := serverOf(t, c, c.sources(), Config{})
	s.crawl.commit() // the hour's totals are in it
	s.views.update()
	last := s.totalsPoint()
	now := s.object("/api/v1/summary", false)["data"].(map[string]any)["forks"].(map[string]any)
	for metric, is := range map[string]string{"fork_ready": "ready", "fork_not_ready": "not_ready", "fork_unknown": "unknown", "fork": "next"} {
		if last[metric] != now[is] {
			t.Errorf("%s is %v in the series, %v in the summary", metric, last[metric], now[is])
		}
	}
	old := s.views.current.Load().state.Totals()
	old.NextDigests = nil
	var p point
	p.setForks(&s.src, old)
	if p.ForkReady != nil || p.ForkUnknown != nil {
		t.Errorf("%+v of an hour without digests", p)
	}
	old.NextDigests, old.Hour = map[string]int{"none": 1}, time.Now().Add(100*365*24*time.Hour).UnixMilli()
	if p.setForks(&s.src, old); p.ForkReady != nil {
		t.Errorf("%+v without a next fork", p)
	}
}

// totalsPoint is the newest point of the series that has totals.
func (s *testServer) totalsPoint() map[string]any {
	s.t.Helper()
	points := s.object("/api/v1/timeseries?step=6h", false)["data"].([]any)
	for _, p := range slices.Backward(points) {
		if p := p.(map[string]any); p["totals_at"] != nil {
			return p
		}
	}
	s.t.Fatal("no point has totals")
	return nil
}

// TestSeriesBeginsWithTheCrawl: the first hour and the first step began before the first
// handshake, and what is said of them is not of then.
func TestSeriesBeginsWithTheCrawl(t *testing.T) {
	s := newTestServer(t, 60)
	s.crawl.commit()
	s.views.update()
	p := s.totalsPoint()
	first := s.views.current.Load().firstSeen()
	if at := int64(p["totals_at"].(float64)); at < first || float64(at) < p["time"].(float64) {
		t.Errorf("totals of %d in the step of %v, the crawl began at %d", at, p["time"], first)
	}
}

// TestMostNodesIsOfAllGroups: the country or network with the most nodes need not be among those
// with the most validators.
func TestMostNodesIsOfAllGroups(t *testing.T) {
	name := func(s string) *string { return &s }
	v := &view{groups: map[string][]group{byCountry: {}}}
	for i := range topGroups {
		v.groups[byCountry] = append(v.groups[byCountry], group{Name: name(string(rune('A' + i))), Nodes: 2})
	}
	v.groups[byCountry] = append(v.groups[byCountry], group{Name: name("Z"), Nodes: 9}, group{Nodes: 50}, group{Name: name(others), Nodes: 60})
	if top := v.top(byCountry); top.MostNodes == nil || *top.MostNodes.Name != "Z" || len(top.Top) != topGroups {
		t.Errorf("%+v", top.MostNodes)
	}
}
