package dataset

import (
	"errors"
	"fmt"
	"os"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of a page of a part without a checksum, far above those of real ones: parquet-go
// allocates what a page's header asks for.
const (
	maxPageBytes  = 256 << 20
	maxPageValues = 64 << 20
	maxPageHeader = 64 << 10
)

// checkPages reads the headers of a file's pages.
func checkPages(f *os.File, p *parquet.File) (err error) {
	defer recoverDamage(&err)
	for _, group := range p.Metadata().RowGroups {
		for _, c := range group.Columns {
			m := c.MetaData
			at := m.DataPageOffset
			if m.DictionaryPageOffset > 0 {
				at = min(at, m.DictionaryPageOffset)
			}
			for end := at + m.TotalCompressedSize; at < end; {
				size, err := checkPage(f, at, end, m.Codec)
				if err != nil {
					return fmt.Errorf("column %v: %w", m.PathInSchema, err)
				}
				at += size
			}
		}
	}
	return nil
}

// checkPage returns the size of the page at an offset of a column that ends at another.
func checkPage(f *os.File, at, end int64, codec format.CompressionCodec) (int64, error) {
	buf := make([]byte, min(maxPageHeader, end-at))
	if _, err := f.ReadAt(buf, at); err != nil {
		return 0, err
	}
	rest, err := walkThrift(buf)
	if err != nil {
		return 0, err
	}
	length := len(buf) - len(rest)
	var h format.PageHeader
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), buf[:length], &h); err != nil {
		return 0, err
	}
	values := max(h.DataPageHeader.V.NumValues, h.DataPageHeaderV2.V.NumValues, h.DictionaryPageHeader.V.NumValues)
	size := int64(length) + int64(h.CompressedPageSize)
	if h.CompressedPageSize < 0 || size > end-at || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPageBytes || values > maxPageValues {
		return 0, fmt.Errorf("a page claims %d bytes, %d without compression, %d values", h.CompressedPageSize, h.UncompressedPageSize, values)
	}
	if codec == format.Zstd {
		err = checkFrame(f, at+int64(length), h)
	}
	return size, err
}

// checkFrame reads the size that a page's compressed content claims to have.
func checkFrame(f *os.File, at int64, h format.PageHeader) error {
	v2 := h.DataPageHeaderV2.V // whose levels come first and are not compressed
	levels := int64(v2.RepetitionLevelsByteLength) + int64(v2.DefinitionLevelsByteLength)
	left := int64(h.CompressedPageSize) - levels
	if v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || left < 0 {
		return errors.New("a page's levels are longer than the page")
	}
	head := make([]byte, min(left, kzstd.HeaderMaxSize))
	if _, err := f.ReadAt(head, at+levels); err != nil {
		return err
	}
	var frame kzstd.Header
	// What is no frame is refused by the decoder.
	if frame.Decode(head) == nil && (frame.FrameContentSize > maxPageBytes || frame.WindowSize > maxPageBytes) {
		return fmt.Errorf("a page's content claims %d bytes", frame.FrameContentSize)
	}
	return nil
}
