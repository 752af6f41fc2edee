package dataset

import (
	"errors"
	"fmt"
	"slices"
)

// listing is what the footers of all tables say at one moment.
type listing struct {
	dataDir string
	next    uint64                // segments before it are committed
	tables  map[string][]partInfo // the live parts that can be read, ascending
	removed Coverage              // segments that retention has removed, by table
	overlap map[string][]string
}

// listAll reads the footers of all tables. What is damaged or in a wrong place is left out,
// as if it were not there.
func listAll(dataDir string) (*listing, error) {
	l := &listing{dataDir: dataDir, tables: map[string][]partInfo{}, overlap: map[string][]string{}}
	var err error
	if l.next, err = afterAll(dataDir); err != nil {
		return nil, err
	}
	for _, t := range registry() {
		if err := l.list(t); err != nil {
			return nil, err
		}
	}
	// After the parts: one that is removed meanwhile is there or in the list.
	l.removed, err = readRemovedParts(dataDir)
	return l, err
}

func (l *listing) list(t table) error {
	if l.next == 0 {
		return nil
	}
	parts, err := openUpTo(l.dataDir, t.name, l.next-1)
	if err != nil || parts == nil {
		return err
	}
	defer parts.dir.Close()
	end := uint64(0) // of the parts so far, exclusive
	for _, s := range parts.live {
		f, err := parts.footer(t, s)
		if err == nil {
			err = f.checkPlace(t.name, s.file())
		}
		switch {
		case errors.Is(err, ErrDamaged):
			continue
		case err != nil && !errors.Is(err, errNewer):
			return err
		case s.first < end:
			l.overlap[t.name] = append(l.overlap[t.name], s.path(l.dataDir, t.name))
			continue
		}
		l.tables[t.name] = append(l.tables[t.name], partInfo{s, f})
		end = s.last + 1
	}
	return nil
}

// leaveOut removes parts whose rows have turned out to be damaged.
func (l *listing) leaveOut(damaged map[string][]span) {
	for table, bad := range damaged {
		l.tables[table] = slices.DeleteFunc(l.tables[table], func(p partInfo) bool { return slices.Contains(bad, p.span) })
	}
}

// covered are the keys of all tables: a segment's parts have the same.
func (l *listing) covered() Coverage {
	out := Coverage{}
	for _, parts := range l.tables {
		for _, p := range parts {
			out.Merge(p.keys)
		}
	}
	return out
}

// compare returns, for each table with something wrong, its holes, disagreements and
// overlapping parts.
func (l *listing) compare() map[string]TableHealth {
	out := map[string]TableHealth{}
	for _, stretch := range l.stretches() {
		for _, table := range Tables() {
			found := out[table]
			l.compareStretch(table, stretch, &found)
			if len(found.Holes)+len(found.Disagreeing) > 0 {
				out[table] = found
			}
		}
	}
	for table, paths := range l.overlap {
		found := out[table]
		found.Overlapping = paths
		out[table] = found
	}
	return out
}

// stretches cuts the committed segments where no table has a part across the cut: within
// one the tables must have the same.
func (l *listing) stretches() (out []span) {
	var all []span
	for _, parts := range l.tables {
		for _, p := range parts {
			all = append(all, p.span)
		}
	}
	slices.SortFunc(all, compareSpans)
	next := uint64(0)
	for _, s := range all {
		switch {
		case s.first > next: // no table has these
			out = append(out, span{next, s.first - 1}, s)
		case s.first == next:
			out = append(out, s)
		case s.last+1 > next:
			out[len(out)-1].last = s.last
		}
		next = max(next, s.last+1)
	}
	if next < l.next {
		out = append(out, span{next, l.next - 1})
	}
	return out
}

// partsIn are a table's parts in a stretch.
func (l *listing) partsIn(table string, stretch span) []partInfo {
	parts := l.tables[table]
	from, _ := slices.BinarySearchFunc(parts, stretch.first, func(p partInfo, first uint64) int {
		switch {
		case p.first < first:
			return -1
		case p.first > first:
			return 1
		}
		return 0
	})
	to := from
	for to < len(parts) && parts[to].within(stretch) {
		to++
	}
	return parts[from:to]
}

// witness is what a table with every part of a stretch says about the others.
func (l *listing) witness(stretch span) (table string, keys Coverage, rows map[string]int64) {
	tables := Tables()
	slices.Reverse(tables) // metadata_events first
	for _, table := range tables {
		parts := l.partsIn(table, stretch)
		if len(gapsIn(parts, stretch)) > 0 {
			continue
		}
		keys, rows := Coverage{}, map[string]int64{}
		for _, p := range parts {
			keys.Merge(p.keys)
			rows = addCommitted(rows, p.committed)
		}
		return table, keys, rows
	}
	return "", Coverage{}, nil
}

// gapsIn are the runs of a stretch's segments that no part has.
func gapsIn(parts []partInfo, stretch span) (out []Interval) {
	next := stretch.first
	for _, p := range parts {
		if p.first > next {
			out = append(out, Interval{next, p.first - 1})
		}
		next = p.last + 1
	}
	if next <= stretch.last {
		out = append(out, Interval{next, stretch.last})
	}
	return out
}

func (l *listing) compareStretch(table string, stretch span, found *TableHealth) {
	parts := l.partsIn(table, stretch)
	gaps := gapsIn(parts, stretch)
	holes := subtract(gaps, l.removedFrom(table))
	witness, keys, committed := l.witness(stretch)
	rows, expected := int64(0), committed[table]
	own := Coverage{}
	for _, p := range parts {
		rows += p.rows + p.purged
		own.Merge(p.keys)
	}
	for i, h := range holes {
		hole := Hole{First: h[0], Last: h[1], Events: countAll(keys)}
		if committed != nil && count(gaps) == count(holes) { // retention has removed none of them
			lost := int64(0)
			if i == 0 {
				lost = max(0, expected-rows)
			}
			hole.Rows = &lost
		}
		found.Holes = append(found.Holes, hole)
	}
	if len(gaps) > 0 {
		return
	}
	disagree := func(format string, args ...any) {
		found.Disagreeing = append(found.Disagreeing, Disagreement{stretch.first, stretch.last, fmt.Sprintf(format, args...)})
	}
	if committed != nil && rows != expected {
		disagree("%d rows, %d were committed", rows, expected)
	}
	if !own.contains(keys) || !keys.contains(own) {
		disagree("its events differ from those of %s", witness)
	}
}

// removedFrom are the segments whose parts retention may have removed from a table: those
// that it has removed, there or, as of a table that has lost the part itself, from metadata_events.
func (l *listing) removedFrom(table string) []Interval {
	out := Coverage{table: slices.Clone(l.removed[table])}
	out.Merge(Coverage{table: l.removed[commitTable]})
	if table == commitTable {
		for _, runs := range l.removed {
			out.Merge(Coverage{table: runs})
		}
	}
	return out[table]
}

// subtract returns the runs of a without what is in b; both are ascending.
func subtract(a, b []Interval) (out []Interval) {
	for _, run := range a {
		from, _ := search(b, run[0])
		for _, cut := range b[max(0, from-1):] {
			if cut[0] > run[1] || run[0] > run[1] {
				break
			}
			if cut[1] < run[0] {
				continue
			}
			if cut[0] > run[0] {
				out = append(out, Interval{run[0], cut[0] - 1})
			}
			run[0] = cut[1] + 1
		}
		if run[0] <= run[1] {
			out = append(out, run)
		}
	}
	return out
}

// countAll counts the keys of all producers.
func countAll(keys Coverage) (n uint64) {
	for _, runs := range keys {
		n += count(runs)
	}
	return n
}
