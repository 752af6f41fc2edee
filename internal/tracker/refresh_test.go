package tracker

import (
	"math"
	"testing"
	"time"
)

// An hour's rows come once, with the segment that has them.
func TestHour(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour+5*time.Minute)
	tr := opened(t, dir, &now)
	if rows := tr.Hour(); len(rows) != 0 {
		t.Fatalf("%d rows of nothing", len(rows))
	}
	for _, e := range newCrawl(1).events(30, 4, start.Add(time.Hour), 2*time.Hour) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	if rows := tr.Hour(); len(rows) != 30 || rows[0].Hour != start.Add(10*time.Hour).UnixMilli() {
		t.Fatalf("%d rows", len(rows))
	}
	tr.Drop()
	rows := tr.Hour()
	if len(rows) != 30 {
		t.Fatalf("%d rows after a drop", len(rows))
	}
	if again := tr.Hour(); len(again) != 0 {
		t.Fatalf("%d rows again in the same segment", len(again))
	}
	flush(t, tr, 1)
	tr.killed(t)
	tr = opened(t, dir, &now)
	if again := tr.Hour(); len(again) != 0 {
		t.Fatalf("%d rows again after a restart", len(again))
	}
	h, err := ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Totals) != 1 {
		t.Fatalf("%d totals", len(h.Totals))
	}
	sum := 0.0
	for _, r := range rows {
		sum += r.Estimate.Mean
	}
	if got := h.Totals[0]; got.Nodes != 30 || math.Abs(got.Validators-sum) > 1e-6*sum {
		t.Errorf("totals %+v, the rows sum to %g", got, sum)
	}
	handshakes := int64(0)
	for _, c := range h.Counts {
		handshakes += c.Counts[CountHandshakes]
	}
	if handshakes != 120 {
		t.Errorf("%d handshakes counted, want 120", handshakes)
	}
	now = now.Add(time.Hour)
	if rows := tr.Hour(); len(rows) != 30 {
		t.Errorf("%d rows in the next hour", len(rows))
	}
}

// Another number of active validators changes the estimates of all.
func TestActiveValidators(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	for _, e := range newCrawl(1).events(10, 6, start.Add(time.Hour), 40*time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	before := tr.State().Peer(peerID(0)).Estimate.Mean
	tr.SetActiveValidators(300_000)
	now = now.Add(2 * time.Minute)
	flush(t, tr, 1)
	if after := tr.State().Peer(peerID(0)).Estimate.Mean; after >= before {
		t.Errorf("estimate %g with fewer active validators, %g before: each aggregates more often", after, before)
	}
	if n := tr.learner.learned.Params.ActiveValidators; n != 300_000 {
		t.Errorf("%d active validators", n)
	}
}

// What was reduced under another number of committees is not mixed with what is reduced
// under the present one, also after a restart.
func TestCommitteesChange(t *testing.T) {
	dir, now := t.TempDir(), start.Add(10*time.Hour)
	tr := opened(t, dir, &now)
	c := newCrawl(1)
	for _, e := range c.events(5, 6, start.Add(time.Hour), 40*time.Minute) {
		tr.Add(e)
	}
	flush(t, tr, 0)
	tr.SetActiveValidators(900_000) // 64 committees a slot still
	now = now.Add(2 * time.Minute)
	flush(t, tr, 1)
	if len(tr.State().Peer(peerID(0)).days) == 0 {
		t.Fatal("statistics are gone without need")
	}
	for _, e := range c.visit(0, start.Add(9*time.Hour), 0) { // of the open segment
		tr.Add(e)
	}
	tr.SetActiveValidators(64)
	now = now.Add(time.Hour)
	tr.Hour()
	flush(t, tr, 2)
	for id, p := range tr.peers {
		if len(p.days) > 0 || p.Estimate.EpochsWatched > 0 {
			t.Fatalf("%s has %d days, %v epochs", id, len(p.days), p.Estimate.EpochsWatched)
		}
	}
	for _, e := range c.visit(0, start.Add(10*time.Hour), 1) {
		tr.Add(e)
	}
	flush(t, tr, 3)
	if len(tr.State().Peer(peerID(0)).days) != 1 {
		t.Fatal("nothing is recounted")
	}
	if p, ok, err := LastParams(t.Context(), dir, "testnet"); err != nil || !ok || p.ActiveValidators != 64 || p.PAggUncertainty != 0 {
		t.Errorf("last parameters %+v, %v", p, ok)
	}
	if _, ok, err := LastParams(t.Context(), dir, "other"); ok || err != nil {
		t.Error("parameters of another network")
	}
	tr.killed(t)
	tr = opened(t, dir, &now) // with 950 000 again
	if len(tr.State().Peer(peerID(0)).days) != 0 {
		t.Error("statistics of 1 committee a slot are loaded for 64")
	}
}

// Visits move an estimate within an epoch, the first at once, and not each of them; a part
// of a watch does within a minute.
func TestEstimatesAreFresh(t *testing.T) {
	now := start.Add(10 * time.Hour)
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	segment := uint64(0)
	visit := func(i, epochs int) {
		for _, e := range c.visit(i, now.Add(-time.Minute), epochs) {
			tr.Add(e)
		}
		flush(t, tr, segment)
		segment++
	}
	visit(0, 3)
	now = now.Add(time.Minute)
	visit(1, 3)
	if tr.State().Peer(peerID(1)).Estimate == nil {
		t.Error("a new peer waits for its estimate")
	}
	before := tr.State().Peer(peerID(0)).Estimate
	visit(0, 0)
	for minute := 0; ; minute++ {
		now = now.Add(time.Minute)
		flush(t, tr, segment)
		segment++
		if tr.State().Peer(peerID(0)).Estimate != before {
			if minute < 2 {
				t.Errorf("re-estimated after %d minutes", minute)
			}
			break
		}
		if time.Duration(minute)*time.Minute > params().Clock.EpochDuration() {
			t.Fatalf("not re-estimated for %d minutes", minute)
		}
	}
	before = tr.State().Peer(peerID(0)).Estimate
	now = now.Add(time.Minute)
	visit(0, 1)
	if tr.State().Peer(peerID(0)).Estimate == before {
		t.Error("a watch waits for its estimate")
	}
}

// What the first nodes of a crawl taught is not kept for an hour when there are many
// more.
func TestLearnsAgainWhenACrawlHasGrown(t *testing.T) {
	now := start
	tr := opened(t, t.TempDir(), &now)
	c := newCrawl(1)
	crawled, segment := 0, uint64(0)
	minute := func(nodes int) int64 {
		t.Helper()
		for ; crawled < nodes; crawled++ {
			for _, e := range c.visit(crawled, now, 0) {
				tr.Add(e)
			}
		}
		flush(t, tr, segment)
		segment++
		now = now.Add(time.Minute)
		return tr.learner.learned.At
	}
	first := minute(4)
	if second := minute(5); first == 0 || second != first {
		t.Errorf("learned at %d of 4 nodes, at %d of 5", first, second)
	}
	if third := minute(6); third == first {
		t.Error("6 nodes are half as many again as 4")
	}
}
