package api

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/chainbound/valtrack/internal/printable"
)

// value is a cell of a row: null, or one of the kinds.
type value struct {
	kind  kind
	n     int64 // an integer, a boolean as 0 or 1, or the bits of a set of numbers below 64
	f     float64
	s     string
	words []string
}

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindFloat
	kindText
	kindBits
	kindWords
)

func boolean(b bool) value {
	if b {
		return value{kind: kindBool, n: 1}
	}
	return value{kind: kindBool}
}

func integer[N int | int64 | uint64 | uint32 | uint16](n N) value {
	return value{kind: kindInt, n: int64(min(uint64(n), math.MaxInt64))}
}

// float is null for what is not finite.
func float(f float64) value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return value{}
	}
	return value{kind: kindFloat, f: rounded(f)}
}

// text is null for the empty string.
func text[S ~string](s S) value {
	if s == "" {
		return value{}
	}
	return value{kind: kindText, s: string(s)}
}

// millis is null for 0.
func millis(at int64) value {
	if at == 0 {
		return value{}
	}
	return integer(at)
}

// rounded leaves out digits that say nothing.
func rounded(f float64) float64 {
	if math.Abs(f) >= 1e9 {
		return math.Round(f)
	}
	return math.Round(f*1e6) / 1e6
}

// number is a float64 in JSON: rounded, and null where it is not finite.
type number float64

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) { return float(float64(n)).appendJSON(nil), nil }

func (v value) appendJSON(b []byte) []byte {
	switch v.kind {
	case kindBool:
		return strconv.AppendBool(b, v.n == 1)
	case kindInt:
		return strconv.AppendInt(b, v.n, 10)
	case kindFloat:
		return strconv.AppendFloat(b, v.f, 'f', -1, 64)
	case kindText:
		return appendString(b, v.s)
	case kindBits:
		b = append(b, '[')
		for set, first := uint64(v.n), true; set != 0; set, first = set&(set-1), false {
			if !first {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(bits.TrailingZeros64(set)), 10)
		}
		return append(b, ']')
	case kindWords:
		b = append(b, '[')
		for i, w := range v.words {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, w)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// cell is the value in a CSV file: empty for null, and nothing that a spreadsheet evaluates.
func (v value) cell() string {
	switch v.kind {
	case kindNull:
		return ""
	case kindText:
		return printable.NoFormula(v.s)
	case kindWords:
		return printable.NoFormula(strings.Join(v.words, " "))
	}
	return string(v.appendJSON(nil))
}

// rank is a number that orders values of one column as compare does, ascending, but for texts that
// begin with the same eight bytes.
func (v value) rank() uint64 {
	switch v.kind {
	case kindFloat:
		bits := math.Float64bits(v.f + 0) // + 0: -0 is 0
		if bits>>63 == 1 {
			return ^bits
		}
		return bits | 1<<63
	case kindText:
		var head [8]byte
		copy(head[:], v.s)
		return binary.BigEndian.Uint64(head[:])
	}
	return uint64(v.n) ^ 1<<63
}

// text is the text of a value, nil for null.
func (v value) text() *string { return known(v.s) }

// stringOf is the text of what v points at, nil for nil.
func stringOf[T fmt.Stringer](v *T) *string {
	if v == nil {
		return nil
	}
	return new((*v).String())
}

// float is the number of a value, nil for null.
func (v value) float() *float64 {
	if v.kind == kindNull {
		return nil
	}
	return &v.f
}

// compare orders values of one column; null comes last, in both directions.
func (v value) compare(o value, descending bool) int {
	if (v.kind == kindNull) != (o.kind == kindNull) {
		if v.kind == kindNull {
			return 1
		}
		return -1
	}
	c := cmp.Or(cmp.Compare(v.n, o.n), cmp.Compare(v.f, o.f), strings.Compare(v.s, o.s), len(v.words)-len(o.words))
	if descending {
		return -c
	}
	return c
}
