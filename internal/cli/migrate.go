package cli

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
)

func (p *program) migrateCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "migrate", Usage: "add the columns of this version to datasets of earlier versions",
		Description: "Rewrites the parts in --data-dir that lack columns, in which they are null then, so that every reader opens\n" +
			"old and new ones together. A consumer does so when it starts, before it stores anything; this command does it\n" +
			"before, or again when there was no disk space. It needs as much as the largest table; with less, but enough for\n" +
			"the largest part, it replaces one part after the other, and until the last one some readers refuse the table.\n" +
			"No consumer may be running; readers may. If it is interrupted, run it again.",
		Flags: []cli.Flag{jsonFlag()},
	}, runMigrate)
}

func runMigrate(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	dir, err := in.dataDirectory()
	if err != nil {
		return err
	}
	if !dataset.Exists(dir) {
		return usagef("--%s %q has no datasets", flagDataDir, dir)
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	done, err := app.Migrate(ctx, dir, log)
	if err != nil {
		return err
	}
	return in.print(done)
}
