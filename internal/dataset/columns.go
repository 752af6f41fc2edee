package dataset

import (
	"encoding"
	"fmt"
	"time"

	"github.com/chainbound/valtrack/internal/event"
)

// Common is the last field of every row. It is the only embedded struct: parquet-go
// 0.32 writes nil pointers in an embedded struct as zero values.
type Common struct {
	Network         string `parquet:"network,dict" json:"network"`
	CrawlerID       string `parquet:"crawler_id,dict" json:"crawler_id"`
	CrawlerLocation string `parquet:"crawler_location,dict" json:"crawler_location"`
	Timestamp       int64  `parquet:"timestamp,delta" json:"timestamp"` // Unix milliseconds UTC
}

// commonOf leaves out the genesis validators root: it is the same in all events of a data
// directory, whose network.json has it, and a column of it would cost time in every row.
func commonOf(c event.Common) Common {
	return Common{Network: c.Network, CrawlerID: c.CrawlerID, CrawlerLocation: c.CrawlerLocation, Timestamp: c.Timestamp}
}

// event is the inverse of commonOf, with the event's column that is not in Common.
func (c Common) event(skew *int64) event.Common {
	return event.Common{Network: c.Network, CrawlerID: c.CrawlerID, CrawlerLocation: c.CrawlerLocation, Timestamp: c.Timestamp, ClockSkewMS: skew}
}

// ClockError is the column clock_error_ms: by how much the clock behind a row's times is
// known to be off, as event.ClockError gives it; nil, which is null, when that is zero.
// EventsAfter leaves such rows out.
func ClockError(off time.Duration) *int64 {
	if off == 0 {
		return nil
	}
	ms := off.Milliseconds()
	return &ms
}

// At is the row's timestamp.
func (c Common) At() int64 { return c.Timestamp }

// Columns lists the names of a table's columns.
func Columns(table string) (names []string, err error) {
	t, err := lookup(table)
	if err != nil {
		return nil, err
	}
	return ColumnsOf(t.row), nil
}

// List converts subnets to a column's list; nil stays nil, which is null.
func List(subnets []int) []int32 {
	if subnets == nil {
		return nil
	}
	out := make([]int32, len(subnets))
	for i, s := range subnets {
		out[i] = int32(s)
	}
	return out
}

func text[T fmt.Stringer](v *T) *string {
	if v == nil {
		return nil
	}
	s := (*v).String()
	return &s
}

func small(v *int) *int32 {
	if v == nil {
		return nil
	}
	n := int32(*v)
	return &n
}

func notEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func notZero(port uint16) *int32 {
	if port == 0 {
		return nil
	}
	n := int32(port)
	return &n
}

// parser reads a row's hex columns and keeps the first error.
type parser struct {
	row string
	err error
}

func (p *parser) parse(into encoding.TextUnmarshaler, text string) {
	if err := into.UnmarshalText([]byte(text)); err != nil && p.err == nil {
		p.err = fmt.Errorf("row of %s: %w", p.row, err)
	}
}

// parsed is nil for null.
func parsed[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](p *parser, text *string) *T {
	if text == nil {
		return nil
	}
	v := new(T)
	p.parse(P(v), *text)
	return v
}

// ints is the inverse of List.
func ints(list []int32) []int {
	if list == nil {
		return nil
	}
	out := make([]int, len(list))
	for i, n := range list {
		out[i] = int(n)
	}
	return out
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orZero(port *int32) uint16 {
	if port == nil {
		return 0
	}
	return uint16(*port)
}
