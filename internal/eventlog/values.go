package eventlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/chainbound/valtrack/internal/diskio"
)

// errBehindArray marks a file that goes on behind its array.
var errBehindArray = errors.New("there is more behind the array")

// valueReader reads JSON values that are one after another, or in an array.
type valueReader struct {
	dec    *json.Decoder
	source *countingReader
	limit  int // bytes of a value
	array  bool
}

func newValueReader(r io.Reader, limit int, array bool) *valueReader {
	source := &countingReader{r: r}
	return &valueReader{dec: json.NewDecoder(source), source: source, limit: limit, array: array}
}

// each calls yield with the values, in one line each. The record of what is no JSON is
// the last: no value can be found behind it.
func (v *valueReader) each(yield func(record) error) error {
	v.source.budget = v.limit
	if v.array {
		if _, err := v.dec.Token(); err != nil { // the bracket
			return fmt.Errorf("line 1: %w", err)
		}
	}
	for counter := 1; ; counter++ {
		v.source.budget = 2 * v.limit // for the space between values, and what is read ahead
		value, err := v.next()
		switch {
		case v.source.err != nil:
			return fmt.Errorf("line %d: %w", v.source.line(v.dec.InputOffset()), v.source.err)
		case errors.Is(err, io.EOF):
			return nil
		}
		rec := record{Line: diskio.Line{Number: v.source.line(v.dec.InputOffset() - int64(len(value)))}, counter: counter, err: err}
		if err == nil {
			var line bytes.Buffer
			rec.err = json.Compact(&line, value)
			rec.Text = line.Bytes()
		}
		if err := yield(rec); err != nil || rec.err != nil {
			return err
		}
	}
}

// next is io.EOF behind the last value.
func (v *valueReader) next() (value json.RawMessage, err error) {
	if !v.array || v.dec.More() {
		err = v.dec.Decode(&value)
	} else if _, err = v.dec.Token(); err == nil { // the closing bracket
		if _, err = v.dec.Token(); err == nil {
			err = errBehindArray
		}
		return nil, err
	}
	if v.array && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return value, err
}

// countingReader knows the lines of what was read, and reads no more than its budget.
type countingReader struct {
	r        io.Reader
	budget   int     // bytes
	err      error   // of reading; nil at the end
	read     int64   // bytes
	newlines []int64 // offsets of those that line has not counted
	counted  int
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	if c.budget <= 0 {
		c.err = bufio.ErrTooLong
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(len(p), c.budget)])
	for i, b := range p[:n] {
		if b == '\n' {
			c.newlines = append(c.newlines, c.read+int64(i))
		}
	}
	c.read += int64(n)
	c.budget -= n
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// line is the number of the line with an offset, which must not fall.
func (c *countingReader) line(offset int64) int {
	n := 0
	for n < len(c.newlines) && c.newlines[n] < offset {
		n++
	}
	c.newlines = c.newlines[n:]
	c.counted += n
	return c.counted + 1
}
