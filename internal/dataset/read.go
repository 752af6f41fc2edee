package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// Range bounds rows by timestamp, Unix milliseconds: From inclusive, To exclusive. Zero is
// no bound.
type Range struct{ From, To int64 }

func (r Range) has(at int64) bool {
	return (r.From == 0 || at >= r.From) && (r.To == 0 || at < r.To)
}

// Scan calls each with every committed row in the range, in the order in which
// segments were committed, within a merged part by (id, timestamp), and stops at
// its first error. It may run while a writer writes: it sees the segments
// committed before its start, each row once. A data directory without the table
// has no rows.
func Scan[T Row](ctx context.Context, dataDir string, in Range, each func(T) error) error {
	var zero T
	parts, err := openTable(dataDir, zero.Table())
	if err != nil || parts == nil {
		return err
	}
	defer parts.dir.Close()
	for _, s := range parts.live {
		if err := scanPart(ctx, parts, s, in, each); err != nil {
			return fmt.Errorf("read %s: %w", s.path(dataDir, zero.Table()), err)
		}
	}
	return nil
}

// ScanTable is Scan for a table that is known by its name.
func ScanTable(ctx context.Context, dataDir, table string, in Range, each func(Row) error) error {
	t, err := lookup(table)
	if err != nil {
		return err
	}
	return t.scan(ctx, dataDir, in, each)
}

// tableParts are the parts of a table at one moment. Files are opened through the
// directory of that moment: merging replaces it with another and keeps this one
// for a while.
type tableParts struct {
	dir         *os.Root
	live, stale []span // as split gives them
}

// openTable is nil when there is no such table. Close dir.
func openTable(dataDir, table string) (*tableParts, error) {
	newest, any, err := committed(dataDir)
	if err != nil || !any {
		return nil, err
	}
	dir, err := os.OpenRoot(Dir(dataDir, table))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list %s: %w", table, err), dir.Close())
	}
	// A merged part holds committed segments only, also beyond newest.
	all := slices.DeleteFunc(spansOf(entries), func(s span) bool { return s.first > newest })
	live, stale := split(all)
	return &tableParts{dir, live, stale}, nil
}

// open also explains a missing file.
func (p *tableParts) open(s span) (*os.File, error) {
	f, err := p.dir.Open(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("merged or removed before it could be read, try again: %w", err)
	}
	return f, err
}

func scanPart[T Row](ctx context.Context, p *tableParts, s span, in Range, each func(T) error) error {
	f, err := p.open(s)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachRowOf(ctx, f, func(row T) error {
		if !in.has(row.At()) {
			return nil
		}
		return each(row)
	})
}

// eachRow calls each with every row of a file and stops at its first error.
func eachRow[T any](ctx context.Context, path string, each func(T) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachRowOf(ctx, f, each)
}

func eachRowOf[T any](ctx context.Context, f *os.File, each func(T) error) error {
	r, err := openReader[T](f)
	if err != nil {
		return err
	}
	defer r.Close()
	rows := make([]T, writeBatch)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := readRows(r, rows)
		for _, row := range rows[:n] {
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

// openReader reads the footer first, so that a damaged one is an error: parquet-go's
// readers panic on it. The columns of a later version may mean something else.
func openReader[T any](f *os.File) (*parquet.GenericReader[T], error) {
	file, err := openParquet(f)
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(file); err != nil {
		return nil, err
	}
	return parquet.NewGenericReader[T](file), nil
}

// readRows reads rows that the caller may keep; io.EOF at the end. The decoders
// panic on some damaged pages: that is an error here, as a file's content must not
// end the process.
func readRows[T any](r *parquet.GenericReader[T], rows []T) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("damaged: %v", p)
		}
	}()
	clear(rows) // the reader would write into the lists of rows we gave away
	return r.Read(rows)
}
