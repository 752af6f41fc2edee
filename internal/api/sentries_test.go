package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiclient "github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/report"
)

// twoSentries are c, which tries 60 nodes, and far, which tries half of them and has another id in
// the keys of its events. Both meet a third sentry.
func twoSentries(t *testing.T) *testCrawl {
	t.Helper()
	c := newTestCrawl(t)
	at := time.Now().Add(-time.Hour)
	c.sentry = "far" // before the other: of an only sentry there are no views
	c.visit(70, at, "45.1.0.70", "valtrack/v0.1.0")
	c.sentry = "c"
	c.visit(70, at, "45.1.0.70", "valtrack/v0.1.0")
	c.crawl(0, 60, at)
	c.sentry = "far"
	c.crawl(0, 30, at.Add(time.Minute))
	for i := range 5 { // after which they are not reached from there any more
		c.fail(i, at.Add(2*time.Minute), "")
	}
	c.tracker.Named("far", "FARKEY")
	c.tracker.Named("c", "c")
	c.commit()
	c.tracker.Hour()
	return c
}

// The comparison has each sentry once, with what the others reach and it does not, in the API and in
// the report of it.
func TestSentriesOfTheAPI(t *testing.T) {
	c := twoSentries(t)
	src := c.sources()
	src.Ingest = func() Ingest {
		return Ingest{Events: map[string]uint64{"c": 100, "FARKEY": 7, "far": 2}, Missing: map[string]uint64{"FARKEY": 3}, ClockErrors: map[string]uint64{"FARKEY": 5, "wrong": 9}}
	}
	s := serverOf(t, c, src, Config{})
	var got comparison
	decode(t, s.object("/api/v1/sentries", false)["data"], &got)
	if got.Nodes.ByAll != 26 || got.Nodes.ByOne != 26 || got.Nodes.ByNone != 8 || got.Nodes.Sentries != 1 {
		t.Errorf("nodes: %+v", got.Nodes)
	}
	if len(got.Sentries) != 3 {
		t.Fatalf("%d sentries: %+v", len(got.Sentries), got.Sentries)
	}
	here, far, wrong := got.Sentries[0], got.Sentries[1], got.Sentries[2]
	if here.ID != "c" || here.Tried != 60 || here.Reached != 52 || here.Alone != 26 || here.Shared != 26 || here.Missed != 0 || *here.ReachedShare != 1 || *here.Location != "here" || here.ClockErrors != 0 {
		t.Errorf("%+v", here)
	}
	if far.ID != "far" || far.Tried != 30 || far.Reached != 26 || far.Alone != 0 || far.Shared != 26 || far.ClockErrors != 5 || len(far.Faults) != 1 || far.Faults[0].Fault != "clock" {
		t.Errorf("%+v", far)
	}
	if wrong.ID != "wrong" || wrong.ClockErrors != 9 || wrong.LastEvent != nil || len(wrong.Faults) != 1 {
		t.Errorf("%+v", wrong)
	}

	// The crawl, too, has a sentry once, whatever id its keys have.
	var crawled struct{ Sentries []sentry }
	decode(t, s.object("/api/v1/crawl", false)["data"], &crawled)
	if len(crawled.Sentries) != 2 || crawled.Sentries[1].ID != "far" || *crawled.Sentries[1].Events != 9 || *crawled.Sentries[1].Missing != 3 || *crawled.Sentries[0].Events != 100 {
		t.Errorf("crawl: %+v", crawled.Sentries)
	}

	// A sentry of another group is no node.
	if rec := s.get("/api/v1/nodes/"+testPeer(70), false); rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "another Valtrack sentry") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func decode(t *testing.T, v, into any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Who sees a node, and who does not.
func TestNodeIsSeenBy(t *testing.T) {
	c := twoSentries(t)
	s := serverOf(t, c, c.sources(), Config{})
	for i, want := range map[int][2]any{3: {true, true}, 6: {false, false}, 40: {true, nil}} {
		list := s.object("/api/v1/nodes/"+testPeer(i), false)["data"].(map[string]any)["seen_by"].([]any)
		if len(list) != 2 {
			t.Fatalf("node %d: %v", i, list)
		}
		here, far := list[0].(map[string]any), list[1].(map[string]any)
		if here["sentry"] != "c" || far["sentry"] != "far" || here["reachable"] != want[0] || far["reachable"] != want[1] {
			t.Errorf("node %d: %v, %v", i, here, far)
		}
		if i == 3 && (far["last_outcome"] != event.OutcomeStatus || far["subscribed_subnets"] == nil || far["subscriptions_differ"] == nil) || i == 40 && (far["last_seen"] != nil || here["subscriptions_differ"] != nil) {
			t.Errorf("node %d: %v, %v", i, here, far)
		}
	}
}

// The report of an API is that of the data directory.
func TestRemoteSentries(t *testing.T) {
	c := twoSentries(t)
	server := httptest.NewServer(serverOf(t, c, c.sources(), Config{}).handler)
	t.Cleanup(server.Close)
	if err := c.tracker.Close(); err != nil {
		t.Fatal(err)
	}
	asking, err := apiclient.New(apiclient.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	remote := report.NewRemote(asking)
	got, err := remote.Sentries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := report.ReadSentries(t.Context(), c.dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := textOf(t, got)
	if diff := cmp.Diff(textOf(t, want), text); diff != "" || !strings.Contains(text, "left out: 1 other Valtrack sentry") || !strings.Contains(text, "100.0 %") {
		t.Errorf("%s\n%s", diff, text)
	}
	if data := marshal(got); bytes.Contains(data, []byte(`"hours"`)) || !bytes.Contains(data, []byte(`"reached_share":1`)) {
		t.Errorf("%s", data)
	}
	n, err := remote.Node(t.Context(), testPeer(3))
	if err != nil {
		t.Fatal(err)
	}
	if text := textOf(t, n); !strings.Contains(text, "SENTRY  LOCATION  REACHED") || !strings.Contains(text, "far ") {
		t.Errorf("%s", text)
	}
}
