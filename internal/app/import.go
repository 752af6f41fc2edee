package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
)

// ImportConfig is what an import takes, and where.
type ImportConfig struct {
	DataDir string
	From    []string // data directories
	// DryRun only says what would be imported.
	DryRun bool
	// Geo are the files of the user's databases of places.
	Geo []string
}

// ImportedDir is what was taken from a data directory.
type ImportedDir struct {
	Dir string `json:"dir"`
	dataset.Imported
}

// Import takes the events of other data directories, in the order that is given. The result has
// what was done before an error. Errors that the user can fix are ConfigErrors.
func Import(ctx context.Context, cfg ImportConfig, log *slog.Logger) (out []ImportedDir, err error) {
	net, err := importNetwork(cfg)
	if err != nil {
		return nil, err
	}
	im, done, err := openImporter(ctx, cfg, net, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := done(); err == nil {
			err = closeErr
		}
	}()
	for _, dir := range cfg.From {
		took, err := im.Import(ctx, dir)
		out = append(out, ImportedDir{dir, took})
		if err != nil {
			return out, fmt.Errorf("import %s: %w", dir, err)
		}
	}
	return out, nil
}

// importNetwork is the network of all directories. One that is new gets that of the others.
func importNetwork(cfg ImportConfig) (DirNetwork, error) {
	own, known, err := NetworkOf(cfg.DataDir)
	if err != nil {
		return own, err
	}
	target, _ := os.Stat(cfg.DataDir)
	for _, dir := range cfg.From {
		info, err := os.Stat(dir)
		switch {
		case err != nil:
			return own, AsConfigError(err)
		case target != nil && os.SameFile(info, target):
			return own, ConfigErrorf("%q is --%s itself: give other data directories", dir, OptDataDir)
		case !dataset.Exists(dir):
			return own, ConfigErrorf("%q has no datasets: give the data directory of a consumer; logs of the earlier program are imported with 'valtrack replay'", dir)
		}
		of, ok, err := NetworkOf(dir)
		if err != nil {
			return own, err
		}
		names, err := dataset.Inspect(dir)
		if err != nil {
			return own, AsConfigError(err)
		}
		if i := slices.IndexFunc(names, func(name string) bool { return name != of.Name }); ok && i >= 0 {
			return own, ConfigErrorf("%q has events of network %s beside those of %s: they cannot be imported together", dir, names[i], of.Name)
		}
		switch {
		case !ok: // no rows either
		case !known:
			own, known = of, true
		case !sameNetwork(own, of):
			return own, ConfigErrorf("%q holds data of network %s, and not of %s: import it into a --%s of its own", dir, networkText(of), networkText(own), OptDataDir)
		}
	}
	return own, nil
}

// sameNetwork compares names, and roots and genesis times as far as they are known.
func sameNetwork(a, b DirNetwork) bool {
	zero := eth2.Root{}
	return a.Name == b.Name &&
		(a.GenesisValidatorsRoot == zero || b.GenesisValidatorsRoot == zero || a.GenesisValidatorsRoot == b.GenesisValidatorsRoot) &&
		(a.GenesisTime.Unix() <= 0 || b.GenesisTime.Unix() <= 0 || a.GenesisTime.Equal(b.GenesisTime))
}

func networkText(n DirNetwork) string {
	text := owner{Name: n.Name, GenesisValidatorsRoot: n.GenesisValidatorsRoot}.String()
	if n.GenesisTime.Unix() > 0 {
		text += ", which began at " + instant(n.GenesisTime.Unix())
	}
	return text
}

// openImporter opens the data directory, unless it is a dry run. Call done at the end.
func openImporter(ctx context.Context, cfg ImportConfig, net DirNetwork, log *slog.Logger) (im *dataset.Importer, done func() error, err error) {
	if cfg.DryRun {
		im, err := dataset.NewTrial(cfg.DataDir)
		return im, func() error { return nil }, AsConfigError(err)
	}
	places, err := openPlaces(cfg.Geo, log)
	if err != nil {
		return nil, nil, err
	}
	dir, err := openDataDir(cfg.DataDir, DirUse{Consumer: true, Named: true, Network: net.Network})
	if err != nil {
		return nil, nil, err
	}
	w, err := dataset.OpenLocked(dir.takeConsumer(), log)
	if err != nil {
		return nil, nil, AsConfigError(err)
	}
	if _, err := w.Migrate(ctx); err != nil { // before there are parts with more columns
		w.Close()
		return nil, nil, err
	}
	return consumer.NewImporter(w, places), w.Close, nil
}
