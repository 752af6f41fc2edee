package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
// has no rows. A part is verified before each has any of its rows; the error is ErrDamaged
// if all rows were read but those of damaged parts, which it names.
func Scan[T Row](ctx context.Context, dataDir string, in Range, each func(T) error) error {
	var zero T
	parts, err := openTable(dataDir, zero.Table())
	if err != nil || parts == nil {
		return err
	}
	defer parts.dir.Close()
	var damaged error
	for _, s := range parts.live {
		err := scanPart(ctx, parts, s, in, each)
		if err != nil {
			err = &PartError{zero.Table(), s.file(), dataDir, err}
		}
		if errors.Is(err, ErrDamaged) {
			damaged = errors.Join(damaged, err)
		} else if err != nil {
			return err
		}
	}
	return damaged
}

// PartError is an error of reading one part.
type PartError struct {
	Table, File string
	dir         string
	err         error
}

func (e *PartError) Error() string {
	return fmt.Sprintf("read %s: %v", filepath.Join(Dir(e.dir, e.Table), e.File), e.err)
}

// Unwrap implements errors.Unwrap.
func (e *PartError) Unwrap() error { return e.err }

// DamagedParts lists the parts that an ErrDamaged of Scan names.
func DamagedParts(err error) (parts []*PartError) {
	if part, ok := err.(*PartError); ok { //nolint:errorlint // all of a tree are wanted, not the first
		return []*PartError{part}
	}
	switch err := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() []error }:
		for _, e := range err.Unwrap() {
			parts = append(parts, DamagedParts(e)...)
		}
	case interface{ Unwrap() error }:
		return DamagedParts(err.Unwrap())
	}
	return parts
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
	live, stale []span // as resolve gives them
}

// openTable is nil when there is no such table. Close dir.
func openTable(dataDir, table string) (*tableParts, error) {
	newest, any, err := committed(dataDir)
	if err != nil || !any {
		return nil, err
	}
	return openUpTo(dataDir, table, newest)
}

// openUpTo is openTable for the segments up to newest.
func openUpTo(dataDir, table string, newest uint64) (*tableParts, error) {
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
	entries = slices.DeleteFunc(entries, fs.DirEntry.IsDir)
	// A merged part holds committed segments only, also beyond newest.
	all := slices.DeleteFunc(spansOf(entries), func(s span) bool { return s.first > newest })
	t, err := lookup(table)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	live, stale := split(all)
	out := &tableParts{dir: dir}
	out.live, out.stale = resolve(live, stale, func(s span) (footer, error) { return out.footer(t, s) })
	return out, nil
}

// open also explains a missing file.
func (p *tableParts) open(s span) (*os.File, error) {
	f, err := p.dir.Open(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("merged or removed before it could be read, try again: %w", err)
	}
	return f, err
}

// footer reads a part's footer.
func (p *tableParts) footer(t table, s span) (footer, error) {
	f, err := p.open(s)
	if err != nil {
		return footer{}, err
	}
	defer f.Close()
	return t.footerOf(f)
}

func scanPart[T Row](ctx context.Context, p *tableParts, s span, in Range, each func(T) error) error {
	f, err := p.open(s)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := verifyPart[T](ctx, f); err != nil {
		return err
	}
	return eachRowOf(ctx, f, func(row T) error {
		if !in.has(row.At()) {
			return nil
		}
		return each(row)
	})
}

// verifyPart reads the whole part: that it matches its checksum or, without one, that all
// its rows can be read. The error is ErrDamaged otherwise.
func verifyPart[T Row](ctx context.Context, f *os.File) (footer, error) {
	var zero T
	out, err := tableOf[T]().footerOf(f)
	if err == nil {
		err = out.checkPlace(zero.Table(), filepath.Base(f.Name()))
	}
	switch {
	case err != nil:
		return out, err
	case out.summed:
		return out, damage(verifyBody(f))
	}
	var rows int64
	err = eachRowOf(ctx, f, func(T) error {
		rows++
		return nil
	})
	if err == nil && rows != out.rows {
		err = fmt.Errorf("%w: %d rows, its footer says %d", ErrDamaged, rows, out.rows)
	}
	return out, err
}

// verifiedIn is verifyPart for a part of a table.
func verifiedIn[T Row](ctx context.Context, p *tableParts, s span) (footer, error) {
	f, err := p.open(s)
	if err != nil {
		return footer{}, err
	}
	defer f.Close()
	return verifyPart[T](ctx, f)
}

// verifyFile is verifyPart for a path.
func verifyFile[T Row](ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := verifyPart[T](ctx, f); err != nil {
		return fmt.Errorf("part %s: %w", path, err)
	}
	return nil
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
		n, err := r.read(rows)
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

// rowReader reads the rows of a part.
type rowReader[T any] struct {
	*parquet.GenericReader[T]
	left int64 // rows that the footer says are still to come
}

// openReader refuses a later version, whose columns may mean something else.
func openReader[T any](f *os.File) (r *rowReader[T], err error) {
	defer recoverDamage(&err)
	file, summed, err := openParquet(f)
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(file); err != nil {
		return nil, err
	}
	if !summed {
		if err := checkPages(f, file); err != nil {
			return nil, damage(err)
		}
	}
	return &rowReader[T]{parquet.NewGenericReader[T](file), file.NumRows()}, nil
}

// read reads rows that the caller may keep; io.EOF at the end. It asks for no more rows than
// are left, as parquet-go looks for each missing row in each column; and at the end for one
// more, which only a damaged part has.
func (r *rowReader[T]) read(rows []T) (n int, err error) {
	defer func() {
		if err != nil && !errors.Is(err, io.EOF) {
			n, err = 0, damage(err)
		}
	}()
	defer recoverDamage(&err)
	rows = rows[:max(1, min(r.left, int64(len(rows))))]
	clear(rows) // the reader would write into the lists of rows we gave away
	n, err = r.Read(rows)
	r.left -= int64(n)
	return n, err
}
