package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rowsOf are the rows of a list as text, and the cursor of the next page.
func (s *testServer) rowsOf(query string, full bool) (rows []string, next string) {
	s.t.Helper()
	header := http.Header{"Accept-Encoding": {"identity"}} // not compared with the specification: that takes most of the time
	if full {
		header.Set("X-API-Key", s.key)
	}
	rec := s.ask(http.MethodGet, "/api/v1/nodes?"+query, header)
	var body struct {
		Data []json.RawMessage
		Meta struct{ Next *string }
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != http.StatusOK {
		s.t.Fatalf("%s: %d %v %.300s", query, rec.Code, err, rec.Body)
	}
	for _, row := range body.Data {
		rows = append(rows, string(row))
	}
	if body.Meta.Next != nil {
		next = *body.Meta.Next
	}
	return rows, next
}

// The pages of a list are together the list of one moment, in every order, with filters and with and
// without a key, whatever changes between any two of them.
func TestPagesAreOfOneView(t *testing.T) {
	s := newTestServer(t, 60)
	at := time.Now().Add(-30 * time.Minute)
	release := 0
	queries := []string{"client=lighthouse&sort=-validators", "counted=true&fields=id,last_seen&sort=last_seen"}
	for _, column := range []string{"id", "-id", "-validators", "client", "-last_seen", "os", "-latitude", "p_validator", "all_subnets", "-ip", "weight"} {
		queries = append(queries, "sort="+column)
	}
	for i, query := range queries {
		full := i%2 == 0
		name := strings.TrimPrefix(query[len("sort="):], "-")
		full = full || slices.ContainsFunc(nodeColumns, func(c column) bool { return c.name == name && c.keyed })
		s.views.pins.list = nil // whatever is young enough would be used again
		want, _ := s.rowsOf("limit=1000&"+query, full)
		var got []string
		for page, next := 0, ""; ; page++ {
			cursor := ""
			if next != "" {
				cursor = "&cursor=" + next
			}
			var rows []string
			rows, next = s.rowsOf(fmt.Sprint("limit=", 7+i%5, "&", query, cursor), full)
			got = append(got, rows...)
			if next == "" {
				break
			}
			if page < 2 { // some nodes change, and others come
				release++
				s.crawl.crawl(release, release+3, at.Add(time.Duration(release)*time.Second))
				s.views.update()
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d rows in pages, %d at once, or others", query, len(got), len(want))
		}
	}
}

// A cursor whose view is not kept any more is refused with what to do; those that are in use stay,
// however many others begin.
func TestCursorsThatAreGone(t *testing.T) {
	s := newTestServer(t, 60)
	_, first := s.rowsOf("limit=5", false)
	old := s.views.pins.list[0].view
	begun := time.Now()
	at := begun.Add(-30 * time.Minute)
	for i := range 2 * maxPins {
		s.crawl.crawl(0, 5, at.Add(time.Duration(i)*time.Second))
		s.views.update()
		s.rowsOf("limit=5", false)
		if _, again := s.rowsOf("limit=5&cursor="+first, false); again == "" {
			t.Fatal("no next page")
		}
	}
	took := time.Since(begun)
	if n, most := len(s.views.pins.list), 2+int(took/pinShare(60)); n > most {
		t.Errorf("%d views are kept for lists that began within %s, which share one for %s", n, took, pinShare(60))
	}
	for i := range s.views.pins.list { // as if more time had passed
		s.views.pins.list[i].kept = time.Time{}
	}
	for i := range 2 * maxPins {
		s.crawl.crawl(0, 5, at.Add(time.Duration(100+i)*time.Second))
		s.views.update()
		s.rowsOf("limit=5", false)
		for k := range s.views.pins.list {
			s.views.pins.list[k].kept = time.Time{}
		}
	}
	if n := len(s.views.pins.list); n > maxPins || slices.ContainsFunc(s.views.pins.list, func(p pin) bool { return p.view == old }) {
		t.Errorf("%d views are kept", n)
	}
	if rec := s.get("/api/v1/nodes?limit=5&cursor="+first, false); rec.Code != http.StatusGone {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := s.get("/api/v1/nodes?format=csv&cursor="+first, false); rec.Code != http.StatusGone {
		t.Errorf("csv: %d", rec.Code)
	}
}

// However many nodes there are and lists begin, a view stays for pinLeast after its last use.
func TestPinsStay(t *testing.T) {
	for _, n := range []int{0, 10_000, 60_000, 100_000, 190_000, 250_000} {
		synctest.Test(t, func(t *testing.T) {
			nodes := make([]node, n)
			var p pins
			first := &view{nodes: nodes}
			p.keep(first)
			for began := time.Now(); time.Since(began) < pinLeast-time.Second; time.Sleep(200 * time.Millisecond) {
				p.keep(p.begin(&view{nodes: nodes}))
				if !slices.ContainsFunc(p.list, func(x pin) bool { return x.view == first }) {
					t.Fatalf("%d nodes: gone after %s", n, time.Since(began))
				}
			}
			if p.nodes() > maxPinned && len(p.list) > minPins || len(p.list) > maxPins {
				t.Errorf("%d views of %d nodes", len(p.list), n)
			}
		})
	}
}

// Numbers put values in the order of compare.
func TestRank(t *testing.T) {
	values := []value{
		float(-1e9), float(-2.5), float(math.Copysign(0, -1)), float(0), float(1e-6), float(3), float(1e12), integer(int64(0)), integer(int64(7)), integer(uint64(1) << 63),
		text("a"), text("ab"), text("abcdefgh"), text("abcdefghi"), text("b"), text("\xff\xfe"), boolean(false), boolean(true),
	}
	for _, a := range values {
		for _, b := range values {
			if a.kind != b.kind {
				continue
			}
			c := a.compare(b, false)
			if x, y := a.rank(), b.rank(); c < 0 && x > y || c > 0 && x < y || c == 0 && x != y || a.kind != kindText && c != 0 && x == y {
				t.Errorf("%v and %v: compare %d, ranks %x and %x", a, b, c, x, y)
			}
		}
	}
}
