package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/tracker"
)

// Sentries compares the sentries of a data directory over the last day, by their ids.
type Sentries struct {
	Nodes    tracker.NodeViews `json:"nodes"`
	Sentries []Sentry          `json:"sentries"`
}

// Sentry is one of them.
type Sentry struct {
	tracker.SentryFigures
	// ClockErrors counts its events of the last days whose times could not be right: they are
	// stored, and used for nothing else. ClockErrorMS is how far the worst was off, above zero ahead.
	ClockErrors  int   `json:"clock_errors"`
	ClockErrorMS int64 `json:"clock_error_ms"`
}

// clockErrorDays is how far back ClockErrors looks.
const clockErrorDays = 2

// ReadSentries compares the sentries in a data directory. An error that is a dataset.ErrDamaged
// comes with what the other parts say.
func ReadSentries(ctx context.Context, dataDir string, now time.Time) (Sentries, error) {
	state, err := ReadState(ctx, dataDir)
	if err != nil {
		return Sentries{}, err
	}
	out := Sentries{Sentries: []Sentry{}}
	if state != nil {
		var figures []tracker.SentryFigures
		figures, out.Nodes = state.Sentries()
		for _, f := range figures {
			out.Sentries = append(out.Sentries, Sentry{SentryFigures: f})
		}
	}
	span := dataset.Range{From: now.AddDate(0, 0, -clockErrorDays).UnixMilli()}
	err = errors.Join(
		dataset.Scan(ctx, dataDir, span, func(r dataset.MetadataRow) error { return out.noteClock(&r.Common, r.ClockErrorMS) }),
		dataset.Scan(ctx, dataDir, span, func(r dataset.VisitRow) error { return out.noteClock(&r.Common, r.ClockErrorMS) }),
	)
	for i := range out.Sentries {
		out.Sentries[i].nameClock()
	}
	return out, err
}

// noteClock notes the clock error of a row, if it has one.
func (s *Sentries) noteClock(c *dataset.Common, off *int64) error {
	if off == nil {
		return nil
	}
	i, known := slices.BinarySearchFunc(s.Sentries, c.CrawlerID, func(x Sentry, id string) int { return strings.Compare(x.ID, id) })
	if !known {
		id, location := strings.Clone(c.CrawlerID), strings.Clone(c.CrawlerLocation)
		s.Sentries = slices.Insert(s.Sentries, i, Sentry{SentryFigures: tracker.SentryFigures{
			Sentry: tracker.Sentry{ID: id, Location: location, Hours: []tracker.SentryHour{}}, Faults: []tracker.SentryFault{},
		}})
	}
	x := &s.Sentries[i]
	x.ClockErrors++
	if off := *off; off > x.ClockErrorMS && x.ClockErrorMS >= 0 || off < x.ClockErrorMS && x.ClockErrorMS <= 0 {
		x.ClockErrorMS = off
	}
	return nil
}

// nameClock adds the fault of a clock that is so far off that events are left out.
func (s *Sentry) nameClock() {
	if s.ClockErrors == 0 {
		return
	}
	text := fmt.Sprintf("%d events of the last %d days are not used, because their times are off by up to %s",
		s.ClockErrors, clockErrorDays, (time.Duration(s.ClockErrorMS) * time.Millisecond).Abs().Round(time.Second))
	s.Faults = append(slices.Clone(s.Faults), tracker.SentryFault{Fault: tracker.FaultClock, Text: text})
}

// NodeView is what one sentry knows of a node; null, or 0, where it does not. Times are Unix
// milliseconds.
type NodeView struct {
	Sentry            string `json:"sentry"`
	Location          string `json:"location"`
	LastSeen          int64  `json:"last_seen"`      // the last handshake, or the end of what it watched last; 0 for never
	LastHandshake     int64  `json:"last_handshake"` // 0 for never
	LastVisit         int64  `json:"last_visit"`     // that has ended
	LastOutcome       string `json:"last_outcome"`
	Reachable         *bool  `json:"reachable"` // reached in the last day; null if it did not try
	HandshakeMS       *int64 `json:"handshake_ms"`
	SubscribedSubnets *int   `json:"subscribed_subnets"` // how many at the last handshake; null without a hello
	// SubscriptionsDiffer is whether another sentry was told other attestation subnets within an
	// epoch of that handshake; null where there is no such handshake.
	SubscriptionsDiffer *bool `json:"subscriptions_differ"`
}

// viewsOf lists what the sentries know of a peer; never nil.
func viewsOf(state *tracker.State, p *tracker.Peer) []NodeView {
	out := []NodeView{}
	for _, v := range state.SeenBy(p) {
		out = append(out, NodeView{v.Sentry, v.Location, v.Seen(), v.Handshake, v.Visit, v.Outcome, v.Reached, v.HandshakeMS, v.Subnets, v.Differs})
	}
	return out
}
