package dataset

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// What a merge holds in memory: sortRows rows, or some 13 MiB for each file that is
// read (a page of each column, the dictionaries). A day of 10 000 peers, 2.25 M
// handshakes, takes 260 MiB of heap at most.
const (
	// sortRows is how many rows are sorted in memory.
	sortRows = 32_000
	// fanIn is how many sorted files are merged at once.
	fanIn = 8
	// rowGroup is the rows of a merged part's row group: the dictionaries are a row
	// group's.
	rowGroup = 1 << 20
)

// source is a file to merge.
type source struct {
	path   string
	rows   int64
	sorted bool
}

// mergeRows writes the rows of the files into one file in dir, sorted by (id,
// timestamp), rows that are equal in both in the order of in, and fsyncs it. It is an error
// when there are not as many as the files claim to have.
func mergeRows[T Row](ctx context.Context, dir string, in []source, f footer) (string, error) {
	m := merger[T]{dir: dir}
	runs, err := m.sortedRuns(ctx, in)
	if err != nil {
		return "", err
	}
	file, rows, err := m.mergeRuns(ctx, runs, f)
	for _, s := range in {
		rows -= s.rows
	}
	if err == nil && rows != 0 {
		err = fmt.Errorf("merge %s and later parts: the result has %+d rows", in[0].path, rows)
	}
	return file, err
}

// merger does one merge. A file of sorted rows is a run.
type merger[T Row] struct {
	dir  string
	made int // files made in dir
}

// sortedRuns returns the files' rows as at most fanIn runs.
func (m *merger[T]) sortedRuns(ctx context.Context, in []source) ([]string, error) {
	runs, err := m.sortFiles(ctx, in)
	for err == nil && len(runs) > fanIn {
		var run string
		if run, _, err = m.mergeRuns(ctx, runs[:fanIn], footer{}); err == nil {
			runs = append([]string{run}, runs[fanIn:]...)
		}
	}
	return runs, err
}

// sortFiles returns the runs of the files: sorted files unchanged, the others as runs
// of sortRows rows.
func (m *merger[T]) sortFiles(ctx context.Context, in []source) (runs []string, err error) {
	var rows []T
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		slices.SortStableFunc(rows, byPeer[T])
		p, err := m.create()
		if err != nil {
			return err
		}
		defer p.abandon()
		for _, row := range rows {
			if err := p.append(row); err != nil {
				return err
			}
		}
		clear(rows)
		rows = rows[:0]
		runs = append(runs, p.file.Name())
		return p.finish(nil)
	}
	for _, s := range in {
		if s.rows == 0 {
			continue
		}
		if s.sorted {
			// Keeps equal rows in order.
			if err := flush(); err != nil {
				return nil, err
			}
			runs = append(runs, s.path)
			continue
		}
		if err := eachRow(ctx, s.path, func(row T) error {
			rows = append(rows, row)
			if len(rows) < sortRows {
				return nil
			}
			return flush()
		}); err != nil {
			return nil, fmt.Errorf("merge %s: %w", s.path, err)
		}
	}
	return runs, flush()
}

func (m *merger[T]) create() (*part[T], error) {
	dir := filepath.Join(m.dir, fmt.Sprint(m.made))
	m.made++
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return createPart[T](dir, parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("id"), parquet.Ascending("timestamp"))))
}

// mergeRuns writes the rows of runs to a file with the footer, and counts them.
func (m *merger[T]) mergeRuns(ctx context.Context, runs []string, f footer) (file string, n int64, err error) {
	entries, err := f.entries()
	if err != nil {
		return "", 0, err
	}
	p, err := m.create()
	if err != nil {
		return "", 0, err
	}
	defer p.abandon()
	rows, err := openRuns[T](runs)
	defer func() { rows.close() }()
	if err != nil {
		return "", 0, err
	}
	for ; len(rows) > 0; n++ {
		if n%writeBatch == 0 && ctx.Err() != nil {
			return "", 0, ctx.Err()
		}
		if err := p.append(rows[0].row()); err != nil {
			return "", 0, err
		}
		if err := rows.dropRow(); err != nil {
			return "", 0, err
		}
	}
	return p.file.Name(), n, p.finish(entries)
}

// byPeer is the order of a merged part's rows.
func byPeer[T Row](a, b T) int { return sortKeyOf(a).compare(sortKeyOf(b)) }

// cursor points to a row of a run.
type cursor[T Row] struct {
	path string
	file *os.File
	r    *rowReader[T]
	buf  []T // rows read and not passed yet, the current one first
	rows []T // what buf is a part of
	rank int // among the runs
}

// cursorRows is how many rows a cursor reads at a time.
const cursorRows = 128

// openCursor points to the first row; it is nil for a run without rows.
func openCursor[T Row](path string, rank int) (*cursor[T], error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := openReader[T](f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("merge %s: %w", path, err), f.Close())
	}
	c := &cursor[T]{path: path, file: f, r: r, rows: make([]T, cursorRows), rank: rank}
	more, err := c.read()
	if !more {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cursor[T]) row() T { return c.buf[0] }

func (c *cursor[T]) advance() (more bool, err error) {
	if c.buf = c.buf[1:]; len(c.buf) > 0 {
		return true, nil
	}
	return c.read()
}

func (c *cursor[T]) read() (more bool, err error) {
	n, err := c.r.read(c.rows)
	c.buf = c.rows[:n]
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("merge %s: %w", c.path, err)
	}
	return n > 0, nil
}

func (c *cursor[T]) close() {
	c.r.Close()
	c.file.Close()
}

// openRuns returns the rows of sorted files. Close the heap, also after an error.
func openRuns[T Row](runs []string) (h mergeHeap[T], err error) {
	for i, run := range runs {
		c, err := openCursor[T](run, i)
		if err != nil {
			return h, err
		}
		if c != nil {
			h = append(h, c)
		}
	}
	heap.Init(&h)
	return h, nil
}

// mergeHeap is a heap of cursors, whose first one points to the first row of all.
type mergeHeap[T Row] []*cursor[T]

func (h mergeHeap[T]) Len() int { return len(h) }
func (h mergeHeap[T]) Less(i, j int) bool {
	return cmp.Or(byPeer(h[i].row(), h[j].row()), cmp.Compare(h[i].rank, h[j].rank)) < 0
}
func (h mergeHeap[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *mergeHeap[T]) Push(c any) { *h = append(*h, c.(*cursor[T])) }

// Pop implements heap.Interface.
func (h *mergeHeap[T]) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}

func (h mergeHeap[T]) close() {
	for _, c := range h {
		c.close()
	}
}

// dropRow advances to the row after the first.
func (h *mergeHeap[T]) dropRow() error {
	c := (*h)[0]
	more, err := c.advance()
	if err != nil {
		return err
	}
	if more {
		heap.Fix(h, 0)
		return nil
	}
	heap.Pop(h)
	c.close()
	return nil
}
