package dataset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// writeBatch is how many rows are passed to the Parquet writer at once: one call per row
// costs a quarter more.
const writeBatch = 512

// compression is one for all parts. Dictionaries leave little to compress: higher levels
// do not reduce the size.
var compression = newCodec()

// codec is parquet-go's zstd with one encoder, which looks back no further than a page is
// long: parquet-go's own keep eight megabytes each, and the garbage collector drops them, so that they are allocated again and again.
type codec struct {
	zstd.Codec
	encoder *kzstd.Encoder
}

func newCodec() *codec {
	encoder, err := kzstd.NewWriter(nil, kzstd.WithEncoderLevel(kzstd.SpeedFastest), kzstd.WithWindowSize(1<<20),
		kzstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), kzstd.WithZeroFrames(true), kzstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // of options that do not fit each other
	}
	return &codec{encoder: encoder}
}

// Encode implements compress.Codec, for several goroutines at once.
func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}

// stagedPart is a part of any table.
type stagedPart interface {
	// finish writes what is left and the footer with the given entries, fsyncs and
	// closes the file.
	finish(footer map[string]string) error
	// abandon closes the file without finishing it.
	abandon()
	table() string
}

// part is one table's file of the open segment.
type part[T Row] struct {
	file   *os.File
	w      *parquet.GenericWriter[T]
	buf    []T
	summed bool // finish writes a checksum
}

func createPart[T Row](dir string, options ...parquet.WriterOption) (*part[T], error) {
	var zero T
	f, err := os.OpenFile(filepath.Join(dir, zero.Table()+partSuffix), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	p := newPart[T](f, append(options, parquet.CreatedBy("valtrack", schemaText(), summedBuild))...)
	p.summed = true
	return p, nil
}

func newPart[T Row](f *os.File, options ...parquet.WriterOption) *part[T] {
	return &part[T]{file: f, w: newRowWriter[T](f, options...), buf: make([]T, 0, writeBatch)}
}

// newRowWriter writes rows with the settings of parts.
func newRowWriter[T Row](w io.Writer, options ...parquet.WriterOption) *parquet.GenericWriter[T] {
	// One row group per part: dictionaries belong to a row group, and what repeats
	// from epoch to epoch is what makes a part small.
	return parquet.NewGenericWriter[T](w, append(append([]parquet.WriterOption{
		parquet.Compression(compression),
		parquet.CreatedBy("valtrack", schemaText(), ""),
		// The column index has the bounds of pages: in the pages' headers they would be
		// repeated.
		parquet.DataPageStatistics(false),
	}, withoutBounds[T]()...), options...)...)
}

// withoutBounds are the columns of which pages have no bounds: nobody searches for a range
// of records or addresses, and each page has peers of all over the world.
func withoutBounds[T Row]() (options []parquet.WriterOption) {
	var zero T
	for _, name := range ColumnsOf(zero) {
		if name == "enr" || name == "multiaddr" || strings.HasPrefix(name, "geo_") {
			options = append(options, parquet.SkipPageBounds(name))
		}
	}
	return options
}

func (p *part[T]) append(row T) error {
	p.buf = append(p.buf, row)
	if len(p.buf) < writeBatch {
		return nil
	}
	return p.flush()
}

func (p *part[T]) flush() error {
	_, err := p.w.Write(p.buf)
	clear(p.buf)
	p.buf = p.buf[:0]
	if err != nil {
		return fmt.Errorf("write %s: %w", p.table(), err)
	}
	return nil
}

func (p *part[T]) finish(footer map[string]string) error {
	if err := p.flush(); err != nil {
		return err
	}
	for key, value := range footer {
		p.w.SetKeyValueMetadata(key, value)
	}
	if p.summed {
		p.w.SetKeyValueMetadata(footerSum, string(noSum))
	}
	err := p.w.Close()
	if err == nil && p.summed {
		err = writeSum(p.file)
	}
	if err := errors.Join(err, p.file.Sync(), p.file.Close()); err != nil {
		return fmt.Errorf("finish %s: %w", p.table(), err)
	}
	return nil
}

// abandon closes the file, possibly for the second time. It ignores the error: the file
// will be removed, or is finished.
func (p *part[T]) abandon() { p.file.Close() }

func (p *part[T]) table() string {
	var zero T
	return zero.Table()
}
