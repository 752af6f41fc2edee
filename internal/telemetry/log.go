package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/chainbound/valtrack/internal/printable"
)

// Formats of log lines.
const (
	FormatAuto = "auto" // coloured on a terminal unless NO_COLOR or TERM=dumb ask for text
	FormatText = "text" // key=value
	FormatJSON = "json" // one object per line
)

// Formats lists the log formats.
func Formats() []string { return []string{FormatAuto, FormatText, FormatJSON} }

// ParseLevel reads debug, info, warn or error, in any case.
func ParseLevel(s string) (slog.Level, error) {
	var l slog.Level
	// slog also reads "info+2"; an operator who types that has mistyped.
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(s)) {
		return l, fmt.Errorf("log level %q: want debug, info, warn or error", s)
	}
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return l, fmt.Errorf("log level %q: %w", s, err)
	}
	return l, nil
}

// NewLogger writes lines of at least the level to w in one of Formats. decorated says
// what auto means: coloured, or text.
func NewLogger(w io.Writer, format string, level slog.Level, decorated bool) (*slog.Logger, error) {
	switch {
	case format == FormatJSON:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: printableAttr})), nil
	case format == FormatAuto && decorated:
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, ReplaceAttr: printableAttr})), nil
	case format == FormatAuto, format == FormatText:
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil // which quotes
	}
	return nil, fmt.Errorf("log format %q: want one of %s", format, strings.Join(Formats(), ", "))
}

// printableAttr makes the text of an attribute printable, of the message too: peers choose
// parts of errors, and a log is read on a terminal.
func printableAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
		if text := a.Value.String(); !printable.Is(text) {
			a.Value = slog.StringValue(printable.Clean(text))
		}
	}
	if !printable.Is(a.Key) {
		a.Key = printable.Clean(a.Key)
	}
	return a
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool { return Terminal(w) != nil }

// Terminal is the terminal that w is, or that a LogWriter writes to; nil when it is none.
func Terminal(w io.Writer) *os.File {
	if l, ok := w.(*LogWriter); ok {
		w = l.w
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
