package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
)

func (p *program) importCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "import", Usage: "import events from other data directories, each exactly once", ArgsUsage: "DIR...",
		Description: "DIRs are data directories of other consumers, or copies of them, of the same network. Their events are stored\n" +
			"in --data-dir as if its consumer had received them. An event whose key is already there is skipped, so an\n" +
			"import may be repeated, and resumes after an interruption. Estimates are not imported: 'valtrack rebuild' makes\n" +
			"those of the imported hours from the events of all directories, and brings the tracker up to date. Counts of\n" +
			"nodes in a time window include the imported events at once. No consumer may be running in --data-dir.\n" +
			"Segments that are damaged, or contradict the existing data, are named and skipped; the exit code is then 1.",
		Flags: []cli.Flag{jsonFlag(), toggle(flagDryRun, "print what would be imported, and change nothing"), geoFlag()},
	}, runImport)
}

// importView is `import --json`.
type importView struct {
	DryRun      bool              `json:"dry_run"`
	Directories []app.ImportedDir `json:"directories"`
}

func (v importView) writeText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "DIRECTORY\tEVENTS\tKNOWN\tLEFT SEGMENTS")
	for _, d := range v.Directories {
		left := uint64(0)
		for _, l := range d.Left {
			left += l.Last - l.First + 1
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", d.Dir, d.Events, d.Known, left)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nknown: events that were here already; left segments: not imported, since they are damaged or contradict the data here"); err != nil {
		return err
	}
	for _, d := range v.Directories {
		for _, l := range d.Left {
			if _, err := fmt.Fprintf(w, "%s: segments %d to %d are left: %s\n", d.Dir, l.First, l.Last, l.Reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// errLeft is the error of an import that has left something, after it has printed what.
var errLeft = errors.New("some segments were not imported")

func runImport(ctx context.Context, in invocation) error {
	from := in.cmd.Args().Slice()
	if len(from) == 0 {
		return usagef("%s takes data directories, as in '%s ../other/data'", in.cmd.FullName(), in.cmd.FullName())
	}
	ignoreClosedPipes()
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	view := importView{DryRun: in.cmd.Bool(flagDryRun)}
	view.Directories, err = app.Import(ctx, app.ImportConfig{
		DataDir: in.cmd.String(flagDataDir), From: from, DryRun: view.DryRun, Geo: in.cmd.StringSlice(flagGeo),
	}, log)
	if len(view.Directories) == 0 {
		return err
	}
	events, left := uint64(0), 0
	for _, d := range view.Directories {
		events += d.Events
		left += len(d.Left)
	}
	if err == nil && left > 0 {
		err = errLeft
	}
	if events > 0 && !view.DryRun {
		log.Info("the tracker has the imported events, and past hours their estimates, after 'valtrack rebuild'", slog.Uint64("events", events))
	}
	if in.cmd.Bool(flagJSON) {
		return errors.Join(writeJSON(in.stdout, view), err)
	}
	return errors.Join(view.writeText(in.stdout), err)
}
