package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/client"
	"github.com/chainbound/valtrack/internal/report"
)

// Flags of commands that ask an API.
const (
	flagURL     = "url"
	flagKeyFile = "key-file"
)

func keyFileFlag() cli.Flag {
	return text(flagKeyFile, "", "file of the API key for --"+flagURL+", to see addresses as well")
}

// apiClient is the client of --url. Errors are of wrong usage.
func (in invocation) apiClient() (*client.Client, error) {
	cfg := client.Config{URL: in.cmd.String(flagURL)}
	if path := in.cmd.String(flagKeyFile); path != "" {
		key, err := client.ReadKey(path)
		if err != nil {
			return nil, usagef("--%s: %w; the file must contain only the key, as 'valtrack check key' prints it", flagKeyFile, err)
		}
		cfg.Key = key
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, usagef("--%s: %w", flagURL, err)
	}
	if at, err := url.Parse(cfg.URL); err == nil && cfg.Key != "" && at.Scheme == "http" && !loopback(at.Hostname()) {
		fmt.Fprintf(in.stderr, "warning: --%s %s is not encrypted: others on the path can read the key\n", flagURL, cfg.URL)
	}
	return c, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// asAPIError explains an error of the API: what the user gave is wrong usage.
func asAPIError(err error) error {
	var answered *client.Error
	var network *net.OpError
	switch {
	case errors.As(err, &answered) && answered.Status == http.StatusUnauthorized:
		return usagef("--%s: %w", flagKeyFile, err)
	case errors.As(err, &answered) && answered.Status == http.StatusForbidden:
		return usagef("%w: give --%s", err, flagKeyFile)
	case errors.As(err, &answered) && answered.Status == http.StatusBadRequest:
		return asUsage(err)
	case errors.As(err, &network):
		return fmt.Errorf("%w; does 'valtrack run' or a consumer serve its API there (--%s)?", err, flagHTTP)
	}
	return err
}

// urlFlags checks that a report of --url can be made of what an API tells.
func (in invocation) urlFlags() error {
	if in.cmd.String(flagURL) == "" {
		if in.cmd.IsSet(flagURL) || in.cmd.String(flagKeyFile) != "" {
			return usagef("--%s is empty: give the address of an API, such as http://127.0.0.1:8080, or omit --%s and --%s", flagURL, flagURL, flagKeyFile)
		}
		return nil
	}
	refuse := func(flag, why string) error {
		return usagef("--%s: %s; omit --%s and give --%s, on the machine that has the datasets", flag, why, flagURL, flagDataDir)
	}
	for _, flag := range []string{flagCalibration, flagTruth, flagPublic} {
		if in.cmd.Bool(flag) {
			return refuse(flag, "the API does not provide it")
		}
	}
	for _, flag := range []string{flagFrom, flagTo, flagDevnetDir, flagKnown} {
		if in.cmd.String(flag) != "" {
			return refuse(flag, "the API does not provide it")
		}
	}
	if in.cmd.String(flagSince) != "" && !in.changes() {
		return refuse(flagSince, "of the past, the API provides changes only (--"+flagChanges+")")
	}
	return nil
}

// textView is a report that can be written for people.
type textView interface{ WriteText(w io.Writer) error }

// reportURL writes the report that the flags ask for, from an API. Standard error says what
// it is from, and what the same report of a data directory has more.
func (in invocation) reportURL(ctx context.Context) error {
	span, err := in.reportRange(time.Now())
	if err != nil {
		return err
	}
	c, err := in.apiClient()
	if err != nil {
		return err
	}
	remote := report.NewRemote(c)
	view, err := in.remoteView(ctx, remote, span.From)
	if errors.Is(err, report.ErrAmbiguous) {
		return usagef("--%s %q: %w", flagNode, in.cmd.String(flagNode), err)
	}
	if err != nil {
		return asAPIError(err)
	}
	note := remote.Source()
	if partial, ok := view.(interface{ NotTold() string }); ok {
		note += "; the API does not provide " + partial.NotTold()
	}
	fmt.Fprintln(in.stderr, note)
	switch v := view.(type) {
	case report.RemoteNodes:
		if in.cmd.Bool(flagJSON) {
			return in.writeLines(v)
		}
	case report.Groups:
		if in.cmd.Bool(flagCSV) {
			return in.writeGroupsCSV(v)
		}
	}
	return in.writeView(view)
}

func (in invocation) remoteView(ctx context.Context, r *report.Remote, since int64) (textView, error) {
	switch {
	case in.cmd.String(flagNode) != "":
		return r.Node(ctx, in.cmd.String(flagNode))
	case in.cmd.Bool(flagNodes):
		return r.Nodes(ctx)
	case in.cmd.Bool(flagForks):
		return r.Forks(ctx)
	case in.cmd.Bool(flagSentries):
		return r.Sentries(ctx)
	case in.changes():
		return r.Changes(ctx, since)
	case in.cmd.String(flagBy) != "":
		groups, err := r.Groups(ctx, in.cmd.String(flagBy))
		if err != nil {
			err = fmt.Errorf("--%s %s: %w", flagBy, in.cmd.String(flagBy), err)
		}
		return groups, err
	}
	return r.Summary(ctx)
}

// writeLines writes one JSON object per node.
func (in invocation) writeLines(nodes report.RemoteNodes) error {
	enc := json.NewEncoder(in.stdout)
	for _, n := range nodes.Rows {
		if err := enc.Encode(n); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}
