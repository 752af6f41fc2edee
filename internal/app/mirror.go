package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/chainbound/valtrack/internal/consumer"
	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
	"github.com/chainbound/valtrack/internal/mirror"
)

// openMirror makes the mirror of the data directory, nil when there is to be none. It sends
// nothing yet. Errors that the user can fix are ConfigErrors.
func openMirror(cfg ConsumerConfig, svc *Service) (*mirror.Mirror, error) {
	settings := cfg.Mirror
	if settings.Location == (mirror.Location{}) {
		return nil, nil
	}
	settings.DataDir, settings.Network, settings.Log = cfg.DataDir, cfg.Network.Name, svc.log
	if root := cfg.Network.GenesisValidatorsRoot; root != (eth2.Root{}) {
		settings.GenesisValidatorsRoot = root.String()
	}
	settings.Every = max(cfg.Storing.CompactEvery, 0)
	settings.Every = cmp.Or(settings.Every, consumer.DefaultCompactEvery)
	settings.Rejected = func() (dataset.Coverage, error) { return consumer.Rejected(cfg.DataDir) }
	m, err := mirror.New(settings)
	if err != nil {
		return nil, AsConfigError(err)
	}
	if !settings.Location.Secure() {
		svc.log.Warn("the connection to the object store is not encrypted: anyone on the path can read and change what is copied", slog.String("location", settings.Location.String()))
	}
	svc.storing.mirror.Store(m)
	svc.storing.register("mirror", func() {
		mirror.NewMetrics(svc.metrics, func() mirror.Stats { return svc.storing.mirror.Load().Stats() })
	})
	return m, nil
}

// runMirror copies until ctx ends, if there is a mirror. Its failures stop nobody.
func (s *storage) runMirror(ctx context.Context) error {
	if s.mirror == nil {
		return nil
	}
	return s.mirror.Run(ctx)
}

// CheckMirror looks whether a copy can be reached, and says what it is. Errors that the user
// can fix are ConfigErrors.
func CheckMirror(ctx context.Context, cfg mirror.Config) (string, error) {
	c, err := mirror.OpenCopy(ctx, cfg.Location, cfg.Credentials)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s responds, nothing is there yet", cfg.Location), nil
	case err != nil:
		return "", storeError(err)
	}
	return fmt.Sprintf("%s answers, %d parts of %s, generation %d", cfg.Location, len(c.Parts), c.Network, c.Generation), nil
}

func storeError(err error) error {
	err = fmt.Errorf("--%s: %w", OptMirror, err)
	if mirror.Refused(err) {
		return AsConfigError(err)
	}
	return err
}

// Restore makes the datasets of a copy in a data directory that has none. Errors that the user
// can fix are ConfigErrors.
func Restore(ctx context.Context, from mirror.Config, dataDir string, log *slog.Logger) (mirror.Restored, error) {
	c, err := mirror.OpenCopy(ctx, from.Location, from.Credentials)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mirror.Restored{}, ConfigErrorf("--%s: %w: give the address as the consumer has it", OptMirror, err)
	case err != nil:
		return mirror.Restored{}, storeError(err)
	}
	of := event.Common{Network: c.Network}
	if c.GenesisValidatorsRoot != "" {
		if err := of.GenesisValidatorsRoot.UnmarshalText([]byte(c.GenesisValidatorsRoot)); err != nil {
			return mirror.Restored{}, fmt.Errorf("the genesis validators root in the manifest of %s: %w", from.Location, err)
		}
	}
	if err := impostor(of); err != nil {
		return mirror.Restored{}, err
	}
	use := DirUse{Consumer: true, Named: true, Restore: true}
	if use.Network, err = networkOfEvent(of); err != nil {
		return mirror.Restored{}, err
	}
	if err := c.Check(ctx); err != nil {
		return mirror.Restored{}, storeError(err)
	}
	dir, err := openDataDir(dataDir, use)
	if err != nil {
		return mirror.Restored{}, err
	}
	defer dir.close()
	done, err := c.Restore(ctx, dataDir, log)
	if errors.Is(err, mirror.ErrOccupied) {
		err = ConfigErrorf("--%s %q: %w", OptDataDir, dataDir, err)
	}
	return done, err
}
