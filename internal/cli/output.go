package cli

import (
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/telemetry"
)

// output is standard output. It keeps the error of the first write that failed, which
// the printing of help and tables drops, and writes printable text only to a terminal:
// results have strings that remote nodes chose.
type output struct {
	w        io.Writer
	terminal bool
	err      error
	partial  []byte // the beginning of a rune whose rest comes with the next Write
}

func newOutput(w io.Writer) *output { return &output{w: w, terminal: telemetry.IsTerminal(w)} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (n int, err error) {
	if !o.terminal {
		n, err = o.w.Write(p)
	} else {
		n = len(p)
		p = append(o.partial, p...)
		whole := len(p) - partialRune(p)
		o.partial = append([]byte(nil), p[whole:]...)
		_, err = o.w.Write(printable(p[:whole]))
	}
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("write to standard output: %w", err)
	}
	return n, err
}

// partialRune is the length of the incomplete rune at the end of p.
func partialRune(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// printable replaces everything that a terminal would obey instead of showing it, such as
// escape sequences and changes of direction, by Go's escapes. Newlines and tabs stay.
func printable(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			out = fmt.Appendf(out, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || unicode.IsGraphic(r):
			out = append(out, text[:size]...)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		text = text[size:]
	}
	return out
}

// printError writes a command's error in one line.
func printError(stderr io.Writer, err error) {
	line := fmt.Appendf(nil, "valtrack: %v\n", err)
	if telemetry.IsTerminal(stderr) {
		line = printable(line)
	}
	stderr.Write(line)
}

// ignoreClosedPipes lets a command continue when the reader of its log has gone: Go ends
// a process that writes to a standard stream without a reader, also when the parent
// ignores SIGPIPE. For commands whose work is not their output.
func ignoreClosedPipes() { signal.Ignore(syscall.SIGPIPE) }
