package eventlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/chainbound/valtrack/internal/diskio"
)

// maxWindow bounds the memory for a zstd file, in bytes: what zstd itself accepts.
const maxWindow = 128 << 20

// input is a log file: JSON lines, or JSON values over several lines or in one array, as
// other programs write them; plain or compressed.
type input struct {
	file  *os.File
	close func() // of the decompression
	text  *bufio.Reader
}

// openInput opens a file and finds out from its first bytes how it is written. Close it.
func openInput(path string) (*input, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in := &input{file: f, close: func() {}, text: bufio.NewReader(f)}
	if err := in.decompress(); err != nil {
		in.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

// Close closes the file.
func (in *input) Close() {
	in.close()
	in.file.Close()
}

func (in *input) decompress() error {
	switch head := in.head(); {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		r, err := gzip.NewReader(in.text)
		if err != nil {
			return err
		}
		in.text = bufio.NewReader(r)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		r, err := zstd.NewReader(in.text, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		in.close, in.text = r.Close, bufio.NewReader(r)
	}
	head := in.head()
	for prefix, format := range map[string]string{
		"\xfd7zXZ": "compressed with xz", "BZh": "compressed with bzip2", "PK\x03\x04": "a zip archive", "PAR1": "a Parquet file",
		"\xff\xfe": "in UTF-16", "\xfe\xff": "in UTF-16", "\x1f\x8b": "compressed twice", "\x28\xb5\x2f\xfd": "compressed twice",
	} {
		if bytes.HasPrefix(head, []byte(prefix)) {
			return fmt.Errorf("it is %s: want JSON lines in UTF-8, plain or compressed with gzip or zstd", format)
		}
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // a byte order mark
		in.text.Discard(3) //nolint:errcheck // they are in the buffer
	}
	return nil
}

// head is the beginning of the text; an error shows again when the text is read.
func (in *input) head() []byte {
	head, _ := in.text.Peek(6)
	return head
}

// record is a line or a JSON value of a log file.
type record struct {
	diskio.Line
	// counter is the record's number in the file, for the key of an event that has none.
	counter int
	err     error // why the rest of the file cannot be read; there is no text then
}

// each calls yield with the records until it fails. limit bounds a record, in bytes. A
// file that cannot be read is an error that names the line.
func (in *input) each(limit int, yield func(record) error) error {
	if first := in.valuesBegin(); first != 0 {
		return newValueReader(in.text, limit, first == '[').each(yield)
	}
	lines := diskio.NewLineReader(in.text, limit)
	for lines.Next() {
		if err := yield(record{Line: lines.Line(), counter: lines.Line().Number}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", lines.Line().Number, err)
	}
	return nil
}

// valuesBegin is [ when the text is an array, { when it begins with a brace on a line of
// its own, as indented JSON does, and 0 otherwise.
func (in *input) valuesBegin() byte {
	head, _ := in.text.Peek(in.text.Size())
	head = bytes.TrimLeft(head, " \t\r\n")
	first, second, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case bytes.HasPrefix(head, []byte("[")):
		return '['
	case string(bytes.TrimRight(first, " \t\r")) == "{" && bytes.HasPrefix(bytes.TrimLeft(second, " \t\r\n"), []byte(`"`)):
		return '{'
	}
	return 0
}
