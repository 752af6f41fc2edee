package cli

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dataset"
)

func (p *program) migrateCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "migrate", Usage: "add this version's columns to datasets of earlier versions",
		Description: "Rewrites the parts in --data-dir that lack columns, filling these with nulls, so that every reader opens\n" +
			"old and new parts together. A consumer does so at startup, before it stores anything; this command does it\n" +
			"ahead of time, or once there is disk space. It needs as much space as the largest table; with less, but enough for\n" +
			"the largest part, it replaces the parts one by one, and some readers refuse the table until the last one is done.\n" +
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
