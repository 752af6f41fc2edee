package api

import (
	"fmt"
	"testing"
	"time"
)

// What is remembered of filters is right in the view that it is of and in later ones, bounded, and
// found for the next view before anybody asks.
func TestMatchesAreOfTheirView(t *testing.T) {
	s := newTestServer(t, 60)
	total := func(query string) float64 {
		t.Helper()
		return s.object("/api/v1/nodes?"+query, false)["meta"].(map[string]any)["total"].(float64)
	}
	before := total("limit=1000&version=9.0.0")
	all := total("limit=1000")
	if before != 0 || all != 60 {
		t.Fatalf("%v of %v", before, all)
	}
	s.crawl.upgrade(0, 3, time.Now().Add(-time.Minute), "v9.0.0")
	s.crawl.crawl(60, 62, time.Now().Add(-time.Minute))
	s.views.update()
	v := s.views.current.Load()
	if m := v.matches.made["version=9.0.0"]; m == nil || m.total != 3 {
		t.Errorf("not prepared: %+v", m)
	}
	if a, b, all := total("version=9.0.0&limit=1000"), total("sort=-validators&fields=id&limit=1000&version=9.0.0"), total("limit=1000"); a != 3 || b != 3 || all != 62 {
		t.Errorf("%v and %v of %v", a, b, all)
	}
	for i := range 3 * maxMatches {
		total(fmt.Sprint("limit=1000&validators_from=", i))
	}
	if n := len(v.matches.made); n > maxMatches {
		t.Errorf("%d are remembered", n)
	}
}
