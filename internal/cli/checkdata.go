package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/report"
)

const flagAllowMissing = "allow-missing"

func (p *program) checkDataCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "data", Usage: "read every file of the datasets: gaps, duplicates, damage",
		Description: "Reads every row in --data-dir, also while a consumer writes. Fails when something is missing, duplicated\n" +
			"or damaged, the tables or the tracker disagree, or a file is not part of the datasets. Gaps in a sentry's\n" +
			"counters are events that were lost or have not arrived yet. The end of\n" +
			"a boot is compared with what later ones say of it.",
		Flags: []cli.Flag{jsonFlag(), wide(flagAllowMissing, 0, "accept up to this many missing events and rows, such as those of an earlier loss")},
	}, runCheckData)
}

// Errors of check data after it has printed what it found.
var (
	errUnsound = errors.New("the datasets have duplicates or damaged files")
	errForeign = errors.New("there are foreign files in the datasets' directories")
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
		err = report.WriteHealth(in.screen(), h, problem)
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
		return fmt.Errorf("%d events and %d rows are missing: restore them from a backup, bring those from before this consumer first ran from the data directory of another with 'valtrack import', wait for those still in transit, or accept the loss with --%s %d",
			v.Missing, v.MissingRows, flagAllowMissing, v.Missing+v.MissingRows)
	case v.Tracker != "":
		return errTracker
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
