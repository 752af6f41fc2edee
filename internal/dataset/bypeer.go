package dataset

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/event"
)

// ErrSplit marks a segment that was to be read alone but is merged with others.
var ErrSplit = errors.New("the segment is merged with earlier ones")

// EventsAfter calls each with the event of every row of discovery_events,
// metadata_events and visit_events in the segments from first on, and stops at its
// first error: peer by peer, and those of a peer by their timestamps, so that no more
// than some rows of each file are in memory. An ErrSplit tells that a part has rows
// of earlier segments too, which for first 0 cannot be.
//
// It works in a directory beside the datasets: the caller holds the data directory's
// lock, and does not run Compact meanwhile.
func EventsAfter(ctx context.Context, dataDir string, first uint64, each func(event.Event) error) (err error) {
	work := filepath.Join(dataDir, compactingDir, "events")
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	discoveries, err := sortedRows[DiscoveryRow](ctx, dataDir, work, first)
	defer func() { discoveries.close() }()
	if err != nil {
		return err
	}
	handshakes, err := sortedRows[MetadataRow](ctx, dataDir, work, first)
	defer func() { handshakes.close() }()
	if err != nil {
		return err
	}
	visits, err := sortedRows[VisitRow](ctx, dataDir, work, first)
	defer func() { visits.close() }()
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n%writeBatch == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := nextEvent(&discoveries, &handshakes, &visits)
		if err != nil || e == nil {
			return err
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// place is where a row stands in the order of (id, timestamp).
type place struct {
	id string
	at int64
	ok bool // false at the end
}

func (p place) before(o place) bool {
	if !p.ok || !o.ok {
		return p.ok
	}
	return p.id < o.id || p.id == o.id && p.at < o.at
}

// nextEvent is that of the first of the three tables' rows, nil at their end; of rows
// at one time a record comes before a handshake and that before a visit's end.
func nextEvent(d *heads[DiscoveryRow], m *heads[MetadataRow], v *heads[VisitRow]) (event.Event, error) {
	pd, pm, pv := d.place(), m.place(), v.place()
	switch {
	case !pd.ok && !pm.ok && !pv.ok:
		return nil, nil
	case pd.ok && !pm.before(pd) && !pv.before(pd):
		return eventOf(d, DiscoveryRow.Event)
	case pm.ok && !pv.before(pm):
		return eventOf(m, MetadataRow.Event)
	}
	return eventOf(v, VisitRow.Event)
}

// eventOf takes the first row away.
func eventOf[T Row, E event.Event](h *heads[T], convert func(T) (E, error)) (event.Event, error) {
	e, err := convert((*h)[0].row())
	if err != nil {
		return nil, err
	}
	return e, h.next()
}

// place is that of the first row.
func (h heads[T]) place() place {
	if len(h) == 0 {
		return place{}
	}
	row := h[0].row()
	return place{row.Peer(), row.At(), true}
}

// next goes on behind the first row.
func (h *heads[T]) next() error {
	c := (*h)[0]
	more, err := c.next()
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

// sortedRows stands on the first row, by (id, timestamp), of a table's committed
// segments from first on. Close it, also after an error.
func sortedRows[T Row](ctx context.Context, dataDir, work string, first uint64) (h heads[T], err error) {
	var zero T
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", Dir(dataDir, zero.Table()), err)
		}
	}()
	parts, err := openTable(dataDir, zero.Table())
	if err != nil || parts == nil {
		return nil, err
	}
	defer parts.dir.Close()
	var in []source
	for _, s := range parts.live {
		if s.last < first {
			continue
		}
		if s.first < first {
			return nil, fmt.Errorf("%w: %s, from %d on", ErrSplit, s.file(), first)
		}
		f, err := footerIn(parts, s)
		if err != nil {
			return nil, err
		}
		in = append(in, source{path: s.path(dataDir, zero.Table()), rows: f.rows, sorted: f.sorted})
	}
	m := merging[T]{dir: filepath.Join(work, zero.Table())}
	runs, err := m.runs(ctx, in)
	if err != nil {
		return nil, err
	}
	return openRuns[T](runs)
}

// openRuns stands on the first row of sorted files. Close it, also after an error.
func openRuns[T Row](runs []string) (h heads[T], err error) {
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
