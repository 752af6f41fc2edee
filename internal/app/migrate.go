package app

import (
	"context"
	"log/slog"

	"github.com/chainbound/valtrack/internal/dataset"
)

// Migrate adds the columns of this version to the datasets' parts of earlier versions.
// Errors that the user can fix are ConfigErrors.
func Migrate(ctx context.Context, dataDir string, log *slog.Logger) (dataset.Migrated, error) {
	dir, err := openDataDir(dataDir, DirUse{Consumer: true, Named: true})
	if err != nil {
		return dataset.Migrated{}, err
	}
	w, err := dataset.OpenLocked(dir.takeConsumer(), log)
	if err != nil {
		return dataset.Migrated{}, AsConfigError(err)
	}
	defer w.Close()
	return w.Migrate(ctx)
}

// addColumns is Migrate before anything is stored, since some readers refuse a directory
// in which only some files have a column. Events wait in the stream meanwhile. That it fails
// is no reason to store nothing; the error is that of ctx.
func (d *datasets) addColumns(ctx context.Context, svc *Service) error {
	svc.ready.setReason("migrating: adding this version's columns to older parts")
	done, err := d.writer.Migrate(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if done.Parts > 0 {
		d.log.Info("added this version's columns to older parts", slog.Int("parts", done.Parts), slog.Int64("rows", done.Rows))
	}
	if err != nil {
		d.log.Error("cannot add this version's columns to parts that may lack them, and some readers refuse to read those together with new parts: fix what the error says and run 'valtrack migrate'", slog.Any("error", err))
	}
	return nil
}
