package dataset

import (
	"context"
	"errors"
	"os"
)

// File is a single Parquet file with the columns and settings of a part, for rows
// that leave the datasets. Close it: the file is complete only then.
type File[T Row] struct{ part *part[T] }

// CreateFile creates the file, or truncates an existing one.
func CreateFile[T Row](path string) (*File[T], error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return NewFile[T](f), nil
}

// Write appends a row.
func (f *File[T]) Write(row T) error { return f.part.append(row) }

// Close writes what is left and the footer, and fsyncs.
func (f *File[T]) Close() error {
	return f.part.finish(map[string]string{footerSchema: schemaText()})
}

// ExportParquet writes the rows of Scan to a Parquet file, counts them, and closes the
// file, also after an error.
func ExportParquet(ctx context.Context, dataDir, table string, in Range, f *os.File) (rows int, err error) {
	t, err := lookup(table)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	return t.export(ctx, dataDir, in, f)
}

func exportRows[T Row](ctx context.Context, dataDir string, in Range, f *os.File) (rows int, err error) {
	out := NewFile[T](f)
	err = Scan(ctx, dataDir, in, func(row T) error {
		rows++
		return out.Write(row)
	})
	return rows, errors.Join(err, out.Close())
}
