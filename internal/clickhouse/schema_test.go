package clickhouse

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
	"github.com/chainbound/valtrack/test/markdown"
)

// A table of an earlier version gets the columns that it lacks, and keeps its rows.
func TestMissingColumnsAreAdded(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		m := newMaker()
		appendRows(t, w, m, 20)
		commit(t, w)
		s := newSink(t, w, url)
		round(t, s)
		for _, column := range []string{"client", "weight", "flags", "flags_known", "geo_country"} {
			if err := s.conn.exec(t.Context(), "ALTER TABLE "+s.schema.table(dataset.PeerEstimates)+" DROP COLUMN `"+column+"`"); err != nil {
				t.Fatal(err)
			}
		}
		appendRows(t, w, m, 10)
		commit(t, w)
		s = newSink(t, w, url)
		round(t, s)
		n, err := s.conn.numbers(t.Context(), "SELECT count(), countIf(client = ''), countIf(weight IS NOT NULL) FROM "+s.schema.table(dataset.PeerEstimates), 3)
		if err != nil {
			t.Fatal(err)
		}
		if n[0] != 30 || n[1] < 20 || n[2] == 0 || n[2] > 10 {
			t.Errorf("%d rows, %d without a client, %d with a weight", n[0], n[1], n[2])
		}
	})
}

// What is not ours, or of a later version, is left alone, and the error says the way out.
func TestForeignDatabases(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		appendRows(t, w, newMaker(), 3)
		commit(t, w)
		c := newSink(t, w, url).conn
		for database, of := range map[string]struct{ make, want string }{
			"theirs": {"CREATE TABLE theirs.visit_events (a Int32) ENGINE = MergeTree ORDER BY a SETTINGS index_granularity = 8192", "was not made by valtrack; give another database in the URL"},
			"newer":  {"CREATE TABLE newer.schema_version (version UInt32, applied DateTime) ENGINE = MergeTree ORDER BY version SETTINGS index_granularity = 8192", "was written by a later version of valtrack (schema 99, this version knows 1): use that version, or another database"},
		} {
			for _, statement := range []string{"CREATE DATABASE " + database, of.make} {
				if err := c.exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if database == "newer" {
				if err := c.exec(t.Context(), "INSERT INTO newer.schema_version SELECT 99, now()"); err != nil {
					t.Fatal(err)
				}
			}
			s := newSink(t, w, url+"/"+database)
			if err := s.round(t.Context()); err == nil || !strings.Contains(err.Error(), of.want) {
				t.Errorf("%s: error %v, want %s", database, err, of.want)
			}
		}
		s := newSink(t, w, url)
		round(t, s)
		if err := c.exec(t.Context(), "ALTER TABLE "+s.schema.table(dataset.Visit)+" MODIFY COLUMN started String"); err != nil {
			t.Fatal(err)
		}
		const want = "column started of table `valtrack`.`visit_events` is String, want Int64"
		if err := newSink(t, w, url).round(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	})
}

// The age at which rows are dropped is that of the option, also when it changes, and rows that are
// older are not inserted.
func TestTTL(t *testing.T) {
	url := startCurrent(t)
	w := openWriter(t, t.TempDir())
	appendRows(t, w, newMaker(), 3)
	commit(t, w)
	for _, days := range []int{30, 30, 90, 0} {
		s := newSink(t, w, url)
		s.target.TTL = time.Duration(days) * 24 * time.Hour
		round(t, s)
		rows, err := s.conn.rows(t.Context(), "SELECT countIf(position(engine_full, 'TTL stored + toIntervalSecond("+fmt.Sprint(max(days, 90*(1-min(days, 1)))*86400)+")') > 0) FROM system.tables WHERE database = 'valtrack' AND engine = 'MergeTree' AND name != 'schema_version'")
		if err != nil || fmt.Sprint(rows) != "[[5]]" {
			t.Errorf("%d days: %v tables have that TTL, error %v", days, rows, err)
		}
		sameRows(t, s)
	}
	s := newSink(t, w, url+"/later")
	s.target.TTL = 24 * time.Hour
	part := &dataset.PartReader{Stored: time.Now().Add(-25 * time.Hour)}
	if !s.expired(part) {
		t.Error("an old part is not expired")
	}
}

// The queries of the pages run, and give rows; those for a cluster are understood.
func TestQueriesOfThePages(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		w := openWriter(t, t.TempDir())
		appendRows(t, w, newMaker(), 100)
		commit(t, w)
		s := newSink(t, w, url)
		round(t, s)
		blocks, err := markdown.Blocks("../..")
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, b := range blocks {
			if !b.ForClickHouse() {
				continue
			}
			found++
			query := strings.TrimSuffix(strings.TrimSpace(b.Code), ";")
			switch b.Info {
			case "xatu":
				joinXatu(t, s, query)
				continue
			case "cluster":
				if s.schema.current {
					if err := s.conn.exec(t.Context(), "EXPLAIN AST "+query); err != nil {
						t.Errorf("%s: %v", b, err)
					}
				}
				continue
			}
			if rows, err := s.conn.rows(t.Context(), query); err != nil || len(rows) == 0 {
				t.Errorf("%s: %d rows, %v", b, len(rows), err)
			}
		}
		if found < 10 {
			t.Errorf("%d queries", found)
		}
	})
}

// joinXatu runs a query that joins the tables with xatu's, which are empty: the names that it uses
// are those of xatu's public schema (libp2p_peer and libp2p_gossipsub_beacon_block, 2026).
func joinXatu(t *testing.T, s *Sink, query string) {
	t.Helper()
	for table, columns := range map[string]string{
		"libp2p_peer": "unique_key Int64, updated_date_time DateTime, peer_id String, meta_network_id Int32, meta_network_name String",
		"libp2p_gossipsub_beacon_block": "updated_date_time DateTime, version UInt32, event_date_time DateTime, slot UInt32, slot_start_date_time DateTime, epoch UInt32, " +
			"propagation_slot_start_diff UInt32, block String, proposer_index UInt32, peer_id_unique_key Int64, message_id String, message_size UInt32, " +
			"meta_client_name String, meta_client_geo_country_code String, meta_network_id Int32, meta_network_name String",
	} {
		if err := s.conn.exec(t.Context(), "CREATE TABLE default."+table+" ("+columns+") ENGINE = MergeTree() PARTITION BY tuple() ORDER BY meta_network_name"); err != nil {
			t.Fatal(err)
		}
	}
	if rows, err := s.conn.rows(t.Context(), query); err != nil || len(rows) != 0 {
		t.Errorf("%s: %d rows, %v", query, len(rows), err)
	}
}

// The statements for a cluster are understood by the current engine, which has no cluster here.
func TestClusterStatements(t *testing.T) {
	url := startCurrent(t)
	target, err := Config{URL: url + "/db?cluster=all-1", TTL: 48 * time.Hour}.target()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSchema(target, "26.9.2.1")
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(target)
	defer c.close()
	statements := []string{"CREATE DATABASE IF NOT EXISTS `db`" + s.onCluster()}
	for _, statement := range s.createOthers() {
		statements = append(statements, statement)
	}
	for _, table := range s.tables {
		statements = append(statements, s.createTable(table), s.remove(table, "segment = 1"), "ALTER TABLE "+s.table(table.name)+s.onCluster()+" ADD COLUMN "+s.define(table.columns[0]))
	}
	for _, statement := range statements {
		if !strings.Contains(statement, "ON CLUSTER `all-1`") || strings.Contains(statement, "ENGINE") && !strings.Contains(statement, "ENGINE = Replicated") {
			t.Errorf("not for a cluster: %s", statement)
		}
		if err := c.exec(t.Context(), "EXPLAIN AST "+statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
