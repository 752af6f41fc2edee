package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/tracker"
)

// comparison is what the sentries see of the same network, over the day before their newest event.
type comparison struct {
	Nodes    tracker.NodeViews `json:"nodes"`
	Sentries []comparedSentry  `json:"sentries"`
}

type comparedSentry struct {
	ID                    string                `json:"id"`
	Location              *string               `json:"location"`
	Version               *string               `json:"version"`
	FirstSeen             *int64                `json:"first_seen"`
	LastEvent             *int64                `json:"last_event"`
	ClockSkewMS           *int64                `json:"clock_skew_ms"`
	ClockSkewAt           *int64                `json:"clock_skew_at"`
	ClockErrors           uint64                `json:"clock_errors"`
	Tried                 int                   `json:"tried"`
	Reached               int                   `json:"reached"`
	Watched               int                   `json:"watched"`
	Alone                 int                   `json:"alone"`
	Shared                int                   `json:"shared"`
	Missed                int                   `json:"missed"`
	ReachedShare          *number               `json:"reached_share"`
	HandshakeMS           *int64                `json:"handshake_ms"`
	HandshakeDifferenceMS *int64                `json:"handshake_difference_ms"`
	Handshakes            int64                 `json:"handshakes"`
	Hellos                int64                 `json:"hellos"`
	WatchedHours          number                `json:"watched_hours"`
	Changes               int64                 `json:"changes"`
	Faults                []tracker.SentryFault `json:"faults"`
}

func getSentries(s *Server, r *request) (answer, *problem) {
	if p := r.done(); p != nil {
		return answer{}, p
	}
	a := r.data(s, compare(r.view.state, s.src.Ingest().ClockErrors))
	a.etag = "" // clock errors are no part of the view
	return a, nil
}

// compare lists the sentries of a state, and those whose events all have clock errors, of which the
// state knows nothing.
func compare(state *tracker.State, clockErrors map[string]uint64) comparison {
	figures, nodes := state.Sentries()
	out := comparison{Nodes: nodes, Sentries: make([]comparedSentry, 0, len(figures))}
	for _, f := range figures {
		x := comparedSentry{
			ID: f.ID, Location: known(f.Location), Version: known(f.Version), FirstSeen: known(f.FirstSeen), LastEvent: known(f.LastSeen),
			ClockSkewMS: f.SkewMS, Tried: f.Tried, Reached: f.Reached, Watched: f.Watched, Alone: f.Alone, Shared: f.Shared, Missed: f.Missed,
			ReachedShare: given(f.ReachedShare), HandshakeMS: f.HandshakeMS, HandshakeDifferenceMS: f.HandshakeDifferenceMS,
			Handshakes: f.Handshakes, Hellos: f.Hellos, WatchedHours: number(f.WatchedHours), Changes: f.Changes, Faults: f.Faults,
		}
		if f.SkewMS != nil {
			x.ClockSkewAt = known(f.SkewAt)
		}
		out.Sentries = append(out.Sentries, x)
	}
	for _, key := range slices.Sorted(maps.Keys(clockErrors)) {
		out.noteClock(state.SentryOf(key), clockErrors[key])
	}
	return out
}

func (c *comparison) noteClock(id string, events uint64) {
	i, ok := slices.BinarySearchFunc(c.Sentries, id, func(x comparedSentry, id string) int { return strings.Compare(x.ID, id) })
	if !ok {
		c.Sentries = slices.Insert(c.Sentries, i, comparedSentry{ID: id, Faults: []tracker.SentryFault{}})
	}
	x := &c.Sentries[i]
	x.ClockErrors += events
	fault := tracker.SentryFault{Fault: tracker.FaultClock, Text: fmt.Sprintf("%d events since the consumer's start are not used: its clock, or the broker's, is off by minutes", x.ClockErrors)}
	x.Faults = append(slices.Clone(x.Faults), fault)
}

// seenBy is what a sentry knows of a node.
type seenBy struct {
	Sentry              string  `json:"sentry"`
	Location            *string `json:"location"`
	LastSeen            *int64  `json:"last_seen"`
	LastHandshake       *int64  `json:"last_handshake"`
	LastVisit           *int64  `json:"last_visit"`
	LastOutcome         *string `json:"last_outcome"`
	Reachable           *bool   `json:"reachable"`
	HandshakeMS         *int64  `json:"handshake_ms"`
	SubscribedSubnets   *int    `json:"subscribed_subnets"`
	SubscriptionsDiffer *bool   `json:"subscriptions_differ"`
}

func seenByOf(views []report.NodeView) []seenBy {
	out := make([]seenBy, len(views))
	for i, v := range views {
		out[i] = seenBy{
			v.Sentry, known(v.Location), known(v.LastSeen), known(v.LastHandshake), known(v.LastVisit), known(v.LastOutcome),
			v.Reachable, v.HandshakeMS, v.SubscribedSubnets, v.SubscriptionsDiffer,
		}
	}
	return out
}
