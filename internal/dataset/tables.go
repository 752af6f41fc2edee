package dataset

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"

	"github.com/chainbound/valtrack/internal/event"
)

// schemaVersion is in every part's footer as valtrack.schema. It grows when a column
// changes its meaning or is removed; new columns do not change it.
const schemaVersion = 1

// schemaText is schemaVersion in a footer.
func schemaText() string { return strconv.Itoa(schemaVersion) }

// registry lists the tables in the order in which a segment's parts are renamed into
// place. The last one's rename commits the segment. A new table needs its line here
// and a file table_<name>.go: everything else about it is derived from here.
func registry() []table {
	return []table{
		discoveryTable(),
		validatorTable(),
		visitTable(),
		estimateTable(),
		metadataTable(),
	}
}

// commitTable is the last table of the registry. A segment is committed if and only if
// its part is in place.
const commitTable = Metadata

// Tables lists the tables' names in the order of commits.
func Tables() (names []string) {
	for _, t := range registry() {
		names = append(names, t.name)
	}
	return names
}

// Row is a row of one of the tables. Pointers and nil lists are null; an empty list is
// a list without elements. Bit fields and digests are lower-case hex with 0x, lists
// are LIST<INT32>. Rows share what they point to with the events they were made of and
// must not be changed once they are appended.
type Row interface {
	// Table is the name of the row's table.
	Table() string
	// At is the row's timestamp, Unix milliseconds UTC.
	At() int64
	// Peer is the row's peer id.
	Peer() string

	key() rowKey
}

// rowKey identifies a row: no two rows of a table may have the same.
type rowKey struct {
	peer, crawler string
	at            int64
	visit         string
	number        uint64
}

// table is what commits, merges, checks and exports do with a table, whatever its
// type of row.
type table struct {
	name string
	// create makes the table's part of an open segment.
	create func(dir string) (stagedPart, error)
	// merge is mergeRows, check is checkRows, scan is Scan and export is exportRows.
	merge  func(ctx context.Context, dir string, in []source, f footer) (string, error)
	check  func(ctx context.Context, dataDir string, newest uint64) (TableHealth, []span, error)
	scan   func(ctx context.Context, dataDir string, in Range, each func(Row) error) error
	export func(ctx context.Context, dataDir string, in Range, f *os.File) (int, error)
	// stream is streamRows.
	stream func(ctx context.Context, dataDir string, in Range, w io.Writer) error
	// verified is verifyPart and each is rowsOf.
	verified func(ctx context.Context, f *os.File) (footer, error)
	each     func(ctx context.Context, f *os.File) iter.Seq2[Row, error]
	// purge is purgeRows.
	purge func(ctx context.Context, dir, path string, f footer, gone func(string) bool) (string, int64, error)
	// verify is verifyFile and within is partWithin.
	verify func(ctx context.Context, path string) error
	// rows calls each with the rows of a part's file.
	rows   func(ctx context.Context, path string, each func(Row) error) error
	within func(path, merged string) (bool, error)
	// row is an empty row: its type has the columns.
	row Row
	// events is openEvents; nil for a table whose rows are derived from events that
	// another table has. Of rows with one peer and time those of the table with the
	// lowest eventRank come first.
	events    func(ctx context.Context, dataDir, work string, which selection, skipped func(error)) (eventReader, error)
	eventRank int
}

func tableOf[T Row]() table {
	var zero T
	return table{
		name: zero.Table(),
		row:  zero,
		create: func(dir string) (stagedPart, error) {
			return createPart[T](dir)
		},
		merge:  mergeRows[T],
		purge:  purgeRows[T],
		check:  checkRows[T],
		verify: verifyFile[T], verified: verifyPart[T], each: rowsOf[T], within: partWithin[T],
		scan: func(ctx context.Context, dataDir string, in Range, each func(Row) error) error {
			return Scan(ctx, dataDir, in, func(row T) error { return each(row) })
		},
		rows: func(ctx context.Context, path string, each func(Row) error) error {
			return eachRow(ctx, path, func(row T) error { return each(row) })
		},
		export: exportRows[T], stream: streamRows[T],
	}
}

// eventTableOf is a table whose rows are events, one each. toEvent gives nil for a row
// that EventsAfter leaves out.
func eventTableOf[T Row](rank int, toEvent func(T) (event.Event, error)) table {
	t := tableOf[T]()
	t.eventRank = rank
	t.events = func(ctx context.Context, dataDir, work string, which selection, skipped func(error)) (eventReader, error) {
		return openEvents(ctx, dataDir, work, which, skipped, toEvent)
	}
	return t
}

// lookup finds a table by its name.
func lookup(name string) (table, error) {
	all := registry()
	i := slices.IndexFunc(all, func(t table) bool { return t.name == name })
	if i < 0 {
		return table{}, fmt.Errorf("unknown table %q", name)
	}
	return all[i], nil
}
