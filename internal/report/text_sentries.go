package report

import (
	"fmt"
	"io"
	"time"

	"github.com/chainbound/valtrack/internal/printable"
)

// WriteText writes the comparison for people.
func (s Sentries) WriteText(w io.Writer) error {
	p := newPage(w)
	s.write(p)
	return p.writeTo(w)
}

func (s Sentries) write(p *page) {
	if len(s.Sentries) == 0 {
		p.sentence("no sentry is known: no consumer of this version has stored an event yet, or 'valtrack rebuild' is needed")
		return
	}
	rows := [][]string{}
	for _, x := range s.Sentries {
		skew, rate, share := "-", "-", "-"
		if x.SkewMS != nil {
			skew = fmt.Sprintf("%+.2f s", (time.Duration(*x.SkewMS) * time.Millisecond).Seconds())
		}
		if x.WatchedHours > 0 {
			rate = fmt.Sprintf("%.1f", float64(x.Changes)/x.WatchedHours)
		}
		if x.ReachedShare != nil {
			share = fmt.Sprintf("%.1f %%", 100**x.ReachedShare)
		}
		handshake := milliseconds(x.HandshakeMS)
		if x.HandshakeDifferenceMS != nil {
			handshake += fmt.Sprintf(" (%+d)", *x.HandshakeDifferenceMS)
		}
		seen := "-"
		if x.LastSeen > 0 {
			seen = clock(x.LastSeen)
		}
		rows = append(rows, []string{
			printable.Clean(x.ID), orDash(printable.Clean(x.Location)), orDash(printable.Clean(x.Version)), seen, skew, fmt.Sprint(x.Tried), fmt.Sprint(x.Reached), fmt.Sprint(x.Alone), fmt.Sprint(x.Missed), share,
			handshake, fmt.Sprint(x.Watched), fmt.Sprintf("%.1f", x.WatchedHours), rate,
		})
	}
	p.table([]column{
		{"SENTRY", textColumn, 0}, {"LOCATION", textColumn, 0}, {"VERSION", textColumn, 2}, {"LAST EVENT", plainColumn, 1}, {"CLOCK", plainColumn, 1},
		{"TRIED", plainColumn, 2}, {"REACHED", plainColumn, 0}, {"ALONE", plainColumn, 0}, {"MISSED", plainColumn, 0}, {"SHARE", plainColumn, 1},
		{"HANDSHAKE", plainColumn, 1}, {"WATCHED", plainColumn, 2}, {"HOURS", plainColumn, 2}, {"CHANGES/h", plainColumn, 3},
	}, rows)
	p.WriteByte('\n')
	n := s.Nodes
	if len(s.Sentries) == 1 {
		p.sentence("nodes of the last day: %d reached, %d not; there is no other sentry to compare with", n.ByOne, n.ByNone)
	} else {
		p.sentence("nodes of the last day: %d reached by all of several sentries, %d by some of them only, %d by the only one that tried, %d by none", n.ByAll, n.BySome, n.ByOne, n.ByNone)
	}
	if n.Sentries > 0 {
		p.sentence("left out: %s, which are no beacon nodes", plural(n.Sentries, "other Valtrack sentry"))
	}
	for _, x := range s.Sentries {
		for _, f := range x.Faults {
			p.sentence("! %s (%s): %s", printable.Clean(x.ID), f.Fault, f.Text)
		}
	}
	p.explain([]field{ // also for a file: sentences are there anyway
		{"of", "the day before the newest event"},
		{"CLOCK", "how far its clock is ahead of the broker's"},
		{"TRIED", "nodes that it visited, or tried to; REACHED: those with a handshake, or in a watch"},
		{"ALONE", "reached by no other sentry; MISSED: tried, and reached by others only"},
		{"SHARE", "of the nodes that it tried and others reached, those that it reached"},
		{"HANDSHAKE", "median time from the dial on; in brackets by how many ms it took longer than others with the same nodes, negative: less"},
		{"WATCHED", "nodes whose subscriptions it recorded; HOURS: how long, the sum of all nodes"},
		{"CHANGES/h", "attestation subnets that a node joined or left, per hour in which it was watched"},
	})
}

func milliseconds(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%d ms", *ms)
}

// writeViews writes who sees the node, and who does not, when several sentries are known.
func writeViews(p *page, views []NodeView) {
	if len(views) < 2 {
		return
	}
	rows := [][]string{}
	for _, v := range views {
		seen, reached, visit, subnets := "never", "not tried", "-", "-"
		if v.LastSeen > 0 {
			seen = clock(v.LastSeen)
		}
		if v.Reachable != nil {
			reached = map[bool]string{true: "yes", false: "no"}[*v.Reachable]
		}
		if v.LastVisit > 0 {
			visit = printable.Clean(v.LastOutcome) + ", " + clock(v.LastVisit)
		}
		if v.SubscribedSubnets != nil {
			subnets = fmt.Sprint(*v.SubscribedSubnets)
			if v.SubscriptionsDiffer != nil && *v.SubscriptionsDiffer {
				subnets += ", differ"
			}
		}
		rows = append(rows, []string{printable.Clean(v.Sentry), orDash(printable.Clean(v.Location)), reached, seen, visit, milliseconds(v.HandshakeMS), subnets})
	}
	p.table([]column{
		{"SENTRY", textColumn, 0}, {"LOCATION", textColumn, 0}, {"REACHED", plainColumn, 0}, {"LAST SEEN", plainColumn, 0}, {"LAST VISIT", plainColumn, 1}, {"HANDSHAKE", plainColumn, 1}, {"SUBNETS", plainColumn, 2},
	}, rows)
	if p.width > 0 {
		p.sentence("(Reached: in the last day, by a handshake or in a watch. Subnets: at the last handshake; they differ when another sentry was told others within an epoch, which a duty that began or ended in between explains, too.)")
	}
}
