package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// verdict compares what is stored with what was published.
type verdict struct {
	events int // in the datasets
	lost   int // Publish had returned for them
	twice  int // rows too many
	// rejected events are of another network.
	rejected int
	wrong    []error
}

func (v *verdict) wrongf(format string, args ...any) {
	const enough = 20
	if len(v.wrong) < enough {
		v.wrong = append(v.wrong, fmt.Errorf(format, args...))
	}
}

// sound is nil when every event is stored once and everything agrees.
func (v *verdict) sound() error {
	err := errors.Join(v.wrong...)
	if v.lost > 0 || v.twice > 0 {
		err = errors.Join(fmt.Errorf("%d events lost, %d rows twice", v.lost, v.twice), err)
	}
	return err
}

// stored counts the rows of each event, and those of the validators table, by boot.
type stored struct {
	*verdict
	peers   int
	rows    map[uint64][]uint8
	derived map[uint64][]uint8
}

// verify reads everything that w's consumer, which has ended, has stored.
func (w *world) verify(ctx context.Context) (verdict, error) {
	var v verdict
	s := stored{verdict: &v, peers: w.peers, rows: map[uint64][]uint8{}, derived: map[uint64][]uint8{}}
	reported, err := published(w.published())
	if err != nil {
		return v, err
	}
	for boot, n := range reported {
		// One more may have been accepted and not reported.
		s.rows[boot], s.derived[boot] = make([]uint8, n+2), make([]uint8, n+2)
	}
	if err := s.scan(ctx, w.data); err != nil {
		return v, err
	}
	want := s.compare(w, reported)
	if w.retention > 0 { // the tracker has what rows are no longer there for
		return v, w.checkData(ctx, &v, reported)
	}
	if err := w.compareTracker(ctx, &v, want); err != nil {
		return v, err
	}
	return v, w.checkData(ctx, &v, reported)
}

func (s *stored) scan(ctx context.Context, dir string) error {
	visitID := func(into map[uint64][]uint8, k kind, visitID, peer string) error {
		i, err := parseNumber(visitID)
		if err == nil {
			s.add(into, k, i, peer)
		}
		return err
	}
	return errors.Join(
		dataset.Scan(ctx, dir, dataset.Range{}, func(r dataset.MetadataRow) error { return visitID(s.rows, handshake, r.VisitID, r.ID) }),
		dataset.Scan(ctx, dir, dataset.Range{}, func(r dataset.ValidatorRow) error { return visitID(s.derived, handshake, r.VisitID, r.ID) }),
		dataset.Scan(ctx, dir, dataset.Range{}, func(r dataset.VisitRow) error { return visitID(s.rows, visit, r.VisitID, r.ID) }),
		dataset.Scan(ctx, dir, dataset.Range{}, func(r dataset.DiscoveryRow) error {
			s.add(s.rows, record, numberOfSeq(r.Seq), r.ID)
			return nil
		}),
	)
}

func (s *stored) add(into map[uint64][]uint8, k kind, i number, peer string) {
	counts := into[i.boot]
	switch {
	case i.n == 0 || i.n >= uint64(len(counts)):
		// A sentry that was killed before it had reported its first event.
		if counts == nil && i.n == 1 {
			into[i.boot] = []uint8{0, 1}
			return
		}
		s.wrongf("event %v was never published", i)
	case i.kind() != k || peerID(i.peer(s.peers)) != peer:
		s.wrongf("event %v of peer %s is not as it was published", i, peer)
	default:
		counts[i.n] = min(counts[i.n]+1, 254)
	}
}

// observations are what the tracker must know of one peer.
type observations struct{ handshakes, visits uint64 }

// compare counts, and tells what the stored events make of each peer.
func (s *stored) compare(w *world, told map[uint64]uint64) map[string]observations {
	of := map[string]observations{}
	for boot, counts := range s.rows {
		for n := 1; n < len(counts); n++ {
			i, rows, odd := number{boot, uint64(n)}, int(counts[n]), usual
			if w.unusual {
				odd = i.oddity()
			}
			if rows == 0 {
				if i.n <= told[boot] && odd != foreign && w.retention == 0 {
					s.lost++
				}
				continue
			}
			if odd == foreign {
				s.wrongf("event %v of another network was stored", i)
			}
			s.events++
			s.twice += rows - 1
			if odd == early { // the clock cannot be right
				continue
			}
			o := of[peerID(i.peer(s.peers))]
			switch i.kind() {
			case handshake:
				o.handshakes++
				if have := s.derived[boot]; n >= len(have) || have[n] != counts[n] {
					s.wrongf("event %v has another number of rows in %s", i, dataset.ValidatorMetadata)
				}
			case visit:
				o.visits++
			case record:
			}
			of[peerID(i.peer(s.peers))] = o
		}
	}
	return of
}

// compareTracker compares the database of peers with the stored events.
func (w *world) compareTracker(ctx context.Context, v *verdict, want map[string]observations) error {
	view, err := tracker.Read(ctx, w.data)
	if err != nil {
		return err
	}
	for i := range w.peers {
		id := peerID(i)
		var got observations
		if p := view.Peer(id); p != nil {
			got.handshakes = p.Observations
			for _, n := range p.Outcomes {
				got.visits += uint64(n)
			}
		}
		if got != want[id] {
			v.wrongf("the tracker has %+v of peer %s, the datasets have %+v", got, id, want[id])
		}
	}
	return nil
}

// checkData asks `valtrack check data`: all that was published is stored, was removed for its
// age, or is among the rejected events.
func (w *world) checkData(ctx context.Context, v *verdict, reported map[uint64]uint64) error {
	cmd := exec.CommandContext(ctx, w.valtrack.path, append(append([]string{}, w.valtrack.args...), "check", "data", "--json", "--data-dir", w.data)...)
	cmd.Env = append(os.Environ(), w.valtrack.env...)
	out, err := cmd.Output()
	var health struct {
		OK       bool   `json:"ok"`
		Missing  uint64 `json:"missing"`
		Sentries []struct {
			Boot     string      `json:"boot"`
			Stored   uint64      `json:"stored"`
			Rejected uint64      `json:"rejected"`
			Gaps     [][2]uint64 `json:"gaps"`
		} `json:"sentries"`
	}
	if decodeErr := json.Unmarshal(out, &health); decodeErr != nil {
		return fmt.Errorf("check data: %w", errors.Join(err, decodeErr))
	}
	covered, rejected, accepted := uint64(0), uint64(0), map[uint64]uint64{}
	for _, s := range health.Sentries {
		boot, err := strconv.ParseUint(s.Boot, 10, 64)
		if err != nil {
			return fmt.Errorf("check data: boot %q: %w", s.Boot, err)
		}
		accepted[boot] = s.Stored + s.Rejected
		covered, rejected = covered+s.Stored, rejected+s.Rejected
		if len(s.Gaps) > 0 {
			v.wrongf("boot %s: counters %v are missing", s.Boot, s.Gaps)
		}
	}
	v.rejected = int(rejected)
	for boot, n := range reported {
		// One more may have been accepted and not reported.
		if got := accepted[boot]; got < n || got > n+1 {
			v.wrongf("boot %d: check data knows %d events, published were %d", boot, got, n)
		}
	}
	if !health.OK || health.Missing > 0 || w.retention == 0 && covered != uint64(v.events) {
		v.wrongf("check data: ok %v, %d events missing, %d covered of %d", health.OK, health.Missing, covered, v.events)
	}
	if (err == nil) != health.OK {
		v.wrongf("check data: ok %v, but %w", health.OK, err)
	}
	return nil
}
