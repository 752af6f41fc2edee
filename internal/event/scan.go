package event

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/printable"
)

// scanner reads JSON of exactly the form that Encode writes, without escapes.
// Whatever else it meets makes it bad and ends its text there: then every further
// read fails, and returns zero values that must not be used.
type scanner struct {
	text string
	data []byte // the same memory, never written
	at   int
	bad  bool
}

// newScanner is bad from the beginning for text with a backslash, control
// characters or bytes beyond ASCII, so that strings end at the next quote.
func newScanner(text string) scanner {
	if strings.IndexByte(text, '\\') >= 0 || !printable.ASCII(text) {
		return scanner{bad: true}
	}
	return scanner{text: text, data: unsafe.Slice(unsafe.StringData(text), len(text))}
}

func (s *scanner) fail() {
	s.bad = true
	s.text = s.text[:s.at]
}

// end reports whether everything was read and well.
func (s *scanner) end() bool { return !s.bad && s.at == len(s.text) }

// has reads the literal if it is next.
func (s *scanner) has(literal string) bool {
	if !strings.HasPrefix(s.text[s.at:], literal) {
		return false
	}
	s.at += len(literal)
	return true
}

func (s *scanner) must(literal string) {
	if !s.has(literal) {
		s.fail()
	}
}

// str reads a string that follows the literal.
func (s *scanner) str(before string) string {
	s.must(before)
	return s.quoted()
}

// optStr is "" when the literal is not next.
func (s *scanner) optStr(before string) string {
	if !s.has(before) {
		return ""
	}
	return s.quoted()
}

func (s *scanner) quoted() string {
	if !s.has(`"`) {
		s.fail()
		return ""
	}
	n := strings.IndexByte(s.text[s.at:], '"')
	if n < 0 {
		s.fail()
		return ""
	}
	v := s.text[s.at : s.at+n]
	s.at += n + 1
	return v
}

// num reads a number after the literal: digits without a sign, up to limit.
func (s *scanner) num(before string, limit uint64) uint64 {
	s.must(before)
	return s.digits(limit)
}

// signed is num for int64. What we write is never below 0.
func (s *scanner) signed(before string) int64 { return int64(s.num(before, math.MaxInt64)) }

// optNum is nil when the literal is not next.
func (s *scanner) optNum(before string) *uint64 {
	if !s.has(before) {
		return nil
	}
	n := s.digits(math.MaxUint64)
	return &n
}

// optSkew is nil when the literal is not next. It is the only number below zero that we
// write.
func (s *scanner) optSkew(before string) *int64 {
	if !s.has(before) {
		return nil
	}
	sign := int64(1)
	if s.has("-") {
		sign = -1
	}
	n := sign * int64(s.digits(math.MaxInt64))
	return &n
}

// optPort is 0 when the literal is not next.
func (s *scanner) optPort(before string) uint16 {
	if !s.has(before) {
		return 0
	}
	return uint16(s.digits(math.MaxUint16))
}

// maxDigits is how many digits any number has that fits 64 bits for certain.
const maxDigits = 19

func (s *scanner) digits(limit uint64) uint64 {
	from := s.at
	var n uint64
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		n = 10*n + uint64(s.text[s.at]-'0')
		s.at++
	}
	digits := s.text[from:s.at]
	if len(digits) == maxDigits+1 {
		var err error
		if n, err = strconv.ParseUint(digits, 10, 64); err != nil {
			s.fail()
		}
	}
	if digits == "" || len(digits) > maxDigits+1 || len(digits) > 1 && digits[0] == '0' || n > limit {
		s.fail()
		return 0
	}
	return n
}

// hex reads a string of 0x and just as many bytes of hex as dst holds.
func (s *scanner) hex(before string, dst []byte) {
	s.must(before)
	s.must(`"0x`)
	end := s.at + hex.EncodedLen(len(dst))
	if end > len(s.text) {
		s.fail()
		return
	}
	if _, err := hex.Decode(dst, s.data[s.at:end]); err != nil {
		s.fail()
		return
	}
	s.at = end
	s.must(`"`)
}

// optBool is nil when the literal is not next.
func (s *scanner) optBool(before string) *bool {
	if !s.has(before) {
		return nil
	}
	yes := s.has("true")
	if !yes {
		s.must("false")
	}
	return &yes
}

// optHex4 is nil when the literal is not next.
func (s *scanner) optHex4(before string) *[4]byte {
	if !s.has(before) {
		return nil
	}
	v := new([4]byte)
	s.hex("", v[:])
	return v
}

// optSyncnets is nil when the literal is not next.
func (s *scanner) optSyncnets(before string) *eth2.Syncnets {
	if !s.has(before) {
		return nil
	}
	var b [1]byte
	s.hex("", b[:])
	v := eth2.Syncnets(b[0])
	return &v
}

// optAttnets is nil when the literal is not next.
func (s *scanner) optAttnets(before string) *eth2.Attnets {
	if !s.has(before) {
		return nil
	}
	v := new(eth2.Attnets)
	s.hex("", v[:])
	return v
}

// list reads a list with element for each of its values; nil for null only. size is
// how many values to make room for; it may be wrong.
func list[T any](s *scanner, size int, element func(v *T)) []T {
	if s.has("null") {
		return nil
	}
	s.must("[")
	out := make([]T, 0, size)
	for !s.bad && !s.has("]") {
		if len(out) > 0 {
			s.must(",")
		}
		var zero T
		out = append(out, zero)
		element(&out[len(out)-1])
	}
	return out
}

// ints counts the commas first: the list of hostile text is at most as long as the text.
func (s *scanner) ints(before string) []int {
	s.must(before)
	size := 0
	if n := strings.IndexByte(s.text[s.at:], ']'); n > 1 {
		size = 1 + strings.Count(s.text[s.at:s.at+n], ",")
	}
	return list(s, size, func(v *int) { *v = int(s.digits(math.MaxInt)) })
}
