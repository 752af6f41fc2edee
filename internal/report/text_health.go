package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/chainbound/valtrack/internal/dataset"
)

// maxGapsShown bounds the gaps in the table; JSON has all.
const maxGapsShown = 20

// WriteHealth writes what a check of the datasets found, for people. tracker says how the
// tracker disagrees with them; empty when it does not.
func WriteHealth(w io.Writer, h *dataset.Health, tracker string) error {
	p := newPage(w)
	rows := [][]string{}
	for _, t := range h.Tables {
		rows = append(rows, []string{
			t.Table, fmt.Sprint(t.Parts), fmt.Sprint(t.Rows), moment(t.From), moment(t.To),
			fmt.Sprint(t.DuplicateRows), fmt.Sprint(t.DuplicateKeys), fmt.Sprint(len(t.Unreadable)),
		})
	}
	p.table([]column{
		{name: "TABLE"}, {name: "PARTS"}, {name: "ROWS"}, {"FROM", plainColumn, 1}, {"TO", plainColumn, 1},
		{name: "DUP. ROWS"}, {name: "DUP. KEYS"}, {name: "UNREADABLE"},
	}, rows)
	p.sentence("(dup.: duplicate; unreadable: parts)")
	rows = [][]string{}
	for _, s := range h.Sentries {
		rows = append(rows, []string{s.Sentry, s.Boot, fmt.Sprint(s.Last), fmt.Sprint(s.Stored), fmt.Sprint(s.Rejected), fmt.Sprint(s.Missing)})
	}
	p.table([]column{{"SENTRY", idColumn, 0}, {name: "BOOT"}, {"LAST", plainColumn, 1}, {name: "STORED"}, {name: "REJECTED"}, {name: "MISSING"}}, rows)
	p.sentence("(boot: one start of a sentry; last: the highest number of an event from it; of these, stored, rejected and missing; the boots after it say which was the last; the newest boot may have had later events)")
	for _, s := range h.Sentries {
		if s.Far > 0 {
			p.sentence("far  %s-%s  %d events with counters that no sentry reaches: someone made them up, and an earlier version stored them", s.Sentry, s.Boot, s.Far)
		}
		for i, gap := range s.Gaps {
			if i == maxGapsShown {
				p.sentence("gap  %s-%s  and %d more", s.Sentry, s.Boot, len(s.Gaps)-i)
				break
			}
			p.sentence("gap  %s-%s  %d to %d", s.Sentry, s.Boot, gap[0], gap[1])
		}
	}
	for _, t := range h.Tables {
		writeDamage(p, t)
		writeNotes(p, t)
	}
	if tracker != "" {
		p.sentence("tracker  %s", tracker)
	}
	return p.writeTo(w)
}

// writeDamage prints what makes the command fail.
func writeDamage(p *page, t dataset.TableHealth) {
	for _, u := range t.Unreadable {
		p.sentence("unreadable  %s: %s", u.File, u.Error)
	}
	for _, path := range t.SetAside {
		p.sentence("damaged  %s: set aside by a consumer; put an intact copy back into the table, or accept the loss, and remove it", path)
	}
	for _, hole := range t.Holes {
		rows := fmt.Sprintf("at most %d rows", hole.Events)
		if hole.Rows != nil {
			rows = fmt.Sprintf("%d rows", *hole.Rows)
		}
		p.sentence("missing  %s: the parts of segments %d to %d, %s", t.Table, hole.First, hole.Last, rows)
	}
	for _, d := range t.Disagreeing {
		p.sentence("disagrees  %s: segments %d to %d: %s", t.Table, d.First, d.Last, d.Problem)
	}
	for _, path := range t.Overlapping {
		p.sentence("overlaps  %s: it has the number of a merged part but different rows: two consumers have written to this directory", path)
	}
	for _, path := range t.Foreign {
		p.sentence("foreign  %s: not a part of this dataset, move it away: other readers count its rows, or fail", path)
	}
}

// writeNotes prints what is not wrong.
func writeNotes(p *page, t dataset.TableHealth) {
	if t.Purged > 0 {
		p.sentence("purged  %s: %d rows that 'valtrack purge' removed, or that --exclude left out", t.Table, t.Purged)
	}
	if t.ClockErrors > 0 {
		p.sentence("clock  %s: %d rows of sentries whose clock was off; they are not used for estimates (clock_error_ms)", t.Table, t.ClockErrors)
	}
	if t.NoChecksum > 0 {
		p.sentence("unverified  %s: %d parts of an earlier version have no checksum; they can be read", t.Table, t.NoChecksum)
	}
	if len(t.UnknownColumns) > 0 {
		p.sentence("%s: columns of a later version: %s; their parts are read without them, and not merged", t.Table, strings.Join(t.UnknownColumns, ", "))
	}
	if t.NotCompared > 0 {
		p.sentence("%s: %d rows were not compared with all others, because their times are out of order", t.Table, t.NotCompared)
	}
}

// moment is the time of a row; - when there is none.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return clock(ms)
}
