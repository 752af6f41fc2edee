package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Part describes a committed part by its footer.
type Part struct {
	Table string `json:"table"`
	File  string `json:"file"`
	// First and Last are the segments that it holds, both included.
	First uint64 `json:"first_segment"`
	Last  uint64 `json:"last_segment"`
	Rows  int64  `json:"rows"`
	// Purged counts the rows that Purge removed.
	Purged int64 `json:"purged,omitempty"`
	Bytes  int64 `json:"bytes"`
	// Stored is when its newest segment was committed, From and To the timestamps of its
	// oldest and newest row, 0 without rows; Unix milliseconds.
	Stored int64 `json:"stored"`
	From   int64 `json:"from"`
	To     int64 `json:"to"`
	// Sum is the checksum in its footer, which parts of earlier versions lack, and Keys a
	// hash of the event keys that it covers.
	Sum  string `json:"sum,omitempty"`
	Keys string `json:"keys"`
}

func describe(table string, p partInfo, size int64) (Part, error) {
	keys, err := p.keys.encode()
	hash := sha256.Sum256([]byte(keys))
	return Part{
		Table: table, File: p.file(), First: p.first, Last: p.last, Rows: p.rows, Purged: p.purged, Bytes: size,
		Stored: p.stored, From: p.oldest, To: p.newest, Sum: p.sum, Keys: hex.EncodeToString(hash[:8]),
	}, err
}

// LastTime is the time by which retention judges a part; see footer.lastTime.
func (p Part) LastTime(now time.Time) int64 {
	return (&footer{stored: p.Stored, newest: p.To}).lastTime(now)
}

// Check is an error when no part can have these properties.
func (p Part) Check() error {
	_, err := lookup(p.Table)
	if s, ok := parseFile(p.File); err == nil && (!ok || s != span{p.First, p.Last} || p.Rows < 0 || p.Purged < 0 || p.Bytes < 0 || p.Last == math.MaxUint64) {
		err = fmt.Errorf("%s %q of segments %d to %d is not a part", p.Table, p.File, p.First, p.Last)
	}
	return err
}

// Snapshot is what a data directory has up to a segment, at one moment.
type Snapshot struct {
	// Parts are those of all tables, in the order of tables and segments. The tables have
	// parts of the same segments, except for parts that are damaged or lost.
	Parts []Part
	// Events are the keys of all events that were stored, Segments the segments of all
	// parts, by table; both with what retention has removed.
	Events, Segments Coverage
}

// clockJump is how far in the future a commit may be before the clock was wrong at that time.
const clockJump = 24 * time.Hour

// TakeSnapshot lists the parts of the segments that were committed before the moment, by
// this machine's clock, which shows now. A segment that was committed while the clock was a
// day or more ahead counts as before. A writer may be writing: a part can be merged into
// another before it is opened.
func TakeSnapshot(dataDir string, before, now time.Time) (*Snapshot, error) {
	l, err := listAll(dataDir)
	if err != nil {
		return nil, err
	}
	removed, err := readRemoved(dataDir)
	if err != nil {
		return nil, err
	}
	l.cut(before.UnixMilli(), now.Add(clockJump).UnixMilli())
	out := &Snapshot{Events: l.covered(), Segments: Coverage{}}
	out.Segments.Merge(l.removed)
	for _, table := range Tables() {
		for _, p := range l.tables[table] {
			info, err := os.Stat(p.path(dataDir, table))
			if err != nil {
				return nil, err
			}
			part, err := describe(table, p, info.Size())
			if err != nil {
				return nil, err
			}
			out.Parts = append(out.Parts, part)
			out.Segments.Merge(Coverage{table: {{p.first, p.last}}})
		}
	}
	out.Events.Merge(removed)
	return out, nil
}

// cut leaves the parts before the first segment that was committed between the moments, and
// of these the ones up to the last segment of which every table has a part.
func (l *listing) cut(from, to int64) {
	end := l.next // exclusive
	for _, parts := range l.tables {
		for _, p := range parts {
			if from <= p.stored && p.stored < to {
				end = min(end, p.first)
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for _, table := range Tables() {
			parts := l.tables[table]
			n, last := 0, uint64(0)
			for n < len(parts) && parts[n].last < end {
				last = parts[n].last + 1
				n++
			}
			l.tables[table] = parts[:n]
			changed = changed || last < end
			end = last
		}
	}
}

// VerifyPart reads a whole part of a table from its file, which must have the name of a
// part. The error is ErrDamaged when it is not what was written.
func VerifyPart(ctx context.Context, table string, f *os.File) (Part, error) {
	t, err := lookup(table)
	if err != nil {
		return Part{}, err
	}
	out, err := t.verified(ctx, f)
	if err != nil {
		return Part{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Part{}, err
	}
	s, _ := parseFile(filepath.Base(f.Name()))
	return describe(table, partInfo{s, out}, info.Size())
}

// WriteRemoved records in a data directory that retention has removed what was stored
// according to a snapshot and is not in the parts that are in copied.
func WriteRemoved(copied, dataDir string, events, segments Coverage) error {
	for _, c := range []Coverage{events, segments} { // they come from another machine
		text, err := c.encode()
		if err == nil {
			_, err = decodeCoverage(text)
		}
		if err != nil {
			return err
		}
	}
	l, err := listAll(copied)
	if err != nil {
		return err
	}
	for table, parts := range l.tables {
		for _, p := range parts {
			segments = segments.without(Coverage{table: {{p.first, p.last}}})
		}
	}
	events = events.without(l.covered())
	if len(events)+len(segments) == 0 {
		return nil
	}
	if err := writeIntervals(filepath.Join(dataDir, removedPartsFile), Coverage{}, segments); err != nil {
		return err
	}
	return writeIntervals(filepath.Join(dataDir, RemovedFile), Coverage{}, events)
}

// without is the set less the keys of other.
func (c Coverage) without(other Coverage) Coverage {
	out := Coverage{}
	for producer, runs := range c {
		if left := subtract(runs, other[producer]); len(left) > 0 {
			out[producer] = left
		}
	}
	return out
}

// Through gives the keys up to the last counter that other has of each producer; those of
// producers that other lacks are left out.
func (c Coverage) Through(other Coverage) Coverage {
	out := Coverage{}
	for producer, runs := range other {
		if len(runs) == 0 {
			continue
		}
		last := runs[len(runs)-1][1]
		for _, run := range c[producer] {
			if run[0] <= last {
				out.Merge(Coverage{producer: {{run[0], min(run[1], last)}}})
			}
		}
	}
	return out
}
