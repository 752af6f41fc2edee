package clickhouse

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/event/eventtest"
	"github.com/chainbound/valtrack/internal/tracker"
)

// The dashboard's series are the same from ClickHouse as from a tracker that is rebuilt from the
// datasets: all that are sums, at each time, by outcome and by client.
func TestSeriesAreTheDashboards(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		begin := time.Now().Add(-5 * time.Hour).Truncate(time.Hour)
		for range 3 {
			appendCrawl(t, w, m, begin, 200)
			commit(t, w)
		}
		appendEstimates(t, w, m, begin)
		commit(t, w)
		s := newSink(t, w, url)
		round(t, s)

		want, got := trackerSeries(t, w, begin), map[string]float64{}
		rows, err := s.conn.rows(t.Context(), "SELECT name, label, timestamp, value FROM "+s.schema.table(seriesView))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if got[fmt.Sprint(row[0], " ", row[1], " ", row[2])], err = strconv.ParseFloat(fmt.Sprint(row[3]), 64); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if math.Abs(got[key]-want[key]) > 1e-9*math.Abs(want[key]) {
				t.Errorf("%s: %v, want %v", key, got[key], want[key])
			}
			delete(got, key)
		}
		if len(got) > 0 || len(want) < 40 {
			t.Errorf("%d numbers; the dashboard does not have %v", len(want), got)
		}
	})
}

// appendCrawl appends events of some hours, some with clocks that are off.
func appendCrawl(t *testing.T, w *dataset.Writer, m maker, begin time.Time, n int) {
	t.Helper()
	for i := range n {
		for _, e := range eventtest.Filled() {
			id := fmt.Sprintf("16U%d", m.IntN(20))
			at := begin.Add(time.Duration(m.IntN(4*3600)) * time.Second).UnixMilli()
			var off *int64
			if m.IntN(5) == 0 {
				off = new(int64(600_000))
			}
			var err error
			switch e := e.(type) {
			case *event.PeerDiscovered:
				e.ID, e.Timestamp, e.Seq = id, at, uint64(i)
				row := dataset.FromPeerDiscovered(e)
				row.ClockErrorMS = off
				err = dataset.Append(w, row)
			case *event.MetadataReceived:
				e.ID, e.Timestamp, e.VisitID = id, at, fmt.Sprint(i, at)
				row := dataset.FromMetadataReceived(e)
				row.ClockErrorMS = off
				err = dataset.Append(w, row)
			case *event.VisitEnded:
				e.ID, e.Timestamp, e.VisitID, e.More, e.Part = id, at, fmt.Sprint(i, at), m.IntN(3) == 0, m.IntN(2)
				e.Outcome = []string{event.OutcomeOK, event.OutcomeGoodbye, event.OutcomeRefused}[m.IntN(3)]
				if m.IntN(2) == 0 {
					e.Watch = nil
				}
				row := dataset.FromVisitEnded(e)
				row.ClockErrorMS = off
				err = dataset.Append(w, row)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// appendEstimates appends those of 20 nodes in four hours; the stake of the second is not known.
func appendEstimates(t *testing.T, w *dataset.Writer, m maker, begin time.Time) {
	t.Helper()
	for hour := range 4 {
		for i := range 20 {
			row := dataset.EstimateRow{
				ID: fmt.Sprintf("16U%d", i), Client: []string{"lighthouse", "prysm", "teku"}[i%3], ValidatorsMean: float64(m.IntN(1000)) / 7, ValidatorsSD: 3, PValidator: m.Float64(),
				ActiveValidators: 1_000_000, LastSeen: begin.UnixMilli(),
				Common: dataset.Common{Network: "n", CrawlerID: "s", Timestamp: begin.Add(time.Duration(hour) * time.Hour).UnixMilli()},
			}
			if hour != 1 {
				row.MeanBalance = new(33.25)
			}
			if i%4 > 0 { // rows of earlier versions have no weight
				row.Weight = new(float64(i%4) / 3)
			}
			if err := dataset.Append(w, row); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// trackerSeries are the sums of the history that a new tracker makes of the datasets, by name, label
// and time.
func trackerSeries(t *testing.T, w *dataset.Writer, begin time.Time) map[string]float64 {
	t.Helper()
	tr, err := tracker.Open(t.Context(), tracker.Config{
		Dir: t.TempDir(), Log: discardLog(),
		Params: estimate.Params{ActiveValidators: 1_000_000, Preset: eth2.MainnetPreset(), Clock: eth2.Clock{Genesis: begin, SlotDuration: 12 * time.Second, SlotsPerEpoch: 32}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := consumer.CatchUp(t.Context(), w, tr, discardLog()); err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	history := tr.State().History
	for _, h := range history.Counts {
		for name, n := range h.Counts {
			label := ""
			if outcome, ok := tracker.VisitOutcome(name); ok {
				name, label = "visits", outcome
			}
			out[fmt.Sprint(name, " ", label, " ", h.Hour)] = float64(n)
		}
	}
	for _, total := range history.Totals {
		for _, c := range total.Clients {
			at := fmt.Sprint(" ", c.Client, " ", total.Hour)
			out["nodes"+at], out["with_validators"+at], out["validators"+at] = float64(c.Nodes), c.WithValidators, c.Validators
			if c.StakeETH != nil {
				out["stake_eth"+at] = *c.StakeETH
			}
		}
	}
	return out
}
