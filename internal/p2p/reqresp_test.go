package p2p

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
)

// wireVector is one entry of testdata/wire.json, in hex.
type wireVector struct {
	SSZ           string `json:"ssz"`
	Request       string `json:"request"`
	ResponseChunk string `json:"response_chunk"`
	Message       string `json:"message"`
}

func wireVectors(t testing.TB) map[string]wireVector {
	t.Helper()
	data, err := os.ReadFile("testdata/wire.json")
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "_meaning")
	vectors := make(map[string]wireVector)
	for name, entry := range raw {
		var v wireVector
		if err := json.Unmarshal(entry, &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vectors[name] = v
	}
	return vectors
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWireVectors(t *testing.T) {
	for name, v := range wireVectors(t) {
		t.Run(name, func(t *testing.T) {
			chunk := unhex(t, v.ResponseChunk)
			if v.Message != "" {
				_, err := ReadResponse(bytes.NewReader(chunk), 0)
				var got *ResponseError
				if !errors.As(err, &got) || got.Code != chunk[0] || got.Message != v.Message {
					t.Fatalf("ReadResponse = %v, want code %d %q", err, chunk[0], v.Message)
				}
				if b := EncodeResponse(chunk[0], []byte(v.Message)); !bytes.Equal(b, chunk) {
					t.Errorf("EncodeResponse = %x, want %x", b, chunk)
				}
				return
			}
			ssz, request := unhex(t, v.SSZ), unhex(t, v.Request)
			if b := EncodeRequest(ssz); !bytes.Equal(b, request) {
				t.Errorf("EncodeRequest = %x, want %x", b, request)
			}
			if b := EncodeResponse(CodeSuccess, ssz); !bytes.Equal(b, chunk) {
				t.Errorf("EncodeResponse = %x, want %x", b, chunk)
			}
			if b, err := ReadRequest(bytes.NewReader(request), len(ssz)); err != nil || !bytes.Equal(b, ssz) {
				t.Errorf("ReadRequest = %x, %v", b, err)
			}
			if b, err := ReadResponse(iotest.OneByteReader(bytes.NewReader(chunk)), len(ssz)); err != nil || !bytes.Equal(b, ssz) {
				t.Errorf("ReadResponse = %x, %v", b, err)
			}
			if _, err := ReadRequest(bytes.NewReader(request), len(ssz)-1); !errors.Is(err, errMalformed) {
				t.Errorf("ReadRequest over the limit = %v", err)
			}
		})
	}
}

// compressed frames ssz as clients do: with a stream codec that compresses.
func compressed(ssz []byte) []byte {
	out := bytes.NewBuffer([]byte{byte(len(ssz))})
	if len(ssz) >= 0x80 {
		out = bytes.NewBuffer([]byte{byte(len(ssz)) | 0x80, byte(len(ssz) >> 7)})
	}
	w := snappy.NewBufferedWriter(out)
	w.Write(ssz)
	w.Close()
	return out.Bytes()
}

func TestReadRequestCompressed(t *testing.T) {
	for _, n := range []int{1, 8, 84, 92, 256, 4000} {
		ssz := bytes.Repeat([]byte{7}, n)
		got, err := ReadRequest(bytes.NewReader(compressed(ssz)), n)
		if err != nil || !bytes.Equal(got, ssz) {
			t.Errorf("%d equal bytes: %v", n, err)
		}
	}
}

func TestEncodeLargePayload(t *testing.T) {
	ssz := make([]byte, 3*maxBlock+5)
	for i := range ssz {
		ssz[i] = byte(rand.Uint32())
	}
	got, err := ReadRequest(bytes.NewReader(EncodeRequest(ssz)), len(ssz))
	if err != nil || !bytes.Equal(got, ssz) {
		t.Errorf("round trip of %d bytes: %v", len(ssz), err)
	}
}

func TestEncodeRequestNil(t *testing.T) {
	if b := EncodeRequest(nil); len(b) != 0 {
		t.Errorf("EncodeRequest(nil) = %x, want nothing", b)
	}
}

func TestReadRequestMalformed(t *testing.T) {
	ping := EncodeRequest(make([]byte, 8))
	flip := func(i int) []byte {
		b := bytes.Clone(ping)
		b[i] ^= 1
		return b
	}
	for name, in := range map[string][]byte{
		"empty":                    {},
		"garbage":                  []byte("\x08GET / HTTP/1.1\r\n\r\n"),
		"trailing byte":            append(bytes.Clone(ping), 0),
		"second message":           append(bytes.Clone(ping), ping...),
		"truncated":                ping[:len(ping)-1],
		"only the length":          ping[:1],
		"checksum":                 flip(len(ping) - 9),
		"data":                     flip(len(ping) - 1),
		"chunk type":               flip(1 + len(streamID)),
		"stream id":                flip(3),
		"varint of 11 bytes":       append(bytes.Repeat([]byte{0x80}, 10), 1),
		"varint over 64 bits":      append(bytes.Repeat([]byte{0xff}, 9), 2),
		"huge length":              {0xff, 0xff, 0xff, 0xff, 0x0f},
		"huge chunk":               append([]byte{8}, streamID+"\x01\xff\xff\xff"...),
		"endless padding":          append([]byte{8}, streamID+strings.Repeat("\xfe\x08\x00\x0012345678", 100)...),
		"more than it says":        append([]byte{7}, EncodeRequest(make([]byte, 8))[1:]...),
		"bomb":                     append([]byte{8}, compressed(make([]byte, 100))[1:]...),
		"empty compressed":         append([]byte{8}, streamID+"\x00\x04\x00\x00\x00\x00\x00\x00"...),
		"chunk below checksum":     append([]byte{8}, streamID+"\x01\x03\x00\x00abc"...),
		"empty chunks without end": append([]byte{8}, streamID+strings.Repeat("\x01\x04\x00\x00\xd8\xea\x82\xa2", 100)...),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ReadRequest(bytes.NewReader(in), 8); !errors.Is(err, errMalformed) {
				t.Errorf("ReadRequest = %x, %v; want ErrMalformed", got, err)
			}
		})
	}
}

// An endless reader shows that no more is taken than the length allows.
func TestReadRequestReadsBounded(t *testing.T) {
	src := &countingReader{r: io.MultiReader(bytes.NewReader([]byte("\x5c"+streamID+"\xfe\xff\xff\x00")), zeroReader{})}
	if _, err := ReadRequest(src, 92); !errors.Is(err, errMalformed) {
		t.Fatalf("error %v, want ErrMalformed", err)
	}
	if src.n > 2*firstRead {
		t.Errorf("took %d bytes", src.n)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestReadResponseErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		in   []byte
		want ResponseError
	}{
		"code without text": {[]byte{2}, ResponseError{Code: 2}},
		"empty text":        {EncodeResponse(2, nil), ResponseError{Code: 2}},
		"control bytes":     {EncodeResponse(3, []byte("a\x00b\x1b[31mc\xff\n")), ResponseError{Code: 3, Message: "ab[31mc"}},
		"text of 257 bytes": {EncodeResponse(1, bytes.Repeat([]byte("x"), 257)), ResponseError{Code: 1}},
		"text of 256 bytes": {EncodeResponse(139, bytes.Repeat([]byte("x"), 256)), ResponseError{Code: 139, Message: strings.Repeat("x", 256)}},
		"garbage text":      {[]byte("\xffgarbage garbage"), ResponseError{Code: 255}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadResponse(bytes.NewReader(tc.in), 92)
			var got *ResponseError
			if !errors.As(err, &got) {
				t.Fatalf("error %v, want a ResponseError", err)
			}
			if diff := cmp.Diff(tc.want, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := ReadResponse(bytes.NewReader(nil), 92); !errors.Is(err, errNoResponse) {
		t.Errorf("closed stream: %v, want ErrNoResponse", err)
	}
}

func FuzzReadRequest(f *testing.F) {
	for _, v := range wireVectors(f) {
		f.Add(unhex(f, v.Request))
	}
	f.Add(compressed(make([]byte, 92)))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := ReadRequest(bytes.NewReader(in), 1<<10)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if len(got) > 1<<10 {
			t.Fatalf("%d bytes", len(got))
		}
		again, err := ReadRequest(bytes.NewReader(EncodeRequest(got)), 1<<10)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("round trip: %v", err)
		}
		if len(got) == 0 {
			return // the reference reads nothing at all
		}
		// Whatever is accepted means the same to a reference decoder.
		rest := in
		for i, b := range rest {
			if b < 0x80 {
				rest = rest[i+1:]
				break
			}
		}
		reference, err := io.ReadAll(snappy.NewReader(bytes.NewReader(rest)))
		if err != nil || !bytes.Equal(reference, got) {
			t.Fatalf("reference decoder: %x, %v; ours %x", reference, err, got)
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	for _, v := range wireVectors(f) {
		f.Add(unhex(f, v.ResponseChunk))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := ReadResponse(bytes.NewReader(in), 92)
		var answer *ResponseError
		switch {
		case err == nil && (in[0] != CodeSuccess || len(got) > 92):
			t.Fatalf("accepted code %d with %d bytes", in[0], len(got))
		case errors.As(err, &answer):
			if answer.Code != in[0] || answer.Code == CodeSuccess || len(answer.Message) > maxErrorText {
				t.Fatalf("%+v", answer)
			}
		case err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errNoResponse):
			t.Fatalf("error %v", err)
		}
	})
}
