package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/chainbound/valtrack/internal/printable"
)

// Result codes of a response chunk (consensus-specs phase0/p2p-interface.md,
// "Responding side"). Codes 4 to 127 are reserved, 128 and above are the
// clients' own.
const (
	CodeSuccess             byte = 0
	CodeInvalidRequest      byte = 1
	CodeServerError         byte = 2
	CodeResourceUnavailable byte = 3
	CodeRateLimited         byte = 139 // Lighthouse and Lodestar
)

const (
	// maxErrorText bounds the text of an error chunk: SSZ List[byte, 256].
	maxErrorText = 256
	// maxVarint is the longest length prefix, in bytes.
	maxVarint = 10
	// firstRead is what the reader asks for at once: any chunk of the messages
	// we speak fits, so that a response usually takes one Read.
	firstRead = 256
)

// errMalformed marks bytes of a peer that break the wire format: garbage, an
// oversize or truncated payload, a bad checksum, trailing bytes.
var errMalformed = errors.New("malformed message")

// errNoResponse means that a peer closed the stream before the first byte.
var errNoResponse = errors.New("stream closed without a response")

// ResponseError is a response chunk with a non-zero result code.
type ResponseError struct {
	Code    byte
	Message string // printable, at most 256 bytes; empty when the text was missing or unreadable
}

func (e *ResponseError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("peer answered with error code %d", e.Code)
	}
	return fmt.Sprintf("peer answered with error code %d: %s", e.Code, e.Message)
}

// EncodeRequest gives the length prefix and snappy frames of an SSZ payload. A
// nil payload gives no bytes at all, as MetaData requests want it.
func EncodeRequest(ssz []byte) []byte {
	if ssz == nil {
		return nil
	}
	return appendPayload(make([]byte, 0, maxVarint+framedSize(len(ssz))), ssz)
}

// EncodeResponse gives one response chunk without context bytes, which none of
// our protocols has. For a code other than CodeSuccess ssz is the error text.
func EncodeResponse(code byte, ssz []byte) []byte {
	b := make([]byte, 0, 1+maxVarint+framedSize(len(ssz)))
	return appendPayload(append(b, code), ssz)
}

func appendPayload(b, ssz []byte) []byte {
	return appendFrames(binary.AppendUvarint(b, uint64(len(ssz))), ssz)
}

// ReadRequest reads a request of at most max SSZ bytes. Bytes that came with the
// request and follow it are an error; it does not wait for the peer to
// half-close, since nothing after the request is ever read.
func ReadRequest(r io.Reader, max int) ([]byte, error) {
	in := &chunkReader{src: r}
	return in.request(max)
}

// request reads the one payload of a request.
func (c *chunkReader) request(limit int) ([]byte, error) {
	ssz, err := c.payload(limit)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	return ssz, nil
}

// ReadResponse reads one response chunk of at most max SSZ bytes. A non-zero
// result code gives a *ResponseError. As ReadRequest it does not wait for the
// end of the stream.
func ReadResponse(r io.Reader, max int) ([]byte, error) {
	in := &chunkReader{src: r}
	return in.response(max)
}

// response reads the one chunk of a response.
func (c *chunkReader) response(limit int) ([]byte, error) {
	result, err := c.readBytes(1)
	if err != nil {
		return nil, noResponse(err)
	}
	c.begun = true
	if code := result[0]; code != CodeSuccess {
		text, err := c.payload(maxErrorText)
		if err != nil {
			text = nil // the code says what matters; the text is a courtesy
		}
		return nil, &ResponseError{Code: code, Message: strings.TrimSpace(printable.Clean(string(text)))}
	}
	ssz, err := c.payload(limit)
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	return ssz, nil
}

// chunkReader hands out bytes of src piece by piece from one small buffer. After
// limit is set it never takes more than limit further bytes.
type chunkReader struct {
	src   io.Reader
	buf   []byte
	pos   int // next unread byte of buf
	limit int // buf length that may not be passed; 0 until the payload's length is known
	eof   bool

	// extend, if set, is called once before a Read that waits for the rest of a
	// message that has begun: the first byte's deadline is over.
	extend func()
	begun  bool
}

// readBytes returns the following n bytes, valid until the next call.
// io.ErrUnexpectedEOF says that the stream ended before.
func (c *chunkReader) readBytes(n int) ([]byte, error) {
	end := c.pos + n
	if c.limit > 0 && end > c.limit {
		return nil, fmt.Errorf("%w: compressed payload longer than its length allows", errMalformed)
	}
	for len(c.buf) < end {
		if c.eof {
			return nil, io.ErrUnexpectedEOF
		}
		if err := c.fill(end); err != nil {
			return nil, err
		}
	}
	b := c.buf[c.pos:end]
	c.pos = end
	return b, nil
}

// fill makes one Read, with room for at least end bytes in all.
func (c *chunkReader) fill(end int) error {
	if c.begun && c.extend != nil {
		c.extend()
		c.extend = nil
	}
	if want := max(end, firstRead); cap(c.buf) < want {
		grown := make([]byte, len(c.buf), max(want, min(2*cap(c.buf), want+maxChunk)))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.src.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	switch {
	case err == io.EOF:
		c.eof = true
	case err != nil && n == 0:
		return err
	}
	return nil
}

// payload reads a length prefix and the frames that follow it, and checks that
// nothing else has arrived.
func (c *chunkReader) payload(limit int) ([]byte, error) {
	n, err := c.uvarint()
	if err != nil {
		return nil, malformedEOF(err)
	}
	c.begun = true
	if n > uint64(limit) {
		return nil, fmt.Errorf("%w: payload of %d bytes, at most %d allowed", errMalformed, n, limit)
	}
	// consensus-specs phase0/p2p-interface.md: snappy's worst case.
	c.limit = c.pos + 32 + int(n) + int(n)/6
	ssz, err := c.frames(int(n))
	if err != nil {
		return nil, malformedEOF(err)
	}
	if trailing := len(c.buf) - c.pos; trailing > 0 {
		return nil, fmt.Errorf("%w: %d trailing bytes", errMalformed, trailing)
	}
	return ssz, nil
}

// uvarint reads an unsigned protobuf varint of at most 10 bytes.
func (c *chunkReader) uvarint() (uint64, error) {
	var v uint64
	for i := range maxVarint {
		b, err := c.readBytes(1)
		if err != nil {
			return 0, err
		}
		if i == maxVarint-1 && b[0] > 1 {
			break
		}
		v |= uint64(b[0]&0x7f) << (7 * i)
		if b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: length prefix of more than 64 bits", errMalformed)
}

// malformedEOF turns a stream that ended inside a message into a wire error.
func malformedEOF(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: truncated", errMalformed)
	}
	return err
}
