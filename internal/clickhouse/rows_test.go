package clickhouse

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chainbound/valtrack/internal/dataset"
)

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openWriter(t testing.TB, dir string) *dataset.Writer {
	t.Helper()
	w, err := dataset.Open(dir, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// maker makes rows of every table with any values: each field that can be null is so at times.
type maker struct{ *rand.Rand }

func newMaker() maker { return maker{rand.New(rand.NewPCG(1, 2))} }

func (m maker) fill(name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			m.fill(v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Pointer:
		if m.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			m.fill(name, v.Elem())
		}
	case reflect.Slice:
		if n := m.IntN(4); n > 0 { // else nil
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
			for i := range v.Len() {
				m.fill(name, v.Index(i))
			}
		}
	case reflect.String:
		v.SetString([]string{"", "ok", "it's \\ \"quoted\"\t\n", "ü€𝄞", "lighthouse", strings.Repeat("x", 300)}[m.IntN(6)])
	case reflect.Bool:
		v.SetBool(m.IntN(2) == 0)
	case reflect.Int32:
		v.SetInt(int64(int32(m.Uint32())))
	case reflect.Int64:
		v.SetInt(int64(m.Uint64()))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(m.Uint64() >> m.IntN(64) & (1<<v.Type().Bits() - 1))
	case reflect.Float64:
		v.SetFloat(float64(m.IntN(1000)) / 8)
	default:
		panic(v.Kind())
	}
}

// appendRows makes n rows of each table, in three hours, and appends them to the open segment.
func appendRows(t testing.TB, w *dataset.Writer, m maker, n int) {
	t.Helper()
	for i := range n {
		common := dataset.Common{Network: "devnet", CrawlerID: "s", CrawlerLocation: "here", Timestamp: 1763800000000 + int64(m.IntN(3))*hourMS + int64(i)}
		id := fmt.Sprintf("16U%04d", m.IntN(50))
		var d dataset.DiscoveryRow
		var v dataset.ValidatorRow
		var visit dataset.VisitRow
		var e dataset.EstimateRow
		var h dataset.MetadataRow
		for _, row := range []any{&d, &v, &visit, &e, &h} {
			m.fill("", reflect.ValueOf(row).Elem())
		}
		d.ID, d.Common, v.ID, v.Common, visit.ID, visit.Common, e.ID, e.Common, h.ID, h.Common = id, common, id, common, id, common, id, common, id, common
		e.Timestamp -= e.Timestamp % hourMS
		visit.Part = int32(m.IntN(2))
		if m.IntN(2) == 0 { // those of a clock that is off are in no series
			d.ClockErrorMS, h.ClockErrorMS, visit.ClockErrorMS = nil, nil, nil
		}
		for _, err := range []error{dataset.Append(w, d), dataset.Append(w, v), dataset.Append(w, visit), dataset.Append(w, e), dataset.Append(w, h)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func commit(t testing.TB, w *dataset.Writer) {
	t.Helper()
	if err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
}

// fieldOf finds a column's value in the JSON of a row.
func fieldOf(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		if field, ok := v[name]; ok {
			return field
		}
		if list, ok := v[strings.TrimSuffix(name, "_known")]; ok {
			return list != nil
		}
		for key, field := range v {
			if rest, ok := strings.CutPrefix(name, key+"_"); ok {
				return fieldOf(field, rest)
			}
		}
		panic("no field for column " + name)
	case []any:
		out := []any{}
		for _, element := range v {
			out = append(out, fieldOf(element, name))
		}
		return out
	}
	return nil
}

// text is a value as both sides write it.
func text(v any, isArray bool) string {
	switch v := v.(type) {
	case nil:
		if isArray {
			return "[]"
		}
		return "null"
	case bool:
		if v {
			return "1"
		}
		return "0"
	case []any:
		parts := make([]string, len(v))
		for i, element := range v {
			parts[i] = text(element, false)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".e") {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return v.String()
	}
	return fmt.Sprint(v)
}

// datasetRows are a table's rows as texts, sorted.
func datasetRows(t testing.TB, dir string, tab table) (lines []string) {
	t.Helper()
	err := dataset.ScanTable(t.Context(), dir, tab.name, dataset.Range{}, func(row dataset.Row) error {
		data, err := json.Marshal(row)
		if err != nil {
			return err
		}
		var v any
		decoder := json.NewDecoder(strings.NewReader(string(data)))
		decoder.UseNumber()
		if err := decoder.Decode(&v); err != nil {
			return err
		}
		var fields []string
		for _, c := range tab.columns {
			fields = append(fields, c.name+"="+text(fieldOf(v, c.name), strings.HasPrefix(c.kind, "Array(")))
		}
		lines = append(lines, strings.Join(fields, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// serverRows are what the server has of a table.
func serverRows(t testing.TB, s *Sink, tab table) (lines []string) {
	t.Helper()
	names := make([]string, len(tab.columns))
	for i, c := range tab.columns {
		names[i] = "`" + c.name + "`"
	}
	rows, err := s.conn.rows(t.Context(), "SELECT "+strings.Join(names, ", ")+" FROM `"+s.target.database+"`.`"+tab.name+"`")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var fields []string
		for i, c := range tab.columns {
			fields = append(fields, c.name+"="+text(row[i], strings.HasPrefix(c.kind, "Array(")))
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	slices.Sort(lines)
	return lines
}

// sameRows compares what the server has with the datasets: every row, every column.
func sameRows(t testing.TB, s *Sink) {
	t.Helper()
	schema, err := newSchema(s.target, "26.9")
	if err != nil {
		t.Fatal(err)
	}
	for _, tab := range schema.tables {
		want, got := datasetRows(t, s.writer.Dir(), tab), serverRows(t, s, tab)
		if len(got) != len(want) {
			t.Errorf("%s: %d rows, want %d", tab.name, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s, row %d:\n got %s\nwant %s", tab.name, i, got[i], want[i])
				break
			}
		}
	}
}
