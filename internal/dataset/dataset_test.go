package dataset

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

func ptr[T any](v T) *T { return &v }

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func common(at int64) Common {
	return Common{Network: "hoodi", CrawlerID: "c1", CrawlerLocation: "here", Timestamp: at}
}

// Each table has a row with everything, one with all nulls, and one with the
// values that are easily taken for nulls.
func discoveryRows() []DiscoveryRow {
	return []DiscoveryRow{
		{
			ENR: "enr:-a", ID: "16U", NodeID: "0x01", Seq: math.MaxUint64, IP: ptr("127.0.0.1"), IP6: ptr("::1"),
			Port: ptr(int32(9000)), UDP: ptr(int32(9001)), QUIC: ptr(int32(65535)), ForkDigest: ptr("0x01020304"),
			NextForkVersion: ptr("0x07000000"), NextForkEpoch: ptr(uint64(math.MaxUint64)), Attnets: ptr("0x0100000000000080"),
			Syncnets: ptr("0x0f"), CustodyGroupCount: ptr(uint64(128)), NFD: ptr("0x00000000"), Common: common(1),
		},
		{ENR: "enr:-b", ID: "16V", NodeID: "0x02", Common: common(2)},
		{ENR: "enr:-c", ID: "16W", NodeID: "0x03", Port: ptr(int32(0)), CustodyGroupCount: ptr(uint64(0)), NextForkEpoch: ptr(uint64(0)), Common: common(3)},
	}
}

func metadataRows() []MetadataRow {
	full := MetadataRow{
		ENR: "enr:-a", ID: "16U", NodeID: ptr("0x01"), Multiaddr: "/ip4/127.0.0.1/tcp/9000", Epoch: 12,
		MetaData:          MetaData{SeqNumber: 3, Attnets: "0x0100000000000080", Syncnets: ptr("0x01"), CustodyGroupCount: ptr(uint64(128))},
		SubscribedSubnets: []int32{0, 5, 63}, ClientVersion: "Lighthouse/v8.0.0-abcdef0/x86_64-linux", VisitID: "v1", Direction: "outbound", Transport: "quic", ForkDigest: "0x01020304",
		HeadSlot: math.MaxUint64, FinalizedEpoch: 7, EarliestAvailableSlot: ptr(uint64(0)), ColumnSubnets: ptr(int32(0)), SyncSubnets: []int32{0, 3}, Common: common(1),
	}
	return []MetadataRow{full, {ID: "16V", Common: common(2)}, {ID: "16W", SubscribedSubnets: []int32{}, SyncSubnets: []int32{}, Common: common(3)}}
}

func validatorRows() []ValidatorRow {
	full := ValidatorRow{
		ENR: "enr:-a", ID: "16U", NodeID: ptr("0x01"), Multiaddr: "/ip4/127.0.0.1/tcp/9000", Epoch: 12, SeqNumber: 3, Attnets: "0x0100000000000080",
		Syncnets: ptr("0x01"), CustodyGroupCount: ptr(uint64(128)), LongLivedSubnets: []int32{0, 63}, ExpectedSubnets: []int32{0, 63},
		SubscribedSubnets: []int32{0, 5, 63}, ShortLivedSubnets: []int32{5}, AllSubnets: true, Client: "lighthouse",
		ClientRelease: ptr("8.0.0"), OS: ptr("linux"), Arch: ptr("x86_64"), ClientVersion: "Lighthouse/v8.0.0-abcdef0/x86_64-linux", VisitID: "v1", Direction: "outbound", Transport: "quic", ForkDigest: "0x01020304",
		HeadSlot: math.MaxUint64, FinalizedEpoch: 7, EarliestAvailableSlot: ptr(uint64(0)), ColumnSubnets: ptr(int32(0)), SyncSubnets: []int32{0, 3}, Common: common(1),
	}
	none := ValidatorRow{ID: "16V", LongLivedSubnets: []int32{}, Common: common(2)}
	empty := ValidatorRow{ID: "16W", LongLivedSubnets: []int32{}, SubscribedSubnets: []int32{}, ShortLivedSubnets: []int32{}, Common: common(3)}
	return []ValidatorRow{full, none, empty}
}

func visitRows() []VisitRow {
	return []VisitRow{
		{
			VisitID: "v1", ID: "16U", Multiaddr: ptr("/ip4/127.0.0.1/tcp/9000"), Direction: "inbound", Transport: ptr("tcp"), Started: 1, Ended: 2,
			Part: 2, More: true, Outcome: "goodbye", Error: ptr("said 129"), GoodbyeCode: ptr(uint64(129)), ClientVersion: ptr("teku/25.1"), HandshakeMS: ptr(int64(80)),
			Watch: &Watch{
				From: 1, To: 2, Initial: []int32{0, 63},
				Changes:         []SubnetChange{{At: 10, Subnet: 63, Subscribed: true}, {At: 20, Subnet: 0}},
				MetaDataChanges: []MetaDataChange{{At: 30, MetaData: MetaData{SeqNumber: 4, Attnets: "0x00"}}},
			}, Common: common(1),
		},
		{VisitID: "v2", ID: "16V", Direction: "outbound", Outcome: "refused", Common: common(2)},
		{
			VisitID: "v3", ID: "16W", Direction: "outbound", Outcome: "ok", HandshakeMS: ptr(int64(0)), GoodbyeCode: ptr(uint64(0)),
			Watch: &Watch{Initial: []int32{}, Changes: []SubnetChange{}, MetaDataChanges: []MetaDataChange{}}, Common: common(3),
		},
	}
}

func open(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// appendAll appends three rows to each table.
func appendAll(t *testing.T, w *Writer) {
	t.Helper()
	metadata, validators, visits := metadataRows(), validatorRows(), visitRows()
	for i, r := range discoveryRows() {
		if err := errors.Join(Append(w, r), errors.Join(Append(w, metadata[i]), Append(w, validators[i])), Append(w, visits[i])); err != nil {
			t.Fatal(err)
		}
	}
}

func scan[T Row](t *testing.T, dir string, in Range) []T {
	t.Helper()
	var rows []T
	err := Scan(t.Context(), dir, in, func(r T) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func writeOneSegment(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w := open(t, dir)
	appendAll(t, w)
	if err := w.Commit(Coverage{"s-1": {{1, 9}}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScanGivesWhatWasWritten(t *testing.T) {
	dir := writeOneSegment(t)
	for table, d := range map[string]string{
		Discovery:         cmp.Diff(discoveryRows(), scan[DiscoveryRow](t, dir, Range{})),
		Metadata:          cmp.Diff(metadataRows(), scan[MetadataRow](t, dir, Range{})),
		ValidatorMetadata: cmp.Diff(validatorRows(), scan[ValidatorRow](t, dir, Range{})),
		Visit:             cmp.Diff(visitRows(), scan[VisitRow](t, dir, Range{})),
	} {
		if d != "" {
			t.Errorf("%s (-written +read):\n%s", table, d)
		}
	}
	if got := scan[VisitRow](t, dir, Range{From: 2, To: 3}); len(got) != 1 || got[0].Timestamp != 2 {
		t.Errorf("range 2 to 3 gave %+v", got)
	}
}

// A library can read back what it alone understands: a foreign reader must see
// the same values in every column.
func TestDuckDBReadsEveryColumn(t *testing.T) {
	dir := writeOneSegment(t)
	for table, rows := range map[string]any{Discovery: discoveryRows(), Metadata: metadataRows(), ValidatorMetadata: validatorRows(), Visit: visitRows()} {
		got := duckdb(t, Dir(dir, table), "--sql", "FROM t ORDER BY timestamp")
		if d := cmp.Diff(asDuckDBHasIt(t, rows), got); d != "" {
			t.Errorf("%s (-written +DuckDB):\n%s", table, d)
		}
	}
}

// asDuckDBHasIt converts rows by way of JSON, where read.mjs gives 64-bit integers
// as strings.
func asDuckDBHasIt(t *testing.T, rows any) []map[string]any {
	t.Helper()
	data, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var out []map[string]any
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	small := map[string]bool{"port": true, "udp": true, "quic": true, "column_subnets": true, "subnet": true, "part": true}
	var convert func(name string, v any) any
	convert = func(name string, v any) any {
		switch v := v.(type) {
		case json.Number:
			if f, err := v.Float64(); err == nil && (small[name] || strings.HasSuffix(name, "_subnets") || name == "initial") {
				return f
			}
			return v.String()
		case []any:
			for i := range v {
				v[i] = convert(name, v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = convert(k, v[k])
			}
		}
		return v
	}
	for _, row := range out {
		convert("", row)
	}
	return out
}

func TestColumnTypes(t *testing.T) {
	dir := writeOneSegment(t)
	types := duckdb(t, Dir(dir, ValidatorMetadata), "--types")[0]
	want := map[string]any{
		"enr": "VARCHAR", "id": "VARCHAR", "node_id": "VARCHAR", "multiaddr": "VARCHAR", "epoch": "UBIGINT", "seq_number": "UBIGINT",
		"attnets": "VARCHAR", "syncnets": "VARCHAR", "custody_group_count": "UBIGINT",
		"long_lived_subnets": "INTEGER[]", "expected_subnets": "INTEGER[]", "subscribed_subnets": "INTEGER[]", "short_lived_subnets": "INTEGER[]",
		"all_subnets": "BOOLEAN", "client": "VARCHAR", "client_release": "VARCHAR", "os": "VARCHAR", "arch": "VARCHAR",
		"client_version": "VARCHAR", "visit_id": "VARCHAR", "direction": "VARCHAR", "transport": "VARCHAR", "fork_digest": "VARCHAR",
		"head_slot": "UBIGINT", "finalized_epoch": "UBIGINT", "earliest_available_slot": "UBIGINT", "column_subnets": "INTEGER", "sync_subnets": "INTEGER[]",
		"network": "VARCHAR", "crawler_id": "VARCHAR", "crawler_location": "VARCHAR", "timestamp": "BIGINT",
		"geo_country": "VARCHAR", "geo_country_code": "VARCHAR", "geo_region": "VARCHAR", "geo_city": "VARCHAR", "geo_latitude": "DOUBLE", "geo_longitude": "DOUBLE",
		"geo_autonomous_system_number": "UINTEGER", "geo_autonomous_system_organization": "VARCHAR", "geo_hosting": "VARCHAR", "geo_cloud": "VARCHAR", "geo_source": "VARCHAR",
		"subnet_rule": "VARCHAR", "clock_skew_ms": "BIGINT", "clock_error_ms": "BIGINT",
	}
	if d := cmp.Diff(want, types); d != "" {
		t.Errorf("(-want +DuckDB):\n%s", d)
	}
}

// []uint8 with the list tag is written as empty lists by parquet-go.
func TestNoByteLists(t *testing.T) {
	for _, table := range registry() {
		row := table.row
		for _, f := range reflect.VisibleFields(reflect.TypeOf(row)) {
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Uint8 {
				t.Errorf("%T.%s is a list of bytes", row, f.Name)
			}
			if tag := f.Tag.Get("parquet"); !f.Anonymous && strings.Split(tag, ",")[0] != f.Tag.Get("json") {
				t.Errorf("%T.%s: column %q and JSON name %q differ", row, f.Name, tag, f.Tag.Get("json"))
			}
		}
	}
}

func TestNewDirectoryHasEveryTable(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer w.Close()
	for _, table := range Tables() {
		if _, err := parquet.ReadFile[Common](single(0).path(dir, table)); err != nil {
			t.Errorf("%s: %v", table, err)
		}
	}
	for _, table := range Tables() {
		if rows := duckdb(t, Dir(dir, table)); len(rows) != 0 {
			t.Errorf("%s has rows: %v", table, rows)
		}
	}
}

func TestFooter(t *testing.T) {
	dir := writeOneSegment(t)
	for table := range all(3) {
		of, err := lookup(table)
		if err != nil {
			t.Fatal(err)
		}
		got, err := of.readFooter(single(1).path(dir, table))
		if err != nil {
			t.Fatal(err)
		}
		want := footer{schema: schemaText(), span: "1", keys: Coverage{"s-1": {{1, 9}}}, stored: got.stored, rows: 3, oldest: 1, newest: 3,
			table: table, committed: map[string]int64{Discovery: 3, Metadata: 3, ValidatorMetadata: 3, Visit: 3, PeerEstimates: 0}, summed: true, sum: got.sum}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(footer{})); d != "" || got.stored == 0 || len(got.sum) != 2*sumDigits {
			t.Errorf("%s: stored %d, footer (-want +got):\n%s", table, got.stored, d)
		}
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	_, err := Open(dir, discardLog())
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second writer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenNamesAnUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "data"), discardLog()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name %s", err, file)
	}
}

func TestScanReportsADamagedPart(t *testing.T) {
	dir := writeOneSegment(t)
	path := single(1).path(dir, Visit)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 4, len(data) / 2, len(data) - 1} {
		if err := os.WriteFile(path, data[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		err := Scan(t.Context(), dir, Range{}, func(VisitRow) error { return nil })
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%d of %d bytes: error %v", size, len(data), err)
		}
	}
}

// A part that a later version wrote is refused, not read with columns that mean
// something else.
func TestPartOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	if err := Append(w, metadataRows()[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(Coverage{"s-1": {{1, 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(Dir(dir, Metadata), "part-00000002.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if err := newPart[MetadataRow](f).finish(map[string]string{footerSchema: "2", footerSegment: "2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); !errors.Is(err, errNewer) || !strings.Contains(err.Error(), "part-00000002.parquet") {
		t.Errorf("error %v, want that a later version wrote part-00000002.parquet", err)
	}
}
