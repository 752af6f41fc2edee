package cli

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/buildinfo"
)

func (p *program) versionCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "version", Usage: "print version, commit and Go version",
		Flags: []cli.Flag{jsonFlag()},
	}, func(_ context.Context, in invocation) error {
		if err := in.noArguments(); err != nil {
			return err
		}
		return in.print(buildinfo.Read())
	})
}

// programName names this build to others: in events, in our node record, and in our agent.
func programName() string { return "valtrack/" + buildinfo.Read().Version }
