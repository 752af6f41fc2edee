package dataset

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/chainbound/valtrack/internal/event"
)

// maxCompared bounds the rows that Check remembers at once, some 32 bytes each.
const maxCompared = 16_000_000

// rowCheck reads the rows of a table for Check.
type rowCheck[T Row] struct {
	TableHealth
	parts *tableParts
	bad   []span // damaged

	clockOff func(*T) bool
	seed     maphash.Seed
	seen     map[uint64]int64 // keys of rows to their timestamps
	repeated map[uint64]bool  // keys that two rows have
	lastEnd  string           // the EarlierBootEnd of the last row that had one
}

// checkRows reads a table's parts of segments before next, and returns the damaged ones
// too. The error is fs.ErrNotExist when a part was removed since it was listed.
func checkRows[T Row](ctx context.Context, dataDir string, next uint64) (TableHealth, []span, error) {
	var zero T
	c := rowCheck[T]{
		TableHealth: TableHealth{Table: zero.Table(), Unreadable: []Unreadable{}, UnknownColumns: []string{}},
		clockOff:    clockOffOf[T](), seed: maphash.MakeSeed(), seen: map[uint64]int64{}, repeated: map[uint64]bool{},
	}
	if next == 0 {
		return c.TableHealth, nil, nil
	}
	var err error
	if c.parts, err = openUpTo(dataDir, c.Table, next-1); err != nil || c.parts == nil {
		return c.TableHealth, nil, err
	}
	defer c.parts.dir.Close()
	readable, err := c.readFooters(dataDir)
	if err == nil {
		err = c.readRows(ctx, dataDir, readable)
	}
	if err == nil && len(c.repeated) > 0 {
		err = c.countDuplicates(ctx, readable)
	}
	return c.TableHealth, c.bad, err
}

func (c *rowCheck[T]) readFooters(dataDir string) (readable []partInfo, err error) {
	keys := Coverage{}
	for _, s := range slices.Concat(c.parts.live, c.parts.stale) { // others read the stale ones too
		f, err := c.parts.footer(tableOf[T](), s)
		if err == nil {
			err = f.checkPlace(c.Table, s.file())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil {
			c.unreadable(dataDir, s, err)
			continue
		}
		c.DuplicateKeys += keys.overlap(f.keys)
		keys.Merge(f.keys)
		c.ClockErrors += f.clockErrors
		c.Purged += f.purged
		c.unknown(f.unknown)
		readable = append(readable, partInfo{s, f})
	}
	return readable, nil
}

// readRows reads the parts in the order of their oldest rows. Rows that are
// equal have the same timestamp, so that only those are remembered that a later part
// may have too.
func (c *rowCheck[T]) readRows(ctx context.Context, dataDir string, parts []partInfo) error {
	slices.SortFunc(parts, func(a, b partInfo) int { return cmp.Compare(a.oldest, b.oldest) })
	for i, p := range parts {
		err := c.readPart(ctx, p)
		if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c.Parts++
		if err != nil {
			c.unreadable(dataDir, p.span, err)
		}
		if !p.summed {
			c.NoChecksum++
		}
		if i+1 < len(parts) {
			maps.DeleteFunc(c.seen, func(_ uint64, at int64) bool { return at < parts[i+1].oldest })
		}
	}
	return nil
}

func (c *rowCheck[T]) readPart(ctx context.Context, p partInfo) error {
	f, err := c.parts.open(p.span)
	if err != nil {
		return err
	}
	defer f.Close()
	if p.summed {
		if err := damage(verifyBody(f)); err != nil {
			return err
		}
	}
	rows := int64(0)
	err = eachRowOf(ctx, f, func(row T) error {
		rows++
		if !c.clockOff(&row) {
			c.span(row.At())
		}
		if visit, ok := any(row).(VisitRow); ok {
			c.announce(visit.EarlierBootEnd)
		}
		c.compare(row)
		return nil
	})
	c.Rows += rows
	if err == nil && rows != p.rows {
		err = fmt.Errorf("%w: %d rows, its footer says %d", ErrDamaged, rows, p.rows)
	}
	return err
}

// maxAnnounced bounds the boots that rows may name: anybody who publishes can make some up.
const maxAnnounced = 1 << 16

// announce notes what an event says of the end of its sentry's earlier boot.
func (c *rowCheck[T]) announce(end *string) {
	if end == nil || *end == c.lastEnd {
		return
	}
	c.lastEnd = *end
	if key, err := event.ParseKey(*end); err == nil && len(c.Announced) < maxAnnounced {
		if c.Announced == nil {
			c.Announced = map[string]uint64{}
		}
		c.Announced[key.Producer()] = max(c.Announced[key.Producer()], key.Counter)
	}
}

func (c *rowCheck[T]) compare(row T) {
	h := maphash.Comparable(c.seed, row.key())
	switch _, twice := c.seen[h]; {
	case twice:
		c.repeated[h] = true
	case len(c.seen) < maxCompared:
		c.seen[h] = row.At()
	default:
		c.NotCompared++
	}
}

// countDuplicates reads the rows of undamaged parts with a key that another one has. Two sentries that share a
// crawler id can make rows of one key: those of an event are duplicates only if they are
// equal in every column.
func (c *rowCheck[T]) countDuplicates(ctx context.Context, parts []partInfo) error {
	seen := map[uint64]bool{}
	ofEvents := reflect.TypeFor[T]() != reflect.TypeFor[EstimateRow]()
	for _, p := range parts {
		if slices.Contains(c.bad, p.span) {
			continue
		}
		f, err := c.parts.open(p.span)
		if err != nil {
			return err
		}
		err = c.eachRepeated(ctx, f, seen, ofEvents)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *rowCheck[T]) eachRepeated(ctx context.Context, f *os.File, seen map[uint64]bool, ofEvents bool) error {
	return eachRowOf(ctx, f, func(row T) error {
		h := maphash.Comparable(c.seed, row.key())
		if !c.repeated[h] {
			return nil
		}
		if ofEvents {
			text, err := json.Marshal(row)
			if err != nil {
				return err
			}
			h = maphash.Bytes(c.seed, text)
		}
		if seen[h] {
			c.DuplicateRows++
		}
		seen[h] = true
		return nil
	})
}

// clockOffOf tells the rows whose clock is known to be off.
func clockOffOf[T Row]() func(*T) bool {
	field, ok := reflect.TypeFor[T]().FieldByName("ClockErrorMS")
	if !ok {
		return func(*T) bool { return false }
	}
	return func(row *T) bool { return !reflect.ValueOf(row).Elem().FieldByIndex(field.Index).IsNil() }
}

func (c *rowCheck[T]) unreadable(dataDir string, s span, err error) {
	c.bad = append(c.bad, s)
	c.Unreadable = append(c.Unreadable, Unreadable{File: s.path(dataDir, c.Table), Error: err.Error()})
}

func (t *TableHealth) unknown(columns []string) {
	for _, c := range columns {
		if !slices.Contains(t.UnknownColumns, c) {
			t.UnknownColumns = append(t.UnknownColumns, c)
		}
	}
}

func (t *TableHealth) span(at int64) {
	if t.From == 0 || at < t.From {
		t.From = at
	}
	t.To = max(t.To, at)
}
