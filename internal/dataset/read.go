package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

// Range bounds rows by timestamp, Unix milliseconds: From in it, To not. Zero is
// no bound.
type Range struct{ From, To int64 }

func (r Range) has(at int64) bool {
	return (r.From == 0 || at >= r.From) && (r.To == 0 || at < r.To)
}

// Scan calls each with every committed row in the range, in the order in which
// segments were committed, and stops at its first error. It may run while a
// writer writes: it sees the segments committed before its start. A data
// directory without the table has no rows.
func Scan[T Row](ctx context.Context, dataDir string, in Range, each func(T) error) error {
	var zero T
	newest, any, err := committed(dataDir)
	if err != nil || !any {
		return err
	}
	all, err := segments(dataDir, zero.Table())
	if err != nil {
		return err
	}
	for _, n := range all {
		if n > newest {
			break
		}
		path := partPath(dataDir, zero.Table(), n)
		if err := scanPart(ctx, path, in, each); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return nil
}

func scanPart[T Row](ctx context.Context, path string, in Range, each func(T) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// A damaged file makes an error here; the reader below would panic on it.
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	r := parquet.NewGenericReader[T](file)
	defer r.Close()
	rows := make([]T, writeBatch)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(rows) // the reader would write into the lists of rows we gave away
		n, err := r.Read(rows)
		for _, row := range rows[:n] {
			if !in.has(row.At()) {
				continue
			}
			if err := each(row); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
