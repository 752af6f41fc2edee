package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/dune"
)

// Flags of publish.
const (
	flagAPIKeyFile  = "api-key-file"
	flagNamespace   = "namespace"
	flagTablePrefix = "table-prefix"
	flagEvery       = "every"
	flagDuneURL     = "dune-url"
)

func (p *program) publishCommand() *cli.Command {
	return &cli.Command{
		Name: "publish", Usage: "publish the public view to another service",
		HideHelpCommand: true, OnUsageError: explainUsage, Action: rejectUnknownCommand,
		Commands: []*cli.Command{p.leaf(&cli.Command{
			Name: "dune", Usage: "upload nodes, groups and totals to Dune (dune.com)",
			Description: "Reads the public view of the API at --" + flagURL + ", which has no addresses, fills new tables on Dune, and\n" +
				"points saved queries, which it creates the first time, at them: select from these queries. Readers never see an\n" +
				"empty or half-filled table. Tables of earlier publications are deleted. Needs a key with write access, and a\n" +
				"plan that includes the query API.",
			Flags: []cli.Flag{
				jsonFlag(),
				text(flagURL, "http://"+app.DefaultHTTP, "API of Valtrack to publish from"),
				text(flagAPIKeyFile, "", "file with the key for Dune's API"),
				text(flagNamespace, "", "user or team on Dune that owns the key"),
				text(flagTablePrefix, "valtrack", "prefix of the names of tables and queries"),
				duration(flagEvery, 0, "publish again at this interval until stopped; 0 publishes once"),
				text(flagDuneURL, dune.DefaultURL, "address of Dune's API"),
			},
		}, runPublishDune)},
	}
}

// publishedView is what publish dune prints.
type publishedView struct {
	Tables []dune.Published `json:"tables"`
}

func (v publishedView) writeText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TABLE\tROWS\tREAD IT WITH")
	for _, p := range v.Tables {
		fmt.Fprintf(t, "%s\t%d\tSELECT * FROM query_%d\n", p.Table, p.Rows, p.Query)
	}
	return t.Flush()
}

// minEvery is the shortest time between two publications: each costs credits.
const minEvery = time.Minute

func runPublishDune(ctx context.Context, in invocation) error {
	if err := in.noArguments(); err != nil {
		return err
	}
	every := in.cmd.Duration(flagEvery)
	if every < 0 || every > 0 && every < minEvery {
		return usagef("--%s %v: want at least %v, or 0 to publish once", flagEvery, every, minEvery)
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	publisher, err := in.dunePublisher(log)
	if err != nil {
		return err
	}
	for {
		published, err := publisher.Publish(ctx)
		switch {
		case ctx.Err() != nil && every > 0:
			return nil // stopped: the next publication deletes what is half done
		case err != nil && (every == 0 || dune.Denied(err)):
			return asAPIError(err)
		case err != nil:
			log.Error("cannot publish: readers keep the previous publication", slog.Any("error", err), slog.Duration("next_try_in", every))
		default:
			if err := in.writePublished(publishedView{published}); err != nil {
				return err
			}
		}
		if every == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// dunePublisher reads the flags. Errors are of wrong usage.
func (in invocation) dunePublisher(log *slog.Logger) (*dune.Publisher, error) {
	for _, flag := range []string{flagAPIKeyFile, flagNamespace} {
		if in.cmd.String(flag) == "" {
			return nil, usagef("--%s is missing: see '%s --help'", flag, in.cmd.FullName())
		}
	}
	key, err := client.ReadKey(in.cmd.String(flagAPIKeyFile))
	if err != nil {
		return nil, usagef("--%s: %w; the file must contain only the key of Dune's API", flagAPIKeyFile, err)
	}
	source, err := client.New(client.Config{URL: in.cmd.String(flagURL)})
	if err != nil {
		return nil, usagef("--%s: %w", flagURL, err)
	}
	publisher, err := dune.New(dune.Config{
		URL: in.cmd.String(flagDuneURL), Key: key, Namespace: in.cmd.String(flagNamespace), Prefix: in.cmd.String(flagTablePrefix), Log: log,
	}, source)
	if err != nil {
		return nil, usagef("--%s, --%s, --%s: %w", flagNamespace, flagTablePrefix, flagDuneURL, err)
	}
	return publisher, nil
}

func (in invocation) writePublished(v publishedView) error {
	if in.cmd.Bool(flagJSON) {
		return writeJSON(in.stdout, v)
	}
	return v.writeText(in.stdout)
}
