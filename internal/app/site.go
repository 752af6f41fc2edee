package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/chainbound/valtrack/internal/api"
	"github.com/chainbound/valtrack/internal/devnet"
	"github.com/chainbound/valtrack/internal/report"
	"github.com/chainbound/valtrack/internal/site"
	"github.com/chainbound/valtrack/internal/tracker"
)

// siteTimeout bounds each request to the server that a site is made from.
const siteTimeout = 2 * time.Minute

// SiteConfig is what a static site is made from, and where.
type SiteConfig struct {
	Out string
	// Every is the time between updates; 0 for a single one.
	Every time.Duration
	// URL of a running server's API, with a slash at the end; empty to read DataDir.
	URL     string
	DataDir string
	Network DirNetwork // of DataDir
	Geo     []string   // the user's databases of places, whose names are on the page
}

// WriteSite writes the site once, and reports what was written, then again at each interval
// until ctx ends. An error of a later update is logged, and readers see the one before.
func WriteSite(ctx context.Context, cfg SiteConfig, log *slog.Logger, written func(site.Result) error) error {
	result, err := updateSite(ctx, cfg, log)
	if err != nil {
		return err
	}
	if err := written(result); err != nil || cfg.Every == 0 {
		return err
	}
	ticker := time.NewTicker(cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		result, err := updateSite(ctx, cfg, log)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Error("cannot update the site: readers still see the previous version", slog.Any("error", err))
		default:
			log.Info("updated the site", slog.String("dir", result.Dir), slog.Int("files", result.Files), slog.Int64("bytes", result.Bytes))
		}
	}
}

func updateSite(ctx context.Context, cfg SiteConfig, log *slog.Logger) (site.Result, error) {
	from := site.API{Client: &http.Client{Timeout: siteTimeout}, URL: cfg.URL}
	if cfg.URL == "" {
		var err error
		if from, err = siteOfData(ctx, cfg, log); err != nil {
			return site.Result{}, err
		}
	}
	result, err := site.Write(ctx, cfg.Out, from, cfg.Every)
	if errors.Is(err, site.ErrForeign) {
		return result, ConfigErrorf("--out: %w; give an empty directory", err)
	}
	if err != nil {
		err = fmt.Errorf("site in %s: %w", cfg.Out, err)
	}
	return result, err
}

// siteOfData is the API of a data directory as it is now. A consumer may be writing to it.
func siteOfData(ctx context.Context, cfg SiteConfig, log *slog.Logger) (site.API, error) {
	state, err := report.ReadState(ctx, cfg.DataDir)
	if err != nil {
		return site.API{}, err
	}
	if state == nil {
		return site.API{}, ConfigErrorf("--%s %q has no estimates yet: a consumer makes them with its first commit, and 'valtrack rebuild' from its datasets", OptDataDir, cfg.DataDir)
	}
	places, err := openPlaces(cfg.Geo, log)
	if err != nil {
		return site.API{}, err
	}
	handler, err := api.Handler(api.Sources{
		Network: cfg.Network.Name, Simulated: cfg.Network.Simulated || cfg.Network.Name == devnet.Name,
		Schedule: cfg.Network.Schedule, Clock: cfg.Network.Clock, DataDir: cfg.DataDir, Places: places.Sources,
		State:  func() *tracker.State { return state },
		Ingest: func() api.Ingest { return api.Ingest{} },
		Ready:  func() error { return nil },
		Own:    func() bool { return false }, // a consumer may be writing its list of changes
	}, log)
	if err != nil {
		return site.API{}, fmt.Errorf("%s: %w", cfg.DataDir, err)
	}
	return site.Handler(handler), nil
}
