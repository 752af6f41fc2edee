package dataset

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"time"
)

// PartReader is a committed part of a table, for who copies the datasets elsewhere: it has the rows
// of the segments First to Last. Open it before use, and close it.
type PartReader struct {
	Table       string
	First, Last uint64
	// Rows, Purged, the rows that Purge removed, and Stored, the time of its newest commit, are
	// known once it is open.
	Rows, Purged int64
	Stored       time.Time

	table table
	file  *os.File
}

// NextPart finds a table's first part that has the segment from or a later one; nil when there
// is none yet.
// Until the next call for the table, Compact
// merges neither that part with another, nor segments before from with later ones: who is
// interrupted finds the same part again. If its First is below from, it was merged before that
// was asked for; if it is above, retention has removed what was in between, or it was damaged.
//
// It may be called by one goroutine beside those of the Writer.
func (w *Writer) NextPart(name string, from uint64) (*PartReader, error) {
	t, err := lookup(name)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[name] = []uint64{from}
	parts, err := openTable(w.dir, name)
	if err != nil || parts == nil {
		return nil, err
	}
	defer parts.dir.Close()
	newest := w.next - 1
	i := slices.IndexFunc(parts.live, func(s span) bool { return s.last >= from && s.last <= newest })
	if i < 0 {
		return nil, nil
	}
	s := parts.live[i]
	w.cuts[name] = []uint64{s.first, s.last + 1}
	f, err := parts.open(s)
	if err != nil {
		return nil, err
	}
	return &PartReader{Table: name, First: s.first, Last: s.last, table: t, file: f}, nil
}

// cut reports whether NextPart keeps a table's segments of a span apart. The caller holds mu.
func (w *Writer) cut(table string, s span) bool {
	return slices.ContainsFunc(w.cuts[table], func(first uint64) bool { return s.first < first && first <= s.last })
}

// Newest is the newest committed segment. It may be called by any goroutine.
func (w *Writer) Newest() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next - 1
}

func (w *Writer) keptApart(table string, s span) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut(table, s)
}

// Open verifies the part. The error is ErrDamaged if its rows cannot be used.
func (p *PartReader) Open(ctx context.Context) error {
	f, err := p.table.verified(ctx, p.file)
	p.Rows, p.Purged, p.Stored = f.rows, f.purged, time.UnixMilli(f.stored)
	return err
}

// Scan gives the rows in the order of the file, and an error last if there is one.
func (p *PartReader) Scan(ctx context.Context) iter.Seq2[Row, error] {
	return p.table.each(ctx, p.file)
}

// Close closes the part's file.
func (p *PartReader) Close() error { return p.file.Close() }

var errStopScan = errors.New("no more rows are wanted")

// rowsOf is PartReader.Scan.
func rowsOf[T Row](ctx context.Context, f *os.File) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		err := eachRowOf(ctx, f, func(row T) error {
			if !yield(row, nil) {
				return errStopScan
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopScan) {
			yield(nil, err)
		}
	}
}

// ZeroRow is an empty row of a table: its type has the columns.
func ZeroRow(name string) (Row, error) {
	t, err := lookup(name)
	return t.row, err
}
