package dataset

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/chainbound/valtrack/internal/event"
)

// Keys in the footer of every part.
const (
	footerSchema  = "valtrack.schema"
	footerSegment = "valtrack.segment" // one number, or first-last
	footerSeqs    = "valtrack.seqs"    // event keys, as JSON of a Coverage
	footerStored  = "valtrack.stored"  // of the newest commit, Unix milliseconds
	footerSorted  = "valtrack.sorted"  // how the rows are sorted
	footerPurged  = "valtrack.purged"  // number of rows that Purge removed
)

// sortedByID is the order of a merged part's rows.
const sortedByID = "id,timestamp"

// footer is what a part says about itself. Parts that were not written by us, or by an
// earlier version, lack entries: those are zero.
type footer struct {
	schema string
	span   string
	keys   Coverage
	stored int64 // Unix milliseconds
	sorted bool
	purged int64 // rows that Purge removed

	rows int64
	// oldest and newest are the rows' timestamps, Unix milliseconds; 0 for a part
	// without rows.
	oldest, newest int64
	clockErrors    int64 // rows with a clock_error_ms
	// unknown are columns that this version's table lacks; see unknownColumns.
	unknown []string
}

// entries are the footer's keys and values to write.
func (f footer) entries() (map[string]string, error) {
	keys, err := f.keys.encode()
	if err != nil {
		return nil, err
	}
	out := map[string]string{
		footerSchema:  schemaText(),
		footerSegment: f.span,
		footerSeqs:    keys,
		footerStored:  strconv.FormatInt(f.stored, 10),
	}
	if f.sorted {
		out[footerSorted] = sortedByID
	}
	if f.purged > 0 {
		out[footerPurged] = strconv.FormatInt(f.purged, 10)
	}
	return out, nil
}

// errNewer marks a part that a later version of valtrack wrote, with columns that mean
// something else.
var errNewer = errors.New("a later version of valtrack has written it: use that version")

// readFooter reads the footer of a table's part without its rows.
func (t table) readFooter(path string) (footer, error) {
	f, err := os.Open(path)
	if err != nil {
		return footer{}, err
	}
	defer f.Close()
	out, err := t.footerOf(f)
	if err != nil {
		return footer{}, fmt.Errorf("part %s: %w", path, err)
	}
	return out, nil
}

func (t table) footerOf(f *os.File) (out footer, err error) {
	p, err := openParquet(f)
	if err != nil {
		return out, err
	}
	out.rows = p.NumRows()
	if err := refuseNewer(p); err != nil {
		return out, err
	}
	out.schema, _ = p.Lookup(footerSchema)
	out.unknown = t.unknownColumns(p)
	out.span, _ = p.Lookup(footerSegment)
	sorted, _ := p.Lookup(footerSorted)
	out.sorted = sorted == sortedByID
	if text, ok := p.Lookup(footerStored); ok {
		if out.stored, err = strconv.ParseInt(text, 10, 64); err != nil {
			return out, fmt.Errorf("footer %s: %w", footerStored, err)
		}
	}
	if text, ok := p.Lookup(footerPurged); ok {
		if out.purged, err = strconv.ParseInt(text, 10, 64); err != nil {
			return out, fmt.Errorf("footer %s: %w", footerPurged, err)
		}
	}
	out.keys = Coverage{}
	if text, ok := p.Lookup(footerSeqs); ok {
		if out.keys, err = decodeCoverage(text); err != nil {
			return out, err
		}
	}
	out.readStatistics(p)
	return out, nil
}

// refuseNewer is an errNewer for a part that a later version wrote.
func refuseNewer(p *parquet.File) error {
	text, _ := p.Lookup(footerSchema)
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n > schemaVersion {
		return fmt.Errorf("%w (schema %d, this version knows %d)", errNewer, n, schemaVersion)
	}
	return nil
}

// unknownColumns are the columns of a part that the table does not have: of a later
// version, which added them without a new schema. A merge would drop them.
func (t table) unknownColumns(p *parquet.File) (names []string) {
	known := parquet.SchemaOf(t.row)
	for _, column := range p.Schema().Columns() {
		if _, ok := known.Lookup(column...); !ok {
			names = append(names, strings.Join(column, "."))
		}
	}
	return names
}

// readStatistics reads what the statistics of the columns' chunks say about the rows.
func (f *footer) readStatistics(p *parquet.File) {
	for _, group := range p.Metadata().RowGroups {
		for _, column := range group.Columns {
			m := column.MetaData
			if len(m.PathInSchema) != 1 {
				continue
			}
			switch m.PathInSchema[0] {
			case "timestamp":
				if len(m.Statistics.MaxValue) != 8 || len(m.Statistics.MinValue) != 8 {
					continue
				}
				low := parquet.Int64.Value(m.Statistics.MinValue).Int64()
				high := parquet.Int64.Value(m.Statistics.MaxValue).Int64()
				if f.oldest == 0 || low < f.oldest {
					f.oldest = low
				}
				f.newest = max(f.newest, high)
			case "clock_error_ms":
				f.clockErrors += m.NumValues - m.Statistics.NullCount
			}
		}
	}
}

// lastTime is the time of a part's commit, Unix milliseconds, or of its newest row when that
// is later, as after a commit by a clock that was wrong. A row in the future does not count:
// its own clock was wrong, and would keep the part for as long.
func (f *footer) lastTime(now time.Time) int64 {
	if f.newest > now.Add(event.MaxClockError).UnixMilli() {
		return f.stored
	}
	return max(f.stored, f.newest)
}

// openParquet checks a file and reads its footer.
func openParquet(f *os.File) (*parquet.File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}
