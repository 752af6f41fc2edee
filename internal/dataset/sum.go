package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// The checksum of a part is in its footer, so that the part is plain Parquet and one file:
// the value of footerSum is the SHA-256 of all bytes before the footer and then that of the
// footer, sumDigits hexadecimal digits of each. The second is computed with zeros in its own
// place. A reader of the footer verifies the footer alone; verifyBody does the rest.
const (
	footerSum = "valtrack.sum" // finish writes it last
	sumDigits = 32
	// summedBuild is the build in created_by. It announces the checksum, so that damage to
	// one of the two does not pass for a part of an earlier version, which has neither.
	summedBuild = "sum"
	summedMark  = "(build " + summedBuild + ")"
	// maxFooter bounds a footer: that of a day with 120 000 gaps has 3 MiB.
	maxFooter = 64 << 20
)

// sumMark is the entry of footerSum up to its value, in Thrift's compact protocol: a string
// in field 1, and one of 64 bytes in field 2.
var sumMark = []byte("\x18\x0c" + footerSum + "\x18\x40")

var noSum = bytes.Repeat([]byte("0"), 2*sumDigits)

// tail is the end of a part's file.
type tail struct {
	file  *os.File
	start int64  // offset of the footer, which is the length of the body
	raw   []byte // the footer, its length and "PAR1"
	sum   int    // index in raw of the checksum; -1 when there is none
}

func readTail(f *os.File) (*tail, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size < 12 { // "PAR1" twice and the length
		return nil, fmt.Errorf("%d bytes are too few for a Parquet file", size)
	}
	var end [8]byte
	if _, err := f.ReadAt(end[:], size-8); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(end[:4]))
	if string(end[4:]) != "PAR1" || length > min(size-12, maxFooter) {
		return nil, errors.New("it does not end with a Parquet footer")
	}
	t := &tail{file: f, start: size - 8 - length, raw: make([]byte, length+8), sum: -1}
	if _, err := f.ReadAt(t.raw, t.start); err != nil {
		return nil, err
	}
	if i := bytes.LastIndex(t.raw, sumMark); i >= 0 && i+len(sumMark)+2*sumDigits <= len(t.raw) {
		t.sum = i + len(sumMark)
	}
	return t, nil
}

func (t *tail) bodySum() ([]byte, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, io.NewSectionReader(t.file, 0, t.start), make([]byte, 256<<10)); err != nil {
		return nil, err
	}
	return digits(h.Sum(nil)), nil
}

func (t *tail) footerSum() []byte {
	h, own := sha256.New(), t.sum+sumDigits
	h.Write(t.raw[:own])
	h.Write(noSum[:sumDigits])
	h.Write(t.raw[own+sumDigits:])
	return digits(h.Sum(nil))
}

func digits(sum []byte) []byte { return []byte(hex.EncodeToString(sum)[:sumDigits]) }

// writeSum replaces the zeros in the place of the checksum of a complete file.
func writeSum(f *os.File) error {
	t, err := readTail(f)
	if err != nil {
		return err
	}
	if t.sum < 0 || !bytes.Equal(t.raw[t.sum:t.sum+2*sumDigits], noSum) {
		return errors.New("no place for the checksum in the footer")
	}
	body, err := t.bodySum()
	if err != nil {
		return err
	}
	copy(t.raw[t.sum:], body)
	copy(t.raw[t.sum+sumDigits:], t.footerSum())
	_, err = f.WriteAt(t.raw[t.sum:t.sum+2*sumDigits], t.start+int64(t.sum))
	return err
}

// verifyFooter reports whether the part has a checksum. It is an error if it does not
// match the footer.
func (t *tail) verifyFooter() (summed bool, err error) {
	announced := t.announcesSum()
	switch {
	case t.sum < 0 && !announced:
		return false, nil
	case t.sum < 0 || !announced:
		return false, errors.New("the footer's checksum is missing")
	case !bytes.Equal(t.footerSum(), t.raw[t.sum+sumDigits:t.sum+2*sumDigits]):
		return false, errors.New("the footer does not match its checksum")
	}
	return true, nil
}

// announcesSum reports whether created_by has the mark. That is the footer's last text, and the
// columns' orders are all that follows it: three bytes per column. The rest of the footer
// has text of peers, such as an agent that is the least of its column. It is not parsed, as
// damage may have moved created_by to another field.
func (t *tail) announcesSum() bool {
	i := bytes.LastIndex(t.raw, []byte(summedMark))
	if i < 0 {
		return false
	}
	orders := t.raw[i+len(summedMark) : len(t.raw)-8]
	const header = 4 // of the list of orders, with its length
	return len(bytes.TrimRight(orders, "\x00\x1c")) <= header
}

// verifyBody reads everything before the footer of a file that verifyFooter has accepted.
func verifyBody(f *os.File) error {
	t, err := readTail(f)
	if err != nil {
		return err
	}
	sum, err := t.bodySum()
	if err == nil && (t.sum < 0 || !bytes.Equal(sum, t.raw[t.sum:t.sum+sumDigits])) {
		err = errors.New("the rows do not match their checksum")
	}
	return err
}
