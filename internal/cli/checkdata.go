package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
)

func (p *program) checkDataCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "data", Usage: "read every file of the datasets: gaps, duplicates, damage",
		Description: "Reads every row in --data-dir, also while a consumer writes. Fails when rows or event keys are duplicated,\n" +
			"a file cannot be read, or one is not part of the datasets. Gaps in a sentry's counters are events that were lost or have not arrived yet.",
		Flags: []cli.Flag{jsonFlag()},
	}, runCheckData)
}

// Errors of check data after it has printed what it found.
var (
	errUnsound = errors.New("the datasets have duplicates or damaged files")
	errForeign = errors.New("files that are not parts of the datasets are in their directories")
)

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
	h, err := dataset.Check(ctx, dir, rejected)
	if err != nil {
		return err
	}
	if in.cmd.Bool(flagJSON) {
		err = writeJSON(in.stdout, struct {
			OK      bool   `json:"ok"`
			Missing uint64 `json:"missing"`
			*dataset.Health
		}{h.OK(), h.Missing(), h})
	} else {
		err = writeHealth(in.stdout, h)
	}
	switch {
	case err == nil && !h.Sound():
		err = errUnsound
	case err == nil && !h.OK():
		err = errForeign
	}
	return err
}

// maxGapsShown bounds the gaps in the table; --json has all.
const maxGapsShown = 20

func writeHealth(out io.Writer, h *dataset.Health) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "table\tparts\trows\tfrom\tto\tduplicate rows\tduplicate keys\tunreadable")
	for _, t := range h.Tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%d\t%d\t%d\n", t.Table, t.Parts, t.Rows, moment(t.From), moment(t.To), t.DuplicateRows, t.DuplicateKeys, len(t.Unreadable))
	}
	fmt.Fprintln(w, "\nsentry\tboot\tlast\tstored\trejected\tmissing")
	for _, s := range h.Sentries {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", s.Sentry, s.Boot, s.Last, s.Stored, s.Rejected, s.Missing)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	fmt.Fprintln(out, "(boot: one start of a sentry; last: the highest number of an event from it; of these, stored, rejected and missing)")
	for _, s := range h.Sentries {
		for i, gap := range s.Gaps {
			if i == maxGapsShown {
				fmt.Fprintf(out, "gap  %s-%s  and %d more\n", s.Sentry, s.Boot, len(s.Gaps)-i)
				break
			}
			fmt.Fprintf(out, "gap  %s-%s  %d to %d\n", s.Sentry, s.Boot, gap[0], gap[1])
		}
	}
	for _, t := range h.Tables {
		for _, u := range t.Unreadable {
			fmt.Fprintf(out, "unreadable  %s: %s\n", u.File, u.Error)
		}
		if t.Purged > 0 {
			fmt.Fprintf(out, "purged  %s: %d rows that 'valtrack purge' removed\n", t.Table, t.Purged)
		}
		if t.ClockErrors > 0 {
			fmt.Fprintf(out, "clock  %s: %d rows of sentries whose clock was off; they are not used for estimates (clock_error_ms)\n", t.Table, t.ClockErrors)
		}
		for _, path := range t.Foreign {
			fmt.Fprintf(out, "foreign  %s: not a part of this dataset, move it away: other readers count its rows, or fail\n", path)
		}
		if len(t.UnknownColumns) > 0 {
			fmt.Fprintf(out, "%s: columns of a later version: %s; their parts are read without them, and not merged\n", t.Table, strings.Join(t.UnknownColumns, ", "))
		}
		if t.NotCompared > 0 {
			fmt.Fprintf(out, "%s: %d rows were not compared with all others, because their times are out of order\n", t.Table, t.NotCompared)
		}
	}
	return nil
}

// moment formats the time of a row; - when there is none.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}
