package diskio

import (
	"bufio"
	"errors"
	"io"
)

// LineReader reads lines of bounded length. A line that is too long does not end
// the reading: it is reported and passed over.
type LineReader struct {
	r     *bufio.Reader
	limit int

	line Line
	err  error
}

// Line is one line of a file.
type Line struct {
	Number int // from 1
	// Text is the line without its newline, at most the reader's limit of it. It is
	// valid until the next Next.
	Text    []byte
	Size    int64 // bytes in the file, the newline included
	TooLong bool  // Text is only the beginning
	Torn    bool  // the file ends without a newline
}

// NewLineReader reads lines of at most limit bytes, newline excluded.
func NewLineReader(r io.Reader, limit int) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// Next reads a line; false at the end, or when the file cannot be read (see Err).
func (l *LineReader) Next() bool {
	if l.err != nil || l.line.Torn {
		return false
	}
	l.line = Line{Number: l.line.Number + 1, Text: l.line.Text[:0]}
	for {
		part, err := l.r.ReadSlice('\n')
		l.line.Size += int64(len(part))
		if err == nil {
			part = part[:len(part)-1]
		}
		keep := min(len(part), l.limit-len(l.line.Text))
		l.line.TooLong = l.line.TooLong || keep < len(part)
		l.line.Text = append(l.line.Text, part[:keep]...)
		switch {
		case err == nil:
			return true
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			l.line.Torn = true
			return l.line.Size > 0
		default:
			l.err = err
			return false
		}
	}
}

// Line is the line that Next read.
func (l *LineReader) Line() Line { return l.line }

// Err is the error that ended the reading, nil at the end of the file.
func (l *LineReader) Err() error { return l.err }
