package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// schemaVersion is in the table schema_version. It grows with each entry of migration; columns
// that a table of ours gains are added without.
const schemaVersion = 1

// Tables beside those of the datasets.
const (
	hourlyTable  = "hourly"
	seriesView   = "timeseries"
	schemaTable  = "schema_version"
	sourcesTable = "sources"
	currentSince = 23 // the first year's versions with everything that the current dialect uses
	// window is how many of a table's inserts the server remembers to recognise a repeated one.
	window = 10_000
)

// migration is what makes version of the schema from the one before. It must not drop data, and
// may run again after it was interrupted.
func migration(version int) []string {
	return map[int][]string{1: nil}[version]
}

// schema writes the statements for one server.
type schema struct {
	*target
	current bool // else the dialect of servers from before currentSince
	tables  []table
}

// table is a dataset's.
type table struct {
	name    string
	columns []column
}

func newSchema(t *target, version string) (*schema, error) {
	year, err := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	if err != nil {
		return nil, fmt.Errorf("ClickHouse at %s: cannot parse version %.40q", t.endpoint, version)
	}
	s := &schema{target: t, current: year >= currentSince}
	for _, name := range dataset.Tables() {
		row, err := dataset.ZeroRow(name)
		if err != nil {
			return nil, err
		}
		columns, err := columnsOf(row)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		s.tables = append(s.tables, table{name, columns})
	}
	return s, nil
}

func (s *schema) table(name string) string { return "`" + s.database + "`.`" + name + "`" }

func (s *schema) onCluster() string {
	if s.cluster == "" {
		return ""
	}
	return " ON CLUSTER `" + s.cluster + "`"
}

// engine is a MergeTree of a kind, replicated on a cluster: the server's macros name the shard and
// the replica.
func (s *schema) engine(kind, table, argument string) string {
	if s.cluster == "" {
		return kind + "(" + argument + ")"
	}
	path := fmt.Sprintf("'/clickhouse/tables/{shard}/%s/%s', '{replica}'", s.database, table)
	if argument != "" {
		path += ", " + argument
	}
	return "Replicated" + kind + "(" + path + ")"
}

// kind is a column's type in the server's dialect.
func (s *schema) kind(c column) string {
	if s.current && c.dict {
		return "LowCardinality(" + c.kind + ")"
	}
	return c.kind
}

func (s *schema) define(c column) string {
	out := "`" + c.name + "` " + s.kind(c)
	switch {
	case !s.current || c.dict:
	case c.delta:
		out += " CODEC(Delta, ZSTD(1))"
	default:
		out += " CODEC(ZSTD(1))"
	}
	return out
}

// createTable is the DDL of a dataset's table. A part is in the partition of the month in which it
// was committed, whatever the times of its rows: an insert is then one part, all or nothing.
func (s *schema) createTable(t table) string {
	var lines []string
	for _, c := range append(partColumns(), t.columns...) {
		lines = append(lines, s.define(c))
	}
	if s.current {
		lines = append(lines, "`time` DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(timestamp, 'UTC')",
			"INDEX segments (segment, segment_last) TYPE minmax GRANULARITY 1")
	} else {
		lines = append(lines, "`time` DateTime ALIAS toDateTime(intDiv(timestamp, 1000))")
	}
	out := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s (\n  %s\n) ENGINE = %s\nPARTITION BY toYYYYMM(stored)\nORDER BY (intDiv(timestamp, %d), id)",
		s.table(t.name), s.onCluster(), strings.Join(lines, ",\n  "), s.engine("MergeTree", t.name, ""), hourMS)
	if s.current && s.TTL > 0 {
		out += "\nTTL " + s.ttl()
	}
	out += "\nSETTINGS index_granularity = 8192"
	if s.current {
		out += fmt.Sprintf(", non_replicated_deduplication_window = %d, replicated_deduplication_window = %d, replicated_deduplication_window_seconds = 604800, ttl_only_drop_parts = 1", window, window)
	}
	return out
}

func (s *schema) ttl() string {
	return fmt.Sprintf("stored + toIntervalSecond(%d)", int64(s.TTL/time.Second))
}

// createOthers are the tables that are no dataset's, and the view for readers.
func (s *schema) createOthers() map[string]string {
	text := "String"
	if s.current {
		text = "LowCardinality(String)"
	}
	return map[string]string{
		schemaTable: fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s (version UInt32, applied DateTime) ENGINE = %s ORDER BY version SETTINGS index_granularity = 8192",
			s.table(schemaTable), s.onCluster(), s.engine("MergeTree", schemaTable, "")),
		sourcesTable: fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s (source String, directory String, number UInt64, at DateTime) ENGINE = %s ORDER BY (source, directory) SETTINGS index_granularity = 8192",
			s.table(sourcesTable), s.onCluster(), s.engine("ReplacingMergeTree", sourcesTable, "number")),
		hourlyTable: fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s (source %s, timestamp Int64, name %s, label %s, value Float64, version UInt64) ENGINE = %s ORDER BY (source, name, timestamp, label) SETTINGS index_granularity = 8192",
			s.table(hourlyTable), s.onCluster(), text, text, text, s.engine("ReplacingMergeTree", hourlyTable, "version")),
		seriesView: fmt.Sprintf("CREATE VIEW IF NOT EXISTS %s%s AS SELECT source, timestamp, toDateTime(intDiv(timestamp, 1000)) AS time, name, label, value FROM %s FINAL",
			s.table(seriesView), s.onCluster(), s.table(hourlyTable)),
	}
}

// insert is the statement before the rows of an insert of up to so many rows.
func (s *schema) insert(t table, token string, rows int) string {
	names := make([]string, 0, len(t.columns)+5)
	for _, c := range append(partColumns(), t.columns...) {
		names = append(names, "`"+c.name+"`")
	}
	out := "INSERT INTO " + s.table(t.name) + " (" + strings.Join(names, ", ") + ")"
	if s.current { // one block, and so one part, which the token stands for
		out += fmt.Sprintf(" SETTINGS insert_deduplicate = 1, insert_deduplication_token = %s, async_insert = 0, max_insert_block_size = %d, min_insert_block_size_rows = %d, min_insert_block_size_bytes = 0",
			quote(token), rows+1, rows)
	}
	return out + " FORMAT RowBinary"
}

// remove is the statement that removes the rows of a condition: those of a part that is inserted again.
func (s *schema) remove(t table, condition string) string {
	out := "ALTER TABLE " + s.table(t.name) + s.onCluster() + " DELETE WHERE " + condition
	if s.current {
		out += " SETTINGS mutations_sync = 2"
	}
	return out
}

// quote is a text in a statement. All that we quote are names of ours, but one: the durable's.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// prepare makes what is missing of the database, and refuses one that is not ours.
func (s *schema) prepare(ctx context.Context, c *conn, log *slog.Logger) error {
	found, err := c.numbers(ctx, "SELECT count() FROM system.databases WHERE name = "+quote(s.database), 1)
	if err != nil {
		return err
	}
	if found[0] == 0 {
		if err := c.exec(ctx, "CREATE DATABASE IF NOT EXISTS `"+s.database+"`"+s.onCluster()); err != nil {
			return err
		}
	}
	tables, err := s.existing(ctx, c)
	if err != nil {
		return err
	}
	for _, name := range []string{schemaTable, sourcesTable, hourlyTable, seriesView} {
		if _, ok := tables[name]; !ok {
			if err := c.exec(ctx, s.createOthers()[name]); err != nil {
				return err
			}
		}
	}
	if err := s.migrate(ctx, c); err != nil {
		return err
	}
	columns, err := s.existingColumns(ctx, c)
	if err != nil {
		return err
	}
	for _, t := range s.tables {
		engine, ok := tables[t.name]
		if !ok {
			if err := c.exec(ctx, s.createTable(t)); err != nil {
				return err
			}
			continue
		}
		if err := s.addColumns(ctx, c, t, columns[t.name]); err != nil {
			return err
		}
		if s.current && s.TTL > 0 && !strings.Contains(engine, fmt.Sprintf("toIntervalSecond(%d)", int64(s.TTL/time.Second))) {
			if err := c.exec(ctx, "ALTER TABLE "+s.table(t.name)+s.onCluster()+" MODIFY TTL "+s.ttl()); err != nil {
				return err
			}
		}
	}
	if !s.current && s.TTL > 0 {
		log.Warn("this version of ClickHouse has no TTL: remove old rows with ALTER TABLE ... DROP PARTITION", slog.Duration("ttl", s.TTL))
	}
	return nil
}

// existing are the engines of the database's tables.
func (s *schema) existing(ctx context.Context, c *conn) (map[string]string, error) {
	definition := "engine"
	if s.current {
		definition = "engine_full"
	}
	rows, err := c.rows(ctx, "SELECT name, "+definition+" FROM system.tables WHERE database = "+quote(s.database))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, row := range rows {
		if len(row) == 2 {
			out[fmt.Sprint(row[0])] = fmt.Sprint(row[1])
		}
	}
	return out, nil
}

// migrate brings the database to schemaVersion.
func (s *schema) migrate(ctx context.Context, c *conn) error {
	found, err := c.numbers(ctx, "SELECT max(version) FROM "+s.table(schemaTable), 1)
	if err != nil {
		return err
	}
	if found[0] > schemaVersion {
		return fmt.Errorf("database %s was written by a later version of valtrack (schema %d, this version knows %d): use that version, or another database", s.database, found[0], schemaVersion)
	}
	for version := int(found[0]) + 1; version <= schemaVersion; version++ {
		for _, statement := range migration(version) {
			if err := c.exec(ctx, statement); err != nil {
				return fmt.Errorf("migrate database %s to schema %d: %w", s.database, version, err)
			}
		}
		if err := c.exec(ctx, fmt.Sprintf("INSERT INTO %s (version, applied) SELECT %d, now()", s.table(schemaTable), version)); err != nil {
			return err
		}
	}
	return nil
}

// existingColumns are the types of the columns by table and name.
func (s *schema) existingColumns(ctx context.Context, c *conn) (map[string]map[string]string, error) {
	rows, err := c.rows(ctx, "SELECT table, name, type FROM system.columns WHERE database = "+quote(s.database))
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]string{}
	for _, row := range rows {
		if len(row) != 3 {
			continue
		}
		table := fmt.Sprint(row[0])
		if out[table] == nil {
			out[table] = map[string]string{}
		}
		out[table][fmt.Sprint(row[1])] = fmt.Sprint(row[2])
	}
	return out, nil
}

// addColumns adds those that a table of an earlier version lacks: the rows that it has get the
// type's default, which is null where a column may be null.
func (s *schema) addColumns(ctx context.Context, c *conn, t table, have map[string]string) error {
	for _, own := range partColumns() {
		if have[own.name] == "" {
			return fmt.Errorf("table %s has no column %s: it was not made by valtrack; give another database in the URL", s.table(t.name), own.name)
		}
	}
	for _, col := range append(partColumns(), t.columns...) {
		switch kind := have[col.name]; {
		case kind == "":
			if err := c.exec(ctx, "ALTER TABLE "+s.table(t.name)+s.onCluster()+" ADD COLUMN "+s.define(col)); err != nil {
				return err
			}
		case plain(kind) != plain(col.kind):
			return fmt.Errorf("column %s of table %s is %s, want %s; give another database in the URL", col.name, s.table(t.name), kind, col.kind)
		}
	}
	return nil
}

// plain is a type without what does not change its RowBinary.
func plain(kind string) string {
	kind = strings.ReplaceAll(kind, "Bool", "UInt8")
	if inner, ok := strings.CutPrefix(kind, "LowCardinality("); ok {
		kind = strings.TrimSuffix(inner, ")")
	}
	return kind
}
