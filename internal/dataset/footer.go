package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/chainbound/valtrack/internal/buildinfo"
	"github.com/chainbound/valtrack/internal/event"
)

// Keys in the footer of every part.
const (
	footerSchema  = "valtrack.schema"
	footerSegment = "valtrack.segment" // one number, or first-last
	footerSeqs    = "valtrack.seqs"    // event keys, as JSON of a Coverage
	footerStored  = "valtrack.stored"  // of the newest commit, Unix milliseconds
	footerSorted  = "valtrack.sorted"  // how the rows are sorted
	footerPurged  = "valtrack.purged"  // number of rows that Purge removed, or LeaveOut counted
	footerTable   = "valtrack.table"
	footerProgram = "valtrack.program" // version and commit of the program that wrote the file
	footerRows    = "valtrack.rows"    // rows that were committed, by table, as JSON
	// footerSum is in sum.go.
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
	purged int64 // rows that Purge removed, or LeaveOut counted
	table  string
	// committed counts the rows of the part's segments in all tables, those that Purge removed
	// too: each table says what the others must have. Nil when it is not known.
	committed map[string]int64

	summed bool // it has a checksum
	sum    string
	rows   int64
	// oldest and newest are the rows' timestamps, Unix milliseconds; 0 for a part
	// without rows.
	oldest, newest int64
	clockErrors    int64 // rows with a clock_error_ms
	// unknown are columns that this version's table lacks; see missingColumns.
	unknown []string
	// older: the part lacks columns of this version's table.
	older bool
}

// entries are the footer's keys and values to write.
func (f footer) entries() (map[string]string, error) {
	keys, err := f.keys.encode()
	if err != nil {
		return nil, err
	}
	committed, err := json.Marshal(f.committed)
	if err != nil {
		return nil, err
	}
	out := map[string]string{
		footerSchema:  schemaText(),
		footerProgram: buildinfo.Read().String(),
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
	if f.committed != nil {
		out[footerRows] = string(committed)
	}
	if f.table != "" {
		out[footerTable] = f.table
	}
	return out, nil
}

// errNewer marks a part that a later version of valtrack wrote, with columns that mean
// something else.
var errNewer = errors.New("it was written by a later version of valtrack: use that version")

// readFooter reads the footer of a table's part without its rows. The error is ErrDamaged
// also for a part of another table, or of other segments than its name says.
func (t table) readFooter(path string) (footer, error) {
	f, err := os.Open(path)
	if err != nil {
		return footer{}, err
	}
	defer f.Close()
	out, err := t.footerOf(f)
	if err == nil {
		err = out.checkPlace(t.name, filepath.Base(path))
	}
	if err != nil {
		return footer{}, fmt.Errorf("part %s: %w", path, err)
	}
	return out, nil
}

// checkPlace is ErrDamaged when the part does not belong where it is.
func (f footer) checkPlace(table, file string) error {
	if f.table != "" && f.table != table {
		return fmt.Errorf("%w: it is a part of %s", ErrDamaged, f.table)
	}
	if s, ok := parseFile(file); ok && f.span != "" && f.span != s.String() {
		return fmt.Errorf("%w: it is the part of segment %s under another name", ErrDamaged, f.span)
	}
	return nil
}

// footerOf reads the footer of a file that the caller closes.
func (t table) footerOf(f *os.File) (out footer, err error) {
	defer recoverDamage(&err)
	p, summed, err := openParquet(f)
	if err != nil {
		return out, err
	}
	if err := refuseNewer(p); err != nil {
		return out, err
	}
	out.rows, out.summed = p.NumRows(), summed
	columns := parquet.SchemaOf(t.row)
	out.unknown = missingColumns(columns, p.Schema())
	out.older = len(missingColumns(p.Schema(), columns)) > 0
	out.readStatistics(p)
	return out, damage(out.readEntries(p.Lookup))
}

// readEntries is the inverse of entries.
func (f *footer) readEntries(lookup func(key string) (string, bool)) error {
	f.schema, _ = lookup(footerSchema)
	f.span, _ = lookup(footerSegment)
	f.table, _ = lookup(footerTable)
	f.sum, _ = lookup(footerSum)
	sorted, _ := lookup(footerSorted)
	f.sorted = sorted == sortedByID
	for key, into := range map[string]*int64{footerStored: &f.stored, footerPurged: &f.purged} {
		if text, ok := lookup(key); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("footer %s: %q", key, text)
			}
			*into = n
		}
	}
	if text, ok := lookup(footerRows); ok {
		if err := json.Unmarshal([]byte(text), &f.committed); err != nil {
			return fmt.Errorf("footer %s: %w", footerRows, err)
		}
	}
	f.keys = Coverage{}
	if text, ok := lookup(footerSeqs); ok {
		var err error
		if f.keys, err = decodeCoverage(text); err != nil {
			return err
		}
	}
	return nil
}

// refuseNewer is an errNewer for a part that a later version wrote.
func refuseNewer(p *parquet.File) error {
	text, _ := p.Lookup(footerSchema)
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n > schemaVersion {
		return fmt.Errorf("%w (schema %d, this version knows %d)", errNewer, n, schemaVersion)
	}
	return nil
}

// missingColumns are the columns of wanted that a schema does not have. Those that a part has
// and its table lacks are of a later version, which added them without a new schema: a
// merge would drop them. Those that the part lacks are null.
func missingColumns(schema, wanted *parquet.Schema) (names []string) {
	for _, column := range wanted.Columns() {
		if _, ok := schema.Lookup(column...); !ok {
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

// openParquet reads the footer of a file and verifies it, if it has a checksum.
func openParquet(f *os.File) (p *parquet.File, summed bool, err error) {
	defer recoverDamage(&err)
	end, err := readTail(f)
	if err != nil {
		return nil, false, damage(err)
	}
	if summed, err = end.verifyFooter(); err != nil {
		return nil, false, damage(err)
	}
	if !summed { // else nobody has changed it
		if _, err := walkThrift(end.raw); err != nil {
			return nil, false, damage(err)
		}
	}
	size := end.start + int64(len(end.raw))
	if p, err = parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err == nil {
		err = checkChunks(p, end.start)
	}
	return p, summed, damage(err)
}

// checkChunks refuses what would make the decoders read or allocate more than a part can
// have: columns beyond the file's body, and compression that is not ours.
func checkChunks(p *parquet.File, body int64) error {
	for _, group := range p.Metadata().RowGroups {
		for _, c := range group.Columns {
			m := c.MetaData
			name := strings.Join(m.PathInSchema, ".")
			if m.Codec != format.Zstd && m.Codec != format.Uncompressed {
				return fmt.Errorf("column %s is compressed with %v, which valtrack does not write", name, m.Codec)
			}
			start := m.DataPageOffset
			if m.DictionaryPageOffset > 0 {
				start = min(start, m.DictionaryPageOffset)
			}
			if start < 4 || m.TotalCompressedSize < 0 || start > body || m.TotalCompressedSize > body-start || m.NumValues < 0 {
				return fmt.Errorf("column %s is not within the file", name)
			}
		}
	}
	return nil
}
