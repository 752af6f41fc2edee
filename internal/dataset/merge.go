package dataset

import (
	"cmp"
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

// mergeTable writes the rows of the files into one file in dir, sorted by (id,
// timestamp), rows that are equal in both in the order of in, and fsyncs it.
func mergeTable(ctx context.Context, table, dir string, in []source, f footer) (path string, err error) {
	switch table {
	case Discovery:
		return mergeRows[DiscoveryRow](ctx, dir, in, f)
	case Metadata:
		return mergeRows[MetadataRow](ctx, dir, in, f)
	case ValidatorMetadata:
		return mergeRows[ValidatorRow](ctx, dir, in, f)
	case Visit:
		return mergeRows[VisitRow](ctx, dir, in, f)
	case PeerEstimates:
		return mergeRows[EstimateRow](ctx, dir, in, f)
	}
	return "", fmt.Errorf("no table %q", table)
}

func mergeRows[T Row](ctx context.Context, dir string, in []source, f footer) (string, error) {
	m := merging[T]{dir: dir}
	runs, err := m.runs(ctx, in)
	if err != nil {
		return "", err
	}
	return m.merge(ctx, runs, f)
}

// merging is one merge: a file of sorted rows is a run.
type merging[T Row] struct {
	dir  string
	made int // files made in dir
}

// runs gives the files' rows as runs, fanIn of them at the most.
func (m *merging[T]) runs(ctx context.Context, in []source) ([]string, error) {
	runs, err := m.sort(ctx, in)
	for err == nil && len(runs) > fanIn {
		var run string
		if run, err = m.merge(ctx, runs[:fanIn], footer{}); err == nil {
			runs = append([]string{run}, runs[fanIn:]...)
		}
	}
	return runs, err
}

// sort gives the runs of the files: those that are sorted as they are, of the
// others runs of sortRows rows.
func (m *merging[T]) sort(ctx context.Context, in []source) (runs []string, err error) {
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
		runs = append(runs, p.path())
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

func (m *merging[T]) create() (*part[T], error) {
	var zero T
	dir := filepath.Join(m.dir, fmt.Sprint(m.made))
	m.made++
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return createPart[T](dir, zero.Table(), parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("id"), parquet.Ascending("timestamp"))))
}

// merge writes the rows of runs to a file with the footer.
func (m *merging[T]) merge(ctx context.Context, runs []string, f footer) (string, error) {
	entries, err := f.entries()
	if err != nil {
		return "", err
	}
	p, err := m.create()
	if err != nil {
		return "", err
	}
	defer p.abandon()
	heads, err := openRuns[T](runs)
	defer func() { heads.close() }()
	if err != nil {
		return "", err
	}
	for n := 0; len(heads) > 0; n++ {
		if n%writeBatch == 0 && ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err := p.append(heads[0].row()); err != nil {
			return "", err
		}
		if err := heads.next(); err != nil {
			return "", err
		}
	}
	return p.path(), p.finish(entries)
}

// byPeer is the order of a merged part's rows.
func byPeer[T Row](a, b T) int {
	return cmp.Or(cmp.Compare(a.Peer(), b.Peer()), cmp.Compare(a.At(), b.At()))
}

// cursor stands on a row of a run.
type cursor[T Row] struct {
	path string
	file *os.File
	r    *parquet.GenericReader[T]
	buf  []T // rows read and not passed yet
	rows []T // what buf is a part of
	rank int // among the runs
}

// cursorRows is how many rows a cursor reads at a time.
const cursorRows = 128

// openCursor stands on the first row; nil for a run without rows.
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

func (c *cursor[T]) next() (more bool, err error) {
	if c.buf = c.buf[1:]; len(c.buf) > 0 {
		return true, nil
	}
	return c.read()
}

func (c *cursor[T]) read() (more bool, err error) {
	n, err := readRows(c.r, c.rows)
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

// heads is a heap of cursors.
type heads[T Row] []*cursor[T]

func (h heads[T]) Len() int { return len(h) }
func (h heads[T]) Less(i, j int) bool {
	return cmp.Or(byPeer(h[i].row(), h[j].row()), cmp.Compare(h[i].rank, h[j].rank)) < 0
}
func (h heads[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *heads[T]) Push(c any) { *h = append(*h, c.(*cursor[T])) }

// Pop implements heap.Interface.
func (h *heads[T]) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}

func (h heads[T]) close() {
	for _, c := range h {
		c.close()
	}
}
