package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/event"
)

// watch stores a watch of so many epochs that ends at a time, in parts of one epoch.
func (c *testCrawl) watch(i int, end time.Time, epochs int) {
	c.t.Helper()
	epoch := testClock().EpochDuration()
	for part := range epochs {
		from := end.Add(-time.Duration(epochs-part) * epoch)
		e := &event.VisitEnded{
			Common:  event.Common{Network: "testnet", CrawlerID: "c", Timestamp: from.Add(epoch).UnixMilli()},
			VisitID: fmt.Sprintf("c-9-%d-%d", i, end.UnixMilli()), ID: testPeer(i), Part: part, More: part < epochs-1, Direction: event.Outbound, Outcome: event.OutcomeOK,
			Watch: &event.Watch{From: from.UnixMilli(), To: from.Add(epoch).UnixMilli(), Initial: []int{i % 64, (i + 1) % 64, 40}, Changes: []event.SubnetChange{{At: 100, Subnet: 50, Subscribed: true}, {At: 200, Subnet: 50}}},
		}
		c.tracker.Add(e)
		c.append(dataset.Append(c.writer, dataset.FromVisitEnded(e)))
	}
	c.commit()
}

type timelineAnswer struct {
	Epochs []observed
	Meta   struct {
		From, To int64
		Earlier  *int64
		Damaged  int `json:"damaged_parts"`
	}
}

func (s *testServer) timeline(i int, query string) (out timelineAnswer) {
	s.t.Helper()
	body := s.object("/api/v1/nodes/"+testPeer(i)+"/observations"+query, false)
	meta := body["meta"].(map[string]any)
	out.Meta.From, out.Meta.To = int64(meta["from"].(float64)), int64(meta["to"].(float64))
	if earlier, ok := meta["earlier"].(float64); ok {
		out.Meta.Earlier = new(int64(earlier))
	}
	out.Meta.Damaged = int(meta["damaged_parts"].(float64))
	for _, row := range body["data"].(map[string]any)["epochs"].([]any) {
		r := row.(map[string]any)
		x := observed{Epoch: uint64(r["epoch"].(float64)), Time: int64(r["time"].(float64)), Source: r["source"].(string)}
		short, _ := r["short_lived_subnets"].([]any)
		for _, n := range short {
			x.ShortLived = append(x.ShortLived, int32(n.(float64)))
		}
		for _, n := range r["long_lived_subnets"].([]any) {
			x.LongLived = append(x.LongLived, int32(n.(float64)))
		}
		out.Epochs = append(out.Epochs, x)
	}
	return out
}

// A timeline has the handshakes and the watched epochs, each once, over as many requests as it
// takes.
func TestTimeline(t *testing.T) {
	c := newTestCrawl(t)
	now := time.Now()
	first := now.Add(-50 * time.Hour)
	c.crawl(0, 20, first)
	c.watch(3, estimate.EpochCut(testClock(), testClock().EpochAt(first.Add(time.Hour))), 5)
	c.crawl(0, 20, now.Add(-time.Hour))
	end := estimate.EpochCut(testClock(), testClock().EpochAt(now)-1)
	c.watch(3, end, 4)
	s := serverOf(t, c, c.sources(), Config{})
	last := s.timeline(3, "")
	if len(last.Epochs) != 5 || last.Meta.Earlier == nil || last.Meta.Damaged != 0 {
		t.Fatalf("%+v", last)
	}
	x := last.Epochs[0]
	if x.Source != ofWatches || x.Epoch != uint64(testClock().EpochAt(now))-2 || !slices.Equal(x.ShortLived, []int32{40, 50}) || !slices.Equal(x.LongLived, []int32{3, 4}) {
		t.Errorf("a watched epoch: %+v", x)
	}
	seen := map[string]int{}
	query, requests := "", 0
	for ; requests < 10; requests++ {
		a := s.timeline(3, query)
		for _, x := range a.Epochs {
			seen[fmt.Sprint(x.Source, x.Time)]++
			if x.Time > a.Meta.To || x.Time < a.Meta.From-testClock().EpochDuration().Milliseconds() {
				t.Errorf("%d is not in %+v", x.Time, a.Meta)
			}
		}
		if a.Meta.Earlier == nil {
			break
		}
		query = fmt.Sprint("?to=", *a.Meta.Earlier)
	}
	if len(seen) != 11 || requests != 2 {
		t.Errorf("%d observations in %d requests: %v", len(seen), requests+1, seen)
	}
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s comes %d times", what, n)
		}
	}
}

// A node with very many observations has the newest, and the rest in another request.
func TestTimelineIsBounded(t *testing.T) {
	var o observations
	for i := range 5 * maxObserved {
		o.add(observed{Time: int64(i / 2), Source: ofHandshakes, LongLived: []int32{}})
	}
	o.finish([8]byte{})
	if n := len(o.Epochs); n < maxObserved || n > maxObserved+1 || o.Epochs[0].Time != 5*maxObserved/2-1 || o.from != o.Epochs[n-1].Time {
		t.Errorf("%d of them, from %d", len(o.Epochs), o.from)
	}
}

// Readers of the datasets are bounded for each client, and an answer that was given just now is
// given again without reading.
func TestTimelineTakesASlot(t *testing.T) {
	s := newTestServer(t, 20)
	s.limits.reads.patience = 0
	path := "/api/v1/nodes/" + testPeer(3) + "/observations"
	if rec := s.get(path, false); rec.Code != http.StatusOK {
		t.Fatal(rec.Body)
	}
	for range maxReads {
		s.limits.reads.used++
	}
	if rec := s.get(path, false); rec.Code != http.StatusOK {
		t.Errorf("again: %d %s", rec.Code, rec.Body)
	}
	rec := s.get("/api/v1/nodes/"+testPeer(4)+"/observations", false)
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("another one: %d %s", rec.Code, rec.Body)
	}
}

// A past estimate has what makes it doubtful, or null where an earlier version made it.
func TestPastEstimatesHaveFlags(t *testing.T) {
	c := newTestCrawl(t)
	at := time.Now().Add(-time.Hour)
	c.crawl(0, 3, at)
	row := dataset.EstimateRow{ID: testPeer(1), Validators: 3, ValidatorsLow: 1, ValidatorsHigh: 9, Common: dataset.Common{Network: "testnet", Timestamp: at.UnixMilli()}}
	c.append(dataset.Append(c.writer, row))
	row.Timestamp, row.Trust, row.Flags = row.Timestamp+1, new("custody"), []string{"silent"}
	c.append(dataset.Append(c.writer, row))
	c.commit()
	s := serverOf(t, c, c.sources(), Config{})
	list := s.object("/api/v1/nodes/"+testPeer(1)+"/observations", false)["data"].(map[string]any)["estimates"].([]any)
	got := ""
	for _, x := range list {
		e := x.(map[string]any)
		got += fmt.Sprintf("%v %v %v %v %v;", e["validators_low"], e["validators"], e["validators_high"], e["trust"], e["flags"])
	}
	if got != "1 3 9 custody [silent];1 3 9 <nil> <nil>;" {
		t.Errorf("%s", got)
	}
}
