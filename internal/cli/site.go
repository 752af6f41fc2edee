package cli

import (
	"context"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/chainbound/valtrack/internal/app"
	"github.com/chainbound/valtrack/internal/site"
)

// Flags of site; --out is that of export.
const (
	flagSiteEvery = "every"
	flagSiteURL   = "url"
)

// leastEvery is the shortest time between updates: one writes some megabytes.
const leastEvery = 10 * time.Second

// siteUmask lets a web server read what is written, which has no addresses.
const siteUmask = 0o022

func (p *program) siteCommand() *cli.Command {
	return p.leaf(&cli.Command{
		Name: "site", Usage: "write the dashboard as static files, for any web host",
		Description: "Writes the dashboard with its data to --out: totals, groups, places, history, changes, and a row for each node\n" +
			"that was met in the last day, as in the public view, without addresses. The data comes from\n" +
			"--data-dir, even while a consumer writes to it, or with --url from a running server. Readers see each update\n" +
			"as a whole. Unless --umask is given, everyone may read the files.",
		Flags: []cli.Flag{
			jsonFlag(),
			text(flagOut, "", "directory of the site, created if it is missing"),
			duration(flagSiteEvery, 0, "update it at this interval, such as 1h; 0 writes it once"),
			text(flagSiteURL, "", "server to take the data from, such as http://127.0.0.1:8080, instead of --data-dir"),
			geoFlag(),
		},
	}, runSite)
}

func runSite(ctx context.Context, in invocation) error {
	cfg, err := in.siteConfig()
	if err != nil {
		return err
	}
	log, err := in.logger(in.stderr)
	if err != nil {
		return err
	}
	if !in.cmd.IsSet(flagUmask) {
		syscall.Umask(siteUmask)
	}
	return app.WriteSite(ctx, cfg, log, func(r site.Result) error { return in.print(r) })
}

// siteConfig checks the flags. Errors are of wrong usage.
func (in invocation) siteConfig() (cfg app.SiteConfig, err error) {
	if err := in.noArguments(); err != nil {
		return cfg, err
	}
	cfg = app.SiteConfig{Out: in.cmd.String(flagOut), Every: in.cmd.Duration(flagSiteEvery), URL: in.cmd.String(flagSiteURL), Geo: in.cmd.StringSlice(flagGeo)}
	switch {
	case cfg.Out == "":
		return cfg, usagef("--%s DIR is missing: the directory to write the site to", flagOut)
	case cfg.Every != 0 && cfg.Every < leastEvery:
		return cfg, usagef("--%s %v: want at least %v, or 0 to write the site once", flagSiteEvery, cfg.Every, leastEvery)
	case cfg.URL != "":
		u, err := url.Parse(cfg.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return cfg, usagef("--%s %q: want the address of a server, such as http://127.0.0.1:8080", flagSiteURL, cfg.URL)
		}
		cfg.URL = strings.TrimSuffix(cfg.URL, "/") + "/"
		return cfg, nil
	}
	if cfg.DataDir, err = in.dataDirectory(); err != nil {
		return cfg, err
	}
	var known bool
	if cfg.Network, known, err = app.NetworkOf(cfg.DataDir); err == nil && !known {
		err = usagef("--%s %q has no data yet: give the directory that 'valtrack run' or a consumer writes to", flagDataDir, cfg.DataDir)
	}
	return cfg, err
}
