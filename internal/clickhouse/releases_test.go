package clickhouse

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

// releases has a directory for each release, with its data directory, which is copied to a server,
// and what that server then has: the statements of its tables, for each of the two servers of
// these tests, the rows, and the state of the copy.
const (
	releases        = "../../test/e2e/testdata"
	releaseDatabase = "valtrack"
	// endpoint stands for the server's in the state.
	endpoint = "http://ENDPOINT"
)

// releasedRows are a table's rows as ClickHouse wrote them in RowBinary: servers of 2018 change the
// last digit of a number that they read from text.
type releasedRows struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
	Rows    []byte   `json:"rows"`
}

func (r releasedRows) columns() string { return "`" + strings.Join(r.Columns, "`, `") + "`" }

// openRelease is the writer of a copy of a release's data directory.
func openRelease(t *testing.T, fixtures string) *dataset.Writer {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", filepath.Join(fixtures, "data.tar.gz"), "-C", dir, "data").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return openWriter(t, filepath.Join(dir, "data"))
}

// sinkOfRelease is the sink of a release's data directory, as its consumer has it.
func sinkOfRelease(t *testing.T, w *dataset.Writer, url string) *Sink {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Dir(), "consumer_id"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(text))
	s, err := New(Config{URL: url}, w, "consumer-"+id, id, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.close)
	return s
}

// The tables of every release get what they lack, keep their rows, and the copy goes on: no row is
// inserted twice, and the series are those of a copy that this version made alone.
func TestTablesOfReleases(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(releases, "v*", "clickhouse.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, path := range found {
		fixtures := filepath.Dir(path)
		t.Run(filepath.Base(fixtures), func(t *testing.T) {
			onServers(t, func(t *testing.T, url string) { upgradeTables(t, fixtures, url) })
		})
	}
}

func upgradeTables(t *testing.T, fixtures, url string) {
	w := openRelease(t, fixtures)
	state, err := os.ReadFile(filepath.Join(fixtures, stateFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(w.Dir(), stateFile), bytes.ReplaceAll(state, []byte(endpoint), []byte(url)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := sinkOfRelease(t, w, url)
	server := "old"
	if strings.HasSuffix(t.Name(), "/current") {
		server = "current"
	}
	restoreTables(t, s.conn, fixtures, server)
	formats, err := os.ReadFile(filepath.Join(fixtures, "formats.json"))
	if err != nil {
		t.Fatal(err)
	}
	var format struct{ ClickHouse uint64 }
	found, err := s.conn.numbers(t.Context(), "SELECT max(version) FROM "+releaseDatabase+"."+schemaTable, 1)
	if err2 := json.Unmarshal(formats, &format); err != nil || err2 != nil || found[0] != format.ClickHouse {
		t.Errorf("the tables have format %d, want %d: %v, %v", found, format.ClickHouse, err, err2)
	}

	round(t, s)
	if st := s.Stats(); st.Inserts != 0 || st.Replaced != 0 || st.Lost != 0 || st.Behind != 0 {
		t.Errorf("the first round: %+v", st)
	}
	sameRows(t, s)
	appendRows(t, w, newMaker(), 20)
	commit(t, w)
	round(t, s)
	sameRows(t, s)
	if st := s.Stats(); st.Inserts != 5 || st.Replaced != 0 {
		t.Errorf("the second round: %+v", st)
	}
	series := func(s *Sink) string {
		return seriesRows(t, s, "SELECT name, timestamp, label, value FROM "+s.schema.table(seriesView)+" WHERE value != 0 ORDER BY name, timestamp, label")
	}
	fresh := newSink(t, w, url+"/fresh")
	round(t, fresh)
	if got, want := series(s), series(fresh); !strings.Contains(want, "handshakes") || got != want {
		t.Errorf("series:\n%s\nwant\n%s", got, want)
	}
}

// restoreTables makes the tables of a release and puts its rows into them.
func restoreTables(t *testing.T, c *conn, fixtures, server string) {
	t.Helper()
	statements, err := os.ReadFile(filepath.Join(fixtures, "clickhouse-"+server+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(strings.TrimSuffix(string(statements), ";\n"), ";\n") {
		if err := c.exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(filepath.Join(fixtures, "clickhouse-rows.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(z); decoder.More(); {
		var r releasedRows
		if err := decoder.Decode(&r); err != nil {
			t.Fatal(err)
		}
		statement := fmt.Sprintf("INSERT INTO %s.%s (%s) FORMAT RowBinary", releaseDatabase, r.Table, r.columns())
		if err := c.insert(t.Context(), statement, r.Table, bytes.NewReader(r.Rows)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMakeReleaseFixture copies the data directory in the fixture of VALTRACK_RELEASE to both
// servers and writes what they have: `make release-fixture` sets it.
func TestMakeReleaseFixture(t *testing.T) {
	version := os.Getenv("VALTRACK_RELEASE")
	if version == "" {
		t.Skip("VALTRACK_RELEASE is not set: make release-fixture")
	}
	fixtures := filepath.Join(releases, version)
	for server, start := range map[string]func(testing.TB) string{"old": startOld, "current": startCurrent} {
		t.Run(server, func(t *testing.T) {
			w := openRelease(t, fixtures)
			url := start(t)
			s := sinkOfRelease(t, w, url)
			round(t, s)
			sameRows(t, s)
			writeFile(t, filepath.Join(fixtures, "clickhouse-"+server+".sql"), statementsOf(t, s.conn))
			if server == "old" {
				writeFile(t, filepath.Join(fixtures, "clickhouse-rows.ndjson.gz"), rowsOf(t, s.conn))
				state, err := os.ReadFile(filepath.Join(w.Dir(), stateFile))
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(fixtures, stateFile), bytes.ReplaceAll(state, []byte(url), []byte(endpoint)))
			}
		})
		if t.Failed() {
			return
		}
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// statementsOf are those that make the tables and the view as the server has them.
func statementsOf(t *testing.T, c *conn) []byte {
	t.Helper()
	rows, err := c.rows(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = '"+releaseDatabase+"' AND name NOT LIKE '.%' ORDER BY engine = 'View', name")
	if err != nil {
		t.Fatal(err)
	}
	out := []byte("CREATE DATABASE " + releaseDatabase + ";\n")
	for _, row := range rows {
		out = fmt.Appendf(out, "%v;\n", row[0])
	}
	return out
}

// rowsOf are all rows of all tables, compressed.
func rowsOf(t *testing.T, c *conn) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	for _, table := range append(dataset.Tables(), hourlyTable, schemaTable) {
		names, err := c.rows(t.Context(), "SELECT name FROM system.columns WHERE database = '"+releaseDatabase+"' AND table = '"+table+"' AND default_kind = ''")
		if err != nil {
			t.Fatal(err)
		}
		r := releasedRows{Table: table}
		for _, name := range names {
			r.Columns = append(r.Columns, fmt.Sprint(name[0]))
		}
		statement := fmt.Sprintf("SELECT %s FROM %s.%s FORMAT RowBinary", r.columns(), releaseDatabase, table)
		if r.Rows, err = c.post(t.Context(), queryTimeout, map[string][]string{}, strings.NewReader(statement)); err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(z).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
