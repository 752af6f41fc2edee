package dataset

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Keys in the footer of every part.
const (
	footerSchema  = "valtrack.schema"
	footerSegment = "valtrack.segment" // one number, or first-last
	footerSeqs    = "valtrack.seqs"    // event keys, as JSON of a Coverage
	footerStored  = "valtrack.stored"  // of the newest commit, Unix milliseconds
	footerSorted  = "valtrack.sorted"  // how the rows are sorted
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

	rows int64
	// oldest and newest are the rows' timestamps, Unix milliseconds; 0 for a part
	// without rows.
	oldest, newest int64
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
	out.keys = Coverage{}
	if text, ok := p.Lookup(footerSeqs); ok {
		if out.keys, err = decodeCoverage(text); err != nil {
			return out, err
		}
	}
	out.oldest, out.newest = timestamps(p)
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

// timestamps reads the bounds of the rows' timestamps from the statistics of the
// column's chunks; zeros when there are none.
func timestamps(p *parquet.File) (oldest, newest int64) {
	eachChunk(p, "timestamp", func(low, high []byte) {
		if len(low) != 8 || len(high) != 8 {
			return
		}
		first := parquet.Int64.Value(low).Int64()
		if oldest == 0 || first < oldest {
			oldest = first
		}
		newest = max(newest, parquet.Int64.Value(high).Int64())
	})
	return oldest, newest
}

// openParquet checks a file and reads its footer.
func openParquet(f *os.File) (*parquet.File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}
