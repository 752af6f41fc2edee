package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

const (
	// insertRows bounds the rows of one insert: those of a segment, of which merged parts have
	// more. The server holds them in memory.
	insertRows = 250_000
	// settle is how long a count may fall short after an insert that succeeded, as on a replica
	// that is behind; settlePoll is how often it is asked for.
	settle     = 5 * time.Second
	settlePoll = 200 * time.Millisecond
	// removeWait bounds the wait until removed rows are gone.
	removeWait = 2 * time.Minute
)

// unit is a part on its way.
type unit struct {
	table       table
	source      string
	first, last uint64
	rows        int64
	stored      uint32 // Unix seconds
	head        partHead
}

func newUnit(t table, source string, p *dataset.PartReader) unit {
	stored := unixSeconds(p.Stored)
	return unit{t, source, p.First, p.Last, p.Rows, stored, newPartHead(source, p.First, p.Last, stored)}
}

// own is the condition of the rows of this very part. The time of its commit tells it from one of
// the same segments in a data directory that was restored.
func (u unit) own() string {
	return fmt.Sprintf("segment = %d AND segment_last = %d AND stored = toDateTime(%d)", u.first, u.last, u.stored)
}

// exactly is the condition of its rows from a number on, up to another.
func (u unit) exactly(from, to int64) string {
	return fmt.Sprintf("source = %s AND %s AND row >= %d AND row < %d", quote(u.source), u.own(), from, to)
}

// within is the condition of the rows of this part, and of parts that were merged into it.
func (u unit) within() string {
	return fmt.Sprintf("source = %s AND segment >= %d AND segment_last <= %d", quote(u.source), u.first, u.last)
}

// touching is the condition of the rows of all parts with a segment of this one.
func (u unit) touching() string {
	return fmt.Sprintf("source = %s AND segment <= %d AND segment_last >= %d", quote(u.source), u.last, u.first)
}

// held is what the server has of the segments of a unit.
type held struct {
	rows        uint64 // in all parts that have one of its segments
	own         uint64 // in this very part
	first, last uint64 // segments of these parts
}

func (s *Sink) count(ctx context.Context, u unit) (held, error) {
	n, err := s.conn.numbers(ctx, fmt.Sprintf("SELECT count(), countIf(%s), min(segment), max(segment_last) FROM %s WHERE %s",
		u.own(), s.schema.table(u.table.name), u.touching()), 4)
	if err != nil {
		return held{}, err
	}
	return held{n[0], n[1], n[2], n[3]}, nil
}

var errOtherCopy = errors.New("one part, of another copy of the data directory")

// copyPart makes the server have the part's rows, each once. It may be interrupted at any moment
// and called again. After errOtherCopy, trying again does not help.
func (s *Sink) copyPart(ctx context.Context, u unit, p *dataset.PartReader) error {
	h, err := s.count(ctx, u)
	switch {
	case err != nil:
		return err
	case h.rows > 0 && (h.first < u.first || h.last > u.last):
		// The server has a part that this one was merged into: the data directory is that of an
		// earlier time. What the two do not have in common cannot be told.
		return fmt.Errorf("ClickHouse has segments %d to %d in %w", h.first, h.last, errOtherCopy)
	case h.rows == uint64(u.rows) && h.own == 0: // in the parts that were merged into it
		return nil
	case h.rows != h.own || h.own > uint64(u.rows): // the latter after a purge
		if err := s.remove(ctx, u, u.within()); err != nil {
			return err
		}
	}
	next, stop := iter.Pull2(p.Scan(ctx))
	defer stop()
	for from := int64(0); from < u.rows; from += insertRows {
		if err := s.copyRows(ctx, u, from, min(from+insertRows, u.rows), next); err != nil {
			return err
		}
	}
	return nil
}

// nextRow gives the rows of a part.
type nextRow func() (dataset.Row, error, bool)

// row is an error also when there is none left.
func (next nextRow) row() (dataset.Row, error) {
	row, err, ok := next()
	if err == nil && !ok {
		err = errShort
	}
	return row, err
}

// copyRows is copyPart for some of the rows, which next gives.
func (s *Sink) copyRows(ctx context.Context, u unit, from, to int64, next nextRow) error {
	want := uint64(to - from)
	count := func() ([]uint64, error) {
		return s.conn.numbers(ctx, "SELECT count(), uniqExact(row) FROM "+s.schema.table(u.table.name)+" WHERE "+u.exactly(from, to), 2)
	}
	n, err := count()
	if err != nil {
		return err
	}
	if n[0] == want && n[1] == want {
		return skipRows(next, to-from)
	}
	if n[0] > 0 {
		if err := s.remove(ctx, u, u.exactly(from, to)); err != nil {
			return err
		}
	}
	if err := s.insert(ctx, u, from, to, next); err != nil {
		return err
	}
	if err := s.step("inserted"); err != nil {
		return err
	}
	for deadline := time.Now().Add(s.settle); ; {
		if n, err = count(); err != nil {
			return err
		}
		if n[0] == want && n[1] == want {
			s.update(func(st *Stats) { st.Rows += want; st.Inserts++ })
			return s.step("counted")
		}
		if time.Now().After(deadline) {
			break
		}
		if err := sleep(ctx, settlePoll); err != nil {
			return err
		}
	}
	if err := s.newToken(u.table.name); err != nil {
		return err
	}
	return fmt.Errorf("ClickHouse at %s has %d rows, %d of them different, of the %d of segments %d to %d of %s: inserting them again",
		s.conn.endpoint, n[0], n[1], want, u.first, u.last, u.table.name)
}

// skipRows passes over rows that the server has.
func skipRows(next nextRow, n int64) error {
	for range n {
		if _, err := next.row(); err != nil {
			return err
		}
	}
	return nil
}

var errShort = errors.New("the part has fewer rows than its footer says")

func (s *Sink) insert(ctx context.Context, u unit, from, to int64, next nextRow) error {
	if err := s.step("insert"); err != nil {
		return err
	}
	st := s.state.table(u.table.name)
	token := fmt.Sprintf("valtrack:%s:%s:%d-%d:%d:%d.%d", u.source, u.table.name, u.first, u.last, from, s.state.Epoch, st.Attempt)
	body := &rowStream{unit: u, row: from, end: to, next: next}
	err := s.conn.insert(ctx, s.schema.insert(u.table, token, int(to-from)), s.schema.table(u.table.name)+token, body)
	body.Close() // nobody reads it from here on
	if body.err != nil {
		return body.err
	}
	return err
}

// remove removes rows that are inserted again: an insert that was not made whole, or rows of
// parts that were merged while nobody copied them.
func (s *Sink) remove(ctx context.Context, u unit, condition string) error {
	st, version := s.state.table(u.table.name), s.state.nextVersion()
	if st.Stale == 0 {
		st.Stale = version
	}
	if err := s.newToken(u.table.name); err != nil {
		return err
	}
	s.log.Warn("replacing a part's rows in ClickHouse", slog.String("table", u.table.name), slog.Uint64("first_segment", u.first), slog.Uint64("last_segment", u.last))
	s.update(func(st *Stats) { st.Replaced++ })
	if err := s.step("remove"); err != nil {
		return err
	}
	for _, statement := range append(s.schema.mark(u, condition, version), s.schema.remove(u.table, condition)) {
		if err := s.conn.exec(ctx, statement); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(removeWait); ; {
		n, err := s.conn.numbers(ctx, "SELECT count() FROM "+s.schema.table(u.table.name)+" WHERE "+condition, 1)
		if err != nil {
			return err
		}
		if n[0] == 0 {
			return s.step("removed")
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("ClickHouse at %s still has %d of the rows that should have been removed from %s", s.conn.endpoint, n[0], u.table.name)
		}
		if err := sleep(ctx, settlePoll); err != nil {
			return err
		}
	}
}

// newToken has the part inserted under a token that the server does not know: it may remember that
// of rows which it does not have any more.
func (s *Sink) newToken(table string) error {
	s.state.table(table).Attempt++
	return s.state.write(s.writer.Dir())
}

// rowStream is the RowBinary of rows as they are read. The HTTP client reads it in a goroutine
// that may go on after the response: Close waits for a Read, and ends all later ones.
type rowStream struct {
	unit
	row, end int64
	next     nextRow

	mu     sync.Mutex
	buf    []byte
	at     int // in buf
	closed bool
	err    error // of reading the part
}

// streamBuffer is how much is encoded at once, in bytes, and a row more.
const streamBuffer = 1 << 18

func (r *rowStream) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, io.ErrClosedPipe
	}
	if r.at == len(r.buf) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

func (r *rowStream) fill() error {
	r.buf, r.at = r.buf[:0], 0
	for len(r.buf) < streamBuffer && r.row < r.end {
		row, err := r.next.row()
		if err != nil {
			r.err = err
			return err
		}
		r.buf = r.head.append(r.buf, uint32(r.row))
		v := reflect.ValueOf(row)
		for i := range r.table.columns {
			r.buf = r.table.columns[i].put(r.buf, v)
		}
		r.row++
	}
	if len(r.buf) == 0 {
		return io.EOF
	}
	return nil
}

func (r *rowStream) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

// sleep is an error when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
