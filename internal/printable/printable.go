// Package printable makes text that others chose fit for files, logs and terminals. Peers,
// publishers and files of other people can put anything into a string: escape sequences that
// a terminal obeys, changes of direction, line breaks that forge a second line.
package printable

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// is is the rule: letters, marks, numbers, punctuation, symbols and spaces of Unicode.
func is(r rune) bool { return unicode.IsGraphic(r) }

// Is reports whether s is valid UTF-8 that is shown and not obeyed. A line break is not.
func Is(s string) bool {
	if ASCII(s) {
		return true
	}
	for i, r := range s {
		if !is(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return false
		}
	}
	return true
}

// ASCII reports whether s is printable ASCII. It looks at eight bytes at a time: it is
// called for every event.
func ASCII(s string) bool {
	const ones = 0x0101010101010101
	const highs = 0x80 * ones // the high bit of every byte
	data := unsafe.Slice(unsafe.StringData(s), len(s))
	for ; len(data) >= 8; data = data[8:] {
		// What is below the space borrows its high bit, and 0x7f carries into it.
		if x := binary.LittleEndian.Uint64(data); (x|(x-' '*ones)|(x+ones))&highs != 0 {
			return false
		}
	}
	for _, c := range data {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// Clean is s as it is stored and logged: line breaks and tabs become spaces, and what else
// is not printable goes.
func Clean(s string) string {
	if Is(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case is(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
}

// Escape is text as it is shown when nothing may be lost: what is not printable is written
// as Go's escapes. Line breaks and tabs stay, as text may have many lines.
func Escape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			out = fmt.Appendf(out, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || is(r):
			out = append(out, text[:size]...)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		text = text[size:]
	}
	return out
}
