package cli

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/mirror"
)

// Flags of copies in an object store.
const (
	flagMirror            = app.OptMirror
	flagMirrorCredentials = "mirror-credentials"
	flagMirrorRetention   = "mirror-retention"
)

func mirrorFlags() []cli.Flag {
	return []cli.Flag{
		text(flagMirror, "", "object store to copy finished parts to: s3://BUCKET/PREFIX, or https://HOST/BUCKET/PREFIX for stores other than Amazon's"),
		mirrorCredentialsFlag(),
		text(flagMirrorRetention, "0", "age at which rows are removed from the object store, such as 730d; 0 keeps all of them"),
	}
}

func mirrorCredentialsFlag() cli.Flag {
	f := text(flagMirrorCredentials, "", "object store credentials file, in the format of ~/.aws/credentials")
	f.DefaultText = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	return f
}

// mirrorConfig checks these flags; the location is empty where there is to be no copy. Errors
// are of wrong usage.
func (in invocation) mirrorConfig() (cfg mirror.Config, err error) {
	if in.cmd.String(flagMirror) == "" {
		for _, name := range []string{flagMirrorCredentials, flagMirrorRetention} {
			if in.cmd.IsSet(name) {
				return cfg, usagef("--%s has no effect without --%s", name, flagMirror)
			}
		}
		return cfg, nil
	}
	if cfg, err = in.objectStore(); err != nil {
		return cfg, err
	}
	if cfg.Retention, err = parseAge(flagMirrorRetention, in.cmd.String(flagMirrorRetention)); err != nil {
		return cfg, usagef("%w, or 0 to keep all rows", err)
	}
	return cfg, nil
}

// objectStore reads the location and the credentials for it.
func (in invocation) objectStore() (cfg mirror.Config, err error) {
	if cfg.Location, err = mirror.ParseLocation(in.cmd.String(flagMirror)); err != nil {
		return cfg, usagef("--%s: %w", flagMirror, err)
	}
	if cfg.Credentials, err = mirror.Credentials(in.cmd.String(flagMirrorCredentials)); err != nil {
		return cfg, usagef("--%s: %w", flagMirrorCredentials, err)
	}
	return cfg, nil
}

func (in invocation) checkMirror(ctx context.Context) (string, error) {
	cfg, err := in.mirrorConfig()
	switch {
	case err != nil:
		return "", err
	case cfg.Location == mirror.Location{}:
		return "no copy in an object store", nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return app.CheckMirror(ctx, cfg)
}

func (p *program) restoreCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "restore", Usage: "restore datasets from the copy in an object store",
		Description: "Reads the manifest at --" + flagMirror + ", which a consumer with that option has written, and puts the parts that it\n" +
			"lists into --data-dir, which must have no datasets. Every part is verified. If interrupted, run it again: it resumes\n" +
			"where it stopped. Then 'valtrack rebuild' computes the estimates. A consumer with --" + flagMirror + " there continues the same\n" +
			"copy, and the directory that wrote it before no longer can.",
		Flags: []cli.Flag{
			jsonFlag(),
			text(flagMirror, "", "address of the copy, as given to the consumer"),
			mirrorCredentialsFlag(),
		},
	}, runRestore)
}

func runRestore(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	if in.cmd.String(flagMirror) == "" {
		return usagef("restore: give --%s, the address of the copy", flagMirror)
	}
	from, err := in.objectStore()
	if err != nil {
		return err
	}
	ignoreClosedPipes()
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	done, err := app.Restore(ctx, from, in.cmd.String(flagDataDir), log)
	if err != nil {
		return err
	}
	return in.print(done)
}
