package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

const flagAllowMissing = "allow-missing"

func (p *program) checkDataCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "data", Usage: "read every file of the datasets: gaps, duplicates, damage",
		Description: "Reads every row in --data-dir, also while a consumer writes. Fails when something is missing, duplicated\n" +
			"or damaged, the tables or the tracker disagree, or a file is not part of the datasets. Gaps in a sentry's\n" +
			"counters are events that were lost or have not arrived yet.",
		Flags: []cli.Flag{jsonFlag(), wide(flagAllowMissing, 0, "accept up to so many missing events and rows, such as those of an earlier loss")},
	}, runCheckData)
}

// Errors of check data after it has printed what it found.
var (
	errUnsound = errors.New("the datasets have duplicates or damaged files")
	errForeign = errors.New("files that are not parts of the datasets are in their directories")
	errTracker = errors.New("the tracker disagrees with the datasets")
)

// checkDataView is the result of `check data --json`. OK is false for everything that makes
// the command fail.
type checkDataView struct {
	OK          bool   `json:"ok"`
	Missing     uint64 `json:"missing"`      // events
	MissingRows uint64 `json:"missing_rows"` // of parts that are gone; at most so many
	// Tracker says how the tracker disagrees with the rows; empty when it does not.
	Tracker string `json:"tracker"`
	*dataset.Health
}

func runCheckData(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	rejected, err := consumer.Rejected(dir)
	if err != nil {
		return err
	}
	track, problem := readTracker(ctx, dir)
	h, err := dataset.Check(ctx, dir, rejected)
	if err != nil {
		return err
	}
	if problem == "" {
		if problem, err = track.problem(ctx, h); err != nil {
			return err
		}
	}
	view := checkDataView{Missing: h.Missing(), MissingRows: h.MissingRows(), Tracker: problem, Health: h}
	failed := in.failedCheck(view)
	view.OK = failed == nil
	if in.cmd.Bool(flagJSON) {
		err = writeJSON(in.stdout, view)
	} else {
		err = writeHealth(in.stdout, view)
	}
	if err != nil {
		return err
	}
	return failed
}

// failedCheck is the first thing that is wrong and was not accepted.
func (in invocation) failedCheck(v checkDataView) error {
	holes := slices.ContainsFunc(v.Tables, func(t dataset.TableHealth) bool { return len(t.Holes) > 0 })
	switch {
	case !v.Sound():
		return errUnsound
	case !v.Health.OK():
		return errForeign
	case v.Missing+v.MissingRows > in.cmd.Uint64(flagAllowMissing), holes && !in.cmd.IsSet(flagAllowMissing):
		return fmt.Errorf("%d events and %d rows are missing: restore them from a backup, wait for those on their way, or accept the loss with --%s %d",
			v.Missing, v.MissingRows, flagAllowMissing, v.Missing+v.MissingRows)
	case v.Tracker != "":
		return errTracker
	}
	return nil
}

// maxGapsShown bounds the gaps in the table; --json has all.
const maxGapsShown = 20

func writeHealth(out io.Writer, v checkDataView) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "table\tparts\trows\tfrom\tto\tduplicate rows\tduplicate keys\tunreadable")
	for _, t := range v.Tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%d\t%d\t%d\n", t.Table, t.Parts, t.Rows, moment(t.From), moment(t.To), t.DuplicateRows, t.DuplicateKeys, len(t.Unreadable))
	}
	fmt.Fprintln(w, "\nsentry\tboot\tlast\tstored\trejected\tmissing")
	for _, s := range v.Sentries {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", s.Sentry, s.Boot, s.Last, s.Stored, s.Rejected, s.Missing)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	fmt.Fprintln(out, "(boot: one start of a sentry; last: the highest number of an event from it; of these, stored, rejected and missing)")
	for _, s := range v.Sentries {
		if s.Far > 0 {
			fmt.Fprintf(out, "far  %s-%s  %d events with counters that no sentry reaches: somebody made them up, and an earlier version stored them\n", s.Sentry, s.Boot, s.Far)
		}
		for i, gap := range s.Gaps {
			if i == maxGapsShown {
				fmt.Fprintf(out, "gap  %s-%s  and %d more\n", s.Sentry, s.Boot, len(s.Gaps)-i)
				break
			}
			fmt.Fprintf(out, "gap  %s-%s  %d to %d\n", s.Sentry, s.Boot, gap[0], gap[1])
		}
	}
	for _, t := range v.Tables {
		writeDamage(out, t)
		writeNotes(out, t)
	}
	if v.Tracker != "" {
		fmt.Fprintf(out, "tracker  %s\n", v.Tracker)
	}
	return nil
}

// writeDamage prints what makes the command fail.
func writeDamage(out io.Writer, t dataset.TableHealth) {
	for _, u := range t.Unreadable {
		fmt.Fprintf(out, "unreadable  %s: %s\n", u.File, u.Error)
	}
	for _, path := range t.SetAside {
		fmt.Fprintf(out, "damaged  %s: set aside by a consumer; put a whole copy back into the table, or accept the loss, and remove it\n", path)
	}
	for _, hole := range t.Holes {
		rows := fmt.Sprintf("at most %d rows", hole.Events)
		if hole.Rows != nil {
			rows = fmt.Sprintf("%d rows", *hole.Rows)
		}
		fmt.Fprintf(out, "missing  %s: the parts of segments %d to %d, %s\n", t.Table, hole.First, hole.Last, rows)
	}
	for _, d := range t.Disagreeing {
		fmt.Fprintf(out, "disagrees  %s: segments %d to %d: %s\n", t.Table, d.First, d.Last, d.Problem)
	}
	for _, path := range t.Overlapping {
		fmt.Fprintf(out, "overlaps  %s: it has the number of a merged part but other rows: two consumers have written to this directory\n", path)
	}
	for _, path := range t.Foreign {
		fmt.Fprintf(out, "foreign  %s: not a part of this dataset, move it away: other readers count its rows, or fail\n", path)
	}
}

// writeNotes prints what is not wrong.
func writeNotes(out io.Writer, t dataset.TableHealth) {
	if t.Purged > 0 {
		fmt.Fprintf(out, "purged  %s: %d rows that 'valtrack purge' removed\n", t.Table, t.Purged)
	}
	if t.ClockErrors > 0 {
		fmt.Fprintf(out, "clock  %s: %d rows of sentries whose clock was off; they are not used for estimates (clock_error_ms)\n", t.Table, t.ClockErrors)
	}
	if t.NoChecksum > 0 {
		fmt.Fprintf(out, "unverified  %s: %d parts of an earlier version have no checksum; they can be read\n", t.Table, t.NoChecksum)
	}
	if len(t.UnknownColumns) > 0 {
		fmt.Fprintf(out, "%s: columns of a later version: %s; their parts are read without them, and not merged\n", t.Table, strings.Join(t.UnknownColumns, ", "))
	}
	if t.NotCompared > 0 {
		fmt.Fprintf(out, "%s: %d rows were not compared with all others, because their times are out of order\n", t.Table, t.NotCompared)
	}
}

// moment formats the time of a row; - when there is none.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}
