package dataset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// Migrated counts what a call of Migrate rewrote.
type Migrated struct {
	Parts int   `json:"parts"`
	Rows  int64 `json:"rows"`
}

// Migrate adds the columns that parts of earlier versions lack, as nulls: readers such as
// Polars refuse a directory whose files have different columns. The parts of a table are
// replaced in one step, under their names, so that a reader sees all of the old or all of
// the new at any moment. It must run before the first segment of this version is committed.
//
// A table whose parts cannot be rewritten, as when the disk is full, stays as it is and
// is in the error; damaged parts are set aside. Parts of later versions stay.
func (w *Writer) Migrate(ctx context.Context) (done Migrated, err error) {
	for _, table := range registry() {
		n, tableErr := w.migrateTable(ctx, table)
		done.Parts += n.Parts
		done.Rows += n.Rows
		if ctx.Err() != nil {
			return done, errors.Join(err, ctx.Err())
		}
		if tableErr != nil {
			err = errors.Join(err, fmt.Errorf("add columns to %s: %w", Dir(w.dir, table.name), tableErr))
		}
	}
	return done, err
}

func (w *Writer) migrateTable(ctx context.Context, table table) (done Migrated, err error) {
	old, err := w.olderParts(ctx, table)
	if len(old) == 0 {
		return done, err
	}
	w.log.Info("adding the columns of this version to older parts", slog.String("table", table.name), slog.Int("parts", len(old)))
	work := filepath.Join(w.dir, compactingDir, "migrate")
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }() // a full disk has no room for half of it
	if err := os.RemoveAll(work); err != nil {
		return done, err
	}
	var out []span
	var in []addedPart
	rows := int64(0)
	for _, p := range old {
		if err := w.step("migrate " + table.name); err != nil {
			return done, err
		}
		dir := filepath.Join(work, p.String())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return done, err
		}
		file, _, err := table.purge(ctx, dir, p.path(w.dir, table.name), p.footer, func(string) bool { return false })
		if err != nil {
			return done, err
		}
		out, in = append(out, p.span), append(in, addedPart{p.span, file})
		rows += p.rows
	}
	if len(in) == 0 { // all are damaged
		return done, err
	}
	if swapErr := w.swap(table.name, out, in...); swapErr != nil {
		return done, errors.Join(err, swapErr)
	}
	return Migrated{len(in), rows}, err
}

// olderParts are a table's parts that lack columns, and are whole. Those that cannot be
// read are in the error.
func (w *Writer) olderParts(ctx context.Context, table table) (old []partInfo, err error) {
	all, err := spans(w.dir, table.name)
	for _, s := range all {
		f, footerErr := table.readFooter(s.path(w.dir, table.name))
		switch {
		case footerErr != nil:
			err = errors.Join(err, footerErr)
		case f.older && len(f.unknown) == 0:
			old = append(old, partInfo{s, f})
		}
	}
	if len(old) == 0 {
		return nil, err
	}
	bad, verifyErr := w.verify(ctx, table, old) // a new checksum would hide the damage
	old = slices.DeleteFunc(old, func(p partInfo) bool {
		return slices.ContainsFunc(bad, func(b damagedPart) bool { return b.span == p.span })
	})
	if verifyErr != nil && len(bad) == 0 {
		return nil, errors.Join(err, verifyErr)
	}
	return old, errors.Join(err, verifyErr)
}
