package dataset

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/chainbound/valtrack/internal/buildinfo"
)

// File is a single Parquet file with the columns and settings of a part, for rows
// that leave the datasets. Close it: the file is complete only then.
type File[T Row] struct {
	part *part[T]
	// About are further entries of the footer, by key.
	About map[string]string
}

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
	about := map[string]string{footerSchema: schemaText(), footerProgram: buildinfo.Read().String()}
	maps.Copy(about, f.About)
	return f.part.finish(about)
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

// streamGroup is how many rows a Stream keeps in memory: those of one row group.
const streamGroup = 10_000

// Stream writes rows as a Parquet file to any writer, without a file of its own.
type Stream[T Row] struct{ w *parquet.GenericWriter[T] }

// NewStream begins a file.
func NewStream[T Row](w io.Writer) *Stream[T] {
	return &Stream[T]{newRowWriter[T](w, parquet.MaxRowsPerRowGroup(streamGroup))}
}

// Write appends rows.
func (s *Stream[T]) Write(rows ...T) error {
	_, err := s.w.Write(rows)
	return err
}

// note puts an entry into the footer.
func (s *Stream[T]) note(key, value string) { s.w.SetKeyValueMetadata(key, value) }

// Close writes the end of the file, without which nobody can read it.
func (s *Stream[T]) Close() error {
	s.note(footerSchema, schemaText())
	s.note(footerProgram, buildinfo.Read().String())
	return s.w.Close()
}

// StreamTable writes the rows of Scan as a Parquet file to w, whose footer names the damaged parts
// whose rows are missing, as valtrack.damaged.FILE. The error is ErrDamaged when there are any.
func StreamTable(ctx context.Context, dataDir, table string, in Range, w io.Writer) error {
	t, err := lookup(table)
	if err != nil {
		return err
	}
	return t.stream(ctx, dataDir, in, w)
}

func streamRows[T Row](ctx context.Context, dataDir string, in Range, w io.Writer) error {
	out := NewStream[T](w)
	batch := make([]T, 0, writeBatch)
	flush := func() error {
		err := out.Write(batch...)
		clear(batch)
		batch = batch[:0]
		return err
	}
	err := Scan(ctx, dataDir, in, func(row T) error {
		if batch = append(batch, row); len(batch) < writeBatch {
			return nil
		}
		return flush()
	})
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	damaged := err
	if err := flush(); err != nil {
		return err
	}
	for _, part := range DamagedParts(damaged) {
		out.note("valtrack.damaged."+part.File, part.Table)
	}
	return errors.Join(damaged, out.Close())
}
