package consumer

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/geo"
	"github.com/chainbound/valtrack/internal/geo/hosting"
	"github.com/chainbound/valtrack/internal/tracker"
)

// tracked makes the events of peers on a network that began some hours ago.
type tracked struct {
	genesis time.Time
	config  tracker.Config
	sent    int
}

func newTracked(dir string) *tracked {
	genesis := time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	clock := eth2.Clock{Genesis: genesis, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}
	return &tracked{genesis: genesis, config: tracker.Config{Dir: dir, Network: "n", Log: discardLog(),
		Params: estimate.Params{Clock: clock, Preset: eth2.MainnetPreset(), ActiveValidators: 950_000}}}
}

func (k *tracked) open(t *testing.T) *tracker.Tracker {
	t.Helper()
	tr, err := tracker.Open(t.Context(), k.config)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// next is one of the events of 5 peers in turn: a handshake, or the end of its visit.
func (k *tracked) next() (key string, e event.Event) {
	n := k.sent
	k.sent++
	at := k.genesis.Add(time.Duration(n) * time.Minute)
	h := handshake()
	peer := n / 2 % 5
	h.ID, h.VisitID = fmt.Sprintf("16U%d", peer), fmt.Sprintf("v%d", n/2)
	h.Multiaddr = fmt.Sprintf("/ip4/192.0.%d.2/tcp/9000", peer)
	h.Direction, h.Transport, h.Timestamp = event.Outbound, event.TCP, at.UnixMilli()
	if n%2 == 0 {
		return fmt.Sprintf("s-1-%d", k.sent), h
	}
	v := visit(h.VisitID)
	v.ID, v.Timestamp, v.Started, v.Ended = h.ID, at.UnixMilli(), at.Add(-time.Minute).UnixMilli(), at.UnixMilli()
	v.Watch = &event.Watch{From: v.Started, To: v.Ended, Initial: []int{0, 12}, Changes: []event.SubnetChange{{At: 20_000, Subnet: 5, Subscribed: true}, {At: 40_000, Subnet: 5}}}
	return fmt.Sprintf("s-1-%d", k.sent), v
}

// peers are what a data directory's tracker knows of each; the estimates only as far
// as they are there.
func peers(t *testing.T, dir string) (out []tracker.Peer) {
	t.Helper()
	v, err := tracker.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		p := v.Peer(fmt.Sprintf("16U%d", i))
		if p == nil || p.Estimate == nil {
			t.Fatalf("peer %d is not tracked: %+v", i, p)
		}
		days, undecodable := v.Days(p)
		if undecodable > 0 || len(days) != 1 && len(days) != 2 {
			t.Fatalf("peer %d: %d days, %d that cannot be decoded", i, len(days), undecodable)
		}
		out = append(out, *p)
	}
	return out
}

// Live, behind, caught up, rebuilt: the tracker has each stored event once.
func TestTrackerFollowsTheDatasets(t *testing.T) {
	dir := t.TempDir()
	k := newTracked(dir)
	const segment = 10
	send := func(f *feed, n int) {
		t.Helper()
		var last *answers
		for range n {
			key, e := k.next()
			last = f.send(t, key, e)
		}
		until(t, "the ack", func() bool { return last.String() == "ack" })
	}
	with := func(tr *tracker.Tracker, do func(*running, *feed)) {
		t.Helper()
		f := newFeed()
		c := start(t, dir, Config{SegmentRows: segment, CompactEvery: -1, Tracker: tr}, f)
		do(c, f)
		c.stop(t)
		if tr != nil {
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}

	// A segment that cannot be written and is redelivered.
	with(k.open(t), func(c *running, f *feed) {
		blocked := dataset.Dir(dir, dataset.Visit)
		first := *k
		var last *answers
		for i := range segment {
			if i == 1 { // it has caught up
				until(t, "the first event", func() bool { return c.Stats().Pending == 1 })
				replaceByFile(t, blocked)
			}
			key, e := k.next()
			last = f.send(t, key, e)
		}
		until(t, "the messages to be given back", func() bool { return strings.HasPrefix(last.String(), "nak") })
		replaceByDir(t, blocked)
		*k = first
		send(f, 2*segment)
	})
	// Segments that are committed while the process dies before the tracker has them.
	with(nil, func(_ *running, f *feed) { send(f, 2*segment) })
	with(k.open(t), func(_ *running, f *feed) { send(f, segment) })

	got := peers(t, dir)
	for _, p := range got {
		if p.Observations != 5 || p.Watches != 5 || p.Outcomes[0] != 5 || p.Estimate.EpochsWatched == 0 {
			t.Errorf("peer %s: %d observations, %d watches, outcomes %v, %g epochs", p.ID, p.Observations, p.Watches, p.Outcomes, p.Estimate.EpochsWatched)
		}
	}
	history, err := tracker.ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}

	rebuild(t, dir, k)
	if d := cmp.Diff(got, peers(t, dir), cmpopts.IgnoreUnexported(tracker.Peer{}), cmpopts.IgnoreFields(tracker.Peer{}, "Estimate")); d != "" {
		t.Errorf("(-live +rebuilt):\n%s", d)
	}
	again, err := tracker.ReadHistory(t.Context(), dir, 0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	// Rows of peer_estimates do not have what forks nodes announced.
	if d := cmp.Diff(history, again, cmpopts.EquateApprox(1e-9, 1e-9), cmpopts.IgnoreFields(tracker.Totals{}, "NextDigests")); d != "" || len(history.Totals) == 0 {
		t.Errorf("%d totals (-live +rebuilt):\n%s", len(history.Totals), d)
	}
	checkEstimates(t, dir, history)
}

// A tracker that could not be written has its segments afterwards, however often parts
// were merged meanwhile.
func TestMergesWaitForTheTracker(t *testing.T) {
	dir := t.TempDir()
	k := newTracked(dir)
	tr := k.open(t)
	f := newFeed()
	const every = 100 * time.Millisecond
	c := start(t, dir, Config{SegmentRows: 2, SegmentAge: every, CompactEvery: every, Tracker: tr}, f)
	send := func(n int) {
		var last *answers
		for range n {
			key, e := k.next()
			last = f.send(t, key, e)
		}
		until(t, "the ack", func() bool { return last.String() == "ack" })
	}
	send(10)
	until(t, "a merge", func() bool { return c.Stats().Merged > 0 })
	if err := tr.Close(); err != nil { // from here on nothing can be written
		t.Fatal(err)
	}
	send(10)
	time.Sleep(4 * every) // only gives merges the time that they would need
	c.stop(t)

	tr = k.open(t)
	w, err := dataset.Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{CatchUp(t.Context(), w, tr, discardLog()), tr.Close(), w.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sum := uint64(0)
	v, err := tracker.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if p := v.Peer(fmt.Sprintf("16U%d", i)); p != nil {
			sum += p.Observations
		}
	}
	if sum != 10 {
		t.Errorf("the tracker has %d handshakes, want 10", sum)
	}
}

func rebuild(t *testing.T, dir string, k *tracked) {
	t.Helper()
	w, err := dataset.Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fresh, err := tracker.Create(t.Context(), k.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{CatchUp(t.Context(), w, fresh, discardLog()), fresh.Recompute(t.Context()), fresh.Replace()} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkEstimates compares the rows of peer_estimates with the totals of their hours.
func checkEstimates(t *testing.T, dir string, h tracker.History) {
	t.Helper()
	sums, nodes := map[int64]float64{}, map[int64]int{}
	for _, r := range rows[dataset.EstimateRow](t, dir) {
		sums[r.Timestamp] += r.ValidatorsMean
		nodes[r.Timestamp]++
		if r.Network != "n" || r.CrawlerID != "c" || r.Client != "lighthouse" || r.ActiveValidators != 950_000 || r.ValidatorsHigh < float64(r.Validators) {
			t.Errorf("row %+v", r)
		}
	}
	for _, total := range h.Totals {
		if nodes[total.Hour] != total.Nodes || math.Abs(sums[total.Hour]-total.Validators) > 1e-9*total.Validators {
			t.Errorf("%d rows that sum to %g, totals %+v", nodes[total.Hour], sums[total.Hour], total)
		}
	}
	if len(sums) != len(h.Totals) {
		t.Errorf("rows of %d hours, totals of %d", len(sums), len(h.Totals))
	}
}

// A tracker that is behind segments which were merged with ones that it has, or ahead
// of the datasets, says what to do.
func TestTrackerThatCannotCatchUp(t *testing.T) {
	dir := t.TempDir()
	k := newTracked(dir)
	w, err := dataset.Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tr := k.open(t)
	defer tr.Close()
	if err := CatchUp(t.Context(), w, tr, discardLog()); err != nil {
		t.Fatal(err)
	}
	tr.Apply(5)
	if err := tr.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = CatchUp(t.Context(), w, tr, discardLog())
	if !errors.Is(err, tracker.ErrDamaged) || !strings.Contains(err.Error(), "valtrack rebuild") {
		t.Errorf("ahead: %v", err)
	}
}

// Another program locks the database for a while: events are stored and acknowledged all the
// same, and soon; that the estimates are behind is said until they are not.
func TestLockedTrackerDoesNotStopCommits(t *testing.T) {
	dir := t.TempDir()
	k := newTracked(dir)
	f := newFeed()
	c := start(t, dir, Config{SegmentAge: 10 * time.Millisecond, Tracker: k.open(t)}, f)
	key, e := k.next()
	first := f.send(t, key, e)
	until(t, "a commit", func() bool { return first.String() == "ack" && c.Stats().Estimates == nil })
	unlock := lockDatabase(t, filepath.Join(dir, tracker.File))
	began := time.Now()
	key, e = k.next()
	second := f.send(t, key, e)
	until(t, "a commit without the tracker", func() bool { return second.String() == "ack" })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := c.Stats().Estimates; !errors.Is(err, tracker.ErrBusy) {
		t.Errorf("estimates: %v", err)
	}
	unlock()
	key, e = k.next()
	f.send(t, key, e)
	until(t, "the tracker", func() bool { return c.Stats().Stored == 3 && c.Stats().Estimates == nil })
	c.stop(t)
	if err := c.cfg.Tracker.Close(); err != nil {
		t.Error(err)
	}
}

// lockDatabase locks a database against writers until unlock.
func lockDatabase(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Each column of peer_estimates has a value for a peer of which everything is known.
func TestEveryEstimateColumnHasAValue(t *testing.T) {
	peer := &tracker.Peer{
		ID: "16U1", NodeID: &eth2.NodeID{1}, Client: eth2.ParseAgent("Lighthouse/v8.0.1/x86_64-linux"), LastSeen: 2, CustodyGroupCount: new(uint64(8)), Observations: 3,
		Crawler: event.Common{Network: "n", CrawlerID: "c", CrawlerLocation: "here"},
		Place: &geo.Place{CountryCode: "US", Country: "United States", Region: "Oregon", City: "Boardman", Latitude: 45.8, Longitude: -119.7, Located: true,
			ASN: 16509, Organization: "Amazon", Hosting: hosting.Hosting, Cloud: "aws", Source: "test"},
		Estimate: &tracker.Estimate{EpochsWatched: 4, AllSubnets: true, Estimate: estimate.Estimate{
			Median: 8, Low: 7, High: 9, Mean: 8.1, Variance: 1, Shared: 0.1, Hidden: 0.2, PValidator: 1, Flags: estimate.FlagSilent,
			Stake: estimate.Stake{Known: true, Median: 256, Low: 224, High: 288, Mean: 260},
		}},
	}
	row := reflect.ValueOf(estimateRow(tracker.PeerEstimate{
		Peer: peer, Hour: 5, Weight: 1, Params: estimate.Params{ActiveValidators: 950_000, Balance: estimate.Balance{Mean: 33}},
	}))
	for _, f := range reflect.VisibleFields(row.Type()) {
		if row.FieldByIndex(f.Index).IsZero() {
			t.Errorf("%s has no value", f.Name)
		}
	}
}
