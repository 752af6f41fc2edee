package clickhouse

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/dataset"
)

// column is one of a table in ClickHouse: a column of the dataset, or a field of one that is a
// struct, whose name is then joined with underscores.
type column struct {
	name  string
	kind  string // in ClickHouse, as Int64 or Array(Nullable(String))
	dict  bool   // few different texts
	delta bool   // each value is close to the one before
	// put appends the value in RowBinary. It gets the row, or a struct in it.
	put encoder
}

// encoder appends the RowBinary of a value.
type encoder func(b []byte, v reflect.Value) []byte

// manyValues are columns of texts that are different for every peer: a dictionary of them is as
// large as they are.
var manyValues = []string{"enr", "id", "node_id", "multiaddr", "ip", "ip6", "visit_id"}

// columnsOf derives the columns from the type of a table's rows.
func columnsOf(row dataset.Row) ([]column, error) {
	var out []column
	err := addColumns(&out, reflect.TypeOf(row), "", func(e encoder) encoder { return e })
	return out, err
}

// addColumns adds those of a struct. within makes an encoder of the struct's value one of the
// row's.
func addColumns(out *[]column, of reflect.Type, prefix string, within func(encoder) encoder) error {
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		field := func(e encoder) encoder {
			return within(func(b []byte, v reflect.Value) []byte { return e(b, v.Field(i)) })
		}
		switch {
		case f.Anonymous:
			if err := addColumns(out, f.Type, prefix, field); err != nil {
				return err
			}
			continue
		case name == "":
			return fmt.Errorf("%s.%s has no column", of, f.Name)
		}
		if err := addColumn(out, f.Type, prefix+name, strings.Split(options, ","), field); err != nil {
			return err
		}
	}
	return nil
}

func addColumn(out *[]column, t reflect.Type, name string, options []string, within func(encoder) encoder) error {
	optional := slices.Contains(options, "optional")
	switch {
	case t.Kind() == reflect.Struct:
		return addColumns(out, t, name+"_", within)
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		return addNullable(out, t.Elem(), name, within)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return addNested(out, t.Elem(), name, within)
	case t.Kind() == reflect.Slice:
		kind, element, err := scalar(t.Elem(), false)
		if err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
		*out = append(*out, column{name: name, kind: "Array(" + kind + ")", put: within(array(element))})
		if optional { // an array has no null
			*out = append(*out, column{name: name + "_known", kind: "UInt8", put: within(func(b []byte, v reflect.Value) []byte { return appendBool(b, !v.IsNil()) })})
		}
		return nil
	}
	kind, put, err := scalar(t, optional)
	if err != nil {
		return fmt.Errorf("column %s: %w", name, err)
	}
	*out = append(*out, column{
		name: name, kind: kind, put: within(put), delta: slices.Contains(options, "delta") && !strings.Contains(kind, "String"),
		dict: slices.Contains(options, "dict") && strings.Contains(kind, "String") && !slices.Contains(manyValues, name),
	})
	return nil
}

// addNullable adds the columns of an optional struct: null, or an empty array, without it.
func addNullable(out *[]column, of reflect.Type, name string, within func(encoder) encoder) error {
	var inner []column
	if err := addColumns(&inner, of, name+"_", func(e encoder) encoder { return e }); err != nil {
		return err
	}
	for _, c := range inner {
		put, isArray, wasNullable := c.put, strings.HasPrefix(c.kind, "Array("), strings.HasPrefix(c.kind, "Nullable(")
		if !isArray && !wasNullable {
			c.kind = "Nullable(" + c.kind + ")"
		}
		c.put = within(func(b []byte, v reflect.Value) []byte {
			switch {
			case v.IsNil() && isArray:
				return append(b, 0)
			case v.IsNil():
				return append(b, 1)
			case !isArray && !wasNullable:
				b = append(b, 0)
			}
			return put(b, v.Elem())
		})
		*out = append(*out, c)
	}
	return nil
}

// addNested adds an array for each column of a list of structs.
func addNested(out *[]column, of reflect.Type, name string, within func(encoder) encoder) error {
	var inner []column
	if err := addColumns(&inner, of, name+"_", func(e encoder) encoder { return e }); err != nil {
		return err
	}
	for _, c := range inner {
		if strings.HasPrefix(c.kind, "Array(") {
			return fmt.Errorf("column %s: a list in a list", c.name)
		}
		*out = append(*out, column{name: c.name, kind: "Array(" + c.kind + ")", put: within(array(c.put))})
	}
	return nil
}

var (
	textType   = reflect.TypeFor[dataset.Text]()
	numberType = reflect.TypeFor[dataset.Number]()
)

// scalar is the type and the encoder of a single value.
func scalar(t reflect.Type, optional bool) (kind string, put encoder, err error) {
	if t.Kind() == reflect.Pointer {
		kind, element, err := scalar(t.Elem(), false)
		return "Nullable(" + kind + ")", func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, 1)
			}
			return element(append(b, 0), v.Elem())
		}, err
	}
	switch t.Kind() {
	case reflect.String:
		kind, put = "String", func(b []byte, v reflect.Value) []byte { return appendText(b, v.String()) }
	case reflect.Bool:
		kind, put = "UInt8", func(b []byte, v reflect.Value) []byte { return appendBool(b, v.Bool()) }
	case reflect.Int32:
		kind, put = "Int32", func(b []byte, v reflect.Value) []byte {
			return binary.LittleEndian.AppendUint32(b, uint32(v.Int()))
		}
	case reflect.Uint32:
		kind, put = "UInt32", func(b []byte, v reflect.Value) []byte {
			return binary.LittleEndian.AppendUint32(b, uint32(v.Uint()))
		}
	case reflect.Int64:
		kind, put = "Int64", func(b []byte, v reflect.Value) []byte {
			return binary.LittleEndian.AppendUint64(b, uint64(v.Int()))
		}
	case reflect.Uint64:
		kind, put = "UInt64", func(b []byte, v reflect.Value) []byte { return binary.LittleEndian.AppendUint64(b, v.Uint()) }
	case reflect.Float64:
		kind, put = "Float64", func(b []byte, v reflect.Value) []byte {
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Float()))
		}
	default:
		return "", nil, fmt.Errorf("ClickHouse has no type for %v", t)
	}
	if !optional {
		return kind, put, nil
	}
	if t != textType && t != numberType {
		return "", nil, fmt.Errorf("which %v is null is not known", t)
	}
	value := put
	return "Nullable(" + kind + ")", func(b []byte, v reflect.Value) []byte { // the zero value is null
		if v.IsZero() {
			return append(b, 1)
		}
		return value(append(b, 0), v)
	}, nil
}

func array(element encoder) encoder {
	return func(b []byte, v reflect.Value) []byte {
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = element(b, v.Index(i))
		}
		return b
	}
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// Columns in front of a table's own: a row is the number row of the part with the segments
// segment to segment_last of the data directory source, whose newest commit was at stored.
func partColumns() []column {
	return []column{
		{name: "source", kind: "String", dict: true},
		{name: "segment", kind: "UInt64", delta: true},
		{name: "segment_last", kind: "UInt64", delta: true},
		{name: "row", kind: "UInt32", delta: true},
		{name: "stored", kind: "DateTime", delta: true},
	}
}

// partHead is the RowBinary of the columns of a part before and after row.
type partHead struct{ before, after []byte }

func newPartHead(source string, first, last uint64, stored uint32) partHead {
	var h partHead
	h.before = appendText(nil, source)
	h.before = binary.LittleEndian.AppendUint64(h.before, first)
	h.before = binary.LittleEndian.AppendUint64(h.before, last)
	h.after = binary.LittleEndian.AppendUint32(nil, stored)
	return h
}

func (h partHead) append(b []byte, row uint32) []byte {
	b = append(b, h.before...)
	return append(binary.LittleEndian.AppendUint32(b, row), h.after...)
}

// unixSeconds fits a time into a DateTime, which begins in 1970 and ends in 2106.
func unixSeconds(t time.Time) uint32 {
	return uint32(max(0, min(t.Unix(), math.MaxUint32)))
}
