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
	if len(s.Sentries) == 0 {
		p.sentence("no sentry is known: a consumer of this version has stored no event yet, or run 'valtrack rebuild'")
		return p.writeTo(w)
	}
	rows := [][]string{}
	for _, x := range s.Sentries {
		skew, rate := "-", "-"
		if x.SkewMS != nil {
			skew = fmt.Sprintf("%+.2f s", (time.Duration(*x.SkewMS) * time.Millisecond).Seconds())
		}
		if x.WatchedHours > 0 {
			rate = fmt.Sprintf("%.1f", float64(x.Changes)/x.WatchedHours)
		}
		seen := "-"
		if x.LastSeen > 0 {
			seen = clock(x.LastSeen)
		}
		rows = append(rows, []string{
			printable.Clean(x.ID), orDash(printable.Clean(x.Location)), orDash(printable.Clean(x.Version)), seen, skew, fmt.Sprint(x.Tried), fmt.Sprint(x.Reached), fmt.Sprint(x.Alone), fmt.Sprint(x.Missed),
			milliseconds(x.HandshakeMS), fmt.Sprintf("%.1f", x.WatchedHours), rate,
		})
	}
	p.table([]column{
		{"SENTRY", textColumn, 0}, {"LOCATION", textColumn, 0}, {"VERSION", textColumn, 2}, {"LAST EVENT", plainColumn, 1}, {"CLOCK", plainColumn, 1},
		{"TRIED", plainColumn, 2}, {"REACHED", plainColumn, 0}, {"ALONE", plainColumn, 0}, {"MISSED", plainColumn, 0},
		{"HANDSHAKE", plainColumn, 1}, {"WATCHED, h", plainColumn, 2}, {"CHANGES/h", plainColumn, 3},
	}, rows)
	p.WriteByte('\n')
	n := s.Nodes
	if len(s.Sentries) == 1 {
		p.sentence("nodes of the last day: %d reached, %d not; there is no other sentry to compare with", n.ByOne, n.ByNone)
	} else {
		p.sentence("nodes of the last day: %d reached by all of several sentries, %d by some of them only, %d by the only one that tried, %d by none", n.ByAll, n.BySome, n.ByOne, n.ByNone)
	}
	for _, x := range s.Sentries {
		for _, f := range x.Faults {
			p.sentence("! %s (%s): %s", printable.Clean(x.ID), f.Fault, f.Text)
		}
	}
	if p.width > 0 {
		p.sentence("(of the day before the newest event. Alone: reached by no other sentry. Missed: tried, and reached by others only. Handshake: median from the dial on. Changes: of attestation subnets, per hour in which a node was watched.)")
	}
	return p.writeTo(w)
}

func milliseconds(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%d ms", *ms)
}

// writeViews writes who sees the node, when several sentries have tried it.
func (d *Tracked) writeViews(p *page) {
	if len(d.Views) < 2 {
		return
	}
	rows := [][]string{}
	for _, v := range d.Views {
		reached, visit, subnets := "never", "-", "-"
		if v.LastHandshake > 0 {
			reached = clock(v.LastHandshake)
		}
		if v.LastVisit > 0 {
			visit = v.LastOutcome + ", " + clock(v.LastVisit)
		}
		if v.SubscribedSubnets != nil {
			subnets = fmt.Sprint(*v.SubscribedSubnets)
		}
		rows = append(rows, []string{printable.Clean(v.Sentry), orDash(printable.Clean(v.Location)), reached, visit, milliseconds(v.HandshakeMS), subnets})
	}
	p.table([]column{
		{"SENTRY", textColumn, 0}, {"LOCATION", textColumn, 0}, {"REACHED", plainColumn, 0}, {"LAST VISIT", plainColumn, 1}, {"HANDSHAKE", plainColumn, 1}, {"SUBNETS", plainColumn, 2},
	}, rows)
}
