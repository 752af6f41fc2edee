package cli

import (
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"unicode/utf8"

	"github.com/chainbound/valtrack/internal/printable"
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
		_, err = o.w.Write(printable.Escape(p[:whole]))
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

// printError writes a command's error in one line.
func printError(stderr io.Writer, err error) {
	line := fmt.Appendf(nil, "valtrack: %v\n", err)
	if telemetry.IsTerminal(stderr) {
		line = printable.Escape(line)
	}
	stderr.Write(line)
}

// ignoreClosedPipes lets a command continue when the reader of its log has gone: Go ends
// a process that writes to a standard stream without a reader, also when the parent
// ignores SIGPIPE. For commands whose work is not their output.
func ignoreClosedPipes() { signal.Ignore(syscall.SIGPIPE) }
