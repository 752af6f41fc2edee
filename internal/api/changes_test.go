package api

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Each kind of change is found once, in the view in which it happened.
func TestChangesBetween(t *testing.T) {
	const hour = int64(3_600_000)
	now := 1000 * hour
	watchedTo := func(at int64) func(p *tracker.Peer) { // since its handshake
		return func(p *tracker.Peer) { p.Watched = []estimate.Span{{p.LastHandshake, at}} }
	}
	state := &tracker.State{History: tracker.History{Counts: []tracker.HourCounts{{Hour: hour}}}}
	peer := func(id string, handshake int64, change func(p *tracker.Peer)) node {
		p := &tracker.Peer{
			ID: id, Client: eth2.Client{Kind: eth2.ClientLighthouse, Version: "v8.0.0"}, Address: "quic/192.0.2." + id + ":9000", FirstSeen: handshake, LastHandshake: handshake, LastSeen: handshake,
			Estimate: &tracker.Estimate{Estimate: estimate.Estimate{Median: 5, PValidator: 1}},
		}
		if change != nil {
			change(p)
		}
		n := node{Peer: p, release: p.Client.Release(), weight: 1, validating: validatingOf(p), place: placeOf(p)}
		if handshake < now-24*hour {
			n.weight = math.NaN()
		}
		return n
	}
	was := &view{state: state, nodes: []node{
		peer("1", now-hour, nil), peer("2", now-hour, nil), peer("3", now-hour, nil), peer("4", now-hour, nil), peer("5", now-hour, nil), peer("7", now-hour, nil),
		peer("8", now-30*hour, watchedTo(now-hour)), peer("9", now-30*hour, watchedTo(now-24*hour)),
	}}
	was.nodes[3].weight = 1
	is := &view{state: state, nodes: []node{
		peer("1", now, func(p *tracker.Peer) { p.Address = "quic/198.51.100.1:9000" }),
		peer("2", now, func(p *tracker.Peer) { p.Client.Version = "v8.1.0" }),
		peer("3", now, func(p *tracker.Peer) { p.Estimate = &tracker.Estimate{} }),
		peer("4", now-25*hour, nil),
		peer("5", now, func(p *tracker.Peer) {
			p.Estimate = &tracker.Estimate{Estimate: estimate.Estimate{Median: 1, PValidator: 0.6}}
		}),
		peer("6", now, func(p *tracker.Peer) { p.Address = "quic/192.0.2.4:9000" }),
		peer("7", now-hour, func(p *tracker.Peer) { p.Client.Version, p.ClientAt = "v8.1.0", now-1 }), // told without a handshake
		peer("8", now-30*hour, watchedTo(now)), peer("9", now-30*hour, watchedTo(now-24*hour-1)),
	}}
	was.totals.Hour, is.totals.Hour = now-hour, now
	was.nodes[2].Estimate.Low, was.nodes[2].Estimate.High = 2, 9
	is.nodes[2].Estimate.High, is.nodes[2].Estimate.Flags = 1, estimate.FlagSilent
	is.keepValidating(was)
	var got []string
	intervals := ""
	for _, c := range changesBetween(was, is) {
		if c.Kind == stopped {
			intervals = fmt.Sprint(*c.FromLow, *c.FromHigh, *c.ToLow, *c.ToHigh, c.Flags)
		} else if c.FromLow != nil || c.ToHigh != nil || c.Flags != nil {
			t.Errorf("%+v has intervals", c)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", c.ID, c.Kind, orEmpty(c.From), orEmpty(c.To), orEmpty(c.Replaces))))
	}
	if intervals != "2 9 0 1 [silent]" {
		t.Errorf("intervals and flags of what changed: %s", intervals)
	}
	kept := was.nodes[2].forFile().node()
	if low, high := kept.interval(); low == nil || *low != 2 || high == nil || *high != 9 {
		t.Errorf("a restart keeps the interval %v to %v", low, high)
	}
	for i := range was.nodes {
		if n := &was.nodes[i]; n.LastMet() != n.forFile().node().LastMet() {
			t.Errorf("a restart forgets when %s was met", n.ID)
		}
	}
	earlier := (&fileNode{Median: 3}).node()
	if low, high := earlier.interval(); low != nil || high != nil {
		t.Errorf("the file of an earlier version has the interval %v to %v", *low, *high)
	}
	slices.Sort(got)
	want := []string{"1 moved", "2 upgraded 8.0.0 8.1.0", "3 stopped_validating 5 0", "4 vanished", "6 appeared   4", "7 upgraded 8.0.0 8.1.0", "9 vanished"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if is.nodes[4].validating != yes {
		t.Error("an unsure estimate is a change")
	}
	if again := changesBetween(is, is); len(again) != 0 {
		t.Errorf("nothing changed: %v", again)
	}
}

// The log keeps a bounded number of changes, and numbers them so that streams miss none of
// those that are kept.
func TestChangeLogIsBounded(t *testing.T) {
	l := newChangeLog()
	v := &view{state: &tracker.State{}}
	l.all = make([]change, maxChanges+changesSlack+10)
	for i := range l.all {
		l.all[i] = change{Seq: int64(i) + 1, FoundAt: time.Now().UnixMilli()}
	}
	l.end = int64(len(l.all)) + 1
	l.add(l.find(v, v))
	if len(l.all) > maxChanges || l.all[0].Seq != changesSlack+11 {
		t.Errorf("%d changes from %d", len(l.all), l.all[0].Seq)
	}
	if got, last := l.from(0); len(got) != len(l.all) || last != l.end-1 || got[len(got)-1].Seq != last {
		t.Errorf("%d changes, last %d", len(got), last)
	}
}

// A stream that is so slow that changes were dropped which it was not sent is told so, once.
func TestSlowStreamIsReset(t *testing.T) {
	l := newChangeLog()
	for seq := int64(6); seq <= 10; seq++ { // 1 to 5 were dropped
		l.all = append(l.all, change{Seq: seq})
	}
	l.end, l.newest.from = 11, 9
	for number, want := range map[int64]struct {
		reset   bool
		changes int
		last    int64
	}{0: {true, 3, 8}, 4: {true, 3, 8}, 5: {false, 3, 8}, 8: {false, 2, 10}, 9: {false, 1, 10}} {
		data, last := l.eventsAfter(number, 3, false)
		text := string(data)
		if reset := strings.HasPrefix(text, "event: reset\n"); reset != want.reset || strings.Count(text, "event: reset") > 1 || strings.Count(text, "event: change") != want.changes || last != want.last {
			t.Errorf("after %d: up to %d\n%s\nwant %+v", number, last, text, want)
		}
	}
	l.all, l.newest.from = nil, 6
	if data, last := l.eventsAfter(5, 3, false); string(data) != eventReset || last != 10 {
		t.Errorf("all were dropped: %q, up to %d", data, last)
	}
}

// No query makes an answer that is not as specified, or an error of the server.
func FuzzQuery(f *testing.F) {
	s := newTestServer(f, 14)
	next := s.object("/api/v1/nodes?limit=1&sort=-validators", false)["meta"].(map[string]any)["next"].(string)
	for _, q := range []string{
		"limit=1&sort=-validators&cursor=" + next, "client=lighthouse&counted=true", "validators_from=1e3&width_to=2", "fields=id,validators&format=csv",
		"q=0x0700000000", "q=enr:-abc", "format=geojson&all_subnets=false", "from=1&to=2&country=none", "flag=silent", "cursor=e30",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/api/v1/nodes", "/api/v1/timeseries", "/api/v1/changes", "/validators"} {
			r := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}, RemoteAddr: "192.0.2.1:1"}).WithContext(t.Context())
			rec := httptest.NewRecorder()
			s.handler.ServeHTTP(rec, r)
			checkAnswer(t, http.MethodGet, path, rec)
			if rec.Code >= http.StatusInternalServerError {
				t.Fatalf("%s?%s: %d %.200s", path, query, rec.Code, rec.Body)
			}
		}
	})
}
